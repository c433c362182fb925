
"use strict";
const at = (id) => document.getElementById(id);
const limits = document.querySelector("main").dataset;
let asked = 0;

function showStatus(words, bad = false) {
  at("status").textContent = words;
  at("status").classList.toggle("bad", bad);
}

function showClasses(classes) {
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
  return [smaller, " The photograph was resized before it was sent."];
}

async function predict(file) {
  const mine = ++asked;
  at("hint").hidden = true;
  URL.revokeObjectURL(at("preview").src);
  at("preview").src = URL.createObjectURL(file);
  at("preview").hidden = false;
  at("heat").hidden = true;
  at("bars").replaceChildren();
  showStatus("Predicting …");
  try {
    const [body, note] = await withinLimits(file);
    const ask = (query) => fetch("predict?top=5" + query, { method: "POST", body });
    let response = await ask("&explain=true");
    if (response.status === 501) response = await ask("");
    const answer = await response.json();
    if (mine !== asked) return;
    if (!response.ok) throw new Error(answer.error);
    showClasses(answer.classes);
    showStatus("Answered in " + answer.seconds.toFixed(2) + " s." + note);
    if (answer.grad_cam) {
      at("heat").querySelector("img").src = answer.grad_cam;
      at("heat").querySelector("figcaption").textContent = "Grad-CAM heat map: red regions contributed most to the prediction " + answer.classes[0].name + ".";
      at("heat").hidden = false;
    }
  } catch (error) {
    if (mine === asked) showStatus(error instanceof TypeError ? "The service does not answer." : error.message, true);
  }
}

function predictFirst(files) {
  const file = [...(files || [])].find((one) => one.type.startsWith("image/") || !one.type);
  if (file) predict(file);
  else if (files && files.length) showStatus("This file is not a photograph.", true);
}

for (const id of ["file", "camera"]) at(id).addEventListener("change", (event) => { predictFirst(event.target.files); event.target.value = ""; });
document.addEventListener("paste", (event) => predictFirst(event.clipboardData.files));
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") predictFirst(event.dataTransfer.files);
  });
}
