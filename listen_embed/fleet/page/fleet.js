// The fleet's page: asks every two seconds, and writes texts, never HTML.
const byId = (id) => document.getElementById(id);
const EVERY_MS = 2000;
const PATIENCE_MS = 10000;
const CLOCKS_ARE_SET = 1.6e9; // seconds since 1970; before that, a clock was never set
let heardAt = Date.now();
let asked = 0;

function cell(text, kind) {
  const made = document.createElement("td");
  if (kind) made.className = kind;
  made.append(text);
  return made;
}

function row(...cells) {
  const made = document.createElement("tr");
  made.append(...cells);
  return made;
}

function ago(seconds) {
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h ago` : `${Math.round(seconds / 86400)} days ago`;
}

// What is retained is older than its arrival here; but a clock that is wrong tells nothing.
function lastSeen(device, now) {
  return device.time > CLOCKS_ARE_SET && device.time < now + 60 ? device.time : device.heard_at;
}

function modelRow(model) {
  const forms = Object.entries(model.forms).map(([name, n]) => `${name} ${n}`).join(", ");
  return row(
    cell(model.name), cell(model.digest.slice(0, 12)), cell((model.size_bytes / 1000).toFixed(1), "number"),
    cell(`${model.n_able} (${forms})`), cell(String(model.n_running), "number"),
  );
}

function deviceRow(device, now) {
  const name = document.createElement("button");
  name.textContent = device.name;
  name.disabled = !device.id;
  name.addEventListener("click", () => explain(device));
  const health = device.refused ? `refused: ${device.refused}` : device.health;
  const isBad = device.refused || !["ok", "unknown"].includes(device.health);
  const seen = device.heard_at ? ago(now - lastSeen(device, now)) : "never";
  const link = device.heard_at ? (device.online ? "online" : "offline") : "described";
  return row(
    cell(name), cell(link, { online: "good", offline: "bad" }[link]),
    cell(device.model || "–"), cell(device.digest ? `${device.digest.slice(0, 12)} · ${device.sequence}` : "–"),
    cell(device.previous_model || "–"), cell(health, isBad ? "bad long" : "long"), cell(seen), cell(device.learning || "–"),
  );
}

function show(fleet) {
  for (const id of ["n_devices", "n_online", "n_unwell", "n_refused", "n_learning"]) byId(id).textContent = fleet[id];
  byId("n_models").textContent = fleet.models.length;
  byId("unwell-tile").classList.toggle("over", fleet.n_unwell > 0);
  byId("link").textContent = fleet.connected ? "live" : "registry only";
  byId("link").classList.toggle("off", !fleet.connected);
  byId("shown").textContent = `${fleet.devices.length} of ${fleet.n_fitting}`;
  byId("models").tBodies[0].replaceChildren(...fleet.models.map(modelRow));
  const focused = document.activeElement?.closest?.("#devices") ? document.activeElement.textContent : null;
  byId("devices").tBodies[0].replaceChildren(...fleet.devices.map((device) => deviceRow(device, fleet.now)));
  if (focused) [...byId("devices").querySelectorAll("button")].find((one) => one.textContent === focused)?.focus();
  byId("problems").hidden = !fleet.problems.length;
  byId("problems").replaceChildren(...fleet.problems.map(item));
}

function item(text) {
  const made = document.createElement("li");
  made.textContent = text;
  return made;
}

async function explain(device) {
  const answer = await fetch(`/why?device=${encodeURIComponent(device.id)}`);
  const found = await answer.json();
  byId("why").hidden = false;
  byId("why-title").textContent = `which models run on ${device.name}`;
  byId("reasons").replaceChildren(...(answer.ok ? found.map(reason) : [item(found.error)]));
}

function reason(one) {
  const lacks = Object.entries(one.reasons).map(([form, why]) => `${form}: ${why.join("; ")}`).join(" | ");
  return item(`${one.model}: ${one.forms.length ? `runs as ${one.forms.join(", ")}` : `does not run. ${lacks}`}`);
}

async function ask(event) {
  event.preventDefault();
  const answer = await fetch("/sparql", { method: "POST", headers: { "content-type": "application/sparql-query" }, body: byId("query").value });
  const said = byId("answer-said");
  said.classList.toggle("bad", !answer.ok);
  if (!answer.ok) { said.textContent = await answer.text(); byId("answer").tBodies[0].replaceChildren(); return; }
  const found = await answer.json();
  const names = found.head.vars ?? ["ask"];
  const rows = found.results?.bindings ?? [{ ask: { value: String(found.boolean) } }];
  said.textContent = `${rows.length} rows`;
  const head = names.map((name) => Object.assign(document.createElement("th"), { textContent: name, scope: "col" }));
  byId("answer").tHead.replaceChildren(row(...head));
  byId("answer").tBodies[0].replaceChildren(...rows.map((one) => row(...names.map((name) => cell(one[name]?.value ?? "")))));
}

async function update() {
  const number = ++asked;
  try {
    const answer = await fetch(`/fleet?wanted=${encodeURIComponent(byId("wanted").value)}`);
    if (!answer.ok) throw new Error(String(answer.status));
    const fleet = await answer.json();
    if (number !== asked) return;
    show(fleet);
    heardAt = Date.now();
  } catch { /* the line below says since when nothing came */ }
  const silent = Date.now() - heardAt;
  byId("stale").hidden = silent < PATIENCE_MS;
  byId("stale").textContent = `no data for ${Math.round(silent / 1000)} s`;
  document.body.classList.toggle("is-stale", silent >= PATIENCE_MS);
}

byId("ask").addEventListener("submit", ask);
byId("wanted").addEventListener("input", update);
setInterval(update, EVERY_MS);
update();
