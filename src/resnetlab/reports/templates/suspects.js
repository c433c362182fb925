"use strict";
// Decisions stay in this browser until they are downloaded as a file. Each has the label `old` that
// was judged: once the photograph has another label, the decision says nothing about it.
const list = document.getElementById("suspects");
const items = [...list.children];
const storageKey = "resnetlab-suspects-" + list.dataset.key;

function load() {
  try {
    return JSON.parse(localStorage.getItem(storageKey)) || {};
  } catch {
    return {};
  }
}

function save() {
  try {
    localStorage.setItem(storageKey, JSON.stringify(decisions));
  } catch {
    // Without storage the decisions last until the page is closed.
  }
}

function show() {
  let accepted = 0;
  let judged = 0;
  for (const item of items) {
    const entry = decisions[item.dataset.path];
    const decision = entry ? entry.decision : "";
    judged += decision ? 1 : 0;
    accepted += decision === "accept" ? 1 : 0;
    item.dataset.decision = decision;
    for (const button of item.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.dataset.decision === decision));
    }
  }
  const precision = judged ? ", precision so far " + Math.round((100 * accepted) / judged) + " %" : "";
  document.getElementById("progress").textContent =
    judged + " of " + items.length + " judged, " + accepted + " labels wrong" + precision;
  document.getElementById("download").disabled = judged === 0;
}

function quote(value) {
  return '"' + value.replaceAll('"', '""') + '"';
}

function csv() {
  const lines = ["path,old,new,decision"];
  for (const item of items) {
    const entry = decisions[item.dataset.path];
    if (entry) {
      const cells = [item.dataset.path, item.dataset.old, entry.new];
      lines.push(cells.map(quote).join(",") + "," + entry.decision);
    }
  }
  return lines.join("\n") + "\n";
}

const labels = new Map(items.map((item) => [item.dataset.path, item.dataset.old]));
const decisions = Object.fromEntries(
  Object.entries(load()).filter(([path, entry]) => labels.has(path) && labels.get(path) === entry.old),
);
function decide(item, decision, name) {
  decisions[item.dataset.path] = { decision, old: item.dataset.old, new: name };
}
for (const item of items) {
  const select = item.querySelector("select");
  const entry = decisions[item.dataset.path];
  if (entry) select.value = entry.new;
  for (const button of item.querySelectorAll("button")) {
    button.addEventListener("click", () => {
      const pressed = button.getAttribute("aria-pressed") === "true";
      if (pressed) delete decisions[item.dataset.path];
      else decide(item, button.dataset.decision, select.value);
      save();
      show();
    });
  }
  select.addEventListener("change", () => {
    decide(item, "accept", select.value);
    save();
    show();
  });
}
document.getElementById("order").addEventListener("change", (event) => {
  const ordered = [...items];
  if (event.target.value === "random") {
    for (let last = ordered.length - 1; last > 0; last--) {
      const other = Math.floor(Math.random() * (last + 1));
      [ordered[last], ordered[other]] = [ordered[other], ordered[last]];
    }
  }
  list.replaceChildren(...ordered);
});
document.getElementById("download").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  link.download = "decisions.csv";
  link.click();
  URL.revokeObjectURL(link.href);
});
document.getElementById("tools").hidden = false;
show();
