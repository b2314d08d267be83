"use strict";
// The curves of a report. Everything that is drawn comes from the JSON in #data; nothing is fetched.
const data = JSON.parse(document.getElementById("data").textContent);
const metrics = [
  { key: "loss", title: "training loss, nats a token", zero: false },
  { key: "val", title: "validation loss, nats a token", zero: false },
  { key: "lr", title: "learning rate", zero: true },
  { key: "grad", title: "norm of the gradient", zero: false },
  { key: "speed", title: "tokens a second", zero: true },
];
const dashes = ["", "7 3", "2 3", "9 3 2 3"];
const $ = (id) => document.getElementById(id);
const shown = data.runs.map(() => true);

const xOf = (run, i, axis) =>
  axis === "step" ? run.steps[i] : axis === "tokens" ? run.steps[i] * run.tokens_per_step : run.time[i];

// The points of a run, smoothed as an exponential average without a bias at the start.
function points(run, metric, axis, smoothing) {
  const found = [];
  let average = 0, weight = 0;
  for (let i = 0; i < run.steps.length; ++i) {
    const y = run[metric][i];
    if (y === null) continue;
    average = smoothing * average + (1 - smoothing) * y;
    weight = smoothing * weight + (1 - smoothing);
    found.push({ x: xOf(run, i, axis), y: average / weight, step: run.steps[i] });
  }
  return found;
}

function ticks(low, high, count) {
  if (!(high > low)) return [low];
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((f) => f * power >= raw) * power;
  const found = [];
  for (let t = Math.ceil(low / step) * step; t <= high + step * 1e-9; t += step) found.push(Math.abs(t) < step * 1e-9 ? 0 : t);
  return found;
}
function logTicks(low, high) {
  const found = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); ++e)
    for (const f of [1, 2, 5]) { const t = f * 10 ** e; if (t >= low * 0.999 && t <= high * 1.001) found.push(t); }
  return found.length > 1 ? found : [low, high];
}
function short(v) {
  if (v === 0) return "0";
  const size = Math.abs(v);
  if (size >= 1e9) return +(v / 1e9).toPrecision(3) + " G";
  if (size >= 1e6) return +(v / 1e6).toPrecision(3) + " M";
  if (size >= 1e4) return +(v / 1e3).toPrecision(3) + " k";
  return size < 1e-3 ? v.toExponential(1) : String(+v.toPrecision(4));
}
const element = (name, attributes, text) => {
  const e = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  if (text !== undefined) e.textContent = text;
  return e;
};

let state = null; // of the last drawing, for the cursor

function draw() {
  const metric = metrics[$("metric").selectedIndex], axis = $("axis").value, log = $("log").checked;
  const curves = data.runs.map((run, r) => (shown[r] ? points(run, metric.key, axis, +$("smooth").value) : []))
    .map((list) => (log ? list.filter((p) => p.y > 0) : list));
  const all = curves.flat(), width = 960, height = 440, left = 64, right = 12, top = 12, bottom = 44;
  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${metric.title} over ${$("axis").selectedOptions[0].text}` });
  $("figure").replaceChildren(svg);
  if (all.length === 0) {
    svg.append(element("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, "No values of these runs"));
    state = null;
    $("values").replaceChildren();
    return;
  }
  let [x0, x1] = [Math.min(...all.map((p) => p.x)), Math.max(...all.map((p) => p.x))];
  let [y0, y1] = [Math.min(...all.map((p) => p.y)), Math.max(...all.map((p) => p.y))];
  if (metric.zero && !log) y0 = Math.min(0, y0);
  if (x0 === x1) [x0, x1] = [x0 - 1, x1 + 1];
  if (y0 === y1) [y0, y1] = log ? [y0 / 1.1, y1 * 1.1] : [y0 - Math.abs(y0) * 0.1 - 1e-9, y1 + Math.abs(y1) * 0.1 + 1e-9];
  const sx = (x) => left + ((x - x0) / (x1 - x0)) * (width - left - right);
  const part = log ? (y) => Math.log(y / y0) / Math.log(y1 / y0) : (y) => (y - y0) / (y1 - y0);
  const sy = (y) => height - bottom - part(y) * (height - top - bottom);
  for (const t of log ? logTicks(y0, y1) : ticks(y0, y1, 6)) {
    svg.append(element("line", { class: "grid", x1: left, x2: width - right, y1: sy(t), y2: sy(t) }));
    svg.append(element("text", { x: left - 8, y: sy(t) + 4, "text-anchor": "end" }, short(t)));
  }
  for (const t of ticks(x0, x1, 8)) {
    svg.append(element("line", { class: "grid", x1: sx(t), x2: sx(t), y1: top, y2: height - bottom }));
    svg.append(element("text", { x: sx(t), y: height - bottom + 18, "text-anchor": "middle" }, short(t)));
  }
  svg.append(element("line", { class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }));
  svg.append(element("text", { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, $("axis").selectedOptions[0].text));
  curves.forEach((list, r) => {
    if (list.length === 0) return;
    const d = list.map((p, i) => (i ? "L" : "M") + sx(p.x).toFixed(1) + " " + sy(p.y).toFixed(1)).join("");
    const path = element("path", { class: `curve c${r % 8}`, d, "stroke-dasharray": dashes[Math.floor(r / 8) % 4] });
    path.append(element("title", {}, data.runs[r].name));
    svg.append(path);
    if (list.length === 1) svg.append(element("circle", { class: `c${r % 8}`, cx: sx(list[0].x), cy: sy(list[0].y), r: 3 }));
  });
  const cursor = element("line", { class: "axis", y1: top, y2: height - bottom, "stroke-dasharray": "3 3" });
  svg.append(cursor);
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width * width - left) / (width - left - right);
    $("cursor").value = Math.round(1000 * Math.min(1, Math.max(0, at)));
    showValues();
  });
  state = { curves, cursor, x0, x1, sx, axis };
  showValues();
}

// The values of every run at the cursor: its last point at or before it.
function showValues() {
  if (state === null) return;
  const x = state.x0 + ($("cursor").value / 1000) * (state.x1 - state.x0);
  state.cursor.setAttribute("x1", state.sx(x));
  state.cursor.setAttribute("x2", state.sx(x));
  const rows = state.curves.map((list, r) => [r, list.filter((p) => p.x <= x + 1e-9).pop()]).filter(([, p]) => p !== undefined);
  const body = rows.map(([r, p]) => { const tr = document.createElement("tr");
    for (const [text, number] of [[data.runs[r].name, false], [String(p.step), true], [p.y.toPrecision(6), true]]) {
      const td = document.createElement("td"); td.textContent = text; if (number) td.className = "number"; tr.append(td); }
    return tr; });
  const table = document.createElement("table"), head = document.createElement("tr");
  for (const title of ["run", "step", metrics[$("metric").selectedIndex].title]) { const th = document.createElement("th"); th.textContent = title; head.append(th); }
  table.append(head, ...body);
  $("values").replaceChildren(table);
}

// A file with its colours in it, as it stands on the page.
function save() {
  const svg = $("figure").querySelector("svg").cloneNode(true), style = element("style", {});
  const colours = [...Array(8).keys()].map((c) => { const line = document.querySelector(`.c${c}`); return line ? `.c${c}{stroke:${getComputedStyle(line).stroke}}` : ""; });
  const root = getComputedStyle(document.documentElement);
  style.textContent = `text{font:12px sans-serif;fill:${root.getPropertyValue("--text")}}.grid{stroke:${root.getPropertyValue("--line")}}.axis{stroke:${root.getPropertyValue("--faint")}}.curve{fill:none;stroke-width:1.8}` + colours.join("");
  svg.prepend(style);
  svg.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([new XMLSerializer().serializeToString(svg)], { type: "image/svg+xml" }));
  link.download = `${metrics[$("metric").selectedIndex].key}.svg`;
  link.click();
}

for (const metric of metrics) { const o = document.createElement("option"); o.textContent = metric.title; $("metric").append(o); }
if (data.runs.some((run) => run.val.some((v) => v !== null))) $("metric").selectedIndex = 1;
data.runs.forEach((run, r) => {
  const label = document.createElement("label"), box = document.createElement("input"), key = element("svg", { width: 28, height: 10, "aria-hidden": "true" });
  box.type = "checkbox"; box.checked = true;
  box.addEventListener("change", () => { shown[r] = box.checked; draw(); });
  key.append(element("line", { class: `curve c${r % 8}`, x1: 0, x2: 28, y1: 5, y2: 5, "stroke-dasharray": dashes[Math.floor(r / 8) % 4] }));
  label.append(box, key, run.name);
  $("legend").append(label);
});
for (const id of ["metric", "axis", "log", "smooth"]) $(id).addEventListener("input", draw);
$("cursor").addEventListener("input", showValues);
$("save").addEventListener("click", save);
// On paper everything is open.
addEventListener("beforeprint", () => { for (const d of document.querySelectorAll("details")) d.open = true; });
draw();
