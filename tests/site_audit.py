"""Open every page of the built site in headless Chromium, and check it by axe.

    python tests/site_audit.py SITE [PAGE ...]

It needs node and Chromium (the environment variable CHROMIUM names it; the default is
/usr/bin/chromium), and the npm packages puppeteer-core and axe-core, in the current folder or on
NODE_PATH. Each page is opened at 1280 and 390 pixels, in light and in dark colors, from disk and
without a network. The script prints one line for each fault and ends with 1 if there is one:

- axe finds a fault of accessibility that is serious or critical;
- the page is wider than the window;
- a script fails, or the page asks for an address that is not a file;
- the search finds nothing.

The environment variable PICTURES names a folder for pictures of the first screen of each page.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
const puppeteer = require("puppeteer-core");
const axe = require("fs").readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const { site, pages, pictures } = JSON.parse(require("fs").readFileSync(0, "utf8"));
const faults = [];
const check = async (browser, name) => {
  const page = await browser.newPage();
  let where = name;
  await page.setOfflineMode(true);
  page.on("pageerror", (error) => faults.push(`${where}: script: ${error.message}`));
  page.on("request", (request) => {
    const kind = request.url().split(":")[0];
    if (!["file", "data", "blob"].includes(kind)) faults.push(`${where}: loads ${request.url()}`);
  });
  for (const width of [1280, 390])
    for (const scheme of ["light", "dark"]) {
      where = `${name} at ${width} px, ${scheme}`;
      await page.setViewport({ width, height: 900 });
      await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
      await page.goto("file://" + site + "/" + name, { waitUntil: "load" });
      await page.evaluate("new Promise((done) => setTimeout(done, 200))");
      const wide = await page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth");
      if (wide > 0) faults.push(`${where}: ${wide} px wider than the window`);
      await page.evaluate(axe);
      const violations = await page.evaluate(
        "axe.run(document, { resultTypes: ['violations'] }).then((result) => result.violations)");
      for (const fault of violations) {
        if (!["serious", "critical"].includes(fault.impact)) continue;
        const parts = fault.nodes.map((node) => `${node.target} ${node.html.slice(0, 99)}`);
        const which = parts.slice(0, 3).join(" | ");
        faults.push(`${where}: ${fault.id}: ${fault.help}: ${which}`);
      }
      if (pictures) await page.screenshot({
        path: `${pictures}/${name.replaceAll("/", "-")}-${width}-${scheme}.png` });
    }
  await page.close();
};
const search = async (browser) => {
  const page = await browser.newPage();
  await page.setViewport({ width: 1280, height: 900 });
  await page.setOfflineMode(true);
  await page.goto("file://" + site + "/index.html", { waitUntil: "load" });
  await page.click("input.md-search__input");
  await page.type("input.md-search__input", "shortcut");
  try {
    await page.waitForSelector(".md-search-result__item", { timeout: 15000 });
  } catch {
    faults.push("index.html: the search finds nothing");
  }
  await page.close();
};
(async () => {
  const browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
    args: ["--no-sandbox", "--allow-file-access-from-files"],
  });
  for (const name of pages) await check(browser, name);
  await search(browser);
  await browser.close();
  console.log(JSON.stringify(faults));
})().catch((error) => { console.error(error); process.exit(1); });
"""


def main(site: str, *names: str) -> None:
    """Print the faults of the pages. Raises SystemExit if there is one."""
    root = Path(site).resolve()
    paths = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.html"))
    # Reports have tests of their own, and the links of 404.html are those of a server.
    left_out = ("/report.html", "404.html")
    pages = list(names) or [name for name in paths if not name.endswith(left_out)]
    pictures = os.environ.get("PICTURES", "")
    task = json.dumps({"site": str(root), "pages": pages, "pictures": pictures})
    ended = subprocess.run(
        ["node", "-e", SCRIPT], input=task, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise SystemExit(ended.stderr)
    faults = json.loads(ended.stdout)
    print(*faults, sep="\n")
    print(f"{len(pages)} pages at 1280 and 390 px, light and dark: {len(faults)} faults")
    if faults:
        raise SystemExit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
