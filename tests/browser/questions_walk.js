// docs/reading_an_explorer.md: its ten questions, answered from what stands on the page, and beside each answer the one
// that follows from the program's own numbers (--json) by a formula of its own.
(() => {
  const say = (text) => { const p = document.createElement("p"); p.id = "walk-result"; p.textContent = text; document.body.append(p); };
  try {
    const $ = (id) => document.getElementById(id);
    const program = JSON.parse($("program").textContent);
    const T = program.tokens.length;
    const same = (question, shown, wanted) => { if (String(shown) !== String(wanted)) throw new Error(`question ${question}: the page says ${shown}, the program ${wanted}`); };
    const cells = (table, row) => [...$(table).querySelectorAll("tr")[row].children].map((c) => c.textContent);
    const press = (key) => $("text").dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
    const choose = (i) => document.querySelectorAll(".token")[i].click();
    const look = (kind) => [...document.querySelectorAll(".head")].find((b) => b.textContent.includes(kind)).click();
    const heads = [...program.softmax.map((h) => ({ ...h, kind: "softmax" })), ...program.mamba.map((h) => ({ ...h, kind: "Mamba" }))];
    for (const h of heads) { h.back = 0; for (let i = 0; i < T; ++i) for (let j = 0; j <= i; ++j) h.back += (h.weights[i * T + j] * (i - j)) / T; }
    const furthest = heads.reduce((p, q) => (q.back > p.back ? q : p)), nearest = heads.reduce((p, q) => (q.back < p.back ? q : p));
    // 1
    same(1, $("furthest").textContent, `Furthest back looks layer ${furthest.layer}, head ${furthest.head} (${furthest.kind}): ${furthest.back.toFixed(2)} tokens on average.`);
    // 2
    const rows = [...$("short").querySelectorAll("tr")].slice(1).map((tr) => [...tr.children].map((c) => c.textContent)).filter((r) => !r[1].startsWith("shift"));
    const least = rows.reduce((p, q) => (parseFloat(q[2]) < parseFloat(p[2]) ? q : p));
    same(2, least[0] + " " + least[2], `layer ${nearest.layer}, head ${nearest.head} ${nearest.back.toFixed(2)} tokens`);
    // 3
    press("End");
    look("softmax");
    const row = program.softmax[0].weights.slice((T - 1) * T), most = row.reduce((best, v, j) => (v >= row[best] ? j : best), 0);
    same(3, cells("most", 1)[0].split(" “")[0] + " " + cells("most", 1)[1], `token ${most} ${row[most].toPrecision(4)}`);
    // 4
    same(4, [...$("shift").querySelectorAll("tr")].slice(1).map((tr) => tr.children[0].textContent + ":" + tr.children[3].textContent).join(" "), program.shift.map((h) => `${h.layer}:${h.shift}`).join(" "));
    // 5
    const longest = {};
    for (const h of program.shift) if (program.paths.layers.includes(h.layer)) longest[h.layer] = Math.max(longest[h.layer] ?? 0, h.shift);
    const reach = 1 + Object.values(longest).reduce((p, q) => p + q, 0);
    same(5, $("reach").textContent, `The shift-mixing layers together reach ${reach} tokens.`);
    // 6
    $("path-lag").value = 3;
    $("path-lag").dispatchEvent(new Event("input"));
    const [first, second] = program.shift; // shifts 1 and 2: both jump
    same(6, cells("paths-table", 1).join(" "), `layer ${first.layer} (1), layer ${second.layer} (2) ${+(first.b * second.b).toPrecision(4)}`);
    // 7
    const mamba = program.mamba[0], left = (d) => { let sum = 0; for (let j = 0; j + d < T; ++j) sum += mamba.left[(j + d) * T + j]; return sum / (T - d); };
    let half = 1;
    while (half < T && left(half) >= 0.5) ++half;
    same(7, cells("mamba", 1)[5], half < T ? half : "–");
    // 8
    look("Mamba");
    same(8, $("first-left").textContent, `Of the first token, ${(100 * mamba.left[(T - 1) * T]).toPrecision(4)} % is left in the state here.`);
    // 9
    const depth = program.depth.map((r) => r.reduce((sum, mass, m) => sum + mass * program.sources[m], 0));
    same(9, /at depth ([\d.]*) on/.exec($("deep").textContent)[1] + " " + /effective depth ([\d.]*)$/.exec($("depth").querySelector("figcaption").textContent)[1], (depth.reduce((p, q) => p + q, 0) / T).toFixed(3) + " " + depth[T - 1].toFixed(3));
    // 10
    const worst = program.losses.reduce((best, v, i) => (v > program.losses[best] ? i : best), 0);
    const bars = [...document.querySelectorAll("#loss rect title")].map((t) => +/: ([\d.e-]*)$/.exec(t.textContent)[1]);
    choose(bars.indexOf(Math.max(...bars)) - 1);
    same(10, cells("token", 1).join(" "), `${program.guesses[worst][0].text.replace(" ", "␣").replace("\n", "↵")} ${+program.guesses[worst][0].p.toFixed(4)}`);
    say("passed");
  } catch (error) { say("failed: " + error.message); }
})();
