// The live page: /history for the past, /live for the present; everything is drawn from one list of points.
import * as charts from "./charts.js";
import { drawMap } from "./map.js";
import { clockTime, day, length, since, tell } from "./words.js";

const byId = (id) => document.getElementById(id);
const RANGE_NAMES = { 600: "10 min", 3600: "1 h", 86400: "24 h", 2592000: "30 d" };
const STALE_S = 3, MAX_EVENTS = 1000, DEED = { method: "POST", headers: { "x-listen-embed": "1", "content-type": "application/json" } };

const page = {
  about: null, points: [], events: [], palette: new charts.Palette([]), range: 600, paused: false, dirty: true, rate: 48000, threshold: 1,
  cursor: null, stretch: null, dragging: null, alarm: null, recordings: {}, heardAt: null, now: null, connected: false, lastSecond: -1, boxes: {}, offset: 0,
};

// ---- the past and the present

function unpack(row) {
  const point = {};
  page.about.fields.forEach((name, i) => { point[name] = row[i]; });
  point.spectrum = atob(point.spectrum);
  return point;
}

async function load() {
  const asked = page.range, past = await (await fetch(`/history?seconds=${asked}`)).json();
  if (asked !== page.range) return;
  learnAbout(past.about);
  page.points = past.points.map(unpack); page.events = past.events; page.lastSecond = -1;
  if (page.points.length && !page.now) page.now = page.points[page.points.length - 1];
  takeAlarm(past.alarm); showEvents(); loadRecordings();
  page.dirty = true;
}

function learnAbout(about) {
  page.about = about; page.threshold = about.threshold; page.palette = new charts.Palette(about.states);
  byId("name").textContent = about.name; byId("source").textContent = about.source;
  byId("teach").hidden = !about.can_teach; byId("undo").disabled = !about.can_undo;
  byId("map-section").hidden = !Object.keys(about.places).length;
  byId("labels").replaceChildren(...about.states.map((state) => Object.assign(document.createElement("option"), { value: state })));
  byId("legend").replaceChildren(...about.states.map(legendItem));
  page.dirty = true;
}

function legendItem(state) {
  const item = document.createElement("span"), ns = "http://www.w3.org/2000/svg", mark = document.createElementNS(ns, "svg"), square = document.createElementNS(ns, "rect");
  for (const [name, value] of Object.entries({ width: 12, height: 12, rx: 2, fill: page.palette.colour(state) })) square.setAttribute(name, value);
  mark.append(square);
  if (page.palette.hatched(state)) { const stripe = document.createElementNS(ns, "path"); stripe.setAttribute("d", "M-1 9 L9 -1 M3 13 L13 3"); stripe.setAttribute("stroke", "#fff"); stripe.setAttribute("stroke-width", "2"); mark.append(stripe); }
  item.append(mark, state);
  return item;
}

function takeHop(hop) {
  const point = unpack(hop.point);
  page.now = point; page.heardAt = performance.now(); page.rate = hop.rate; page.threshold = hop.threshold;
  const fine = page.range === 600, second = Math.floor(point.wall / (fine ? 0.05 : stepOf(page.range)));
  if (second !== page.lastSecond) { page.points.push(point); page.lastSecond = second; }
  const oldest = point.wall - page.range - 60;
  if (page.points.length > 200 && page.points[100].wall < oldest) page.points.splice(0, 100);
  if (fine && page.points.length > 6600) page.points = page.points.filter((p, i) => i > page.points.length - 3000 || i % 10 === 0);
  showNow(hop, point);
  page.dirty = true;
}

const stepOf = (range) => (range <= 3600 ? 1 : range <= 86400 ? 60 : 900);

function showNow(hop, point) {
  byId("state").textContent = point.state ?? "listening";
  byId("sounds-like").textContent = `this moment: ${hop.label}, ${Math.round(100 * hop.probability)} %`;
  byId("score").textContent = point.score.toFixed(2);
  byId("score-meter").max = 2 * hop.threshold; byId("score-meter").value = point.score; byId("score-meter").high = hop.threshold; byId("score-meter").low = 0.8 * hop.threshold; byId("score-meter").optimum = 0;
  byId("threshold").textContent = hop.threshold;
  byId("score-tile").classList.toggle("over", point.score >= hop.threshold);
  byId("level").textContent = point.level_db.toFixed(0); byId("peak").textContent = hop.peak_db.toFixed(0);
  byId("level-bar").style.width = `${share(point.level_db)}%`; byId("peak-mark").style.left = `calc(${share(hop.peak_db)}% - 2px)`;
  byId("level-meter").setAttribute("aria-valuenow", point.level_db.toFixed(0));
  byId("latency").textContent = point.latency_ms.toFixed(1); byId("dropped").textContent = hop.dropped; byId("behind").textContent = hop.behind_s.toFixed(1);
  showSinks(hop.sinks);
  showProblems([...hop.wrong.map((what) => `sound: ${what}`), ...hop.problems]);
}

const share = (db) => Math.max(0, Math.min(100, 100 * (db + 90) / 90));

function showSinks(sinks) {
  const waiting = sinks.reduce((sum, sink) => sum + sink.backlog, 0);
  byId("backlog").textContent = sinks.length ? (waiting ? `${waiting} waiting` : "all out") : "journal";
  byId("sinks").textContent = sinks.map((sink) => `${sink.name.split(":")[0]}: ${sink.backlog ? `${sink.backlog} wait` : "up to date"}`).join(" · ") || "no sink is asked for";
  byId("sinks").title = sinks.map((sink) => sink.name).join("\n");
}

function showProblems(problems) {
  byId("problems").hidden = !problems.length;
  byId("problems").replaceChildren(...problems.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
}

// ---- alarms

function takeAlarm(alarm) {
  page.alarm = alarm && alarm.number ? alarm : null;
  const shown = page.alarm && (page.alarm.over === null || !page.alarm.acknowledged), box = byId("alarm");
  box.hidden = !shown;
  if (shown) {
    const on = page.alarm.over === null, began = since(page.alarm, Date.parse(page.alarm.wall) / 1000);
    box.className = on ? (page.alarm.acknowledged ? "seen" : "ringing") : "past";
    byId("alarm-title").textContent = on ? "ALARM" : "There was an alarm";
    byId("alarm-text").textContent = `${clockTime(began)} on ${day(began)}, score ${page.alarm.score} in ${page.alarm.state ?? "no state"}${on ? "" : `, over after ${length(Date.parse(page.alarm.over) / 1000 - began)}`}${page.alarm.acknowledged ? ", acknowledged" : ""}`;
    byId("acknowledge").hidden = page.alarm.acknowledged;
    byId("alarm-play").hidden = !page.recordings[page.alarm.number];
  }
  showTitle(); beepWhileRinging();
}

const rings = () => page.alarm !== null && page.alarm.over === null && !page.alarm.acknowledged;

function showTitle() {
  const name = page.about ? page.about.name : "monitor", alarm = page.alarm && page.alarm.over === null;
  document.title = `${alarm ? "⚠ ALARM – " : isStale() ? "(no data) " : ""}${name}`;
  const colour = alarm ? "%23b3261e" : isStale() ? "%23888" : "%230b6b4f";
  const icon = `data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>${alarm ? `<path d='M8 0 16 15H0z' fill='${colour}'/><path d='M7 5h2v5H7zm0 6h2v2H7z' fill='white'/>` : `<circle cx='8' cy='8' r='7' fill='${colour}'/>`}</svg>`;
  if (byId("favicon").getAttribute("href") !== icon) byId("favicon").setAttribute("href", icon);
}

let beeper = null, tones = null;
function beepWhileRinging() {
  const wanted = rings() && byId("sound-on").getAttribute("aria-pressed") === "true";
  if (wanted && !beeper) { beep(); beeper = setInterval(beep, 1500); }
  if (!wanted && beeper) { clearInterval(beeper); beeper = null; }
}
function beep() {
  tones ??= new AudioContext();
  const tone = tones.createOscillator(), volume = tones.createGain();
  tone.frequency.value = 880; volume.gain.setValueAtTime(0.2, tones.currentTime); volume.gain.exponentialRampToValueAtTime(0.001, tones.currentTime + 0.5);
  tone.connect(volume).connect(tones.destination); tone.start(); tone.stop(tones.currentTime + 0.5);
}

async function loadRecordings() {
  page.recordings = await (await fetch("/recordings")).json();
  takeAlarm(page.alarm); showEvents();
}

function play(url) {
  const player = byId("player");
  player.hidden = false; player.src = url; player.play().catch(() => {}); player.scrollIntoView({ block: "nearest" });
}

// ---- events

function showEvents() {
  byId("events").replaceChildren(...tell(page.events).slice(0, 200).map(eventRow));
}

function eventRow(line) {
  const row = document.createElement("li"), when = document.createElement("time"), what = document.createElement("span");
  when.dateTime = new Date(line.wall * 1000).toISOString();
  when.textContent = Date.now() / 1000 - line.wall > 86400 ? `${day(line.wall)} ${clockTime(line.wall, false)}` : clockTime(line.wall);
  what.textContent = line.text; what.className = line.kind;  // text, never HTML: details may come from a sensor
  row.append(when, what);
  const kept = page.recordings[line.number];
  if (line.kind === "alarm" && kept) {
    const deeds = document.createElement("span"), hear = Object.assign(document.createElement("button"), { textContent: "▶ hear" }), save = Object.assign(document.createElement("a"), { textContent: "save", href: `/recordings/${kept}`, download: kept });
    hear.onclick = () => play(`/recordings/${kept}`);
    deeds.append(hear, " ", save); row.append(deeds);
  }
  return row;
}

// ---- drawing

function view() {
  const until = page.paused && page.frozen ? page.frozen : page.now ? page.now.wall : Date.now() / 1000;
  return { points: page.points, since: until - page.range, until, gap: 2.5 * stepOf(page.range) };
}

function draw() {
  requestAnimationFrame(draw);
  if (!page.dirty || !page.about) return;
  page.dirty = false;
  const shown = view();
  const last = shown.points.findIndex((p) => p.wall > shown.until);
  shown.points = shown.points.filter((p, i) => p.wall >= shown.since - shown.gap && (last < 0 || i < last));
  page.shown = shown;
  byId("spectrogram").dataset.height = Math.round(Math.min(420, Math.max(150, window.innerHeight - 880)));
  const boxes = [
    charts.spectrogram(byId("spectrogram"), shown, page.rate),
    charts.states(byId("states"), shown, page.palette),
    charts.line(byId("scores"), shown, { field: "score", marker: page.threshold, alarms: true }),
    charts.line(byId("levels"), shown, { field: "level_db", low: -90, high: 0, stepAt: 30 }),
    charts.line(byId("latencies"), shown, { field: "latency_ms", axis: true }),
  ];
  for (const box of boxes) charts.overlay(box, shown, page.cursor, page.stretch);
  const under = page.cursor !== null && shown.points.length ? shown.points[charts.nearest(shown.points, page.cursor)] : null;
  drawMap(byId("map"), { points: shown.points, places: page.about.places, palette: page.palette, now: page.now, cursor: under });
  readOut(under, shown);
}

function readOut(point, shown) {
  const out = byId("readout");
  if (!point || Math.abs(point.wall - page.cursor) > shown.gap) { out.textContent = ""; return; }
  const when = `${shown.until - shown.since > 86400 ? `${day(point.wall)} ` : ""}${clockTime(point.wall)}`;
  const bold = (text) => Object.assign(document.createElement("b"), { textContent: text });
  out.replaceChildren(bold(when), " · ", bold(point.state ?? "no state"), ` · score ${point.score.toFixed(2)} · ${point.level_db.toFixed(0)} dB · ${point.latency_ms.toFixed(1)} ms`);
  if (page.hz) out.append(` · ${page.hz >= 1000 ? `${(page.hz / 1000).toFixed(1)} kHz` : `${Math.round(page.hz)} Hz`}, ${Math.round(100 * point.spectrum.charCodeAt(Math.min(point.spectrum.length - 1, Math.floor(page.hzShare * point.spectrum.length))) / 255 - 100)} dB`);
}

// ---- what a person does

function choose(range) {
  page.range = range; page.points = []; page.stretch = null;
  for (const button of byId("ranges").children) button.setAttribute("aria-pressed", Number(button.dataset.range) === range);
  exportLinks(); load(); showStretch();
}

function exportLinks() {
  const from = Math.floor((page.now ? page.now.wall : Date.now() / 1000) - page.range);
  byId("export").querySelector("div").replaceChildren(...["events.csv", "events.json", "trace.csv", "trace.json", "audacity.txt"].map((name) => Object.assign(document.createElement("a"), { textContent: name, href: `/export/${name}?since=${from}` })));
}

for (const [seconds, text] of Object.entries(RANGE_NAMES)) {
  const button = Object.assign(document.createElement("button"), { textContent: text });
  button.dataset.range = seconds; button.setAttribute("aria-pressed", Number(seconds) === page.range); button.onclick = () => choose(Number(seconds));
  byId("ranges").append(button);
}
{
  const heat = byId("heat"), ramp = document.createElement("i"), stops = [0, 64, 128, 192, 255].map((level) => `rgb(${charts.HEAT[level].join(",")})`);
  ramp.style.background = `linear-gradient(90deg, ${stops.join(",")})`;
  heat.append("−100 dB", ramp, "0 dB");
}

for (const canvas of document.querySelectorAll("figure canvas")) {
  const at = (event) => Math.min(Math.max(charts.wallAt(page.shown, canvas, event.offsetX), page.shown.since), page.shown.until);
  canvas.onpointermove = (event) => {
    if (!page.shown) return;
    page.cursor = at(event); page.hz = null;
    if (canvas.id === "spectrogram") { page.hzShare = Math.min(0.999, Math.max(0, 1 - event.offsetY / (canvas.clientHeight - charts.AXIS))); page.hz = charts.hzAt(page.hzShare, page.rate); }
    if (page.dragging !== null) setStretch(page.dragging, page.cursor);
    page.dirty = true;
  };
  canvas.onpointerdown = (event) => { if (page.shown && event.isPrimary) { page.dragging = at(event); if (event.pointerType === "mouse") canvas.setPointerCapture(event.pointerId); } };
  canvas.onpointerup = (event) => { if (page.dragging !== null && Math.abs(at(event) - page.dragging) < page.range / 500) setStretch(null); page.dragging = null; };
  canvas.onpointercancel = () => { page.dragging = null; };
  canvas.onpointerleave = () => { page.cursor = null; page.hz = null; page.dirty = true; };
}

byId("timelines").onkeydown = (event) => {
  if (event.target !== byId("timelines") || !page.shown) return;
  const step = page.range / 120, direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (event.key === "Escape") { page.cursor = null; setStretch(null); }
  if (!direction) return;
  event.preventDefault();
  const before = page.cursor ?? page.shown.until;
  page.cursor = Math.min(Math.max(before + direction * step, page.shown.since), page.shown.until);
  if (event.shiftKey) setStretch(page.stretch ? (before === page.stretch[0] ? page.stretch[1] : page.stretch[0]) : before, page.cursor);
  byId("readout").setAttribute("aria-live", "polite"); page.dirty = true;
};

function setStretch(from, to) {
  page.stretch = from === null ? null : [Math.min(from, to), Math.max(from, to)];
  showStretch(); page.dirty = true;
}

function showStretch() {
  const chosen = page.stretch;
  byId("learn").disabled = byId("hear").disabled = !chosen;
  if (chosen) byId("stretch").replaceChildren(`${clockTime(chosen[0])} to ${clockTime(chosen[1])}, ${length(chosen[1] - chosen[0])}`, " ", lastTen());
  else byId("stretch").replaceChildren("Drag over the timelines to choose a stretch, or take the ", lastTen());
}

function lastTen() {
  const button = byId("last10") ?? Object.assign(document.createElement("button"), { id: "last10", textContent: "last 10 s" });
  button.onclick = () => { if (page.now) setStretch(page.now.wall - 10, page.now.wall); };
  return button;
}

async function post(path, asked) {
  const answer = await fetch(path, { ...DEED, body: JSON.stringify(asked) });
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error);
  return said;
}

async function lesson(doing, work) {
  const said = byId("lesson");
  said.className = ""; said.textContent = doing;
  try { said.textContent = await work(); } catch (error) { said.className = "bad"; said.textContent = error.message; }
}

byId("teach-form").onsubmit = (event) => {
  event.preventDefault();
  if (!page.stretch) return;
  const [from, until] = page.stretch;
  lesson("learning …", async () => {
    const learnt = await post("/teach", { since: from, until, label: byId("label").value });
    learnAbout(learnt.about); setStretch(null);
    return `${learnt.label}: ${learnt.seconds} s learnt in ${learnt.took_s} s`;
  });
};
byId("undo").onclick = () => lesson("taking it back …", async () => { learnAbout((await post("/undo", {})).about); return "taken back"; });
byId("hear").onclick = () => page.stretch && play(`/sound?since=${page.stretch[0]}&until=${page.stretch[1]}`);
byId("acknowledge").onclick = () => post("/acknowledge", {});
byId("alarm-play").onclick = () => play(`/recordings/${page.recordings[page.alarm.number]}`);
byId("pause").onclick = () => { page.paused = !page.paused; page.frozen = page.now ? page.now.wall : null; byId("pause").setAttribute("aria-pressed", page.paused); page.dirty = true; };
byId("sound-on").onclick = () => { const on = byId("sound-on").getAttribute("aria-pressed") !== "true"; byId("sound-on").setAttribute("aria-pressed", on); localStorage.setItem("sound", on); if (on) { tones ??= new AudioContext(); tones.resume(); } beepWhileRinging(); };
byId("sound-on").setAttribute("aria-pressed", localStorage.getItem("sound") === "true");
window.onresize = () => { page.dirty = true; };
matchMedia("(prefers-color-scheme: dark)").onchange = () => { page.dirty = true; };

// ---- is it alive?

const age = () => (page.heardAt === null ? Infinity : (performance.now() - page.heardAt) / 1000);
const isStale = () => age() > STALE_S;

setInterval(() => {
  const stale = page.about && isStale(), box = byId("stale");
  document.body.classList.toggle("is-stale", Boolean(stale)); box.hidden = !stale;
  if (stale) box.textContent = page.heardAt === null ? "no data yet" : `no data for ${length(Math.floor(age())).replace(".0", "")}${page.connected ? "" : ": the monitor cannot be reached"}`;
  showTitle();
}, 500);

async function showMachines() {
  const found = await fetch("/machines").then((answer) => answer.json()).catch(() => []);
  byId("machines").hidden = !found.length;
  byId("machines").replaceChildren(...found.map((machine) => {
    const tile = Object.assign(document.createElement("a"), { href: machine.url }), name = Object.assign(document.createElement("b"), { textContent: machine.name });
    const gone = machine.problem || machine.age_s === null || machine.age_s > 10;
    tile.className = gone ? "gone" : machine.alarm ? "alarm" : "";
    tile.append(name, gone ? machine.problem ? `cannot be reached` : "no data" : machine.alarm ? `⚠ ALARM, ${machine.state}` : machine.state ?? "listening");
    return tile;
  }));
}
setInterval(showMachines, 3000);

const live = new EventSource("/live");
const link = (text, on) => { page.connected = on; byId("link").textContent = text; byId("link").className = on ? "badge" : "badge off"; };
live.onopen = () => { link("live", true); load(); showMachines(); };
live.onerror = () => link("connecting", false);
const on = (kind, take) => live.addEventListener(kind, (message) => { if (page.about || kind === "quiet") take(JSON.parse(message.data)); });
on("hop", takeHop);
on("event", (event) => { page.events.push(event); if (page.events.length > MAX_EVENTS) page.events.shift(); showEvents(); if (event.kind === "anomaly") setTimeout(loadRecordings, 12000); });
on("alarm", takeAlarm);
on("machine", learnAbout);
exportLinks(); showStretch();
requestAnimationFrame(draw);
