// Events, times and lengths in words that people use.

export const clockTime = (wall, seconds = true) => new Date(wall * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false, ...(seconds ? { second: "2-digit" } : {}) });
export const day = (wall) => new Date(wall * 1000).toLocaleDateString([], { day: "numeric", month: "short" });

export function length(seconds) {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds), pieces = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const parts = [];
  let rest = whole;
  for (const [size, unit] of pieces) { const n = Math.floor(rest / size); rest -= n * size; if (n) parts.push(`${n} ${unit}`); }
  return parts.slice(0, 2).join(" ");
}

const fixed = (value) => Number(value).toPrecision(2);
const SOURCE = {
  "started": () => "started to listen", "rate changed": (e) => `sample rate is now ${e.rate_hz} Hz`, "stalled": () => "no sound comes in",
  "resumed": () => "sound comes in again", "ended": () => "the source ended", "lost": () => "connection to the source lost",
  "gap": (e) => `${e.lost_samples} samples are missing`, "garbage": () => "something that is no sound was left out",
};
const HEALTH = { "silent": "the microphone gives nothing at all", "clipping": "the sound is overdriven", "too quiet": "much quieter than when it was learnt", "too loud": "much louder than when it was learnt", "low rate": "the sample rate is lower than when it was learnt" };

// One line for each event, newest first: {wall, text, kind, number}; a state lasts until the next.
export function tell(events) {
  const lines = [], opened = { state: null, anomaly: null };
  for (const event of events) {
    const wall = Date.parse(event.wall) / 1000, line = { wall, number: event.number, kind: "quiet", text: "" };
    const detail = event.detail ? `: ${event.detail}` : "";
    if (event.kind === "state") {
      const began = since(event, wall), before = opened.state;
      if (before) before.text = `${before.state} for ${length(Math.max(0, began - before.wall))}`;
      opened.state = Object.assign(line, { wall: began, state: event.state, kind: "state", text: `${event.state} since then` });
    } else if (event.kind === "anomaly" && event.what === "begins") {
      opened.anomaly = Object.assign(line, { kind: "alarm", text: `Alarm: score ${fixed(event.score)} in ${event.state ?? "no state"}`, began: since(event, wall) });
    } else if (event.kind === "anomaly") {
      if (opened.anomaly) { opened.anomaly.text += `, over after ${length(wall - opened.anomaly.began)}`; continue; }
      Object.assign(line, { kind: "alarm", text: "Alarm over" });
    } else if (event.kind === "overload") {
      Object.assign(line, { kind: "warn", text: event.what === "begins" ? "too slow: sound is being lost" : `keeps up again, ${event.lost_hops} hops were lost` });
    } else if (event.kind === "source") {
      line.text = (SOURCE[event.what] ?? (() => event.what))(event) + detail;
      if (["stalled", "lost", "garbage", "gap"].includes(event.what)) line.kind = "warn";
    } else if (event.kind === "health") {
      Object.assign(line, { kind: event.on ? "warn" : "quiet", text: event.on ? HEALTH[event.what] ?? event.what : `no longer ${event.what}` });
    } else if (event.kind === "clock") {
      line.text = `clock set by ${event.moved_s} s (${event.what})`;
    } else if (event.kind === "journal") {
      Object.assign(line, { kind: "warn", text: `journal ${event.what}${detail}` });
    } else if (event.kind === "machine") {
      line.text = event.label ? `${event.what}: that was ${event.label}` : `${event.what === "learnt" ? "learnt again" : event.what}; knows ${event.states}`;
    } else continue;
    lines.push(line);
  }
  if (opened.state && opened.state.text.endsWith("since then")) opened.state.text = `${opened.state.state}, until now`;
  return lines.sort((a, b) => a.wall - b.wall).reverse();
}

export function since(event, wall) {
  const rate = event.sample / event.time_s;
  return event.since_sample === undefined || !event.time_s ? wall : wall - (event.sample - event.since_sample) / rate;
}
