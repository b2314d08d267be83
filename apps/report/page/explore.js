"use strict";
// The explorer of one model on one text. Everything comes from the JSON in #data; choosing a token moves everything.
const data = JSON.parse(document.getElementById("data").textContent);
const T = data.tokens.length, $ = (id) => document.getElementById(id);
const NS = "http://www.w3.org/2000/svg";
const svgOf = (name, attributes, text) => {
  const e = document.createElementNS(NS, name);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  if (text !== undefined) e.textContent = text;
  return e;
};
const html = (name, properties, ...children) => { const e = Object.assign(document.createElement(name), properties); e.append(...children); return e; };
// Weights came as 16 bits each: the lower triangle, row by row, in base64.
const weightsOf = (head) => {
  const bytes = Uint8Array.from(atob(head.weights), (c) => c.charCodeAt(0)), values = new Float64Array(bytes.length / 2);
  for (let i = 0; i < values.length; ++i) values[i] = (bytes[2 * i] + 256 * bytes[2 * i + 1]) / 65535;
  return values;
};
const heads = data.softmax.map((head) => ({ ...head, values: weightsOf(head) }));
const at = (head, i, j) => (j > i ? 0 : head.values[(i * (i + 1)) / 2 + j]);
const shown = (text) => (text === "\n" ? "↵" : text === " " ? "␣" : text === "\t" ? "⇥" : text);
let chosen = Math.min(T - 1, Math.floor(T / 2)), chosenHead = 0;

function table(titles, rows) {
  return html("table", {}, html("tr", {}, ...titles.map((t) => html("th", { scope: "col", textContent: t }))),
    ...rows.map((row) => html("tr", {}, ...row.map((cell, c) => html(c ? "td" : "th", { className: c && typeof cell !== "string" ? "number" : "", textContent: typeof cell === "number" ? String(cell) : cell })))));
}
const fixed = (v, digits) => (v === null ? "–" : v.toFixed(digits));

function drawText() {
  const most = Math.max(1e-9, ...data.losses);
  $("text").replaceChildren(...data.tokens.map((token, i) => {
    const loss = i ? data.losses[i - 1] : null, span = html("span", { className: "token" + (i === chosen ? " chosen" : ""), textContent: shown(token.text), title: loss === null ? "first token" : `loss ${loss.toFixed(3)} nats` });
    span.setAttribute("role", "option");
    span.setAttribute("aria-selected", i === chosen);
    span.style.setProperty("--heat", loss === null ? 0 : Math.round((loss / most) * 60) + "%");
    span.addEventListener("click", () => choose(i));
    return token.text === "\n" ? html("span", {}, span, html("br", {})) : span;
  }));
}

function drawToken() {
  const token = data.tokens[chosen], next = data.tokens[chosen + 1];
  const lines = [html("p", { textContent: `Token ${chosen} of ${T - 1}: “${shown(token.text)}”, id ${token.id}` + (chosen ? `, loss ${data.losses[chosen - 1].toFixed(4)} nats` : "") + (next ? `. It is followed by “${shown(next.text)}”.` : ".") })];
  lines.push(table(["the model expects", "probability"], data.guesses[chosen].map((g) => [shown(g.text), +g.p.toFixed(4)])));
  $("token").replaceChildren(...lines);
}

function drawLens() {
  const rows = data.lens.map((layer, l) => [l === 0 ? "embedding" : l === data.lens.length - 1 ? `after layer ${l - 1}, the model` : `after layer ${l - 1}`, shown(layer[chosen].text), +layer[chosen].p.toFixed(4), fixed(layer[chosen].next, 4)]);
  $("lens").replaceChildren(table(["residual stream", "likeliest next token", "its probability", "probability of the one that follows"], rows));
}

function uniform(window, k) { // of a head that looks at all that it sees alike
  let total = 0;
  for (let i = 0; i < T; ++i) { const seen = window ? Math.min(window, i + 1) : i + 1; total += Math.min(k + 1, seen) / seen; }
  return total / T;
}

function drawMap(canvas, head) {
  const size = Math.min(T, 256), context = canvas.getContext("2d");
  canvas.width = canvas.height = size;
  const dark = matchMedia("(prefers-color-scheme: dark)").matches, image = context.createImageData(size, size), step = T / size;
  for (let y = 0; y < size; ++y) for (let x = 0; x < size; ++x) {
    let most = 0; // of the tokens that share a point
    for (let i = Math.floor(y * step); i < Math.max(Math.floor((y + 1) * step), Math.floor(y * step) + 1); ++i)
      for (let j = Math.floor(x * step); j < Math.max(Math.floor((x + 1) * step), Math.floor(x * step) + 1); ++j) most = Math.max(most, at(head, i, j));
    const v = Math.sqrt(most), p = 4 * (y * size + x), ground = dark ? [13, 17, 23] : [255, 255, 255], ink = dark ? [121, 192, 255] : [5, 80, 174];
    for (let c = 0; c < 3; ++c) image.data[p + c] = ground[c] + v * (ink[c] - ground[c]);
    image.data[p + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

function makeHeads() {
  if (heads.length === 0) { $("softmax-section").remove(); return; }
  $("recency-window").textContent = data.recency_window;
  $("heads").replaceChildren(...heads.map((head, n) => {
    const button = html("button", { type: "button", className: "head", ariaLabel: `layer ${head.layer} head ${head.head}` });
    const canvas = html("canvas", {}), line = html("div", { className: "line" });
    drawMap(canvas, head);
    button.append(html("div", { className: "map" }, canvas, line), html("div", { textContent: `layer ${head.layer}, head ${head.head}` + (head.window ? `, window ${head.window}` : "") }), html("div", { className: "note", textContent: `recency ${head.recency.toFixed(3)}; alike ${uniform(head.window, data.recency_window).toFixed(3)}` }));
    button.addEventListener("click", () => { chosenHead = n; drawHeads(); });
    return button;
  }));
}

function bars(figure, values, labels, title) { // a row of bars with the values as titles
  const width = 960, height = 200, left = 40, bottom = 40, most = Math.max(1e-9, ...values), w = (width - left) / values.length;
  const svg = svgOf("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title, xmlns: NS });
  svg.append(svgOf("text", { x: left, y: 12 }, title), svgOf("text", { x: left - 4, y: 28, "text-anchor": "end" }, most.toPrecision(3)));
  svg.append(svgOf("line", { class: "axis", x1: left, x2: width, y1: height - bottom, y2: height - bottom }));
  values.forEach((v, i) => {
    const h = (v / most) * (height - bottom - 20), bar = svgOf("rect", { class: "bar", x: left + i * w, y: height - bottom - h, width: Math.max(0.5, w - 1), height: h });
    bar.append(svgOf("title", {}, `${labels[i]}: ${v.toPrecision(4)}`));
    svg.append(bar);
    if (values.length <= 64 || i % Math.ceil(values.length / 32) === 0) svg.append(svgOf("text", { x: left + i * w + w / 2, y: height - bottom + 14, "text-anchor": "middle" }, labels[i]));
  });
  figure.replaceChildren(svg);
}

function drawHeads() {
  if (heads.length === 0) return;
  document.querySelectorAll(".head").forEach((button, n) => {
    button.setAttribute("aria-pressed", n === chosenHead);
    button.querySelector(".line").style.top = `${((chosen + 0.5) / T) * 100}%`;
  });
  const head = heads[chosenHead], values = [], labels = [];
  for (let j = 0; j <= chosen; ++j) { values.push(at(head, chosen, j)); labels.push(shown(data.tokens[j].text)); }
  bars($("row"), values, labels, `attention of token ${chosen} “${shown(data.tokens[chosen].text)}” in layer ${head.layer}, head ${head.head}`);
}

function drawRest() {
  if (data.shift.length === 0) $("shift-section").remove();
  else {
    $("shift").replaceChildren(table(["layer", "head", "form", "looks back by", "a (itself)", "b (the earlier one)"], data.shift.map((h) => [String(h.layer), h.head, h.variant, h.shift, fixed(h.a, 4), fixed(h.b, 4)])));
    if (data.paths.weights.length) bars($("paths"), data.paths.weights, data.paths.weights.map((_, lag) => String(lag)), `weight of a token by how far back it is; the stack reaches ${data.paths.receptive_field} tokens`);
    else if (data.paths.paths.length) bars($("paths"), data.paths.paths, data.paths.paths.map((_, lag) => String(lag)), `paths to a token by how far back it is; the stack reaches ${data.paths.receptive_field} tokens`);
    else $("save-paths").remove();
  }
  if (data.mamba.length === 0) $("mamba-section").remove();
  else $("mamba").replaceChildren(table(["layer", "head", "shortest, median", "longest, median", "longest of all"], data.mamba.map((h) => [String(h.layer), h.head, fixed(h.shortest, 2), fixed(h.longest, 1), fixed(h.most, 1)])));
  if (data.depth.length === 0) $("depth-section").remove();
}

function drawDepth() {
  if (data.depth.length === 0) return;
  bars($("depth"), data.depth[chosen], data.sources.map((s) => (s === 0 ? "embedding" : `layer ${s - 1}`)), `attention of token ${chosen} on each hidden state; effective depth ${data.effective_depth[chosen].toFixed(3)}`);
  const mean = data.sources.map((_, m) => data.depth.reduce((sum, row) => sum + row[m], 0) / T);
  $("depth-table").replaceChildren(table(["hidden state", "this token", "mean over the text"], data.sources.map((s, m) => [s === 0 ? "embedding" : `after layer ${s - 1}`, fixed(data.depth[chosen][m], 4), fixed(mean[m], 4)])));
}

function save(figure, name) {
  const svg = $(figure).querySelector("svg").cloneNode(true), style = svgOf("style", {}, "text{font:12px sans-serif;fill:#1b1f24}.axis{stroke:#57606a}.bar{fill:#0550ae}");
  svg.prepend(style);
  const link = html("a", { href: URL.createObjectURL(new Blob([new XMLSerializer().serializeToString(svg)], { type: "image/svg+xml" })), download: name });
  link.click();
}

function choose(i) { chosen = Math.max(0, Math.min(T - 1, i)); drawText(); drawToken(); drawLens(); drawHeads(); drawDepth(); }

makeHeads();
drawRest();
choose(chosen);
$("text").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -20, ArrowDown: 20, Home: -T, End: T }[event.key];
  if (step) { choose(chosen + step); event.preventDefault(); }
});
for (const [button, figure, name] of [["save-row", "row", "attention.svg"], ["save-paths", "paths", "lags.svg"], ["save-depth", "depth", "depth.svg"]]) if ($(button)) $(button).addEventListener("click", () => save(figure, name));
$("json").href = URL.createObjectURL(new Blob([$("data").textContent], { type: "application/json" }));
