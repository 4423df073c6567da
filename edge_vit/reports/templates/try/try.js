import { Tensor, loadAndCompile, loadLiteRt } from "@litertjs/core";
import { prepare, toInput } from "./pixels.js";

const RUNS = 5, SHOWN = 5;
const $ = id => document.getElementById(id);
const say = text => { $("status").textContent = text; };
const models = [];
let config, stream = null, isBusy = false;

function card(entry) {
  const box = document.createElement("article");
  box.className = "model";
  box.innerHTML = '<h3></h3><p class="what"></p><p class="time">-</p><p class="kind"></p>' +
    "<table><caption>Most likely classes</caption><tbody></tbody></table>";
  box.querySelector("h3").textContent = entry.name;
  box.querySelector(".what").textContent = `${entry.precision}, ${(entry.num_bytes / 1e6).toFixed(2)} MB`;
  $("models").append(box);
  return box;
}

function softmax(values) {
  const largest = Math.max(...values), powers = values.map(v => Math.exp(v - largest));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map(p => p / sum);
}

async function once(model, values) {
  const start = performance.now();
  const input = new Tensor(values, model.entry.input.shape);
  const outputs = await model.compiled.run([input]);
  const given = await outputs[0].data();
  const ms = performance.now() - start;
  const answer = Array.from(given);
  input.delete();
  for (const one of outputs) one.delete();
  return { answer, ms };
}

function show(model, answer, ms, runs) {
  const { box, entry } = model;
  const shares = entry.output.kind === "probabilities" ? answer : softmax(answer);
  const best = shares.map((share, place) => [share, place]).sort((a, b) => b[0] - a[0]).slice(0, SHOWN);
  box.dataset.answer = JSON.stringify(answer);
  box.querySelector(".time").textContent = `${ms.toFixed(1)} ms`;
  box.querySelector(".kind").textContent = runs > 1 ? `median of ${runs} runs, one thread` : "this frame, one thread";
  const rows = best.map(([share, place]) => {
    const row = document.createElement("tr");
    row.innerHTML = '<th scope="row"></th><td><meter min="0" max="1"></meter></td><td class="share"></td>';
    row.querySelector("th").textContent = config.classes[place].name;
    const meter = row.querySelector("meter");
    meter.value = share;
    meter.setAttribute("aria-label", `${config.classes[place].name}, share`);
    row.querySelector(".share").textContent = `${(100 * share).toFixed(1)}%`;
    return row;
  });
  box.querySelector("tbody").replaceChildren(...rows);
  return best[0][1];
}

/** Run every model on a picture of RGB bytes; they take turns, so that a slow moment of the machine hits all. */
async function classify(picture, runs) {
  const seen = models.map(model => prepare(picture, model.entry.input));
  draw(seen[0], models[0].entry.input);
  const times = models.map(() => []), answers = [];
  for (let run = 0; run < runs; run++) {
    for (const [i, model] of models.entries()) {
      const { answer, ms } = await once(model, toInput(seen[i], model.entry.input));
      times[i].push(ms);
      answers[i] = answer;
    }
  }
  const chosen = models.map((model, i) => {
    const sorted = times[i].sort((a, b) => a - b);
    return show(model, answers[i], sorted[Math.floor(sorted.length / 2)], runs);
  });
  if (models.length > 1) {
    const same = chosen.every(place => place === chosen[0]);
    $("agreement").textContent = same ? "Both name the same class." : "They name different classes.";
  }
}

function draw(pixels, { width, height }) {
  const canvas = $("seen");
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height);
  for (let i = 0, j = 0; i < pixels.length; i += 3, j += 4) {
    image.data[j] = pixels[i];
    image.data[j + 1] = pixels[i + 1];
    image.data[j + 2] = pixels[i + 2];
    image.data[j + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

function bytesOf(source, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(source, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  const out = new Uint8Array(width * height * 3);
  for (let i = 0, j = 0; j < data.length; i += 3, j += 4) {
    out[i] = data[j];
    out[i + 1] = data[j + 1];
    out[i + 2] = data[j + 2];
  }
  return { data: out, width, height };
}

async function take(blob, name) {
  if (isBusy) return;
  isBusy = true;
  document.body.dataset.state = "busy";
  say(`Looking at ${name} ...`);
  try {
    const image = await createImageBitmap(blob, { imageOrientation: "from-image", colorSpaceConversion: "none" });
    await classify(bytesOf(image, image.width, image.height), RUNS);
    say(name);
  } catch (error) {
    say(`${name} cannot be read: ${error.message ?? error}`);
  } finally {
    isBusy = false;
    document.body.dataset.state = "ready";
  }
}

async function toggleCamera() {
  const button = $("camera"), video = $("video");
  if (stream) {
    for (const track of stream.getTracks()) track.stop();
    stream = null;
    button.setAttribute("aria-pressed", "false");
    button.textContent = "Use the camera";
    return;
  }
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    say(`No camera: ${error.message ?? error}`);
    return;
  }
  button.setAttribute("aria-pressed", "true");
  button.textContent = "Stop the camera";
  video.srcObject = stream;
  await video.play();
  say("Camera");
  while (stream) {
    if (video.videoWidth && !isBusy) {
      isBusy = true;
      try { await classify(bytesOf(video, video.videoWidth, video.videoHeight), 1); } finally { isBusy = false; }
    }
    await new Promise(requestAnimationFrame);
  }
}

function listen() {
  $("file").addEventListener("change", event => {
    const [file] = event.target.files;
    if (file) take(file, file.name);
    event.target.value = "";
  });
  $("camera").addEventListener("click", toggleCamera);
  const drop = $("drop");
  for (const kind of ["dragenter", "dragover"]) {
    drop.addEventListener(kind, event => { event.preventDefault(); drop.classList.add("over"); });
  }
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", event => {
    event.preventDefault();
    drop.classList.remove("over");
    const [file] = event.dataTransfer.files;
    if (file) take(file, file.name);
  });
  document.addEventListener("paste", event => {
    const file = [...event.clipboardData.files].find(one => one.type.startsWith("image/"));
    if (file) take(file, "the pasted picture");
  });
}

try {
  config = await (await fetch("config.json")).json();
  await loadLiteRt(new URL("litert/core/wasm/", location.href).href);
  for (const entry of config.models) {
    const model = { entry, box: card(entry) };
    try {
      model.compiled = await loadAndCompile(new URL(entry.address, location.href).href, { accelerator: "wasm" });
      models.push(model);
    } catch (error) {
      model.box.querySelector(".what").insertAdjacentHTML("afterend", '<p class="fault"></p>');
      model.box.querySelector(".fault").textContent = `LiteRT.js does not take it: ${error.message ?? error}`;
    }
  }
  if (!models.length) throw new Error("no file runs here");
  listen();
  await take(await (await fetch("sample.png")).blob(), "a drawn golf ball, to begin with");
} catch (error) {
  say(`This page does not work here: ${error.message ?? error}`);
  document.body.dataset.state = "broken";
}
