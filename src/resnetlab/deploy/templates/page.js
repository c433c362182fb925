
"use strict";
const at = (id) => document.getElementById(id);
const limits = document.querySelector("main").dataset;
// Texts in the language of the page, by their English ones; see translation.py.
const texts = JSON.parse(limits.words || "{}");
const tr = (text, values = {}) => (texts[text] ?? text).replace(/\{(\w+)\}/g, (_, name) => values[name]);
const maxFiles = 100;
let round = 0; // a newer choice of files replaces the present one
let items = [];
let selected = 0;

function element(tag, text = "", className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = className;
  return made;
}

const digits = (value, count) => value.toLocaleString(document.documentElement.lang, { minimumFractionDigits: count, maximumFractionDigits: count, useGrouping: false });
const percent = (probability) => digits(100 * probability, 1) + "\u00a0%";

function showStatus(words, bad = false) {
  at("status").textContent = words;
  at("status").classList.toggle("bad", bad);
}

function showClasses(classes) {
  at("bars").replaceChildren(...classes.map(({ name, probability }) => {
    const row = element("li");
    const bar = element("progress");
    bar.value = probability;
    bar.setAttribute("aria-label", name + " " + percent(probability));
    row.append(element("span", name), element("span", percent(probability), "number"), bar);
    return row;
  }));
}

// The note of an answer. The service writes it in English.
function doubt(answer) {
  if (!limits.words) return answer.note;
  const { name, probability } = answer.classes[0];
  const values = { name, percent: digits(100 * probability, 0), count: limits.classes };
  if (answer.none_of_these) return tr("None of these: the photograph is unlike those that the model was trained on. Of its classes, {name} would be the most probable one ({percent} %).", values);
  return tr("The model is not sure: it gives its first answer a probability of only {percent} %. The answer may be wrong, or the photograph may show none of the {count} classes.", values);
}

// The photograph `item` and its prediction, its error, or the note that it is being looked at.
function show(item) {
  at("hint").hidden = true;
  at("name").hidden = false;
  at("name").textContent = item.file.name || tr("Pasted photograph");
  if (at("preview").dataset.of !== item.url) {
    at("preview").dataset.of = item.url;
    at("preview").hidden = false;
    at("preview").src = item.url;
  }
  const answer = item.answer;
  showClasses(answer ? answer.classes : []);
  at("bars").classList.toggle("unknown", Boolean(answer && answer.none_of_these));
  at("doubt").hidden = !(answer && answer.note);
  at("doubt").textContent = answer && answer.note ? doubt(answer) : "";
  at("heat").hidden = !(answer && answer.grad_cam);
  if (answer && answer.grad_cam) {
    at("heat").querySelector("img").src = answer.grad_cam;
    at("heat").querySelector("figcaption").textContent = tr("Grad-CAM heat map: red regions contributed most to the prediction {name}.", answer.classes[0]);
  }
  if (item.error) showStatus(item.error, true);
  else if (answer) showStatus(tr("Answered in {seconds} s.", { seconds: digits(answer.seconds, 2) }) + item.note);
  else showStatus(tr("Predicting …"));
}

function showList() {
  const done = items.filter((item) => item.answer || item.error).length;
  at("several").hidden = items.length < 2;
  at("count").textContent = done < items.length ? tr("{done} of {count} files are done", { done, count: items.length }) : tr("{count} files", { count: items.length });
  at("list").replaceChildren(...items.map((item, index) => {
    const row = element("li");
    const button = element("button");
    const best = item.answer ? item.answer.classes[0] : null;
    const unknown = item.answer && item.answer.none_of_these;
    const words = unknown ? tr("none of these") : best ? best.name + " " + percent(best.probability) : item.error || tr("waiting");
    button.type = "button";
    button.append(element("span", item.file.name), element("span", words, item.error ? "bad" : item.answer && item.answer.note ? "unsure" : "number"));
    button.setAttribute("aria-pressed", String(index === selected));
    button.addEventListener("click", () => select(index));
    row.append(button);
    return row;
  }));
}

function select(index) {
  const item = items[index];
  selected = index;
  showList();
  show(item);
  if (item.answer && !item.answer.grad_cam && !item.explained) predict(item, true);
}

// A photograph above the limits is made smaller here; any other is sent byte for byte.
async function withinLimits(file) {
  const picture = await createImageBitmap(file).catch(() => null);
  const pixels = picture ? picture.width * picture.height : 0;
  if (!picture || (file.size <= 1e6 * limits.megabytes && pixels <= 1e6 * limits.megapixels)) return [file, ""];
  const scale = Math.min(1, Math.sqrt(4e6 / pixels));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(picture.width * scale);
  canvas.height = Math.round(picture.height * scale);
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  const smaller = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.95));
  return [smaller, " " + tr("The photograph was resized before it was sent.")];
}

async function predict(item, explain) {
  const mine = round;
  try {
    if (item.file.type && !item.file.type.startsWith("image/")) throw new Error(tr("This file is not a photograph."));
    const [body, note] = await withinLimits(item.file);
    const ask = (query) => fetch("predict?top=5" + query, { method: "POST", body });
    let response = await ask(explain ? "&explain=true" : "");
    if (response.status === 501) response = await ask("");
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    item.answer = answer;
    item.note = note;
    item.explained = explain;
  } catch (error) {
    item.error = error instanceof TypeError ? tr("The service does not answer.") : error.message;
  }
  if (mine !== round) return;
  showList();
  if (items[selected] === item) show(item);
}

async function predictAll(files) {
  const all = [...(files || [])];
  if (!all.length) return;
  const mine = ++round;
  for (const item of items) URL.revokeObjectURL(item.url);
  items = all.slice(0, maxFiles).map((file) => ({ file, url: URL.createObjectURL(file), answer: null, error: "", note: "", explained: false }));
  const rest = all.slice(maxFiles).map((file) => file.name);
  at("rest").textContent = rest.length ? tr("{rest} of {all} files are not looked at, since {limit} are the most at a time: {names}", { rest: rest.length, all: all.length, limit: maxFiles, names: rest.slice(0, 5).join(", ") + (rest.length > 5 ? ", …" : "") }) : "";
  selected = 0;
  showList();
  show(items[0]);
  for (const item of items) {
    await predict(item, item === items[selected]);
    if (mine !== round) return;
  }
}

at("preview").addEventListener("error", () => { at("preview").hidden = true; }); // no broken image
for (const id of ["file", "camera"]) at(id).addEventListener("change", (event) => { predictAll(event.target.files); event.target.value = ""; });
document.addEventListener("paste", (event) => predictAll(event.clipboardData.files));
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") predictAll(event.dataTransfer.files);
  });
}
