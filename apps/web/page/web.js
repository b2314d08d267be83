// The page: asks the worker, which has the library, and shows what it answers. picture.js and curves.js stand before
// this file.

// --- the engine -------------------------------------------------------------------------------------------------

// Requests are numbered; each has one answer, and training sends parts before it.
const engine = {
  worker: null, waiting: new Map(), count: 0,
  ask(request, onPart = () => {}, transfer = []) {
    return new Promise((resolve, reject) => {
      const id = ++this.count;
      this.waiting.set(id, { resolve, reject, onPart });
      this.worker.postMessage({ id, request }, transfer);
    });
  },
  take({ id, part, answer, error, broken, model }) {
    const asked = this.waiting.get(id);
    if (!asked) return;
    if (part) return asked.onPart(part);
    this.waiting.delete(id);
    if (error === undefined) return asked.resolve(answer);
    asked.reject(new Error(error));
    if (broken) this.restart();
    else if (!model && run.facts) forget(); // its memory was needed
  },
  // What waits for the worker that ends is told so.
  restart() {
    this.worker.terminate();
    for (const { reject } of this.waiting.values()) reject(new Error("the engine stopped and was started again; the model is gone"));
    this.waiting.clear();
    begin();
  },
};
const bytesOf = (id) => Uint8Array.from(atob($(id).textContent), (c) => c.charCodeAt(0));

const run = { facts: null, losses: [], valid: [], training: false, step: 0, steps: 0, tokens: 0, seconds: 0, finished: false, html: "", token: 0, version: "" };
const problems = ["text", "model", "training", "sample", "check", "inside"];
function problem(where, text = "") { $(`${where}-problem`).textContent = text; }

// What may be pressed now.
function refresh() {
  const ready = run.text !== undefined, made = run.facts !== null, busy = run.training || run.busy;
  $("train").disabled = !ready || run.busy;
  $("stop").disabled = !run.training;
  $("continue").disabled = !made || busy || run.finished;
  for (const id of ["one", "whole", "explore", "step"]) $(id).disabled = !made || busy || (id === "one" && run.finished);
  $("write").disabled = !made || run.busy;
  $("check").disabled = !run.version || run.busy;
}

// Runs one action of a button: its error stands in the section of the button.
async function act(where, action) {
  for (const name of problems) problem(name);
  for (const e of document.querySelectorAll("[aria-invalid]")) e.removeAttribute("aria-invalid");
  run.busy = true;
  refresh();
  try {
    await action();
  } catch (error) {
    problem(where, error.message);
    const wrong = where === "model" && $(`option-${(/^--([a-z0-9-]+)/.exec(error.message) ?? [])[1]}`);
    if (wrong) { // an error that begins with an option is about that field
      if (wrong.closest("details")) $("more").open = true;
      wrong.setAttribute("aria-invalid", "true");
      wrong.focus();
    }
  } finally {
    run.busy = false;
    refresh();
  }
}

// --- the text ---------------------------------------------------------------------------------------------------

let shippedText = "";

async function openText(text, source) {
  await stop();
  const facts = await engine.ask({ do: "text", text, source, tokenizer: $("tokenizer").value });
  run.text = { text, source };
  forget();
  const named = facts.characters.slice(0, 200).map(shown).join(" ");
  $("text-facts").textContent = `${source}: ${facts.tokens.toLocaleString("en")} tokens, ${facts.vocabulary} different: ${named}${facts.characters.length > 200 ? " …" : ""}. The first ${facts.train.toLocaleString("en")} are for training, ${facts.valid.toLocaleString("en")} for validation.`;
}
// The text that is chosen now.
const chosenText = () => ($("text-choice").value === "shipped" ? openText(shippedText, "tiny Shakespeare") : openText($("own-text").value, "your text"));

// --- the model --------------------------------------------------------------------------------------------------

let form = null; // presets, options and mixers, as the engine has them
const kShown = ["mixer", "positions", "layers", "d-model", "heads", "context", "batch", "steps", "lr", "optimizer", "seed"];
const titles = { mixer: "Pattern of mixers", positions: "Positions", layers: "Layers", "d-model": "Width", heads: "Heads", context: "Context", batch: "Batch", steps: "Steps", lr: "Learning rate", optimizer: "Optimizer", seed: "Seed" };
const words = (option) => (/^[a-z0-9_]+(\|[a-z0-9_]+)+$/.test(option.value) ? option.value.split("|") : null);
const startOf = (name) => form.preset.values[name] ?? form.options.find((o) => o.name === name).default;

function field(option, title) {
  const choices = words(option);
  const input = choices ? html("select", {}, ...choices.map((w) => html("option", { textContent: w }))) : html("input", { type: "text", size: option.value === "PATTERN" ? 28 : 7, autocomplete: "off" });
  input.id = `option-${option.name}`;
  input.title = `--${option.name}: ${option.help}`;
  const about = title === undefined ? [html("span", { className: "note", textContent: option.help })] : [];
  return html("label", {}, `${title ?? `--${option.name}`} `, input, ...about);
}
function makeForm(described) {
  form = { ...described, preset: described.presets[0] };
  const titleOf = (text) => text.charAt(0).toUpperCase() + text.slice(1);
  $("preset").replaceChildren(...form.presets.map((p) => html("option", { value: p.name, textContent: p.name })));
  $("mixer-first").replaceChildren(html("option", { value: "", textContent: "as the preset" }), ...form.mixers.map((m) => html("option", { textContent: m })));
  $("mixer-second").replaceChildren(html("option", { value: "", textContent: "nothing" }), ...form.mixers.map((m) => html("option", { textContent: m })));
  $("fields").replaceChildren(...kShown.map((name) => field(form.options.find((o) => o.name === name), titles[name])));
  $("more-fields").replaceChildren(...form.options.filter((o) => !kShown.includes(o.name) && o.name !== "tokenizer").map((o) => field(o)));
  $("operator").replaceChildren(...form.operators.map((o) => html("option", { textContent: o.name })));
  $("preset").value = "char-hsm";
  takePreset();
  showFormula();
}
const options = () => form.options.filter((o) => o.name !== "tokenizer");
function takePreset() {
  form.preset = form.presets.find((p) => p.name === $("preset").value);
  $("preset-help").textContent = `${form.preset.name}: ${form.preset.help}.`;
  $("mixer-first").value = $("mixer-second").value = "";
  for (const option of options()) $(`option-${option.name}`).value = startOf(option.name);
}
// The pattern that the two lists of mixers say; softmax heads need positions, the other mixers know the order by themselves.
function takeMixers() {
  const first = $("mixer-first").value, second = $("mixer-second").value;
  const pattern = [first === "" ? startOf("mixer") : first, second].filter((m) => m !== "").join(",");
  $("option-mixer").value = pattern;
  $("option-positions").value = pattern === startOf("mixer") ? startOf("positions") : /attention|recurformer|mixed/.test(pattern) ? "rope" : "none";
}
// What differs from the preset; the engine refuses what has no effect.
const changed = () => Object.fromEntries(options().map((o) => [o.name, $(`option-${o.name}`).value.trim()]).filter(([name, value]) => value !== startOf(name)));

function forget() {
  Object.assign(run, { facts: null, losses: [], valid: [], step: 0, steps: 0, tokens: 0, seconds: 0, finished: false, html: "" });
  $("model-facts").replaceChildren();
  $("state").textContent = "No model yet.";
  $("progress").value = 0;
  $("sample").textContent = "";
  $("update-section").hidden = true;
  $("inside").replaceChildren();
  $("inside-buttons").hidden = true;
  $("inside-state").textContent = "";
  drawCurves();
}

async function makeModel() {
  await stop();
  const facts = await engine.ask({ do: "model", preset: form.preset.name, values: changed() });
  forget();
  Object.assign(run, { facts, steps: facts.steps });
  $("model-facts").replaceChildren(
    html("p", { textContent: `${facts.parameters.toLocaleString("en")} parameters, ${facts.tokens_per_step} tokens a step. The same on a command line: ` }, html("code", { textContent: facts.command })),
    html("details", {}, html("summary", { textContent: "Its layers" }), html("div", { className: "scroll" }, table(["part", "parameters", "operations a token"], facts.layers.map((l) => [l.what, l.parameters, Math.round(l.operations)])))));
}

// --- training ---------------------------------------------------------------------------------------------------

const kValidTokens = 4096; // of the evaluations while it trains

function showState(word) {
  const speed = run.seconds > 0 ? `${Math.round(run.tokens / run.seconds).toLocaleString("en")} tokens a second` : "";
  const last = run.losses[run.losses.length - 1], valid = run.valid[run.valid.length - 1];
  $("progress").value = run.steps ? run.step / run.steps : 0;
  $("state").textContent = [`${word}: step ${run.step} of ${run.steps}`, last && `training loss ${last.y.toFixed(3)}`, valid && `validation loss ${valid.y.toFixed(4)} nats a token (step ${valid.x})`, speed].filter(Boolean).join(", ") + ".";
  $("state").dataset.speed = run.seconds > 0 ? run.tokens / run.seconds : 0;
}

// Losses of neighbouring steps as their mean, so that a chart has at most some 400 points.
function thinned(points) {
  const every = Math.ceil(points.length / 400), list = [];
  for (let i = 0; i < points.length; i += every) {
    const some = points.slice(i, i + every);
    list.push({ x: some[some.length - 1].x, y: some.reduce((sum, p) => sum + p.y, 0) / some.length });
  }
  return list;
}
function drawCurves() {
  if (run.losses.length === 0) { $("curves").replaceChildren(); delete pictures.curves; $("curves-legend").replaceChildren(); return; }
  const curves = [{ name: "training loss", style: 0, points: thinned(run.losses) }, { name: "validation loss", style: 1, points: run.valid }];
  const narrow = innerWidth < 600 ? { width: 400, height: 300 } : {}; // so that its text has the size of the page's
  const chart = curvesChart({ title: "loss, nats a token, over steps", axis: "steps", ...narrow }, curves);
  picture("curves", `loss in nats a token; a model that knows nothing has ${run.facts.uniform_loss.toFixed(2)}`, chart.svg, { steps: run.losses.map((p) => p.x), loss: run.losses.map((p) => p.y), valid: run.valid });
  $("curves-legend").replaceChildren(...curves.map((c) => html("span", { className: "swatch" }, curveKey(c.style), c.name + (c.style === 1 ? ` (of the first ${kValidTokens.toLocaleString("en")} tokens of the validation split)` : ""))));
}

async function look() { // an evaluation and a sample, between two slices of the training
  const at = run.facts;
  const valid = await engine.ask({ do: "evaluate", tokens: kValidTokens });
  if (run.facts !== at) return;
  run.valid.push({ x: valid.step, y: valid.loss });
  drawCurves();
  await write();
}
async function write() {
  const answer = await engine.ask({ do: "sample", prompt: $("prompt").value, tokens: $("sample-tokens").value, temperature: $("temperature").value, seed: $("sample-seed").value });
  $("sample").textContent = answer.prompt + answer.text;
}

async function train() {
  const every = Math.max(10, Math.round(run.steps / 25));
  const peek = () => look().catch((error) => problem("sample", error.message)); // a wrong prompt does not stop the training
  let looking = Promise.resolve(), next = run.valid.length === 0 ? Math.min(10, run.steps) : (Math.floor(run.step / every) + 1) * every;
  try {
    const end = await engine.ask({ do: "train", milliseconds: 150 }, (part) => {
      for (const s of part.steps) run.losses.push({ x: s.step, y: s.loss });
      run.step = part.step;
      run.seconds += part.seconds;
      run.tokens += part.steps.length * run.facts.tokens_per_step;
      showState("Training");
      drawCurves();
      if (run.step >= next) {
        next = (Math.floor(run.step / every) + 1) * every;
        looking = looking.then(peek);
      }
    });
    await looking;
    run.finished = end.finished;
    if (end.halted !== undefined) { run.finished = true; throw new Error(end.halted); }
    if (run.valid.length === 0 || run.valid[run.valid.length - 1].x !== run.step) await peek();
  } finally {
    run.training = false;
    if (run.facts) showState(run.finished ? "Done" : "Stopped");
    refresh();
  }
}
// Stops the training, if there is one, and waits until it has ended.
async function stop() {
  if (!run.training) return;
  $("state").textContent += " It stops after this step.";
  await engine.ask({ do: "stop" });
  await run.going;
}
// Training lasts, and its buttons stay usable: only its error is that of the button.
async function trainNow(first) {
  await act("model", async () => { await first(); });
  if ($("model-problem").textContent !== "") return;
  run.training = true;
  refresh();
  run.going = train().catch((error) => problem("training", error.message));
  await run.going;
}

// --- one update -------------------------------------------------------------------------------------------------

const small = (v) => (v === 0 ? "0" : Math.abs(v) < 1e-3 || Math.abs(v) >= 1e4 ? v.toExponential(2) : v.toPrecision(3));
let update = null, stage = 0;
const stages = [
  { name: "the batch", body: (u) => [html("p", { textContent: `${u.sequences} sequences of ${u.length} tokens are drawn from the training text. Each token is predicted from those before it. The first ${u.batch.length}:` }), ...u.batch.map((line) => html("pre", { textContent: line }))] },
  { name: "forward", body: (u) => [html("p", { textContent: `The model predicts all ${u.sequences * u.length} tokens at once. The loss, the mean of −ln p over them, is ${u.loss.toFixed(4)} nats: the right token has a probability of ${(100 * Math.exp(-u.loss)).toFixed(1)} % in the geometric mean.` })] },
  { name: "backward", body: (u) => [html("p", { textContent: `The chain rule gives the derivative of the loss by each of the ${run.facts.parameters.toLocaleString("en")} parameters. The norm of this gradient is ${small(u.gradient_norm)}. For each tensor the root of the mean square of its values and of its gradient:` }), html("div", { className: "scroll" }, table(["parameter", "shape", "values", "gradient"], u.parameters.map((p) => [p.name, p.shape, small(p.value), small(p.gradient)])))] },
  { name: "the update", body: (u) => [html("p", { textContent: `The optimizer (${$("option-optimizer").value}) changes every parameter, at a learning rate of ${small(u.lr)} in this step. The change of each tensor, as the root of its mean square, and relative to its values:` }), html("div", { className: "scroll" }, table(["parameter", "change", "relative"], u.parameters.map((p) => [p.name, small(p.change), p.value > 0 ? (100 * p.change / p.value).toFixed(2) + " %" : "–"])))] },
  { name: "the same batch again", body: (u) => [html("p", { textContent: `After the update the loss on the same batch is ${u.after.toFixed(4)} nats, before it was ${u.loss.toFixed(4)}: a change of ${(u.after - u.loss).toFixed(4)}. That was step ${u.step} of ${u.steps}; the run continues from here.` })] },
];
function showStage() {
  $("update-stage").textContent = `${stage + 1} of ${stages.length}: ${stages[stage].name}`;
  $("update-body").replaceChildren(...stages[stage].body(update));
  $("update-back").disabled = stage === 0;
  $("update-next").disabled = stage === stages.length - 1;
}
async function oneUpdate() {
  update = await engine.ask({ do: "update" });
  run.step = update.step;
  run.finished = update.step >= update.steps;
  run.losses.push({ x: update.step, y: update.loss });
  stage = 0;
  drawCurves();
  showState("Stopped");
  $("update-section").hidden = false;
  showStage();
  $("update-next").focus();
}
const move = (by) => { stage = Math.max(0, Math.min(stages.length - 1, stage + by)); showStage(); };

// --- gradient check ---------------------------------------------------------------------------------------------

function showFormula() {
  const o = form.operators.find((entry) => entry.name === $("operator").value);
  $("formula").replaceChildren(html("code", { textContent: o.formula }), " derivative: ", html("code", { textContent: o.derivative }));
}
async function check() {
  const name = $("operator").value;
  $("check-state").textContent = `Checking ${name} …`;
  $("check-rows").replaceChildren();
  let answer;
  try {
    answer = await engine.ask({ do: "gradcheck", op: name });
  } catch (error) {
    $("check-state").textContent = "";
    throw error;
  }
  $("check-state").textContent = `${name}: ${answer.rows.length} gradients, ${answer.failed === 0 ? "all passed" : `${answer.failed} failed`}; the largest error is ${answer.worst.toExponential(1)} of the largest gradient, ${answer.allowed.toExponential(0)} is allowed; ${answer.caught} spoilt gradients were caught; ${answer.seconds.toFixed(1)} s.`;
  $("check-rows").replaceChildren(table(["case", "input", "output", "error", "result"], answer.rows.map((r) => [r.case, String(r.input), r.output, r.error === null ? "–" : r.error.toExponential(1), r.pass ? (r.zero ? "passed: it is zero" : "passed") : r.detail])));
}

// --- inside the model -------------------------------------------------------------------------------------------

async function openInside(request, title) {
  $("inside-state").textContent = "Computing …";
  let answer;
  try {
    answer = await engine.ask({ ...request, text: $("inside-text").value });
  } catch (error) {
    $("inside-state").textContent = "";
    throw error;
  }
  run.html = answer.html;
  $("inside-state").textContent = `${title}, of the model after ${run.step} steps` + (answer.shown < answer.tokens ? `; the first ${answer.shown} of ${answer.tokens} tokens` : "") + ".";
  $("inside").replaceChildren(html("iframe", { srcdoc: answer.html, title }));
  $("inside-buttons").hidden = false;
}

// --- the start --------------------------------------------------------------------------------------------------

async function begin() {
  run.version = "";
  run.text = undefined;
  run.training = false;
  if (form) forget();
  refresh();
  engine.worker = new Worker(URL.createObjectURL(new Blob([$("worker").textContent], { type: "text/javascript" })));
  engine.worker.onmessage = ({ data }) => engine.take(data);
  engine.worker.onerror = (event) => { $("made").textContent = `The engine does not start: ${event.message || "this browser does not allow a worker here"}.`; };
  try {
    const module = bytesOf("module").buffer;
    const described = await engine.ask({ do: "start", module }, undefined, [module]);
    if (!form) makeForm(described);
    run.version = described.version;
    if (shippedText === "") shippedText = (await engine.ask({ do: "unpack", bytes: bytesOf("shipped") })).text;
    await chosenText();
    $("made").textContent = `${run.version} runs here, in a worker of this page.`;
  } catch (error) {
    $("made").textContent = `The engine does not start: ${error.message}. A browser with WebAssembly vectors and exceptions is required: Chromium 95, Firefox 113, Safari 16.4 or newer.`;
  }
  refresh();
}

const clicked = (id, action) => $(id).addEventListener("click", action);
$("preset").addEventListener("input", takePreset);
for (const id of ["mixer-first", "mixer-second"]) $(id).addEventListener("input", takeMixers);
$("text-choice").addEventListener("input", () => {
  $("own").hidden = $("text-choice").value === "shipped";
  if ($("text-choice").value === "shipped") act("text", chosenText); else $("own-text").focus();
});
$("tokenizer").addEventListener("input", () => { if ($("text-choice").value === "shipped" || $("own-text").value !== "") act("text", chosenText); });
clicked("own-use", () => act("text", chosenText));
$("own-file").addEventListener("change", () => act("text", async () => {
  const [file] = $("own-file").files;
  if (file === undefined) return;
  if (file.size > 50e6) throw new Error(`${file.name}: a text of at most 50 MB is required; it has ${(file.size / 1e6).toFixed(0)} MB; take a part of it`);
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
  } catch {
    throw new Error(`${file.name}: a text in UTF-8 is required; this file is none; save it as UTF-8 first`);
  }
  $("own-text").value = text;
  await chosenText();
}));
clicked("train", () => trainNow(makeModel));
clicked("continue", () => trainNow(async () => {}));
clicked("stop", () => act("training", stop));
clicked("one", () => act("training", oneUpdate));
clicked("whole", () => act("training", async () => {
  const answer = await engine.ask({ do: "evaluate" });
  showState(run.finished ? "Done" : "Stopped");
  $("state").textContent += ` On all ${answer.targets.toLocaleString("en")} tokens of the validation split the loss is ${answer.loss.toFixed(4)} nats a token, ${answer.bits_per_byte.toFixed(4)} bits a byte.`;
}));
clicked("write", () => act("sample", write));
clicked("update-back", () => move(-1));
clicked("update-next", () => move(1));
$("operator").addEventListener("input", showFormula);
clicked("check", () => act("check", check));
clicked("explore", () => act("inside", () => openInside({ do: "explore" }, "Where the model looks")));
clicked("step", () => act("inside", () => openInside({ do: "step", check: $("step-check").checked }, "One training step")));
clicked("inside-save", () => download(run.html, "text/html", "mixgrad-inside.html"));
clicked("inside-open", () => open(URL.createObjectURL(new Blob([run.html], { type: "text/html" }))));
matchMedia("(max-width: 599px)").addEventListener("change", drawCurves);
addEventListener("beforeprint", () => { for (const d of document.querySelectorAll("details")) d.open = true; });
begin();
