(() => {
  const say = (text) => { const p = document.createElement("p"); p.id = "walk-result"; p.textContent = text; document.body.append(p); };
  try {
    const must = (ok, what) => { if (!ok) throw new Error(what); };
    const $ = (id) => document.getElementById(id);
    const program = JSON.parse($("program").textContent), count = program.entries.length; // what --json prints
    must($("data").textContent === JSON.stringify(program).replaceAll("<", "\\u003c") || JSON.stringify(JSON.parse($("data").textContent)) === JSON.stringify(program), "the numbers are the program's");
    must($("what").textContent.includes(`loss ${program.loss.toFixed(4)} nats`), "the loss");
    const press = (key) => $("tape").dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
    const positions = document.querySelectorAll(".position");
    must(positions.length === 2 * count, "each operator forwards and backwards");
    const numbers = (p) => `${p.low} to ${p.high}, mean ${p.mean}, rms ${p.size}`;
    press("Home");
    for (let at = 0; at !== 2 * count; ++at) {
      const forwards = at < count, entry = program.entries[forwards ? at : 2 * count - 1 - at], shown = $("operator").textContent;
      must($("position").textContent.startsWith(`Position ${at + 1} of ${2 * count}: ${forwards ? "forwards" : "backwards"}`), "position " + at);
      must(shown.includes(entry.op) && $("formula").textContent === (forwards ? entry.formula : entry.derivative), "operator and formula at position " + at);
      for (const input of entry.inputs) must(input.parameter === "" || shown.includes(input.parameter), "the parameter " + input.parameter);
      const drawn = forwards ? entry.outputs : entry.inputs.map((input) => input.gradient).filter((p) => p !== null);
      for (const p of drawn) must(shown.includes(`[${p.shape.join(",")}]`) && shown.includes(numbers(p)), "shape and values at position " + at);
      must($("operator").querySelectorAll("svg image").length === drawn.length, "a picture of each at position " + at);
      press("ArrowRight");
    }
    must($("position").textContent.startsWith(`Position ${2 * count} of`), "the walk ends at the last position");
    press("ArrowLeft");
    must($("position").textContent.startsWith(`Position ${2 * count - 1} of`), "and turns back");
    $("first").click(); $("next").click(); $("next").click(); $("previous").click();
    must($("position").textContent.startsWith("Position 2 of"), "the buttons move, too");
    $("loss").click();
    must($("position").textContent.includes("it gives the loss"), "to the loss");
    $("last").click();
    positions[0].click();
    must($("position").textContent.startsWith("Position 1 of"), "a click chooses");
    const parameters = $("parameters").textContent;
    for (const p of program.parameters) must(parameters.includes(p.name) && parameters.includes(numbers(p.value)) && parameters.includes(numbers(p.gradient)), "value and gradient of " + p.name);
    must(program.check !== null && program.check.pass, "the check passed");
    must($("check-result").textContent.includes(`Passed: the largest error is ${program.check.worst}`), "its error");
    must(document.querySelectorAll("#check tr").length === program.check.rows.length + 1, "a row for each direction");
    for (const figure of document.querySelectorAll("figure")) must(figure.querySelector("button.save") && figure.querySelector("button.numbers"), "a picture is saved: " + figure.id);
    for (const e of document.querySelectorAll("button, a, #tape")) { e.focus(); must(document.activeElement === e, "the keyboard reaches " + (e.id || e.textContent)); }
    must(document.documentElement.scrollWidth - document.documentElement.clientWidth === 0, "nothing is wider than the page");
    say("passed");
  } catch (error) { say("failed: " + error.message); }
})();
