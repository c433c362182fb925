"""Compare an exported page with `predict` on the same photographs, in headless Chromium.

    python tests/browser_parity.py PAGE MODEL PHOTOGRAPHS [COUNT]

It needs node, the npm package puppeteer-core (in the current folder or on NODE_PATH) and Chromium
(the environment variable CHROMIUM names it; the default is /usr/bin/chromium). The browser has no
network. The script prints one line and fails if a class differs.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = """
const puppeteer = require("puppeteer-core");
(async () => {
  const [page_path, ...photographs] = JSON.parse(require("fs").readFileSync(0, "utf8"));
  const browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ["--no-sandbox"],
  });
  const page = await browser.newPage();
  const requests = [];
  page.on("request", (request) => requests.push(request.url().split(":")[0]));
  page.on("pageerror", (error) => { throw error; });
  await page.setOfflineMode(true);
  await page.goto("file://" + page_path);
  const status = "document.getElementById('status').textContent";
  await page.waitForFunction(`!${status}.startsWith("Loading")`, { timeout: 120000 });
  const answers = [];
  for (const photograph of photographs) {
    const handle = await page.evaluateHandle(() => {
      const input = document.createElement("input");
      input.type = "file";
      return document.body.appendChild(input);
    });
    await handle.asElement().uploadFile(photograph);
    answers.push(await page.evaluate((input) => window.classify(input.files[0]), handle));
  }
  console.log(JSON.stringify({ status: await page.evaluate(status), requests, answers }));
  await browser.close();
})().catch((error) => { console.error(error); process.exit(1); });
"""


def main(page: str, model: str, folder: str, count: str = "100") -> None:
    """Print how the page and the model agree. Raises SystemExit if a class differs."""
    import numpy as np

    import resnetlab as rl
    from resnetlab.deploy.inputs import find_images

    images = find_images([Path(folder)])[0]
    chosen = images[:: max(1, len(images) // int(count))][: int(count)]
    paths = [str(Path(image.name).resolve()) for image in chosen]
    task = json.dumps([str(Path(page).resolve()), *paths])
    ended = subprocess.run(
        ["node", "-e", SCRIPT], input=task, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise SystemExit(ended.stderr)
    result = json.loads(ended.stdout)
    assert set(result["requests"]) <= {"file", "blob", "data"}, result["requests"]
    loaded = rl.load_model(model, device="cpu", accept_license=True)
    differences, other = [], []
    for path, answer in zip(paths, result["answers"], strict=True):
        top = loaded.predict([path], top=len(loaded.classes))[0].top_classes
        expected = {item.label: item.probability for item in top}
        given = {item["name"]: item["probability"] for item in answer}
        assert given.keys() == expected.keys()
        differences.append(max(abs(given[name] - expected[name]) for name in given))
        if max(given, key=given.__getitem__) != top[0].label:
            other.append(path)
    print(
        f"{len(paths)} photographs, page status {result['status']!r}: the class differs for "
        f"{len(other)}, largest difference of a probability {max(differences):.1e}, "
        f"median {np.median(differences):.1e}"
    )
    if other:
        raise SystemExit(f"another class: {', '.join(other[:5])}")


if __name__ == "__main__":
    main(*sys.argv[1:])
