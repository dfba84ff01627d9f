// Timelines on one time axis: bands, lines and a spectrogram, with ticks, units and one cursor.
import { clockTime, day } from "./words.js";

// Tol's "muted" with darker and lighter turns: apart for every kind of colour blindness, with hatching beyond nine.
const COLOURS = ["#5b57c8", "#88ccee", "#44aa99", "#ddcc77", "#cc6677", "#117733", "#aa4499", "#999933", "#882255"];
export const LEFT = 46, RIGHT = 10, AXIS = 20;
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 432000];
const GROUND = [16, 23, 54], STOPS = [[0, GROUND], [0.35, [76, 61, 110]], [0.6, [158, 88, 104]], [0.8, [222, 143, 84]], [1, [255, 233, 150]]];

export const HEAT = Array.from({ length: 256 }, (_, level) => {
  const t = level / 255, next = Math.max(1, STOPS.findIndex(([at]) => at >= t)), [a, low] = STOPS[next - 1], [b, high] = STOPS[next];
  return low.map((value, i) => Math.round(value + (high[i] - value) * (t - a) / (b - a)));
});

export class Palette {
  constructor(states) { this.states = [...states]; }
  index(state) {
    const at = this.states.indexOf(state);
    return at >= 0 ? at : -1;
  }
  colour(state) { const i = this.index(state); return i < 0 ? "#7d868c" : COLOURS[i % COLOURS.length]; }
  hatched(state) { const i = this.index(state); return i < 0 || i >= COLOURS.length; }
}

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export function prepare(canvas) {
  const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = Number(canvas.dataset.height);
  canvas.style.height = `${height}px`;
  const w = Math.round(width * ratio), h = Math.round(height * ratio);
  if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = '11px system-ui, "DejaVu Sans", sans-serif';
  return { pen, width, height, left: LEFT, right: width - RIGHT };
}

// A view: the points shown, and between which moments.
export const x = (view, box, wall) => box.left + (box.right - box.left) * (wall - view.since) / (view.until - view.since);
export const wallAt = (view, canvas, px) => view.since + (view.until - view.since) * (px - LEFT) / (canvas.clientWidth - RIGHT - LEFT);

export function nearest(points, wall) {
  let low = 0, high = points.length - 1;
  while (low < high) { const middle = (low + high) >> 1; if (points[middle].wall < wall) low = middle + 1; else high = middle; }
  return low > 0 && Math.abs(points[low - 1].wall - wall) < Math.abs(points[low].wall - wall) ? low - 1 : low;
}

function timeTicks(view, box) {
  const wanted = (view.until - view.since) / Math.max(2, Math.floor((box.right - box.left) / 90));
  const step = STEPS.find((s) => s >= wanted) ?? STEPS[STEPS.length - 1];
  const shift = new Date(view.since * 1000).getTimezoneOffset() * 60, ticks = [];
  for (let t = Math.ceil((view.since - shift) / step) * step + shift; t <= view.until; t += step) ticks.push({ wall: t, text: step >= 86400 ? day(t) : clockTime(t, step < 60) });
  return ticks;
}

function frame(box, view, { bottom, axis }) {
  const { pen } = box;
  pen.strokeStyle = css("--grid"); pen.fillStyle = css("--soft"); pen.lineWidth = 1; pen.textAlign = "center"; pen.textBaseline = "top";
  for (const tick of timeTicks(view, box)) {
    const at = Math.round(x(view, box, tick.wall)) + 0.5;
    pen.beginPath(); pen.moveTo(at, 0); pen.lineTo(at, bottom); pen.stroke();
    if (axis) pen.fillText(tick.text, Math.min(Math.max(at, box.left + 18), box.right - 18), bottom + 5);
  }
}

function ticksY(box, values, place, text) {
  const { pen } = box;
  pen.fillStyle = css("--soft"); pen.strokeStyle = css("--grid"); pen.textAlign = "right"; pen.textBaseline = "middle";
  for (const value of values) {
    const y = Math.round(place(value)) + 0.5;
    pen.beginPath(); pen.moveTo(box.left - 4, y); pen.lineTo(box.right, y); pen.stroke();
    pen.fillText(text(value), box.left - 7, Math.max(6, y));
  }
}

// How long a point speaks for: to the one before it, unless there is a gap.
function begin(points, i, gap) {
  const before = i ? points[i - 1].wall : -Infinity, wall = points[i].wall;
  return wall - before > gap ? wall - Math.min(gap / 2.5, 1) : before;
}

export function spectrogram(canvas, view, rate) {
  const box = prepare(canvas), bottom = box.height - AXIS, { pen } = box;
  frame(box, view, { bottom, axis: true });
  const columns = Math.max(1, Math.round(box.right - box.left)), points = view.points, bands = points.length ? points[points.length - 1].spectrum.length : 0;
  if (bands) {
    const image = new ImageData(columns, bands);
    let i = 0;
    for (let c = 0; c < columns; c++) {
      const wall = view.since + (view.until - view.since) * (c + 0.5) / columns;
      while (i < points.length && points[i].wall < wall) i++;
      if (i >= points.length || begin(points, i, view.gap) > wall || points[i].spectrum.length !== bands) continue;
      const levels = points[i].spectrum;
      for (let b = 0; b < bands; b++) {
        const at = 4 * ((bands - 1 - b) * columns + c), colour = HEAT[levels.charCodeAt(b)];
        image.data[at] = colour[0]; image.data[at + 1] = colour[1]; image.data[at + 2] = colour[2]; image.data[at + 3] = 255;
      }
    }
    const sheet = new OffscreenCanvas(columns, bands);
    sheet.getContext("2d").putImageData(image, 0, 0);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(sheet, box.left, 0, columns, bottom);
  }
  const place = (hz) => bottom * (1 - bandOf(hz, rate));
  const marks = [100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000].filter((hz) => hz < rate / 2);
  pen.fillStyle = css("--soft"); pen.textAlign = "right"; pen.textBaseline = "middle";
  for (const hz of marks) { const y = place(hz); pen.fillText(hz >= 1000 ? `${hz / 1000} k` : String(hz), box.left - 7, Math.max(6, y)); pen.fillRect(box.left - 4, y, 4, 1); }
  pen.textAlign = "left"; pen.fillText("Hz", 0, bottom + 11);
  return box;
}

export const LOWEST_HZ = 60;
const bandOf = (hz, rate) => Math.log(hz / LOWEST_HZ) / Math.log(rate / 2 / LOWEST_HZ);
export const hzAt = (share, rate) => LOWEST_HZ * (rate / 2 / LOWEST_HZ) ** share;

export function states(canvas, view, palette) {
  const box = prepare(canvas), bottom = box.height - 4, { pen } = box, points = view.points;
  let from = 0;
  for (let i = 0; i <= points.length; i++) {
    const cut = i === points.length || (i > 0 && (points[i].state !== points[i - 1].state || points[i].wall - points[i - 1].wall > view.gap));
    if (!cut || i === 0) continue;
    const left = Math.max(box.left, x(view, box, begin(points, from, view.gap))), right = Math.min(box.right, x(view, box, points[i - 1].wall));
    if (right > left) paintState(pen, palette, points[from].state, left, right - left + 0.6, bottom);
    from = i;
  }
  return box;
}

function paintState(pen, palette, state, left, width, height) {
  pen.fillStyle = state === null ? css("--grid") : palette.colour(state);
  pen.fillRect(left, 2, width, height - 2);
  if (state === null) return;
  pen.save(); pen.beginPath(); pen.rect(left, 2, width, height - 2); pen.clip();
  if (palette.hatched(state)) { pen.strokeStyle = "#ffffff90"; pen.lineWidth = 2; for (let h = left - height; h < left + width; h += 8) { pen.beginPath(); pen.moveTo(h, height); pen.lineTo(h + height, 0); pen.stroke(); } }
  if (pen.measureText(state).width + 8 < width) {
    const [r, g, b] = [1, 3, 5].map((i) => parseInt(pen.fillStyle.slice(i, i + 2), 16));
    pen.fillStyle = 0.3 * r + 0.59 * g + 0.11 * b > 140 ? "#111" : "#fff";
    pen.textAlign = "left"; pen.textBaseline = "middle"; pen.fillText(state, left + 5, height / 2 + 1);
  }
  pen.restore();
}

export function line(canvas, view, { field, low = 0, high, marker, alarms, unit, axis, stepAt }) {
  const box = prepare(canvas), bottom = box.height - (axis ? AXIS : 4), { pen } = box, points = view.points;
  let top = high ?? -Infinity;
  if (high === undefined) { for (const point of points) top = Math.max(top, point[field]); top = Math.max(marker ? 1.25 * marker : 0, 1.1 * top, 1e-9); }
  const place = (value) => bottom - (bottom - 3) * (Math.min(Math.max(value, low), top) - low) / (top - low);
  frame(box, view, { bottom, axis });
  const step = stepAt ?? nice((top - low) / (bottom > 80 ? 4 : 2)), values = [];
  for (let v = Math.ceil(low / step) * step; v <= top * 1.0001; v += step) values.push(Number(v.toPrecision(6)));
  ticksY(box, values, place, (v) => `${v}${unit ?? ""}`);
  if (alarms) {
    pen.fillStyle = "#b3261e40";
    for (const [from, to] of runs(points, view.gap)) { const left = Math.max(box.left, x(view, box, from)); pen.fillRect(left, 0, Math.max(1.5, x(view, box, to) - left), bottom); }
  }
  pen.save(); pen.beginPath(); pen.rect(box.left, 0, box.right - box.left, bottom); pen.clip();
  pen.strokeStyle = css("--accent"); pen.lineWidth = 1.5; pen.lineJoin = "round"; pen.beginPath();
  points.forEach((point, i) => { const at = x(view, box, point.wall), y = place(point[field]); if (!i || point.wall - points[i - 1].wall > view.gap) { pen.moveTo(at, y); pen.lineTo(at + 0.5, y); } else pen.lineTo(at, y); });
  pen.stroke(); pen.restore();
  if (marker !== undefined) {
    pen.strokeStyle = css("--bad"); pen.setLineDash([6, 4]); pen.beginPath(); pen.moveTo(box.left, place(marker)); pen.lineTo(box.right, place(marker)); pen.stroke(); pen.setLineDash([]);
    pen.fillStyle = css("--bad"); pen.textAlign = "left"; pen.textBaseline = "bottom"; pen.fillText("alarm", box.left + 4, place(marker) - 2);
  }
  return box;
}

// From when to when there was alarm, each stretch once.
function runs(points, gap) {
  const found = [];
  points.forEach((point, i) => {
    if (!point.anomaly) return;
    if (i && points[i - 1].anomaly && found.length && point.wall - points[i - 1].wall <= gap) found[found.length - 1][1] = point.wall;
    else found.push([begin(points, i, gap), point.wall]);
  });
  return found;
}

function nice(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough) ?? rough;
}

// The cursor and the chosen stretch, over what is drawn.
export function overlay(box, view, cursor, stretch) {
  const { pen, height } = box;
  if (stretch) {
    const left = Math.max(box.left, x(view, box, stretch[0])), right = Math.min(box.right, x(view, box, stretch[1]));
    pen.fillStyle = "#1f5fa833"; pen.fillRect(left, 0, Math.max(1, right - left), height);
    pen.fillStyle = css("--accent"); pen.fillRect(left, 0, 2, height); pen.fillRect(right - 2, 0, 2, height);
  }
  if (cursor !== null && cursor >= view.since && cursor <= view.until) {
    pen.strokeStyle = css("--ink"); pen.lineWidth = 1; pen.beginPath();
    const at = Math.round(x(view, box, cursor)) + 0.5; pen.moveTo(at, 0); pen.lineTo(at, height); pen.stroke();
  }
}
