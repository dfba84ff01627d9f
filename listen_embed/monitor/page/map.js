// The map of sounds: where each state lies, where the machine has been, and where it is now.
import { prepare } from "./charts.js";

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const TRAIL_S = 20;

export function drawMap(canvas, { points, places, palette, now, cursor }) {
  const box = prepare(canvas), { pen, width, height } = box, margin = 26;
  const here = points.filter((p) => p.x !== null);
  const xs = [...Object.values(places).map((p) => p[0]), ...here.map((p) => p.x)], ys = [...Object.values(places).map((p) => p[1]), ...here.map((p) => p.y)];
  if (!xs.length) { pen.fillStyle = css("--soft"); pen.fillText("this machine's file has no map; run adapt again", 8, 20); return; }
  const [left, right] = range(xs), [low, high] = range(ys);
  const px = (v) => margin + (width - 2 * margin) * (v - left) / (right - left), py = (v) => height - margin - (height - 2 * margin) * (v - low) / (high - low);
  const step = Math.max(1, Math.floor(here.length / 1500));
  for (let i = 0; i < here.length; i += step) { pen.fillStyle = `${here[i].state === null ? "#888888" : palette.colour(here[i].state)}55`; pen.fillRect(px(here[i].x) - 1.5, py(here[i].y) - 1.5, 3, 3); }
  trail(pen, here, px, py);
  for (const [name, place] of Object.entries(places)) {
    pen.beginPath(); pen.arc(px(place[0]), py(place[1]), 7, 0, 7); pen.fillStyle = palette.colour(name); pen.fill(); pen.lineWidth = 2; pen.strokeStyle = css("--panel"); pen.stroke();
  }
  names(pen, Object.entries(places), px, py, width);
  const point = cursor ?? now;
  if (point && point.x !== null) {
    pen.beginPath(); pen.arc(px(point.x), py(point.y), 6, 0, 7); pen.fillStyle = css("--ink"); pen.fill();
    pen.beginPath(); pen.arc(px(point.x), py(point.y), 11, 0, 7); pen.strokeStyle = css("--ink"); pen.lineWidth = 2; pen.stroke();
  }
}

function range(values) {
  const low = Math.min(...values), high = Math.max(...values), slack = 0.08 * (high - low) || 1;
  return [low - slack, high + slack];
}

function trail(pen, points, px, py) {
  if (!points.length) return;
  const last = points[points.length - 1].wall;
  pen.strokeStyle = css("--ink"); pen.lineWidth = 1.5;
  for (let i = points.length - 1; i > 0 && points[i].wall > last - TRAIL_S; i--) {
    pen.globalAlpha = 0.7 * (1 - (last - points[i].wall) / TRAIL_S);
    pen.beginPath(); pen.moveTo(px(points[i - 1].x), py(points[i - 1].y)); pen.lineTo(px(points[i].x), py(points[i].y)); pen.stroke();
  }
  pen.globalAlpha = 1;
}

// Names beside their places; one that would lie over another moves down.
function names(pen, places, px, py, width) {
  pen.textBaseline = "middle";
  const taken = [];
  for (const [name, place] of places.sort((a, b) => py(a[1][1]) - py(b[1][1]))) {
    const at = px(place[0]), onLeft = at > width / 2, size = pen.measureText(name).width, left = onLeft ? at - 11 - size : at + 11;
    let y = py(place[1]);
    while (taken.some((box) => Math.abs(box.y - y) < 13 && box.left < left + size && left < box.left + box.size)) y += 13;
    taken.push({ left, size, y });
    pen.lineWidth = 3; pen.strokeStyle = css("--panel"); pen.textAlign = "left"; pen.strokeText(name, left, y); pen.fillStyle = css("--ink"); pen.fillText(name, left, y);
  }
}
