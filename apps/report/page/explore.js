// The explorer of one model on one text. Everything comes from the JSON in #data; choosing a token moves everything.
const data = JSON.parse($("data").textContent);
const T = data.tokens.length, width = data.tokens_per_column, B = data.bytes_per_weight;
// Maps came as integers: the lower triangle, row by row, little-endian, in base64; 0, or 1 + 9000 k + (m - 1000) for m 10^-(3+k).
const mapOf = (text) => {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0)), values = new Float64Array(bytes.length / B);
  for (let i = 0; i < values.length; ++i) { let v = 0; for (let b = B - 1; b >= 0; --b) v = v * 256 + bytes[B * i + b]; values[i] = v === 0 ? 0 : (1000 + (v - 1) % 9000) / 10 ** (3 + Math.floor((v - 1) / 9000)); }
  return values;
};
const columnsOf = (i) => Math.floor(i / width) + 1; // of row i
const firstOf = [0];
for (let i = 0; i < T; ++i) firstOf.push(firstOf[i] + columnsOf(i));
const rowOf = (values, i) => Array.from(values.subarray(firstOf[i], firstOf[i + 1]));
const label = (column) => (width === 1 ? shown(data.tokens[column].text) : `${column * width}–${Math.min(T, (column + 1) * width) - 1}`);
const shiftRow = (head, i) => {
  const [a, b] = head.a === null ? [1, 1] : [Math.abs(head.a), Math.abs(head.b)], row = Array(columnsOf(i)).fill(0);
  row[Math.floor(i / width)] += a / (a + b || 1);
  if (i >= head.shift) row[Math.floor((i - head.shift) / width)] += b / (a + b || 1);
  return row;
};
const heads = [
  ...data.softmax.map((h) => { const values = mapOf(h.weights); return { ...h, kind: "softmax", row: (i) => rowOf(values, i) }; }),
  ...data.mamba.map((h) => { const values = mapOf(h.weights), left = mapOf(h.left); return { ...h, kind: "Mamba", row: (i) => rowOf(values, i), leftRow: (i) => rowOf(left, i) }; }),
  ...data.shift.map((h) => ({ ...h, kind: "shift", row: (i) => shiftRow(h, i) })),
].sort((p, q) => p.layer - q.layer || p.head - q.head);
const nameOf = (head) => `layer ${head.layer}, head ${head.head}`;
const textLosses = [null, ...data.losses];
let chosen = Math.min(T - 1, Math.floor(T / 2)), chosenHead = 0;
const tokenName = (i) => `token ${i} “${shown(data.tokens[i].text)}”`;

function makeText() {
  const most = Math.max(1e-9, ...data.losses), answers = new Set(data.answers);
  if (answers.size) $("answers").textContent = ` Underlined: answers of the task ${data.task}.`;
  $("text").replaceChildren(...data.tokens.map((token, i) => {
    const loss = textLosses[i], span = html("span", { className: "token" + (answers.has(i) ? " answer" : ""), id: `token-${i}`, textContent: shown(token.text) + (data.task ? " " : ""), title: loss === null ? "first token" : `loss ${loss.toFixed(3)} nats` });
    span.setAttribute("role", "option");
    span.style.setProperty("--heat", loss === null ? 0 : Math.round((loss / most) * 60) + "%");
    span.addEventListener("click", () => choose(i));
    return token.text === "\n" ? html("span", { role: "presentation" }, span, html("br", {})) : span;
  }));
}

function drawText() {
  document.querySelectorAll(".token").forEach((span, i) => { span.classList.toggle("chosen", i === chosen); span.setAttribute("aria-selected", i === chosen); });
  $("text").setAttribute("aria-activedescendant", `token-${chosen}`);
  picture("loss", `loss of each token, nats; ${tokenName(chosen)}: ${chosen ? data.losses[chosen - 1].toFixed(4) : "the first, no loss"}`, bars(textLosses.map((v) => v ?? 0), data.tokens.map((t) => shown(t.text)), { marked: chosen, height: 120 }), { losses: data.losses });
}

function drawToken() {
  const token = data.tokens[chosen], next = data.tokens[chosen + 1];
  $("token").replaceChildren(html("p", { textContent: `Token ${chosen} of ${T - 1}: “${shown(token.text)}”, id ${token.id}` + (chosen ? `, loss ${data.losses[chosen - 1].toFixed(4)} nats` : "") + (next ? `. It is followed by “${shown(next.text)}”.` : ".") }),
    table(["the model expects", "probability"], data.guesses[chosen].map((g) => [shown(g.text), +g.p.toFixed(4)])));
}

function drawLens() {
  $("lens").replaceChildren(table(["residual stream", "likeliest next token", "its probability", "probability of the one that follows"], data.lens.map((layer, l) => [l === 0 ? "embedding" : l === data.lens.length - 1 ? `after layer ${l - 1}, the model` : `after layer ${l - 1}`, shown(layer[chosen].text), +layer[chosen].p.toFixed(4), fixed(layer[chosen].next, 4)])));
}

function makeShort() {
  const rows = heads.map((h) => h.kind === "shift" ? [nameOf(h), h.kind, `${h.shift} tokens, always`, "–", "–"]
    : [nameOf(h), h.kind + (h.window ? `, window ${h.window}` : ""), `${h.distance.toFixed(2)} tokens`, h.distance_uniform.toFixed(2), h.kind === "Mamba" ? (h.half_life === null ? "more than half to the end of the text" : `half is gone after ${h.half_life} tokens`) : "–"]);
  const parts = rows.length ? [table(["head", "kind", "looks back by", "uniform", "memory"], rows)] : [];
  const furthest = heads.filter((h) => h.kind !== "shift").sort((p, q) => q.distance - p.distance)[0];
  if (furthest) parts.push(html("p", { id: "furthest", textContent: `Furthest back looks ${nameOf(furthest)} (${furthest.kind}): ${furthest.distance.toFixed(2)} tokens on average.` }));
  if (data.shift.length && data.paths.layers.length) parts.push(html("p", { id: "reach", textContent: `The shift-mixing layers together reach ${data.paths.receptive_field} tokens.` }));
  if (data.depth.length) parts.push(html("p", { id: "deep", textContent: `The shortcut looks at depth ${(data.effective_depth.reduce((a, b) => a + b, 0) / T).toFixed(3)} on average, where 0 is the embedding and ${data.sources[data.sources.length - 1]} the highest hidden state that it sees.` }));
  $("short").replaceChildren(...parts);
}

// A point for each column of a map, and as many rows: each has the largest weight of the tokens that share it.
function mapImage(head) {
  const size = columnsOf(T - 1), rows = [...Array(size).keys()].map(() => Array(size).fill(0));
  for (let i = 0; i < T; ++i) {
    const row = rows[Math.floor(i / width)];
    head.row(i).forEach((v, column) => { row[column] = Math.max(row[column], v); });
  }
  return image(size, size, (y, x) => Math.sqrt(Math.min(1, rows[y][x])));
}
// Where the row of the chosen token lies, as a part of the height of a map.
const chosenHeight = () => (chosen + 0.5) / (columnsOf(T - 1) * width);

function makeHeads() {
  if (heads.length === 0) { $("heads-section").remove(); return; }
  $("recency-window").textContent = data.recency_window;
  if (width > 1) $("reduced").textContent = ` The text has ${T} tokens: ${width} of them share a column, with the sum of their weights.`;
  const layers = [...new Set(heads.map((h) => h.layer))];
  $("heads").replaceChildren(...layers.map((layer) => html("div", { className: "layer" }, html("h3", { textContent: `Layer ${layer}` }), html("div", { className: "row" }, ...heads.map((head, n) => [head, n]).filter(([head]) => head.layer === layer).map(([head, n]) => {
    head.image = mapImage(head);
    const button = html("button", { type: "button", className: "head" });
    button.dataset.head = n;
    button.append(html("span", { className: "map" }, head.image, html("span", { className: "line" })), html("span", { textContent: `layer ${head.layer}, head ${head.head}: ${head.kind}` + (head.window ? `, window ${head.window}` : "") }),
      html("span", { className: "note", textContent: head.kind === "shift" ? `itself and ${head.shift} back` : `recency ${head.recency.toFixed(3)}; uniform ${head.uniform.toFixed(3)}` }));
    button.addEventListener("click", () => { chosenHead = n; drawHeads(); });
    return button;
  })))));
}

const ranges = (count) => [...Array(count).keys()].map((r) => (r < 2 ? String(r) : `${2 ** (r - 1)}–${2 ** r - 1}`));

function rays(values) { // from the chosen token above to those below
  const w = 960, top = 24, bottom = 190, n = values.length, x = (i) => 20 + ((i + 0.5) / n) * (w - 40), svg = svgOf("svg", { viewBox: `0 0 ${w} 216` }), most = Math.max(1e-9, ...values), every = labelStep(values.map((_, j) => label(j)), w - 40);
  values.forEach((v, j) => {
    if (v / most > 0.004) svg.append(svgOf("line", { class: "ray", x1: x(n - 1), y1: top, x2: x(j), y2: bottom, "stroke-width": (8 * v).toFixed(2), "stroke-opacity": (0.15 + 0.85 * (v / most)).toFixed(3) }, svgOf("title", {}, `${label(j)}: ${v.toPrecision(4)}`)));
    if (j === n - 1 || (j % every === 0 && n - 1 - j >= every)) svg.append(svgOf("text", { x: x(j), y: bottom + 18, "text-anchor": "middle" }, label(j)));
  });
  svg.append(svgOf("text", { x: x(n - 1), y: top - 8, "text-anchor": "end" }, shown(data.tokens[chosen].text)));
  return svg;
}

function bigMap(head) {
  const size = 420, left = 30, svg = svgOf("svg", { viewBox: `0 0 960 ${size + 40}` }), y = chosenHeight() * size;
  svg.append(svgOf("image", { href: head.image.toDataURL(), x: left, y: 4, width: size, height: size, style: "image-rendering:pixelated", preserveAspectRatio: "none" }), svgOf("rect", { class: "axis", x: left, y: 4, width: size, height: size, fill: "none" }), svgOf("line", { class: "baseline", x1: left, x2: left + size, y1: 4 + y, y2: 4 + y }));
  svg.append(svgOf("text", { x: left, y: size + 22 }, "tokens looked at, the first at the left"), svgOf("text", { x: left + size + 12, y: 4 + y }, tokenName(chosen)));
  return svg;
}

function drawHeads() {
  if (heads.length === 0) return;
  document.querySelectorAll(".head").forEach((button) => {
    button.setAttribute("aria-pressed", +button.dataset.head === chosenHead);
    button.querySelector(".line").style.top = `${chosenHeight() * 100}%`;
  });
  const head = heads[chosenHead], values = head.row(chosen), labels = values.map((_, j) => label(j)), where = `${nameOf(head)} (${head.kind})`;
  const what = head.kind === "Mamba" ? "implied attention" : head.kind !== "shift" ? "attention" : head.a === null ? "the two tokens that are mixed, drawn with equal weights, since the true ones depend on the text or are matrices:" : "share of the two tokens that are mixed, |a| and |b|:";
  $("head-title").textContent = `The chosen head: ${where}`;
  picture("row", `${what} ${head.kind === "shift" ? "seen from" : "of"} ${tokenName(chosen)} in ${where}`, bars(values, labels), { layer: head.layer, head: head.head, token: chosen, tokens_per_column: width, values });
  $("most").replaceChildren(table(["it looks most at", "weight"], values.map((v, j) => [v, j]).sort((p, q) => q[0] - p[0] || q[1] - p[1]).slice(0, 5).map(([v, j]) => [width === 1 ? tokenName(j) : `tokens ${label(j)}`, v.toPrecision(4)])));
  picture("rays", `the same as rays from ${tokenName(chosen)}: the thicker a ray, the larger the weight`, rays(values), { layer: head.layer, head: head.head, token: chosen, values });
  picture("map", `the whole map of ${where}: the darker, the larger the weight`, bigMap(head), { layer: head.layer, head: head.head, rows: [...Array(T).keys()].map(head.row) });
  $("distance").hidden = head.kind === "shift";
  if (head.kind !== "shift") picture("distance", `${what} by distance, in tokens: mean over the text; the lines are those of uniform attention`, bars(head.by_distance, ranges(head.by_distance.length), { baseline: head.by_distance_uniform, height: 150 }), { layer: head.layer, head: head.head, by_distance: head.by_distance, uniform: head.by_distance_uniform });
  $("memory").hidden = head.kind !== "Mamba";
  if (head.kind === "Mamba") drawMemory(head, where, labels);
}

function drawMemory(head, where, labels) {
  const left = head.leftRow(chosen), groups = head.step[0].map((_, g) => g), names = groups.map((g) => `group ${g + 1}` + (g === 0 ? ", slowest" : g === groups.length - 1 ? ", quickest" : ""));
  picture("left", `how much of each token is left in the state at ${tokenName(chosen)}, ${where}`, bars(left, labels, { height: 150 }), { layer: head.layer, head: head.head, token: chosen, left });
  picture("fading", `part that is left after a number of tokens, mean over the text` + (head.half_life === null ? "" : `: less than half from ${head.half_life} on`), bars(head.left_by_lag, head.left_by_lag.map((_, d) => String(d)), { marked: head.half_life ?? -1, height: 130 }), { left_by_lag: head.left_by_lag, half_life: head.half_life });
  for (const [id, key, what] of [["steps", "step", "step Δ of each token"], ["kept", "kept", "part of the state that is kept as a token arrives"]]) {
    const most = Math.max(1e-12, ...head[key].flat()), svg = svgOf("svg", { viewBox: `0 0 960 ${22 * groups.length + 26}` });
    groups.forEach((g) => {
      svg.append(svgOf("text", { x: 0, y: 22 * g + 15 }, names[g]));
      head[key].forEach((row, t) => svg.append(svgOf("rect", { class: t === chosen ? "marked" : "bar", "fill-opacity": (0.06 + 0.94 * (row[g] / most)).toFixed(3), x: 130 + (t / T) * 830, y: 22 * g, width: Math.max(0.5, 830 / T - 0.5), height: 20 }, svgOf("title", {}, `${tokenName(t)}, ${names[g]}: ${row[g].toPrecision(4)}`))));
    });
    svg.append(svgOf("text", { x: 130, y: 22 * groups.length + 18 }, `the darker, the larger, up to ${most.toPrecision(3)}`));
    picture(id, `${what}, by group of channels, ${where}`, svg, { [key]: head[key] });
  }
  $("selection").replaceChildren(table(["channels", `step Δ at token ${chosen}`, "state kept there"], groups.map((g) => [names[g], +head.step[chosen][g].toFixed(4), +head.kept[chosen][g].toFixed(4)])),
    html("p", { id: "first-left", textContent: `Of the first token, ${(100 * left[0]).toPrecision(4)} % is left in the state here.` }), html("p", { className: "note", textContent: `Size of the whole row before it is made to sum to 1: ${head.strength[chosen].toPrecision(4)}.` }));
}

function makeShift() {
  if (data.shift.length === 0) { $("shift-section").remove(); return; }
  $("shift").replaceChildren(table(["layer", "head", "form", "looks back by", "a (itself)", "b (the earlier one)"], data.shift.map((h) => [String(h.layer), h.head, h.variant, h.shift, fixed(h.a, 4), fixed(h.b, 4)])));
  const p = data.paths, values = p.weights.length ? p.weights : p.paths;
  if (p.layers.length) picture("lags", `${p.weights.length ? "weight of" : "paths to"} a token by how far back it is, mean over the channels; the stack reaches ${p.receptive_field} tokens`, bars(values, values.map((_, lag) => String(lag)), { height: 150 }), p);
  if (data.shift_paths.length === 0) { $("paths-part").remove(); return; }
  $("path-head").append(...data.shift_paths.map((h) => html("option", { textContent: h.head })));
  $("path-lag").max = T - 1;
  const jump = data.shift_paths[0].paths.find((path) => path.lag > 0);
  if (jump) $("path-lag").value = jump.lag;
  for (const id of ["path-head", "path-lag"]) $(id).addEventListener("input", drawPaths);
}

function drawPaths() {
  if (data.shift_paths.length === 0) return;
  const head = data.shift_paths[$("path-head").selectedIndex], lag = Math.max(0, Math.min(chosen, Math.round(+$("path-lag").value) || 0)), from = chosen - lag;
  const found = head.paths.filter((path) => path.lag === lag).sort((p, q) => Math.abs(q.weight ?? 0) - Math.abs(p.weight ?? 0)), layers = data.paths.layers;
  const shiftOf = (layer) => data.shift.find((h) => h.layer === layer && h.head === head.head).shift;
  const w = 960, rowHeight = 34, x = (t) => 120 + (lag ? (t / lag) * (w - 180) : (w - 180) / 2), y = (l) => 16 + (layers.length - l) * rowHeight, most = Math.max(1e-300, ...found.map((p) => Math.abs(p.weight ?? 1)));
  const svg = svgOf("svg", { viewBox: `0 0 ${w} ${y(0) + 30}` });
  layers.forEach((layer, l) => svg.append(svgOf("text", { x: 0, y: y(l + 0.5) + 4 }, `layer ${layer}, shift ${shiftOf(layer)}`)));
  for (let t = 0; t <= lag; ++t) { if (lag <= 64) for (let l = 0; l <= layers.length; ++l) svg.append(svgOf("circle", { class: "dot", cx: x(t), cy: y(l), r: 1.5 })); if (t % Math.max(1, Math.ceil((lag + 1) / 32)) === 0 || t === lag) svg.append(svgOf("text", { x: x(t), y: y(0) + 20, "text-anchor": "middle" }, shown(data.tokens[from + t].text))); }
  found.slice(0, 64).forEach((path) => {
    let at = 0, d = `M${x(0).toFixed(1)} ${y(0)}`;
    layers.forEach((layer, l) => { if (path.jumps.includes(layer)) at += shiftOf(layer); d += `L${x(at).toFixed(1)} ${y(l + 1)}`; });
    const share = Math.abs(path.weight ?? 1) / most;
    svg.append(svgOf("path", { class: "path", d, "stroke-width": (0.8 + 3.2 * share).toFixed(2), "stroke-opacity": (0.2 + 0.8 * share).toFixed(3) }, svgOf("title", {}, path.weight === null ? "its weight depends on more than a and b" : `weight ${path.weight.toPrecision(4)}`)));
  });
  const total = found.reduce((sum, path) => sum + (path.weight ?? 0), 0);
  picture("paths", found.length === 0 ? `no path of head ${head.head} leads ${lag} tokens back` : `${found.length} ${found.length === 1 ? "path" : "paths"} from ${tokenName(from)} to ${tokenName(chosen)}, ${lag} back, head ${head.head}` + (found[0].weight === null ? "" : `; weight in all ${total.toPrecision(4)}`), svg, { head: head.head, lag, paths: found });
  $("paths-table").replaceChildren(table(["jumps in", "weight"], found.slice(0, 16).map((path) => [path.jumps.length ? path.jumps.map((l) => `layer ${l} (${shiftOf(l)})`).join(", ") : "no layer", path.weight === null ? "–" : +path.weight.toPrecision(4)])));
  if (found.length > 16) $("paths-table").append(html("p", { className: "note", textContent: `and ${found.length - 16} with less weight` }));
  if (!head.complete) $("paths-table").append(html("p", { className: "note", textContent: "There are more paths, with more jumps; they are not listed." }));
}

function makeMamba() {
  if (data.mamba.length === 0) { $("mamba-section").remove(); return; }
  $("mamba").replaceChildren(table(["layer", "head", "shortest, median", "longest, median", "longest of all", "half is gone on this text after"], data.mamba.map((h) => [String(h.layer), h.head, fixed(h.shortest, 2), fixed(h.longest, 1), fixed(h.most, 1), h.half_life === null ? "–" : h.half_life])));
}

const sourceName = (s) => (s === 0 ? "embedding" : `after layer ${s - 1}`);
function drawDepth() {
  if (data.depth.length === 0) return;
  picture("depth", `attention of ${tokenName(chosen)} on each hidden state; effective depth ${data.effective_depth[chosen].toFixed(3)}`, bars(data.depth[chosen], data.sources.map(sourceName), { height: 150 }), { token: chosen, sources: data.sources, depth: data.depth[chosen] });
  picture("effective", "effective depth over the text, in layers", bars(data.effective_depth, data.tokens.map((t) => shown(t.text)), { marked: chosen, height: 130 }), { effective_depth: data.effective_depth });
  const mean = data.sources.map((_, m) => data.depth.reduce((sum, row) => sum + row[m], 0) / T);
  $("depth-table").replaceChildren(table(["hidden state", "this token", "mean over the text"], data.sources.map((s, m) => [sourceName(s), fixed(data.depth[chosen][m], 4), fixed(mean[m], 4)])));
}

function choose(i) { chosen = Math.max(0, Math.min(T - 1, i)); drawText(); drawToken(); drawLens(); drawHeads(); drawPaths(); drawDepth(); }

makeText();
makeShort();
makeHeads();
makeShift();
makeMamba();
if (data.depth.length === 0) $("depth-section").remove();
choose(chosen);
$("text").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -20, ArrowDown: 20, Home: -T, End: T }[event.key];
  if (step) { choose(chosen + step); event.preventDefault(); }
});
$("json").href = URL.createObjectURL(new Blob([$("data").textContent], { type: "application/json" }));
