"use strict";
// Shows the stored accuracy of the network without the blocks that a reader switches off. The page
// has every measured set; of other sets it says that they were not measured.
(() => {
  const section = document.getElementById("block-switches");
  const { runs, texts } = JSON.parse(document.getElementById("block-switches-data").textContent);
  const buttons = [...section.querySelectorAll("[data-block]")];
  const status = document.getElementById("block-switches-status");
  const off = new Set();
  let turn = 0;

  const number = (value, sign) => {
    const text = Math.abs(value).toFixed(1);
    const prefix = Number(text) === 0 ? "" : value < 0 ? "\u2212" : sign;
    return (prefix + text).replace(".", texts.decimal);
  };
  const percent = (value) => texts.pct.replace("NUMBER", number(value, ""));
  const key = (numbers) => [...numbers].sort((a, b) => a - b).join(",");

  const show = () => {
    const set = key(off);
    buttons.forEach((button) => {
      button.setAttribute("aria-pressed", off.has(Number(button.dataset.block)));
    });
    const count = texts.many.replace("COUNT", off.size).replace("TOTAL", buttons.length);
    status.textContent = off.size === 0 ? texts.complete : off.size === 1 ? texts.one : count;
    runs.forEach(({ accuracies }, index) => {
      const row = section.querySelector(`[data-network="${index}"]`);
      const value = accuracies[set];
      const known = value !== undefined;
      row.querySelector(".accuracy").textContent = known ? percent(value) : texts.notMeasured;
      row.querySelector(".drop").textContent = known && off.size
        ? texts.points.replace("NUMBER", number(value - accuracies[""], "+")) : "";
      row.querySelector("i").style.width = known ? `${value}%` : "0";
      row.classList.toggle("unknown", !known);
    });
  };

  // Measured sets of one block more or less: those that contain the present one, else any.
  const step = (difference) => {
    const sets = Object.keys(runs[0].accuracies).map((set) => set.split(",").filter(Boolean).map(Number));
    const sized = sets.filter((set) => set.length === off.size + difference);
    const nested = sized.filter((set) => difference > 0
      ? [...off].every((block) => set.includes(block)) : set.every((block) => off.has(block)));
    const choice = nested.length ? nested : sized;
    if (!choice.length) return;
    const next = choice[turn++ % choice.length];
    off.clear();
    next.forEach((block) => off.add(block));
    show();
  };

  section.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.step) return step(Number(button.dataset.step));
    if (button.dataset.block) {
      const block = Number(button.dataset.block);
      if (!off.delete(block)) off.add(block);
    } else off.clear();
    show();
  });
  section.querySelectorAll("[hidden]").forEach((element) => { element.hidden = false; });
  show();
})();
