// ---- Chart of the curves of all conditions, with zoom. It follows `report.js` in one script.

const PLOT = { left: 54, right: 12, top: 26, bottom: 36 };
const DASHES = ["", "7 3", "2 2.5", "9 3 2 3"];
const COLORS = Object.keys(data.colors).filter((name) => name.startsWith("--series")).length;
const MAX_WITH_RUNS = 6; // conditions up to which a chart draws runs beside the means
let dragged = false;

const isOff = (label) => (state.get("off") || "").split(",").includes(
  String(conditions.indexOf(label)));

function setOff(labels, off) {
  const numbers = new Set((state.get("off") || "").split(",").filter(Boolean));
  for (const label of labels)
    numbers[off ? "add" : "delete"](String(conditions.indexOf(label)));
  setState("off", [...numbers].join(","));
  showCharts.forEach((show) => show());
  light(kept());
}

/** Return about `count` round numbers from `low` to `high`. */
function ticks(low, high, count) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= raw);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, index) =>
    Number(((first + index) * step).toPrecision(10)));
}

function setUpChart(figure) {
  const key = figure.dataset.key, set = curves[key];
  const labels = [...new Set(set.lines.map(([label]) => label))];
  const everything = [0, Math.max(1e-9, ...set.x.flat()), ...set.ends];
  const svg = element("svg", { role: "img", id: `chart-${key}`,
    "aria-label": figure.querySelector("svg").getAttribute("aria-label") });
  const stage = element("div", { class: "stage", tabindex: 0, role: "group",
    "aria-label": `${words.chart}. ${words.keys}` }, svg);
  const legend = element("ul", { class: "legend" });
  const chart = element("div", { class: "chart" },
    element("div", { class: "tools" },
      button("+", () => zoom(1 / 1.5), { "aria-label": words.closer, title: words.closer }),
      button("−", () => zoom(1.5), { "aria-label": words.wider, title: words.wider }),
      button(words.reset, () => setView(everything)),
      button(words.every, () => setOff(labels, false)),
      button(words.none, () => setOff(labels, true))),
    stage, element("p", { class: "note" },
      `${fill(words.lines, { count: MAX_WITH_RUNS })} ${words.keys}`), legend);
  const style = (label) => {
    const index = labels.indexOf(label);
    const dash = DASHES[Math.floor(index / COLORS) % DASHES.length];
    return `fill:none;stroke:var(--series-${index % COLORS + 1});stroke-dasharray:${dash || "none"}`;
  };
  for (const label of labels) {
    const box = element("input", { type: "checkbox", "aria-label": fill(words.show, { condition: label }),
      onchange: () => setOff([label], !box.checked) });
    legend.append(element("li", {}, box,
      element("svg", { viewBox: "0 0 28 10", "aria-hidden": "true" },
        element("path", { d: "M0 5H28", style: `${style(label)};stroke-width:3` })),
      button(label, undefined, { class: "pick", "data-condition": label })));
  }

  /** Return the part of the chart that is shown: [x from, to, y from, to]. */
  function view() {
    const parts = (state.get(`zoom.${key}`) || "").split(",").map(Number);
    const isValid = parts.length === 4 && parts.every(Number.isFinite)
      && parts[0] < parts[1] && parts[2] < parts[3];
    return isValid ? parts : everything;
  }

  function setView(parts) {
    const within = [0, 2].flatMap((axis) => {
      const [low, high] = everything.slice(axis, axis + 2), full = high - low;
      const size = clamp(parts[axis + 1] - parts[axis], full / 1000, full);
      const start = clamp(parts[axis], low, high - size);
      return [start, start + size];
    });
    const isAll = within.every((end, index) => Math.abs(end - everything[index]) < 1e-9);
    setState(`zoom.${key}`, isAll ? "" : within.map((end) => end.toPrecision(7)).join(","));
    draw();
    light(kept());
  }

  /** Zoom by a factor; the point at these shares of the view stays where it is. */
  function zoom(factor, right = 0.5, up = 0.5) {
    const [x0, x1, y0, y1] = view();
    const [x, y] = [x0 + right * (x1 - x0), y0 + up * (y1 - y0)];
    setView([x - (x - x0) * factor, x + (x1 - x) * factor,
      y - (y - y0) * factor, y + (y1 - y) * factor]);
  }

  function move(right, up) {
    const [x0, x1, y0, y1] = view();
    const [x, y] = [right * (x1 - x0), up * (y1 - y0)];
    setView([x0 + x, x1 + x, y0 + y, y1 + y]);
  }

  let width = 840, height = 440;
  const plotWidth = () => width - PLOT.left - PLOT.right;
  const plotHeight = () => height - PLOT.top - PLOT.bottom;

  function draw() {
    [width, height] = stage.clientWidth < 600 ? [342, 320] : [840, 440];
    const [x0, x1, y0, y1] = view();
    const left = (x) => PLOT.left + ((x - x0) / (x1 - x0)) * plotWidth();
    const top = (y) => height - PLOT.bottom - ((y - y0) / (y1 - y0)) * plotHeight();
    const text = (content, x, y, anchor) => element("text", { x, y, "text-anchor": anchor,
      style: "fill:var(--muted);font-size:12px" }, content);
    const frame = { x: PLOT.left, y: PLOT.top, width: plotWidth(), height: plotHeight() };
    const grid = ticks(y0, y1, 6).flatMap((y) => [
      element("line", { x1: PLOT.left, x2: width - PLOT.right, y1: top(y), y2: top(y),
        style: "stroke:var(--grid)" }),
      text(number.format(y), PLOT.left - 8, top(y) + 4, "end")]);
    const below = ticks(x0, x1, width < 600 ? 4 : 8).map((x) =>
      text(number.format(x), left(x), height - PLOT.bottom + 17, "middle"));
    const shown = labels.filter((label) => !isOff(label));
    const lines = [], paths = element("g", { "clip-path": `url(#clip-${key})` });
    // The means are above the runs.
    for (const isMean of [false, true])
      for (const line of set.lines) {
        const [label, seed, column, values] = line;
        if (!shown.includes(label) || (seed === null) !== isMean) continue;
        if (!isMean && shown.length > MAX_WITH_RUNS) continue;
        const drawn = values.map((y, index) => [set.x[column][index], y]);
        const pixels = drawn.map(([x, y]) => [left(x), top(y)]);
        const node = element("g", { "data-condition": label, "data-kind": isMean ? "mean" : "run" },
          element("path", { d: `M${pixels.map((pair) => pair.map((one) => one.toFixed(2)).join(" ")).join("L")}`,
            style: `${style(label)};stroke-width:${isMean ? 2.4 : 1};stroke-opacity:${isMean ? 1 : 0.55}` }));
        paths.append(node);
        const inside = pixels.map(([x, y]) => x >= PLOT.left - 1 && x <= width - PLOT.right + 1
          && y >= PLOT.top - 1 && y <= height - PLOT.bottom + 1);
        lines.push({ set, line, node, pixels: pixels.filter((_, index) => inside[index]),
          drawn: drawn.filter((_, index) => inside[index]) });
      }
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.replaceChildren(
      element("clipPath", { id: `clip-${key}` }, element("rect", frame)),
      ...grid, ...below, text(set.unit, 4, 14, "start"),
      text(set.axis, width - PLOT.right, height - 4, "end"), paths);
    lineCache.set(svg, lines);
  }

  /** Return the place of the pointer as shares of the plot, from its lower left corner. */
  function share(event) {
    const { x, y } = new DOMPoint(event.clientX, event.clientY)
      .matrixTransform(svg.getScreenCTM().inverse());
    return [clamp((x - PLOT.left) / plotWidth(), 0, 1),
      clamp((height - PLOT.bottom - y) / plotHeight(), 0, 1)];
  }

  let start = null, selection = null;
  svg.addEventListener("pointerdown", (event) => {
    dragged = false;
    if (event.button) return;
    start = share(event);
    selection = element("rect", { style: "fill:var(--series-2);fill-opacity:.15" });
    svg.append(selection);
    svg.setPointerCapture(event.pointerId);
  });
  svg.addEventListener("pointermove", (event) => {
    if (!start) return;
    const end = share(event);
    selection.setAttribute("x", PLOT.left + Math.min(start[0], end[0]) * plotWidth());
    selection.setAttribute("y", PLOT.top + (1 - Math.max(start[1], end[1])) * plotHeight());
    selection.setAttribute("width", Math.abs(start[0] - end[0]) * plotWidth());
    selection.setAttribute("height", Math.abs(start[1] - end[1]) * plotHeight());
  });
  svg.addEventListener("pointerup", (event) => {
    if (!start) return;
    const [from, to] = [start, share(event)], [x0, x1, y0, y1] = view();
    selection.remove();
    start = null;
    const size = [Math.abs(from[0] - to[0]), Math.abs(from[1] - to[1])];
    dragged = size[0] > 0.02 && size[1] > 0.02;
    if (dragged) setView([
      x0 + Math.min(from[0], to[0]) * (x1 - x0), x0 + Math.max(from[0], to[0]) * (x1 - x0),
      y0 + Math.min(from[1], to[1]) * (y1 - y0), y0 + Math.max(from[1], to[1]) * (y1 - y0)]);
  });
  svg.addEventListener("pointercancel", () => {
    selection?.remove();
    start = null;
  });
  // The wheel scrolls the page until the chart has the focus.
  stage.addEventListener("wheel", (event) => {
    if (document.activeElement !== stage) return;
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.2 : 1 / 1.2, ...share(event));
  }, { passive: false });
  const keys = {
    "+": () => zoom(1 / 1.5), "=": () => zoom(1 / 1.5), "-": () => zoom(1.5), 0: () => setView(everything),
    ArrowLeft: () => move(-0.2, 0), ArrowRight: () => move(0.2, 0),
    ArrowUp: () => move(0, 0.2), ArrowDown: () => move(0, -0.2),
  };
  stage.addEventListener("keydown", (event) => {
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  new ResizeObserver(() => {
    if (!stage.clientWidth || (stage.clientWidth < 600) === (width < 600)) return;
    draw();
    light(kept());
  }).observe(stage);

  const change = button(words.together, () => {
    setState(`chart.${key}`, state.get(`chart.${key}`) ? "" : "on");
    show();
    light(kept());
  });
  function show() {
    const isShown = Boolean(state.get(`chart.${key}`));
    figure.classList.toggle("is-chart", isShown);
    change.textContent = isShown ? words.panels : words.together;
    all("input", legend).forEach((box, index) => { box.checked = !isOff(labels[index]); });
    if (isShown) draw();
  }
  figure.prepend(chart);
  showCharts.push(show);
  return change;
}

// ---- Figures as files

/** Save the figure, in the colors of its SVG file, as a PNG of twice its size. */
async function savePng(figure) {
  const isChart = figure.matches(".is-chart");
  const copy = figure.querySelector(isChart ? ".stage svg" : ".wide svg").cloneNode(true);
  const [, , width, height] = copy.getAttribute("viewBox").split(" ").map(Number);
  copy.setAttribute("width", width);
  copy.setAttribute("height", height);
  copy.style.fontFamily = getComputedStyle(document.body).fontFamily;
  for (const [name, color] of Object.entries(data.colors)) copy.style.setProperty(name, color);
  copy.prepend(element("rect", { width, height, style: "fill:var(--card)" }));
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(
    new XMLSerializer().serializeToString(copy))}`;
  await image.decode();
  const canvas = element("canvas", { width: 2 * width, height: 2 * height });
  canvas.getContext("2d").drawImage(image, 0, 0, 2 * width, 2 * height);
  const blob = await new Promise((finish) => { canvas.toBlob(finish, "image/png"); });
  const link = element("a", { href: URL.createObjectURL(blob),
    download: `${data.name}-${figure.dataset.key}${isChart ? "-chart" : ""}.png` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// ---- Start

/** Show the element of the fragment: open what hides it and mark it. */
function aim(scroll) {
  const node = document.getElementById(decodeURIComponent(location.hash.slice(1).split("?")[0]));
  all(".aimed").forEach((other) => other.classList.remove("aimed"));
  if (!node) return;
  node.classList.add("aimed");
  node.closest("details")?.setAttribute("open", "");
  if (node.hidden) {
    setState(`filter.${node.closest(".box").dataset.key}`, "");
    showTables.forEach((show) => show());
  }
  if (scroll) node.scrollIntoView();
}

loadState();
addPicks();
const showCharts = [];
const showTables = all(".box[data-key]").map(setUpTable);
for (const figure of all("figure[data-key]")) {
  const { key } = figure.dataset;
  const tools = element("div", { class: "tools figure-tools" });
  if (curves[key]) tools.append(setUpChart(figure));
  tools.append(
    element("a", { href: `figures/${key}.svg`, download: `${data.name}-${key}.svg` }, words.svg),
    button(words.png, () => savePng(figure)));
  figure.prepend(tools);
}
document.body.append(bar, tip);

function showState() {
  [...showTables, ...showCharts].forEach((show) => show());
  showKept();
}

document.addEventListener("pointermove", onPointer);
document.addEventListener("pointerdown", onPointer);
document.addEventListener("click", onClick);
document.addEventListener("scroll", () => { tip.hidden = true; });
document.addEventListener("focusin", (event) => {
  if (event.target.matches("button.pick")) light(named(event.target));
  else light(kept());
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  tip.hidden = true;
  keep({});
});
addEventListener("hashchange", () => {
  if (location.hash.includes("?")) {
    loadState();
    showState();
  } else saveState();
  aim(true);
});
addEventListener("beforeprint", () => all("details").forEach((node) => { node.open = true; }));
showState();
aim(location.hash.includes("?") && performance.getEntriesByType("navigation")[0]?.type !== "reload");
