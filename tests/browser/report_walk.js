(() => {
  const say = (text) => { const p = document.createElement("p"); p.id = "walk-result"; p.textContent = text; document.body.append(p); };
  try {
    const must = (ok, what) => { if (!ok) throw new Error(what); };
    const $ = (id) => document.getElementById(id);
    const change = (e, value) => { if (e.type === "checkbox") e.checked = value; else e.value = value; e.dispatchEvent(new Event("input")); e.dispatchEvent(new Event("change")); };
    const paths = () => document.querySelectorAll("#figure path.curve");
    const data = JSON.parse($("data").textContent);
    must(paths().length === data.runs.length, "a curve for each run at the start");
    must($("metric").selectedIndex === 1, "validation loss at the start");
    for (let m = 0; m !== $("metric").options.length; ++m) {
      $("metric").selectedIndex = m;
      $("metric").dispatchEvent(new Event("input"));
      must(paths().length === data.runs.length, "a curve for each run of metric " + m);
      for (const axis of ["step", "tokens", "time"]) change($("axis"), axis);
      change($("axis"), "step");
    }
    $("metric").selectedIndex = 0;
    change($("log"), true);
    must(paths().length === data.runs.length, "a curve for each run, logarithmic");
    change($("log"), false);
    change($("smooth"), 0.9);
    change($("smooth"), 0);
    change($("cursor"), 1000);
    const shown = [...document.querySelectorAll("#values tr")].slice(1).map((tr) => [...tr.children].map((td) => td.textContent));
    must(shown.length === data.runs.length, "a row of values for each run");
    data.runs.forEach((run, r) => must(shown[r][2] === run.loss[run.loss.length - 1].toPrecision(6), "the last loss of " + run.name));
    const boxes = document.querySelectorAll("#legend input");
    change(boxes[0], false);
    must(paths().length === data.runs.length - 1, "one curve fewer after a run was switched off");
    change(boxes[0], true);
    for (const e of document.querySelectorAll("select, input, button, summary, a")) { e.focus(); must(document.activeElement === e, "the keyboard reaches " + (e.id || e.textContent)); }
    for (const e of document.querySelectorAll("input, select")) must(e.labels.length !== 0, "a label for " + e.id);
    const box = document.documentElement.getBoundingClientRect();
    must(document.documentElement.scrollWidth - document.documentElement.clientWidth === 0, "nothing is wider than the page");
    must(box.height !== 0, "the page has a height");
    say("passed");
  } catch (error) { say("failed: " + error.message); }
})();
