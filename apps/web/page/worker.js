// The worker: starts the WebAssembly module, hands it the requests of the page, and trains in slices of time, so that a
// request to stop is heard between two of them. The module needs only a few calls of the system, which stand here.
"use strict";

let engine = null; // the exports of the module
let training = null; // the id of the request that trains

const now = () => performance.timeOrigin + performance.now();
const bytesAt = (at, size) => new Uint8Array(engine.memory.buffer, at, size);
const view = () => new DataView(engine.memory.buffer);
const decoder = new TextDecoder();

// What WASI calls must answer (the numbers of errors are WASI's): there are no files here, and what is written to
// stdout or stderr goes to the console.
const kBadFile = 8, kNoSuchCall = 52;
const system = {
  proc_exit: (code) => { throw new Error(`the engine ended with code ${code}`); },
  fd_write: (file, vectors, count, written) => {
    if (file !== 1 && file !== 2) return kBadFile;
    let total = 0, text = "";
    for (let i = 0; i < count; ++i) {
      const at = view().getUint32(vectors + 8 * i, true), size = view().getUint32(vectors + 8 * i + 4, true);
      text += decoder.decode(bytesAt(at, size));
      total += size;
    }
    if (text.trim() !== "") console.warn(text);
    view().setUint32(written, total, true);
    return 0;
  },
  clock_time_get: (clock, precision, to) => {
    view().setBigUint64(to, BigInt(Math.round(now() * 1e6)), true); // nanoseconds
    return 0;
  },
  clock_res_get: (clock, to) => { view().setBigUint64(to, 1000n, true); return 0; },
  environ_sizes_get: (count, size) => { view().setUint32(count, 0, true); view().setUint32(size, 0, true); return 0; },
  environ_get: () => 0,
  random_get: (at, size) => { crypto.getRandomValues(bytesAt(at, size)); return 0; },
};

// Everything else that the C library imports, such as calls for files, answers that there is no such call.
function importsOf(module) {
  const imports = {};
  for (const { module: from, name, kind } of WebAssembly.Module.imports(module)) {
    if (kind !== "function") throw new Error(`the engine imports ${from}.${name}, which is no function`);
    imports[from] ??= {};
    imports[from][name] = from === "wasi_snapshot_preview1" ? (system[name] ?? (() => kNoSuchCall)) : name === "emscripten_notify_memory_growth" ? () => {} : () => -kNoSuchCall;
  }
  return imports;
}

async function unpacked(bytes) {
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

async function start(packed) {
  const module = await WebAssembly.compile(await unpacked(packed));
  engine = (await WebAssembly.instantiate(module, importsOf(module))).exports;
  engine._initialize();
}

// The answer of the engine to a request; an answer with an error is thrown.
function ask(request) {
  const text = new TextEncoder().encode(JSON.stringify(request));
  const at = engine.mixgrad_request(text.length);
  if (at === 0) throw Object.assign(new Error("memory: a page has at most 2 GiB; they are used up; take a smaller text"), { told: true, model: true });
  bytesAt(at, text.length).set(text);
  engine.mixgrad_answer();
  const answer = JSON.parse(decoder.decode(bytesAt(engine.mixgrad_answer_begin(), engine.mixgrad_answer_size()).slice()));
  if (answer.error !== undefined) throw Object.assign(new Error(answer.error), { told: true, model: answer.model ?? true });
  return answer;
}

const nextTurn = () => new Promise((done) => setTimeout(done, 0));

// Trains until the run ends or another request stops it. Every slice sends the losses of its steps.
async function train(id, request) {
  training = id;
  for (;;) {
    const answer = ask({ do: "train", milliseconds: request.milliseconds });
    const last = answer.finished || answer.halted !== undefined || training !== id;
    postMessage({ id, part: answer });
    if (last) { training = training === id ? null : training; return { step: answer.step, finished: answer.finished, halted: answer.halted }; }
    await nextTurn();
    if (training !== id) return { step: answer.step, finished: false };
  }
}

async function answerTo(id, request) {
  if (request.do === "start") { await start(request.module); return ask({ do: "describe" }); }
  if (request.do === "unpack") return { text: decoder.decode(await unpacked(request.bytes)) };
  if (request.do === "stop") { training = null; return {}; }
  if (request.do === "train") return train(id, request);
  return ask(request);
}

onmessage = async ({ data: { id, request } }) => {
  try {
    postMessage({ id, answer: await answerTo(id, request) });
  } catch (error) {
    training = null;
    // An error that the engine did not tell leaves it in a state that nobody knows: the page starts another worker.
    postMessage({ id, error: error.told ? error.message : `the engine stopped: ${error.message ?? error}; it was started again, the model is gone`, broken: !error.told, model: error.model });
  }
};
