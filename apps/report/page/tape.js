// One training step to walk through. Positions 0 ... N-1 are the operators of the forward pass, N ... 2N-1 those of the backward pass.
const data = JSON.parse($("data").textContent), N = data.entries.length;
let position = 0;
const shapeText = (shape) => `[${shape.join(",")}]`;
const entryOf = (at) => (at < N ? at : 2 * N - 1 - at);

// A tensor as a picture with its numbers in words; `id` names its figure.
function tensor(id, title, p) {
  const figure = html("figure", { id, className: "tensor" });
  if (p === null) { figure.append(html("figcaption", { textContent: `${title}: no gradient arrives here` })); return [figure, () => {}]; }
  const draw = () => {
    const most = Math.max(1e-300, ...p.cells.map((v) => Math.abs(v ?? 0))), w = Math.max(60, Math.min(320, p.columns * 10)), h = Math.max(14, Math.min(200, p.rows * 10));
    const svg = svgOf("svg", { viewBox: `0 0 ${w} ${h}`, width: w, height: h });
    svg.append(svgOf("image", { href: image(p.rows, p.columns, (y, x) => { const v = (p.cells[y * p.columns + x] ?? 0) / most; return Math.sign(v) * Math.sqrt(Math.abs(v)); }).toDataURL(), width: w, height: h, preserveAspectRatio: "none", style: "image-rendering:pixelated" }));
    picture(id, `${title} ${shapeText(p.shape)}: ${p.low} to ${p.high}, mean ${p.mean}, rms ${p.size}`, svg, p);
  };
  return [figure, draw];
}
function put(parent, pairs) { parent.replaceChildren(...pairs.map(([figure]) => figure)); for (const [figure, draw] of pairs) { delete pictures[figure.id]; draw(); } }

function makeTape() {
  $("what").textContent = `One training step on ${data.tokens.length} tokens, “${data.tokens.map((t) => shown(t.text)).join("").slice(0, 80)}”: ${N} operators, ${data.parameters.length} parameters, loss ${data.loss.toFixed(4)} nats a token.`;
  $("tape").replaceChildren(...[...Array(2 * N).keys()].map((at) => {
    const e = data.entries[entryOf(at)], names = e.inputs.map((i) => i.parameter).filter((n) => n);
    const line = html("div", { id: `position-${at}`, className: "position", textContent: (at < N ? "→ " : "← ") + `${entryOf(at)} ${e.op}` + (names.length ? ` (${names.join(", ")})` : "") });
    line.setAttribute("role", "option");
    line.addEventListener("click", () => go(at));
    return line;
  }));
}

function drawOperator() {
  const forwards = position < N, number = entryOf(position), e = data.entries[number], parts = [];
  parts.push(html("h3", { textContent: `${number}: ${e.op}, ${forwards ? "forwards" : "backwards"}` }), html("pre", { id: "formula", textContent: forwards ? e.formula : e.derivative }));
  const rows = e.inputs.map((input, i) => [`input ${i}`, input.parameter || "the output of an earlier operator, or the tokens", input.gradient ? shapeText(input.gradient.shape) : "–"]);
  parts.push(html("div", { className: "scroll" }, table(["input", "what it is", "shape of its gradient"], rows)), html("p", { textContent: `Saves for backward: ${e.saves}; ${e.saved.map(shapeText).join(" ")}, ${e.saved_bytes} bytes.` }));
  const drawn = html("div", { className: "tensors" });
  parts.push(drawn);
  $("operator").replaceChildren(...parts);
  put(drawn, forwards ? e.outputs.map((p, k) => tensor(`output-${k}`, `output ${k}`, p))
    : e.inputs.map((input, i) => tensor(`gradient-${i}`, `gradient of input ${i}${input.parameter ? `, ${input.parameter}` : ""}`, input.gradient)));
}

function go(at) {
  position = Math.max(0, Math.min(2 * N - 1, at));
  document.querySelectorAll(".position").forEach((line, i) => { line.classList.toggle("chosen", i === position); line.setAttribute("aria-selected", i === position); });
  $("tape").setAttribute("aria-activedescendant", `position-${position}`);
  const line = $(`position-${position}`), box = $("tape");
  box.scrollTop = line.offsetTop - box.offsetTop - box.clientHeight / 2;
  $("position").textContent = `Position ${position + 1} of ${2 * N}: ${position < N ? "forwards" : "backwards"}, operator ${entryOf(position)}, ${data.entries[entryOf(position)].op}` + (position === N - 1 ? "; it gives the loss" : "");
  drawOperator();
}

function makeCheck() {
  if (data.check === null) { $("check-section").remove(); return; }
  $("check-result").textContent = data.check.pass ? `Passed: the largest error is ${data.check.worst}, relative to the gradient.` : `Failed: the largest error is ${data.check.worst}, relative to the gradient.`;
  $("check").replaceChildren(table(["direction", "error", "size of the derivative", "with an error of 0.1 %", "result"], data.check.rows.map((r) => [r.direction, r.error, r.largest, r.vacuous ? "–" : r.sabotage_caught ? "rejected" : "not noticed", r.vacuous ? "zero gradient" : r.pass ? "passed" : "failed"])));
}

makeTape();
const pairs = data.parameters.map((p, i) => [tensor(`value-${i}`, p.name, p.value), tensor(`of-${i}`, `its gradient`, p.gradient)]);
$("parameters").replaceChildren(...pairs.map(([[value], [gradient]]) => html("div", { className: "tensors" }, value, gradient)));
for (const pair of pairs) for (const [, draw] of pair) draw();
makeCheck();
go(0);
$("tape").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1, PageUp: -10, PageDown: 10, Home: -2 * N, End: 2 * N }[event.key];
  if (step) { go(position + step); event.preventDefault(); }
});
for (const [id, to] of [["first", () => 0], ["previous", () => position - 1], ["next", () => position + 1], ["loss", () => N - 1], ["last", () => 2 * N - 1]]) $(id).addEventListener("click", () => go(to()));
$("json").href = URL.createObjectURL(new Blob([$("data").textContent], { type: "application/json" }));
