"""Compare the site's page that judges with the command, to the last digit, in headless Chromium.

    python tests/judge_parity.py SITE

It needs node, the npm package puppeteer-core (in the current folder or on NODE_PATH) and Chromium
(the environment variable CHROMIUM names it; the default is /usr/bin/chromium). The page is opened
from disk without a network. Its form is filled in for each case; the command that the page shows
is then run on the table that the page shows, and both must print the same words. The numbers
behind the words may differ by 1e-11 of their size, because the page has no scipy.
"""

from __future__ import annotations

import json
import math
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SCRIPT = """
const puppeteer = require("puppeteer-core");
(async () => {
  const [address, ...cases] = JSON.parse(require("fs").readFileSync(0, "utf8"));
  const browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ["--no-sandbox"],
    protocolTimeout: 300000,
  });
  const page = await browser.newPage();
  const requests = [];
  page.on("request", (request) => requests.push(request.url().split(":")[0]));
  page.on("pageerror", (error) => { throw error; });
  await page.setOfflineMode(true);
  const begun = Date.now();
  await page.goto(address);
  const status = () => document.getElementById("judge-status").textContent;
  await page.waitForFunction(
    "window.judgeAnswer || document.body.textContent.includes('did not start')",
    { timeout: 280000 },
  );
  if (!await page.evaluate("window.judgeAnswer")) throw new Error(await page.evaluate(status));
  const seconds = (Date.now() - begun) / 1000;
  const answers = [];
  for (const fields of cases) {
    answers.push(await page.evaluate(async (fields) => {
      delete window.judgeAnswer;
      const started = performance.now();
      for (const [selector, value] of Object.entries(fields)) {
        const field = document.querySelector(selector);
        if (field.type === "radio") field.checked = true; else field.value = value;
        field.dispatchEvent(new Event("input", { bubbles: true }));
      }
      while (!window.judgeAnswer) await new Promise((done) => setTimeout(done, 5));
      const shown = (id) => document.getElementById(`judge-${id}`).textContent;
      const names = ["label", "claim", "difference", "sentence", "status"];
      return {
        answer: window.judgeAnswer,
        milliseconds: performance.now() - started,
        shown: Object.fromEntries(names.map((name) => [name, shown(name)])),
      };
    }, fields));
  }
  console.log(JSON.stringify({ answers, requests, seconds }));
  await browser.close();
})().catch((error) => { console.error(error); process.exit(1); });
"""

RUNS, MEANS = '[name="input"][value="runs"]', '[name="input"][value="summaries"]'
INDEPENDENT, PAIRED = '[name="paired"][value="no"]', '[name="paired"][value="yes"]'


def cases(count: int = 12) -> list[dict[str, str]]:
    """Return fields of the form for each case: drawn groups of runs, and rows of means."""
    generator = random.Random(5)
    drawn = []
    for number in range(count):
        sizes = [generator.randint(2, 8) for _ in range(2)]
        sizes = [min(sizes)] * 2 if number % 3 == 1 else sizes
        columns = [
            "\n".join(f"{generator.gauss(mean, 0.4):.2f}" for _ in range(size))
            for mean, size in zip((93.2, 92.8), sizes, strict=True)
        ]
        fields = {
            RUNS: "",
            PAIRED if number % 3 == 1 else INDEPENDENT: "",
            "#judge-column-0": columns[0] + ("\n\n93.6" if number % 4 == 3 else ""),
            "#judge-column-1": columns[1],
            "#judge-kind": "equal" if number % 3 == 2 else "greater",
            "#judge-margin": f"{generator.choice((0.1, 0.25, 0.5, 1.0))}",
            "#judge-measure": "test error" if number % 5 == 4 else "accuracy",
        }
        drawn.append(fields)
    for lines in (
        "A: 93.5 ± 0.2, n=5\nB: 92.9 ± 0.3, n=5",
        "A: 91.42 ± 0.31, n=3\nB: 91.2 +- 0.1 (n=10)",
    ):
        for margin in ("0", "0.35"):
            drawn.append(
                {
                    MEANS: "",
                    "#judge-summaries": lines,
                    "#judge-kind": "greater",
                    "#judge-margin": margin,
                    "#judge-measure": "accuracy",
                }
            )
    return drawn


def main(site: str) -> None:
    """Print how the page and the command agree. Raises SystemExit if they do not."""
    page = Path(site).resolve() / "judge.html"
    chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    if shutil.which("node") is None or not Path(chromium).exists():
        raise SystemExit("this check needs node and Chromium; the variable CHROMIUM names it")
    if not (page.parent / "assets" / "judge" / "python.js").is_file():
        raise SystemExit(f"{page} was built without Python: make docs, with npm and a network")
    given = cases()
    ended = subprocess.run(
        ["node", "-e", SCRIPT],
        input=json.dumps([page.as_uri(), *given]),
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        lines = ended.stderr.strip().splitlines()
        missing = next((line for line in lines if "Cannot find module" in line), "")
        raise SystemExit(f"{missing}: npm install puppeteer-core" if missing else ended.stderr)
    result = json.loads(ended.stdout)
    assert set(result["requests"]) <= {"file", "blob", "data"}, set(result["requests"])
    largest, labels = 0.0, set()
    for item in result["answers"]:
        answer = item["answer"]
        assert "error" not in answer, answer
        expected = judged_by_command(answer)
        assert answer["words"] == expected["words"], (answer, expected)
        assert item["shown"]["sentence"] == answer["words"]["sentence"]
        assert answer["seeds"] == expected["seeds"]
        numbers = ("difference", expected["difference"]), ("p", expected["p"])
        pairs = [
            (answer["estimate" if name == "difference" else name], value) for name, value in numbers
        ]
        pairs += zip(answer["interval"], expected["interval"], strict=True)
        for here, there in pairs:
            assert math.isclose(here, there, rel_tol=1e-11, abs_tol=1e-12), (here, there)
            largest = max(largest, abs(here - there) / max(abs(there), 1e-12))
        labels.add(answer["label"])
    times = sorted(item["milliseconds"] for item in result["answers"])
    print(
        f"{len(given)} cases ({', '.join(sorted(labels))}): page and command print the same words; "
        f"largest relative difference of a number {largest:.0e}; the page was ready after "
        f"{result['seconds']:.1f} s and answered in {times[len(times) // 2]:.0f} ms (median)"
    )


def judged_by_command(answer: dict[str, Any]) -> dict[str, Any]:
    """Run the command that the page shows, and return its claim."""
    with tempfile.TemporaryDirectory() as folder:
        if answer["table"]:
            (Path(folder) / "runs.csv").write_text(answer["table"], encoding="utf-8")
        words = [sys.executable, "-m", *shlex.split(answer["command"]), "--json"]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    claim: dict[str, Any] = json.loads(done.stdout)["claims"][0]
    return claim


if __name__ == "__main__":
    main(*sys.argv[1:])
