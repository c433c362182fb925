
"use strict";
const at = (id) => document.getElementById(id);
const limits = document.querySelector("main").dataset;
let asked = 0;

function tell(words, bad = false) {
  at("status").textContent = words;
  at("status").classList.toggle("bad", bad);
}

function show(classes) {
  at("bars").replaceChildren(...classes.map(({ name, probability }) => {
    const row = document.createElement("li");
    const bar = document.createElement("progress");
    const label = document.createElement("span");
    const number = document.createElement("span");
    const percent = (100 * probability).toFixed(1) + "\u00a0%";
    label.textContent = name;
    number.textContent = percent;
    number.className = "number";
    bar.value = probability;
    bar.setAttribute("aria-label", name + " " + percent);
    row.append(label, number, bar);
    return row;
  }));
}

// A photograph above the limits is made smaller here; any other is sent byte for byte.
async function fitted(file) {
  const picture = await createImageBitmap(file).catch(() => null);
  const pixels = picture ? picture.width * picture.height : 0;
  if (!picture || (file.size <= 1e6 * limits.megabytes && pixels <= 1e6 * limits.megapixels)) return [file, ""];
  const scale = Math.min(1, Math.sqrt(4e6 / pixels));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(picture.width * scale);
  canvas.height = Math.round(picture.height * scale);
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  const smaller = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.95));
  return [smaller, " The photograph was made smaller before it was sent."];
}

async function look(file) {
  const mine = ++asked;
  at("hint").hidden = true;
  URL.revokeObjectURL(at("preview").src);
  at("preview").src = URL.createObjectURL(file);
  at("preview").hidden = false;
  at("heat").hidden = true;
  at("bars").replaceChildren();
  tell("Looking …");
  try {
    const [body, note] = await fitted(file);
    const ask = (query) => fetch("predict?top=5" + query, { method: "POST", body });
    let response = await ask("&explain=true");
    if (response.status === 501) response = await ask("");
    const answer = await response.json();
    if (mine !== asked) return;
    if (!response.ok) throw new Error(answer.error);
    show(answer.classes);
    tell("Looked for " + answer.seconds.toFixed(2) + " s." + note);
    if (answer.grad_cam) {
      at("heat").querySelector("img").src = answer.grad_cam;
      at("heat").querySelector("figcaption").textContent = "Where it saw " + answer.classes[0].name + " (Grad-CAM): red spoke most for it.";
      at("heat").hidden = false;
    }
  } catch (error) {
    if (mine === asked) tell(error instanceof TypeError ? "The service does not answer." : error.message, true);
  }
}

function take(files) {
  const file = [...(files || [])].find((one) => one.type.startsWith("image/") || !one.type);
  if (file) look(file);
  else if (files && files.length) tell("That is no photograph.", true);
}

for (const id of ["file", "camera"]) at(id).addEventListener("change", (event) => { take(event.target.files); event.target.value = ""; });
document.addEventListener("paste", (event) => take(event.clipboardData.files));
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") take(event.dataTransfer.files);
  });
}
