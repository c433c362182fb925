"use strict";
// Larger photographs are drawn smaller: the canvas of a phone has a limit.
const MAX_PIXELS = 16e6;
const TOP = 5;
const at = (id) => document.getElementById(id);

// The bytes of a data block: base64 of gzip.
async function unpack(id) {
  const text = at(id).textContent.trim();
  at(id).remove();
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function load() {
  const module = new Blob([await unpack("runtime")], { type: "text/javascript" });
  const address = URL.createObjectURL(module);
  const ort = await import(address);
  URL.revokeObjectURL(address);
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.proxy = false;
  ort.env.wasm.wasmBinary = await unpack("wasm");
  const network = await unpack("network");
  const session = await ort.InferenceSession.create(network, { executionProviders: ["wasm"] });
  return { ort, session };
}

// RGB pixels of a file as it is stored, upright, with transparency on white.
async function readPixels(file) {
  const options = { imageOrientation: "from-image", colorSpaceConversion: "none" };
  const picture = await createImageBitmap(file, options);
  const scale = Math.min(1, Math.sqrt(MAX_PIXELS / (picture.width * picture.height)));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(picture.width * scale));
  canvas.height = Math.max(1, Math.round(picture.height * scale));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  picture.close();
  const rgba = context.getImageData(0, 0, canvas.width, canvas.height).data;
  const pixels = new Uint8Array((rgba.length / 4) * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    pixels[to++] = rgba[from];
    pixels[to++] = rgba[from + 1];
    pixels[to++] = rgba[from + 2];
  }
  return { pixels, width: canvas.width, height: canvas.height };
}

// Probabilities by class, in the order of the network's outputs.
async function classify(file) {
  const { ort, session } = await loaded;
  const { pixels, width, height } = await readPixels(file);
  const image = new ort.Tensor("uint8", pixels, [height, width, 3]);
  const { probabilities, classes } = await session.run({ image });
  return Array.from(probabilities.data, (probability, k) => ({ name: classes.data[k], probability }));
}

function classRow({ name, probability }) {
  const row = document.createElement("li");
  const label = document.createElement("span");
  const number = document.createElement("span");
  const bar = document.createElement("progress");
  const percent = (100 * probability).toFixed(1) + "\u00a0%";
  label.textContent = name;
  number.textContent = percent;
  number.className = "number";
  bar.value = probability;
  bar.setAttribute("aria-label", name + " " + percent);
  row.append(label, number, bar);
  return row;
}

async function answer(file) {
  const card = document.createElement("article");
  const preview = document.createElement("img");
  const side = document.createElement("div");
  const title = document.createElement("p");
  const rows = document.createElement("ol");
  card.className = "card";
  title.textContent = file.name || "photograph";
  preview.alt = "";
  preview.src = URL.createObjectURL(file);
  preview.onload = () => URL.revokeObjectURL(preview.src);
  side.append(title, rows);
  card.append(preview, side);
  at("answers").prepend(card);
  try {
    const result = await classify(file);
    result.sort((left, right) => right.probability - left.probability);
    rows.replaceChildren(...result.slice(0, TOP).map(classRow));
  } catch (error) {
    preview.remove();
    title.className = "bad";
    title.textContent += ": this browser cannot read it as a photograph.";
    console.warn(error);
  }
}

let queue = Promise.resolve();
function answerAll(files) {
  for (const file of files) queue = queue.then(() => answer(file));
}

const loaded = load();
loaded.then(
  () => { at("status").textContent = "Ready."; },
  (error) => {
    at("status").classList.add("bad");
    at("status").textContent = "This browser cannot run the network: " + error.message;
  },
);
window.classify = classify;

for (const id of ["file", "camera"]) {
  at(id).addEventListener("change", (event) => {
    answerAll([...event.target.files]);
    event.target.value = "";
  });
}
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  at("drop").classList.add("over");
});
document.addEventListener("dragleave", () => at("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  at("drop").classList.remove("over");
  answerAll([...event.dataTransfer.files]);
});
document.addEventListener("paste", (event) => answerAll([...event.clipboardData.files]));
