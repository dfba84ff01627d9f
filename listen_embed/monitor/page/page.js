// The live page: /history once per connection, then /live; everything is drawn from two lists.
"use strict";

const MINUTE = 60, HOUR = 3600, MAX_RECENT = 6000, MAX_EVENTS = 200;
const WALL = 0, STATE = 1, SCORE = 2, ALARM = 3, LATENCY = 4, COLUMN = 5;  // a point's places
const COLOURS = ["#4e79a7", "#f28e2b", "#59a14f", "#b07aa1", "#76b7b2", "#edc948", "#9c755f", "#ff9da7", "#8cd17d", "#d37295", "#499894", "#86bcb6"];

const byId = (id) => document.getElementById(id);
let recent = [], hour = [], threshold = 0, span = MINUTE, paused = false, dirty = true, hourSecond = -1;
const states = new Map();

function colourOf(state) {
  if (state === null) return "#8885";
  if (!states.has(state)) {
    states.set(state, COLOURS[states.size % COLOURS.length]);
    const mark = document.createElement("i");
    mark.style.background = states.get(state);
    byId("legend").append(mark, state);
  }
  return states.get(state);
}

function prepare(canvas) {
  const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth;
  const height = Number(canvas.getAttribute("data-height") || canvas.height);
  canvas.setAttribute("data-height", height);
  canvas.style.height = height + "px";
  if (canvas.width !== Math.round(width * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return { pen, width, height };
}

function shown() {
  const points = span === MINUTE ? recent : hour;
  if (!points.length) return { points: [], x: () => 0 };
  const end = points[points.length - 1][WALL];
  return { points: points.filter((p) => p[WALL] > end - span), x: (wall, width) => width * (1 - (end - wall) / span) };
}

function heat(level) {  // dark blue, magenta, yellow
  const t = level / 255;
  return `rgb(${Math.round(255 * Math.min(1, 1.6 * t))},${Math.round(255 * Math.max(0, 1.7 * t - 0.7))},${Math.round(90 + 120 * Math.sin(Math.PI * t) - 90 * t)})`;
}

function drawSpectrogram(view) {
  const { pen, width, height } = prepare(byId("spectrogram"));
  view.points.forEach((point, i) => {
    const column = atob(point[COLUMN]), bands = column.length, band = height / bands;
    const left = view.x(point[WALL], width), before = i ? view.x(view.points[i - 1][WALL], width) : left - 2;
    const step = (!i || point[WALL] - view.points[i - 1][WALL] > 2.5 ? 2 : left - before) + 0.5;
    for (let b = 0; b < bands; b++) {
      pen.fillStyle = heat(column.charCodeAt(b));
      pen.fillRect(left - step, height - (b + 1) * band, step, band + 0.5);
    }
  });
}

function drawStates(view) {
  const { pen, width, height } = prepare(byId("states"));
  view.points.forEach((point, i) => {
    const right = view.x(point[WALL], width), left = i ? view.x(view.points[i - 1][WALL], width) : right - 2;
    pen.fillStyle = colourOf(point[STATE]);
    pen.fillRect(left, 0, right - left + 0.5, height);
  });
}

function drawLine(id, place, marker, alarms) {
  const view = shown(), { pen, width, height } = prepare(byId(id));
  if (!view.points.length) return;
  const top = 1.15 * Math.max(marker || 0, ...view.points.map((p) => p[place]), 1e-9), y = (v) => height - height * v / top;
  if (alarms) {
    pen.fillStyle = "#c0392b33";
    view.points.forEach((p, i) => { if (p[ALARM] && i) { const x = view.x(view.points[i - 1][WALL], width); pen.fillRect(x, 0, view.x(p[WALL], width) - x + 0.5, height); } });
  }
  if (marker) {
    pen.strokeStyle = "#c0392b"; pen.setLineDash([5, 4]);
    pen.beginPath(); pen.moveTo(0, y(marker)); pen.lineTo(width, y(marker)); pen.stroke(); pen.setLineDash([]);
  }
  pen.strokeStyle = getComputedStyle(document.body).getPropertyValue("--accent"); pen.lineWidth = 1.5;
  pen.beginPath();
  view.points.forEach((p) => pen.lineTo(view.x(p[WALL], width), y(p[place])));
  pen.stroke();
}

function draw() {
  if (dirty && !paused) {
    dirty = false;
    const view = shown();
    drawSpectrogram(view); drawStates(view);
    drawLine("scores", SCORE, threshold, true); drawLine("latencies", LATENCY, 0, false);
  }
  requestAnimationFrame(draw);
}

function addPoint(point) {
  recent.push(point);
  if (recent.length > MAX_RECENT) recent = recent.slice(-MAX_RECENT / 2);
  const second = Math.floor(point[WALL]);
  if (second !== hourSecond) { hourSecond = second; hour.push(point); if (hour.length > HOUR + 60) hour.shift(); }
  dirty = true;
}

function describe(event) {
  const skip = new Set(["id", "run", "number", "kind", "source", "clock", "sample", "time_s", "wall"]);
  return Object.entries(event).filter(([key]) => !skip.has(key)).map(([key, value]) => (key === "what" || key === "state" ? String(value) : `${key.replaceAll("_", " ")} ${value}`)).join(", ");
}

function addEvent(event) {
  const row = document.createElement("tr");
  row.className = event.kind === "anomaly" && event.what === "begins" ? "anomaly" : "";
  for (const text of [event.number, new Date(event.wall).toLocaleTimeString(), event.kind, describe(event)]) {
    const cell = document.createElement("td");
    cell.textContent = text;  // never as HTML: details may come from a sensor
    row.append(cell);
  }
  const body = byId("events");
  body.prepend(row);
  while (body.children.length > MAX_EVENTS) body.lastChild.remove();
}

function spoken(seconds) {
  const whole = Math.floor(seconds);
  return [Math.floor(whole / HOUR), Math.floor(whole / 60) % 60, whole % 60].map((n) => String(n).padStart(2, "0")).join(":");
}

function showNow(hop) {
  const point = hop.point;
  threshold = hop.threshold;
  byId("state").textContent = point[STATE] ?? "listening";
  byId("probability").textContent = `(now ${hop.label}, ${Math.round(100 * hop.probability)} %)`;
  byId("score").textContent = point[SCORE].toPrecision(3);
  byId("threshold").textContent = threshold.toPrecision(3);
  byId("alarm").className = point[ALARM] ? "tile on" : "tile";
  byId("latency").textContent = point[LATENCY].toFixed(1);
  byId("dropped").textContent = hop.dropped;
  byId("clock").textContent = spoken(hop.time_s);
  byId("problems").hidden = !hop.problems.length;
  byId("problems").textContent = "not delivered yet: " + hop.problems.join("; ");
}

async function load() {
  const past = await (await fetch("/history")).json();
  byId("name").textContent = past.about.name;
  byId("band").textContent = past.about.source;
  threshold = past.about.threshold;
  hour = past.points; recent = past.points.slice(-2 * MINUTE);
  byId("events").replaceChildren();
  past.events.forEach(addEvent);
  dirty = true;
}

function choose(seconds) {
  span = seconds; dirty = true;
  byId("short").setAttribute("aria-pressed", seconds === MINUTE);
  byId("long").setAttribute("aria-pressed", seconds === HOUR);
}

byId("short").onclick = () => choose(MINUTE);
byId("long").onclick = () => choose(HOUR);
byId("pause").onclick = () => { paused = !paused; byId("pause").setAttribute("aria-pressed", paused); };
window.onresize = () => { dirty = true; };

const live = new EventSource("/live");
const link = (text, on) => { byId("link").textContent = text; byId("link").className = on ? "badge" : "badge off"; };
live.onopen = () => { link("live", true); load(); };
live.onerror = () => link("connecting", false);
live.addEventListener("hop", (message) => { const hop = JSON.parse(message.data); addPoint(hop.point); showNow(hop); });
live.addEventListener("event", (message) => addEvent(JSON.parse(message.data)));
requestAnimationFrame(draw);
