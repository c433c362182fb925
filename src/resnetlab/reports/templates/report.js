"use strict";
// The script of a report: sorted and filtered tables, values beside the pointer, conditions and
// claims that are highlighted everywhere, and charts with zoom. The page is complete without it.
// Its words and its curves are in the element `page-data`. Its state is in the fragment of the
// address, so that a page that is loaded again looks the same: `#all-runs?sort.ledger=3.down`.

const data = JSON.parse(document.getElementById("page-data").textContent);
const { words, conditions, claims, curves } = data;
const number = new Intl.NumberFormat(document.documentElement.lang, {
  maximumSignificantDigits: 10, useGrouping: false,
});
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

function element(tag, attributes = {}, ...children) {
  const isDrawn = ["svg", "g", "path", "line", "rect", "text", "clipPath"].includes(tag);
  const node = isDrawn
    ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

const button = (text, onclick, attributes = {}) =>
  element("button", { type: "button", onclick, ...attributes }, text);

// ---- State in the fragment

const state = new Map();

function loadState() {
  state.clear();
  for (const [name, value] of new URLSearchParams(location.hash.split("?")[1] || ""))
    state.set(name, value);
}

function setState(name, value) {
  if (value) state.set(name, value);
  else state.delete(name);
  saveState();
}

function saveState() {
  const anchor = location.hash.slice(1).split("?")[0];
  const query = new URLSearchParams([...state]).toString();
  try {
    history.replaceState(null, "", `#${anchor}${query && `?${query}`}`);
  } catch {
    // A frame without an address of its own has no fragment; the page works without it.
  }
}

// ---- Tables

const plain = (text) => text.replace(/[\u00a0\u202f]/g, " ").replace(/\s+/g, " ").trim();

/** Return the number at the start of a cell, NaN if it has none. Durations are in seconds. */
function numberIn(text) {
  let digits = plain(text).replace(/\u2212/g, "-");
  if (document.documentElement.lang === "fr")
    digits = digits.replace(/(\d) (?=\d{3}(\D|$))/g, "$1").replace(/(\d),(?=\d)/g, "$1.");
  else digits = digits.replace(/(\d),(?=\d{3})/g, "$1");
  const clock = digits.match(/^(?:(\d+) h )?(\d+) min(?: (\d+) s)?/);
  if (clock) return 3600 * (clock[1] || 0) + 60 * clock[2] + Number(clock[3] || 0);
  const match = digits.match(/[-+]?\d+(\.\d+)?(e[-+]?\d+)?/);
  return match ? Number(match[0]) - (digits.startsWith("<") ? 1e-9 : 0) : NaN;
}

/** Return the text of a cell without its smaller lines. */
function cellText(cell) {
  const copy = cell.cloneNode(true);
  all("small", copy).forEach((note) => note.remove());
  return plain(copy.textContent);
}

function setUpTable(box) {
  const key = box.dataset.key, table = box.querySelector("table"), body = table.tBodies[0];
  const heads = all("thead th", table), rows = [...body.rows];
  // Rows that belong to the row above them move with it, and a row of totals stays at the end.
  const groups = [];
  for (const row of rows)
    if (row.dataset.joined && groups.length) groups.at(-1).push(row);
    else groups.push([row]);
  const names = heads.map((head) => plain(head.textContent));
  const texts = new Map(rows.map((row) =>
    [row, plain([...row.cells].map((cell) => cell.textContent).join(" ")).toLowerCase()]));
  const select = element("select", { onchange: () => sort(select.value) },
    element("option", { value: "" }, words.order));
  if (groups.length > 1) heads.forEach((head, column) => {
    for (const way of ["up", "down"])
      select.append(element("option", { value: `${column}.${way}` },
        fill(words[way], { column: names[column] })));
    const turn = () => {
      const ways = ["", `${column}.up`, `${column}.down`];
      sort(ways[(Math.max(0, ways.indexOf(state.get(`sort.${key}`))) + 1) % 3]);
    };
    head.replaceChildren(button(names[column], turn, { class: "sort" }));
  });

  function sort(order) {
    setState(`sort.${key}`, order);
    showOrder();
  }

  function showOrder() {
    const [column, way] = (state.get(`sort.${key}`) || "").split(".");
    select.value = column ? `${column}.${way}` : "";
    heads.forEach((head, index) => {
      if (column && Number(column) === index)
        head.setAttribute("aria-sort", way === "down" ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    let ordered = groups;
    if (heads[column]) {
      const isNumeric = heads[column].classList.contains("number");
      const keys = new Map(groups.map((group) => {
        const text = cellText(group[0].cells[column]);
        return [group, isNumeric ? numberIn(text) : text];
      }));
      const sign = way === "down" ? -1 : 1;
      const rank = (group) => (group[0].dataset.total ? 2 : Number.isNaN(keys.get(group)) ? 1 : 0);
      ordered = [...groups].sort((one, other) => rank(one) - rank(other) || (rank(one) ? 0 : sign *
        (isNumeric ? keys.get(one) - keys.get(other) : keys.get(one).localeCompare(
          keys.get(other), document.documentElement.lang, { numeric: true }))));
    }
    body.append(...ordered.flat());
  }

  const count = element("output");
  const field = element("input", { type: "search", oninput: () => {
    setState(`filter.${key}`, field.value);
    showFilter();
  } });

  function showFilter() {
    field.value = state.get(`filter.${key}`) || "";
    const wanted = plain(field.value).toLowerCase().split(" ").filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      row.hidden = !wanted.every((word) => texts.get(row).includes(word));
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = wanted.length ? fill(words.rows, { shown, total: rows.length }) : "";
  }

  const tools = element("div", { class: "tools" });
  if (rows.length >= 8)
    tools.append(element("label", {}, `${words.filter} `, field), count);
  if (box.classList.contains("cards") && groups.length > 1)
    tools.append(element("label", { class: "sort-by" }, `${words.sort} `, select));
  if (tools.childElementCount) box.before(tools);
  return () => {
    showOrder();
    showFilter();
  };
}

// ---- Highlight of a condition or of a claim, everywhere at once

const highlighted = element("p", { role: "status" });
const runsLink = element("a", {}, words.runs);
const bar = element("div", { class: "bar", hidden: "" }, highlighted, runsLink,
  button(words.release, () => keep({})));

/** Return the highlight that the fragment keeps: `{condition}`, `{claim}` or `{}`. */
function kept() {
  if (conditions.includes(state.get("keep"))) return { condition: state.get("keep") };
  return claims[state.get("claim")] ? { claim: state.get("claim") } : {};
}

function keep({ condition, claim }) {
  const before = kept();
  const isSame = before.condition === condition && before.claim === claim;
  state.delete("keep");
  state.delete("claim");
  if (!isSame && condition !== undefined) state.set("keep", condition);
  if (!isSame && claim !== undefined) state.set("claim", claim);
  saveState();
  showKept();
}

function showKept() {
  const { condition, claim } = kept();
  const name = condition ?? claims[claim]?.statement ?? "";
  bar.hidden = !name;
  document.body.classList.toggle("has-bar", Boolean(name));
  highlighted.textContent = name && fill(words.highlighted, { name });
  const first = condition === undefined ? undefined
    : all("tr[data-seed]").find((row) => row.dataset.condition === condition)?.id;
  const target = condition === undefined ? `claim-${Number(claim) + 1}` : first;
  runsLink.hidden = !document.getElementById(target);
  runsLink.setAttribute("href", `#${target}`);
  for (const node of all("button[data-condition], button[data-claim]"))
    node.setAttribute("aria-pressed", String(condition === undefined
      ? claim !== undefined && node.dataset.claim === claim : node.dataset.condition === condition));
  all("details[data-claim]").forEach((node) => {
    if (claim !== undefined) node.open = node.dataset.claim === claim;
  });
  light(kept());
}

function light({ condition, claim }) {
  const lit = new Set(claim === undefined ? [condition] : claims[claim].conditions);
  document.body.classList.toggle("focused", condition !== undefined || claim !== undefined);
  document.body.classList.toggle("focused-claim", claim !== undefined);
  for (const node of all("[data-condition], [data-claim]"))
    node.classList.toggle("lit", node.dataset.claim === undefined
      ? lit.has(node.dataset.condition) : node.dataset.claim === claim);
}

/** Turn the name at the start of a cell, list item or legend into a button that highlights it. */
function addPicks() {
  const pick = (node, attributes) => {
    const text = [...node.childNodes].find((child) => child.nodeType === 3 && child.data.trim());
    if (text) text.replaceWith(" ", button(text.data.trim(), undefined, { class: "pick", ...attributes }));
  };
  for (const row of all("tbody tr[data-condition]"))
    pick(row.cells[0].querySelector(".cell"), { "data-condition": row.dataset.condition });
  for (const row of all("tbody tr[data-claim]:not([data-joined])"))
    pick(row.cells[0].querySelector(".cell"), { "data-claim": row.dataset.claim });
  for (const item of all(".verdicts li")) pick(item, { "data-claim": item.dataset.claim });
}

/** Return what an element of a figure or a button names, `{}` for a row of a table. */
function named(target) {
  const node = target.closest("svg [data-condition], svg [data-claim], button.pick");
  if (!node) return {};
  return node.dataset.condition === undefined
    ? { claim: node.dataset.claim } : { condition: node.dataset.condition };
}

// ---- Values beside the pointer

const tip = element("div", { class: "tip", "aria-hidden": "true", hidden: "" });
const lineCache = new WeakMap();

/** Return the lines of a figure: the pixels of their points and the point's sentence. */
function linesOf(svg) {
  if (lineCache.has(svg)) return lineCache.get(svg);
  const lines = [];
  for (const node of all("[data-set] [data-condition][data-kind]", svg)) {
    const set = curves[node.closest("[data-set]").dataset.set];
    const seed = node.dataset.seed === undefined ? null : Number(node.dataset.seed);
    const line = set?.lines.find(([name, known]) =>
      name === node.dataset.condition && known === seed);
    const path = node.querySelector("path")?.getAttribute("d") || "";
    const pixels = [...path.matchAll(/(-?[\d.]+) (-?[\d.]+)/g)].map((pair) => pair.slice(1).map(Number));
    const drawn = line?.[3].map((y, index) => [set.x[line[2]][index], y])
      .filter(([, y]) => y <= set.ends[1]);
    // Without a pixel for each value, as for a line of one point, there is nothing to show.
    if (drawn?.length === pixels.length) lines.push({ set, line, pixels, drawn, node });
  }
  lineCache.set(svg, lines);
  return lines;
}

/** Return the point of a curve within `reach` pixels of the pointer, and its sentence. */
function nearest(svg, event, reach = 9) {
  const matrix = svg.getScreenCTM();
  if (!matrix) return null;
  const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
  let best = null, least = (reach / matrix.a) ** 2;
  for (const { set, line, pixels, drawn, node } of linesOf(svg))
    pixels.forEach(([left, top], index) => {
      const far = (left - x) ** 2 + (top - y) ** 2 + (node.dataset.kind === "other" ? 4 : 0);
      if (far < least) [best, least] = [{ set, line, point: drawn[index] }, far];
    });
  if (!best) return null;
  const unit = best.set.unit === "%" ? "\u00a0%" : ` ${best.set.unit}`;
  return {
    condition: best.line[0],
    text: fill(words[best.line[1] === null ? "mean" : "seed"], {
      condition: best.line[0], seed: best.line[1], axis: best.set.axis,
      x: number.format(best.point[0]), value: number.format(best.point[1]) + unit,
    }).trim(),
  };
}

function showTip(text, event) {
  tip.hidden = !text;
  tip.textContent = text;
  if (!text) return;
  const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
  tip.style.left = `${clamp(event.clientX + 14, 8, Math.max(8, room))}px`;
  const below = event.clientY + 18;
  const fits = below + tip.offsetHeight < innerHeight;
  tip.style.top = `${fits ? below : event.clientY - tip.offsetHeight - 10}px`;
}

let hovered = "";

function onPointer(event) {
  const svg = event.target.closest?.("figure svg");
  const marked = event.target.closest?.("svg [data-tip]");
  const near = svg && !marked ? nearest(svg, event) : null;
  showTip(marked?.dataset.tip || near?.text || "", event);
  const target = near ? { condition: near.condition } : event.target.closest ? named(event.target) : {};
  const seen = JSON.stringify(target);
  if (seen === hovered) return;
  hovered = seen;
  light(seen === "{}" ? kept() : target);
}

function onClick(event) {
  const svg = event.target.closest("figure svg");
  if (event.target.closest(".chart") && dragged) return;
  const near = svg && !event.target.closest("svg [data-tip]") ? nearest(svg, event) : null;
  const target = near ? { condition: near.condition } : named(event.target);
  if (target.condition !== undefined || target.claim !== undefined) keep(target);
}
