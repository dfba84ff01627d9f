import { ListenEmbed } from "./listen-embed.js";

const model = await ListenEmbed.load(new URL("listen-embed.wasm", import.meta.url));
const element = (name) => document.getElementById(name);

function show(frame) {
  element("label").textContent = frame.label ?? "";
  element("anomaly").textContent = frame.anomaly === undefined ? "" : frame.anomaly.toFixed(2);
  const largest = Math.max(1e-6, ...frame.embedding.map(Math.abs));
  const bars = Array.from(frame.embedding, (value) => {
    const bar = document.createElement("i");
    bar.style.height = `${(50 * Math.abs(value)) / largest}%`;
    bar.className = value < 0 ? "below" : "above";
    return bar;
  });
  element("bars").replaceChildren(...bars);
}

function take(samples) {
  const begin = performance.now();
  const frames = model.push(samples);
  const spent = performance.now() - begin;
  if (!frames.length) return;
  show(frames[frames.length - 1]);
  element("cost").textContent = `${spent.toFixed(1)} ms`;
}

async function listen() {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  const context = new AudioContext({ sampleRate: model.sampleRate });
  await context.audioWorklet.addModule("worklet.js");
  const microphone = new AudioWorkletNode(context, "microphone", { numberOfOutputs: 0 });
  microphone.port.onmessage = (message) => take(message.data);
  context.createMediaStreamSource(stream).connect(microphone);
  element("listen").disabled = true;
}

async function embedFile(file) {
  const context = new OfflineAudioContext(1, 1, model.sampleRate);
  const sound = await context.decodeAudioData(await file.arrayBuffer());
  model.reset();
  take(sound.getChannelData(0));
}

element("listen").onclick = () => listen().catch((error) => (element("error").textContent = error));
element("file").onchange = (event) => embedFile(event.target.files[0]);
element("state").textContent = `${model.size} values every ${model.hop / model.sampleRate} s`;
window.model = model;
