// Use the page of a report in Chromium; see tests/report_audit.py. It prints observations as JSON.
const fs = require("fs");
const puppeteer = require("puppeteer-core");
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const { page: path, pictures, downloads } = JSON.parse(fs.readFileSync(0, "utf8"));
const address = "file://" + path;
const seen = { faults: [], tips: [], sorted: {} };
const expect = (isRight, fault) => { if (!isRight) seen.faults.push(fault); };
const wait = (ms) => new Promise((finish) => setTimeout(finish, ms));

async function open(browser, fragment = "") {
  const page = await browser.newPage();
  await page.setViewport({ width: 1280, height: 900 });
  await page.setOfflineMode(true);
  await page.emulateMediaFeatures([{ name: "prefers-reduced-motion", value: "reduce" }]);
  page.on("pageerror", (error) => seen.faults.push(`script: ${error.message}`));
  page.on("console", (message) => {
    if (message.type() === "error") seen.faults.push(`console: ${message.text()}`);
  });
  page.on("request", (request) => {
    const isOwn = request.url().split("#")[0] === address || /^(data|blob):/.test(request.url());
    if (!isOwn) seen.faults.push(`loads ${request.url()}`);
  });
  await page.goto(address + fragment, { waitUntil: "load" });
  return page;
}

async function checkAccess(browser) {
  for (const width of [1280, 390])
    for (const scheme of ["light", "dark"])
      for (const fragment of ["", "?keep", "?chart"]) {
        // The states that the script makes are checked in two of the four forms.
        if (fragment && (width === 1280) !== (scheme === "light")) continue;
        const page = await open(browser);
        const where = `at ${width} px, ${scheme}${fragment}`;
        await page.setViewport({ width, height: 900 });
        await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme },
          { name: "prefers-reduced-motion", value: "reduce" }]);
        if (fragment === "?keep") await page.evaluate(() => document.querySelector("button.pick").click());
        if (fragment === "?chart") await page.evaluate(() => {
          for (const figure of document.querySelectorAll("figure:has(> .chart)"))
            figure.querySelector(".figure-tools button").click();
        });
        const wide = await page.evaluate(() =>
          document.documentElement.scrollWidth - document.documentElement.clientWidth);
        expect(wide <= 0, `${where}: ${wide} px wider than the window`);
        await page.evaluate(axe);
        // A figure is one picture for axe, as for a screen reader: its thousands of paths take minutes.
        const violations = await page.evaluate(() => window.axe.run({ exclude: ["figure svg > *"] },
          { resultTypes: ["violations"] }).then((result) => result.violations));
        for (const fault of violations) {
          if (!["serious", "critical"].includes(fault.impact)) continue;
          const nodes = fault.nodes.slice(0, 3).map((node) => `${node.target} ${node.html.slice(0, 99)}`);
          seen.faults.push(`${where}: ${fault.id}: ${fault.help}: ${nodes.join(" | ")}`);
        }
        const unnamed = await page.evaluate(() =>
          [...document.querySelectorAll("figure")].filter((figure) => ![...figure.querySelectorAll("svg")]
            .some((svg) => svg.checkVisibility() && svg.getAttribute("role") === "img"
              && (svg.getAttribute("aria-label") || "").length > 40)).length);
        expect(!unnamed, `${where}: ${unnamed} figures without a text alternative`);
        const bare = await page.evaluate(() => [...document.querySelectorAll("table")].filter((table) =>
          !table.caption || table.querySelector("th:not([scope])")).length);
        expect(!bare, `${where}: ${bare} tables without a caption or a scope`);
        if (pictures) {
          const name = path.split("/").at(-2);
          await page.screenshot({ path: `${pictures}/${name}-${width}-${scheme}${fragment.replace("?", "-")}.png`,
            fullPage: true });
        }
        await page.close();
      }
}

const runRows = (page) => page.evaluate(() =>
  [...document.querySelectorAll(".box.ledger tbody tr")].map((row) => {
    const cell = row.cells[3].querySelector(".cell").cloneNode(true);
    cell.querySelectorAll("small").forEach((note) => note.remove());
    return [row.dataset.condition, row.dataset.seed, cell.textContent.trim()];
  }));

async function checkTables(browser) {
  const page = await open(browser);
  const head = ".box.ledger thead th:nth-child(4)";
  const before = JSON.stringify(await runRows(page));
  for (const direction of ["ascending", "descending"]) {
    await page.click(`${head} button`);
    seen.sorted[direction] = await runRows(page);
    const sort = await page.$eval(head, (node) => node.getAttribute("aria-sort"));
    expect(sort === direction, `aria-sort is ${sort}, not ${direction}`);
  }
  expect(await page.evaluate(() => location.hash.includes("sort.ledger=3.down")), "no sort in the address");
  await page.click(`${head} button`);
  expect(JSON.stringify(await runRows(page)) === before, "the third click does not give the first order back");
  const condition = await page.$eval(".box.ledger tbody tr:last-child", (row) => row.dataset.condition);
  const wanted = await page.$$eval(".box.ledger tbody tr", (rows, name) => rows.filter((row) =>
    name.toLowerCase().split(" ").every((word) => row.textContent.toLowerCase().includes(word))).length, condition);
  const field = await page.evaluateHandle(() =>
    document.querySelector(".box.ledger").previousElementSibling.querySelector("input"));
  await field.asElement().type(condition);
  const shown = await page.$$eval(".box.ledger tbody tr", (rows) => rows.filter((row) => row.checkVisibility()).length);
  const total = await page.$$eval(".box.ledger tbody tr", (rows) => rows.length);
  const count = await page.evaluate(() => document.querySelector(".box.ledger").previousElementSibling
    .querySelector("output").textContent);
  expect(shown === wanted && shown < total, `the filter shows ${shown} rows, not ${wanted} of ${total}`);
  expect(count.includes(shown) && count.includes(total), `the filter says ${count}`);
  await page.reload();
  const again = await page.$$eval(".box.ledger tbody tr", (rows) => rows.filter((row) => row.checkVisibility()).length);
  expect(again === shown, "the filter is lost when the page is loaded again");
  await page.close();
}

async function checkTips(browser) {
  const page = await open(browser);
  const dots = await page.$$('figure[data-key="accuracy"] .wide [data-seed]');
  for (const dot of dots.slice(0, 20)) {
    await dot.hover();
    seen.tips.push(await dot.evaluate((node) => [node.dataset.condition, node.dataset.seed,
      document.querySelector(".tip").textContent]));
  }
  const curve = await page.$('figure .wide [data-kind="run"] path');
  if (curve) {
    await curve.evaluate((node) => node.scrollIntoView({ block: "center" }));
    const at = await curve.evaluate((node) => {
      const { x, y } = node.getPointAtLength(0);
      const point = new DOMPoint(x, y).matrixTransform(node.getScreenCTM());
      return [point.x + 1, point.y];
    });
    await page.mouse.move(...at);
    const tip = await page.$eval(".tip", (node) => (node.hidden ? "" : node.textContent));
    const condition = await curve.evaluate((node) => node.closest("[data-condition]").dataset.condition);
    expect(tip && /\d/.test(tip), `no value beside a curve of ${condition}`);
  }
  await page.close();
}

const lit = (page) => page.evaluate(() => ({
  names: [...new Set([...document.querySelectorAll("[data-condition].lit")].map((node) => node.dataset.condition))],
  figures: [...document.querySelectorAll("figure")].filter((figure) => figure.querySelector("[data-condition]"))
    .map((figure) => [...figure.querySelectorAll(".wide [data-condition]")].map((node) =>
      [node.dataset.condition, node.matches(".lit"), getComputedStyle(node).opacity])),
}));

async function checkHighlight(browser) {
  const page = await open(browser);
  const name = await page.$eval(".box.conditions .pick", (node) => node.dataset.condition);
  const checkLit = async (how) => {
    const { names, figures } = await lit(page);
    expect(names.length === 1 && names[0] === name, `${how} highlights ${names}, not ${name}`);
    expect(figures.every((marks) => marks.every(([label, isLit, opacity]) =>
      isLit === (label === name) && (Number(opacity) === 1) === isLit)), `${how}: a figure differs`);
    const rows = await page.$$eval("tr.lit", (found) => found.length);
    expect(rows > 1, `${how} highlights ${rows} rows`);
  };
  await page.hover(".box.conditions .pick");
  await checkLit("the pointer on a name");
  await page.mouse.move(5, 5);
  expect(!(await lit(page)).names.length, "the highlight stays without a click");
  const dot = await page.evaluateHandle((label) => [...document.querySelectorAll(
    'figure[data-key="accuracy"] .wide [data-seed]')].find((node) => node.dataset.condition === label), name);
  await dot.asElement().click();
  await page.mouse.move(5, 5);
  await checkLit("a click on a dot");
  await page.reload();
  await checkLit("a page that is loaded again");
  await page.keyboard.press("Escape");
  expect(!(await lit(page)).names.length, "Escape does not release the highlight");
  expect(!(await page.evaluate(() => location.hash.includes("keep"))), "Escape leaves the highlight in the address");
  await page.focus(".box.conditions .pick");
  await page.keyboard.press("Enter");
  await checkLit("the keyboard");
  await page.close();
}

async function checkClaims(browser) {
  const page = await open(browser);
  if (await page.$(".verdicts .pick")) {
    await page.click(".verdicts .pick");
    const found = await page.evaluate(() => {
      const details = document.getElementById("claim-1");
      const links = [...details.querySelectorAll("a")].map((link) => link.getAttribute("href").slice(1));
      return { isOpen: details.open, links, pressed: document.querySelector(".verdicts .pick")
        .getAttribute("aria-pressed"), rows: [...document.querySelectorAll(".box.ledger tr.lit")].map((row) => row.id) };
    });
    expect(found.isOpen && found.pressed === "true", "a click on a claim does not open its runs");
    expect(found.links.length > 1 && found.links.slice().sort().join() === found.rows.sort().join(),
      `the runs of a claim are ${found.links}, and ${found.rows} are highlighted`);
    await page.click("#claim-1 a");
    expect(await page.evaluate((id) => document.getElementById(id).matches("tr.aimed"), found.links[0]),
      "the link of a claim does not lead to the row of the run");
    expect(await page.evaluate(() => location.hash.includes("claim=0")), "the claim is not in the address");
  }
  await page.close();
}

async function checkChart(browser) {
  const page = await open(browser);
  const figure = await page.evaluateHandle(() => document.querySelector("figure:has(> .chart)"));
  if (!figure.asElement()) return page.close();
  const key = await figure.evaluate((node) => node.dataset.key);
  const root = `figure[data-key="${key}"]`;
  const labels = () => page.$$eval(`${root} .stage text`, (nodes) => nodes.map((node) => node.textContent).join(" "));
  await page.click(`${root} .figure-tools button`);
  const first = await labels();
  expect(await page.$eval(`${root} .wide`, (node) => !node.checkVisibility()), "the chart does not replace the panels");
  await page.$eval(`${root} .stage`, (node) => node.scrollIntoView({ block: "center" }));
  const box = await (await page.$(`${root} .stage svg`)).boundingBox();
  const at = (x, y) => [box.x + x * box.width, box.y + y * box.height];
  await page.mouse.move(...at(0.3, 0.3));
  await page.mouse.down();
  await page.mouse.move(...at(0.6, 0.7), { steps: 4 });
  await page.mouse.up();
  const second = await labels();
  expect(second !== first && await page.evaluate(() => location.hash.includes("zoom.")), "dragging does not zoom");
  await page.reload();
  expect(await labels() === second, "the zoom is lost when the page is loaded again");
  await page.focus(`${root} .stage`);
  await page.keyboard.press("0");
  expect(await labels() === first, "the key 0 does not show everything");
  await page.keyboard.press("+");
  expect(await labels() !== first, "the key + does not zoom");
  const third = await labels();
  await page.keyboard.press("ArrowUp");
  expect(await labels() !== third, "an arrow does not move the view");
  await page.evaluate((css) => document.querySelectorAll(`${css} .chart .tools button`)[2].click(), root);
  expect(await labels() === first, "the button does not show everything");
  const drawn = () => page.$$eval(`${root} .stage [data-kind="mean"], ${root} .stage [data-kind="run"]`, (nodes) =>
    [...new Set(nodes.map((node) => node.dataset.condition))]);
  const [before, name] = [await drawn(), await page.$eval(`${root} .legend .pick`, (node) => node.dataset.condition)];
  await page.click(`${root} .legend input`);
  const after = await drawn();
  expect(before.includes(name) && !after.includes(name) && after.length === before.length - 1,
    "the legend does not switch a condition off");
  await page.click(`${root} .legend input`);
  expect((await drawn()).length === before.length, "the legend does not switch a condition on");
  const means = await page.$(`${root} .stage [data-kind="mean"] path`);
  await page.mouse.move(...await means.evaluate((node) => {
    const point = new DOMPoint(...node.getAttribute("d").slice(1).split("L")[0].split(" ").map(Number))
      .matrixTransform(node.getScreenCTM());
    return [point.x + 2, point.y];
  }));
  expect(await page.$eval(".tip", (node) => !node.hidden && /\d/.test(node.textContent)), "no value in the chart");
  await page.evaluate((css) => document.querySelector(`${css} .figure-tools button:last-child`).click(), root);
  await waitForFiles(1);
  await page.close();
}

async function waitForFiles(count) {
  for (let turn = 0; turn < 100; turn++) {
    const names = fs.readdirSync(downloads);
    if (names.length >= count && names.every((name) => name.endsWith(".png"))) return;
    await wait(100);
  }
  seen.faults.push(`${fs.readdirSync(downloads)}: not ${count} PNG files`);
}

async function checkPng(browser) {
  const page = await open(browser);
  const figures = await page.$$("figure");
  const before = fs.readdirSync(downloads).length;
  for (const figure of figures)
    await figure.evaluate((node) => node.querySelector(".figure-tools button:last-child").click());
  await waitForFiles(before + figures.length);
  await page.close();
}

async function checkWithoutScript(browser) {
  const shape = (page) => page.evaluate(() => [document.querySelectorAll("tbody tr").length,
    document.querySelectorAll("figure").length, document.querySelectorAll("figure .wide svg").length,
    document.querySelectorAll("h2").length, document.querySelectorAll(".box.ledger tbody tr[id]").length].join());
  const scripted = await open(browser);
  const expected = await shape(scripted);
  await scripted.close();
  const page = await browser.newPage();
  await page.setJavaScriptEnabled(false);
  await page.setViewport({ width: 1280, height: 900 });
  await page.goto(address);
  expect(await shape(page) === expected, "the page is not complete without JavaScript");
  expect(!(await page.$("input, button")), "a control does nothing without JavaScript");
  await page.close();
}

(async () => {
  const browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
    args: ["--no-sandbox"],
  });
  const client = await browser.target().createCDPSession();
  await client.send("Browser.setDownloadBehavior", { behavior: "allow", downloadPath: downloads });
  for (const check of [checkTables, checkTips, checkHighlight, checkClaims, checkChart, checkPng,
    checkWithoutScript, checkAccess])
    try {
      await check(browser);
    } catch (error) {
      seen.faults.push(`${check.name}: ${error.message.split("\n")[0]}`);
    }
  await browser.close();
  console.log(JSON.stringify(seen));
})().catch((error) => { console.error(error); process.exit(1); });
