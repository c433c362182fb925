// The page docs/judge.md: reads its form, runs the judging code of resnetlab in Pyodide, and shows the answer.
// All files come from scripts, because a page that is opened from disk may not fetch.
(() => {
  const form = document.getElementById("judge");
  const byId = (name) => document.getElementById(`judge-${name}`);
  const status = byId("status");
  const folder = new URL("judge/", document.currentScript.src);
  let judge; // from the text of a request to the text of an answer
  let waiting = 0;

  const loadScript = (name) =>
    new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = new URL(name, folder);
      script.onload = resolve;
      script.onerror = () => reject(new Error(`${name} is not beside this page`));
      document.head.append(script);
    });

  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

  const unzipped = async (text) => {
    const stream = new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  };

  async function startPython() {
    status.textContent = "Loading Python …";
    await Promise.all([loadScript("python.js"), loadScript("pyodide.js")]);
    const bundle = globalThis.pythonBundle;
    delete globalThis.pythonBundle;
    const [source, wasm] = await Promise.all([unzipped(bundle.module), unzipped(bundle.wasm)]);
    const library = bytes(bundle.library);
    const module = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    const fetched = globalThis.fetch;
    // Pyodide fetches two files by their names; here they are in memory.
    globalThis.fetch = async (address, options) => {
      const name = String(address).split("/").pop();
      if (name === "pyodide.asm.wasm") {
        return new Response(wasm, { headers: { "Content-Type": "application/wasm" } });
      }
      return name === "python_stdlib.zip" ? new Response(library) : fetched(address, options);
    };
    try {
      const pyodide = await globalThis.loadPyodide({
        indexURL: folder.href,
        createPyodideModule: (await import(module)).default,
        lockFileContents: { info: bundle.lock, packages: {} },
        packageBaseUrl: folder.href,
      });
      status.textContent = "Loading resnetlab …";
      await new Promise((resolve) => setTimeout(resolve));
      const packages = pyodide.runPython("import sysconfig; sysconfig.get_path('purelib')");
      pyodide.unpackArchive(bytes(bundle.packages), "zip", { extractDir: packages });
      judge = pyodide.runPython(`
import importlib
import json
from pathlib import Path

importlib.invalidate_caches()
from resnetlab.imported_runs.two_groups import answer

lambda text: json.dumps(answer(json.loads(text), Path("/tmp")))
`);
    } finally {
      globalThis.fetch = fetched;
      URL.revokeObjectURL(module);
    }
  }

  const chosen = (name) => form.elements[name].value;

  function request() {
    const summaries = byId("summaries").value.split("\n").filter((line) => line.trim());
    const margin = byId("margin").value.trim().replace(",", ".");
    return {
      names: [byId("name-0").value, byId("name-1").value],
      columns: [byId("column-0").value, byId("column-1").value],
      summaries: chosen("input") === "summaries" ? summaries : [],
      paired: chosen("paired") === "yes" && chosen("input") === "runs",
      kind: byId("kind").value,
      margin: margin === "" ? 0 : Number(margin),
      measure: byId("measure").value.trim(),
      unit: byId("unit").value,
      higher_is: byId("higher").value,
    };
  }

  function show() {
    const asked = request();
    const answer = Number.isFinite(asked.margin)
      ? JSON.parse(judge(JSON.stringify(asked)))
      : { error: "The margin is not a number." };
    globalThis.judgeAnswer = answer; // for the test that compares it with the command
    byId("result").hidden = Boolean(answer.error);
    status.textContent = answer.error ?? "";
    status.hidden = !answer.error;
    status.classList.toggle("judge-error", Boolean(answer.error));
    if (answer.error) {
      return;
    }
    byId("label").textContent = answer.words.verdict;
    byId("label").className = `judge-label judge-${answer.label}`;
    byId("claim").textContent = answer.words.claim;
    byId("difference").textContent = answer.words.difference || answer.words.reason;
    byId("seeds").textContent =
      answer.words.seeds ||
      (answer.label === "inconclusive" ? `No number: ${answer.words.reason}.` : "None: these runs decide the claim.");
    byId("sentence").textContent = answer.words.sentence;
    byId("reading").replaceChildren(
      ...answer.reading.map((sentence) => Object.assign(document.createElement("li"), { textContent: sentence })),
    );
    byId("command").textContent = answer.command;
    byId("csv").textContent = answer.table;
    for (const part of document.querySelectorAll(".judge-table")) {
      part.hidden = !answer.table;
    }
    setScale(answer);
    drawStrip(answer, asked);
  }

  // The slider reaches beyond the interval. Its scale follows from the values and not from the margin.
  function setScale(answer) {
    const ends = (answer.interval ?? [0, 1]).map(Math.abs);
    const largest = Math.max(...ends) || 1;
    const power = 10 ** Math.floor(Math.log10(largest));
    const slider = byId("slider");
    slider.max = Math.ceil((1.3 * largest) / power) * power;
    slider.step = power / 100;
    slider.value = byId("margin").value.replace(",", ".");
  }

  function drawStrip(answer, asked) {
    const strip = byId("strip");
    strip.toggleAttribute("hidden", !answer.interval);
    if (!answer.interval) {
      return;
    }
    const [low, high] = answer.interval;
    const reach = asked.kind === "equal" ? [-asked.margin, asked.margin] : [asked.margin];
    const values = [0, low, high, ...reach];
    const span = Math.max(...values) - Math.min(...values) || 1;
    const [start, end] = [Math.min(...values) - 0.15 * span, Math.max(...values) + 0.15 * span];
    const width = strip.clientWidth || 640; // one unit is one pixel, so that the text stays readable
    strip.setAttribute("viewBox", `0 0 ${width} 84`);
    const x = (value) => 10 + ((width - 20) * (value - start)) / (end - start);
    const region = asked.kind === "equal" ? [-asked.margin, asked.margin] : [asked.margin, end];
    const digits = Math.max(0, 2 - Math.floor(Math.log10(span)));
    const label = (value) => String(Number(value.toFixed(digits))).replace("-", "−");
    const part = (name, attributes, text = "") => {
      const element = document.createElementNS("http://www.w3.org/2000/svg", name);
      for (const [key, value] of Object.entries(attributes)) {
        element.setAttribute(key, value);
      }
      element.textContent = text;
      return element;
    };
    const marks = [...new Set([0, ...reach])];
    const title = strip.querySelector("title");
    title.textContent = `${answer.words.difference}. Region of the claim: from ${label(region[0])} ${
      asked.kind === "equal" ? `to ${label(region[1])}` : "on"
    }.`;
    strip.replaceChildren(
      title,
      part("rect", { x: x(region[0]), y: 8, width: x(region[1]) - x(region[0]), height: 44, class: "judge-region" }),
      part("line", { x1: 10, x2: width - 10, y1: 52, y2: 52, class: "judge-axis" }),
      ...marks.flatMap((value) => [
        part("line", { x1: x(value), x2: x(value), y1: 8, y2: 58, class: "judge-axis" }),
        part("text", { x: x(value), y: 76, "text-anchor": "middle" }, label(value)),
      ]),
      part("line", { x1: x(low), x2: x(high), y1: 30, y2: 30, class: "judge-interval" }),
      part("circle", { cx: x(answer.estimate), cy: 30, r: 6, class: "judge-dot" }),
    );
  }

  function showSoon(delay) {
    clearTimeout(waiting);
    waiting = setTimeout(() => judge && show(), delay);
  }

  function splitPastedColumns(event) {
    const lines = event.clipboardData.getData("text").replace(/\r/g, "").replace(/\n+$/, "").split("\n");
    if (!lines.every((line) => line.split("\t").length === 2)) {
      return;
    }
    event.preventDefault();
    const cells = lines.map((line) => line.split("\t").map((cell) => cell.trim()));
    const isNumber = (cell) => cell !== "" && Number.isFinite(Number(cell.replace(",", ".").replace("%", "")));
    const names = cells[0].some(isNumber) ? null : cells.shift();
    for (const index of [0, 1]) {
      byId(`column-${index}`).value = cells.map((row) => row[index]).join("\n");
      if (names?.[index]) {
        byId(`name-${index}`).value = names[index];
      }
    }
    showSoon(0);
  }

  window.addEventListener("resize", () => showSoon(250));
  byId("slider").addEventListener("input", () => {
    byId("margin").value = byId("slider").value;
    showSoon(0);
  });
  byId("column-0").addEventListener("paste", splitPastedColumns);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => {
    const summaries = chosen("input") === "summaries";
    for (const part of form.querySelectorAll(".judge-runs")) {
      part.hidden = summaries;
    }
    form.querySelector(".judge-summaries").hidden = !summaries;
    if (event.target.id !== "judge-slider") {
      showSoon(event.target.type === "radio" ? 0 : 250);
    }
  });
  for (const button of document.querySelectorAll(".judge-copy")) {
    button.addEventListener("click", async () => {
      const text = document.getElementById(button.dataset.copies).textContent;
      const label = button.textContent;
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
      } catch {
        button.textContent = "Not copied: select the text";
      }
      setTimeout(() => (button.textContent = label), 2000);
    });
  }

  startPython().then(
    () => {
      form.hidden = false;
      show();
    },
    (error) => {
      status.textContent = `Python did not start: ${error.message}.`;
      status.classList.add("judge-error");
    },
  );
})();
