(() => {
  const say = (text) => { const p = document.createElement("p"); p.id = "walk-result"; p.textContent = text; document.body.append(p); };
  try {
    const must = (ok, what) => { if (!ok) throw new Error(what); };
    const $ = (id) => document.getElementById(id);
    const data = JSON.parse($("data").textContent);
    const count = data.tokens.length;
    const tokens = () => document.querySelectorAll(".token");
    must(tokens().length === count, "every token stands on the page");
    const press = (key) => $("text").dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
    press("Home");
    must($("token").textContent.includes("Token 0 of"), "Home chooses the first token");
    press("ArrowRight");
    must($("token").textContent.includes("Token 1 of"), "the right arrow chooses the next");
    must($("token").textContent.includes(data.losses[0].toFixed(4)), "its loss");
    press("End");
    must($("token").textContent.includes("Token " + (count - 1) + " of"), "End chooses the last");
    tokens()[2].click();
    must($("token").textContent.includes("Token 2 of"), "a click chooses");
    must($("token").textContent.includes(String(+data.guesses[2][0].p.toFixed(4))), "the likeliest next token");
    must(document.querySelectorAll("#lens tr").length === data.lens.length + 1, "a row for each residual stream");
    if (data.softmax.length !== 0) {
      const heads = document.querySelectorAll(".head");
      must(heads.length === data.softmax.length, "a map for each softmax head");
      heads[heads.length - 1].click();
      must(heads[heads.length - 1].getAttribute("aria-pressed") === "true", "the chosen head");
      must(document.querySelectorAll("#row rect").length === 3, "a bar for each token that token 2 sees");
      must(heads[0].textContent.includes(data.softmax[0].recency.toFixed(3)), "the recency ratio");
    } else must($("softmax-section") === null, "no section without softmax heads");
    must(($("shift-section") === null) === (data.shift.length === 0), "the section of shift mixing");
    must(($("mamba-section") === null) === (data.mamba.length === 0), "the section of Mamba heads");
    must(($("depth-section") === null) === (data.depth.length === 0), "the section of the shortcut");
    if (data.shift.length !== 0) must(document.querySelectorAll("#shift tr").length === data.shift.length + 1, "a row for each shift head");
    for (const e of document.querySelectorAll("button, a, #text")) { e.focus(); must(document.activeElement === e, "the keyboard reaches " + (e.id || e.textContent)); }
    must(document.documentElement.scrollWidth - document.documentElement.clientWidth === 0, "nothing is wider than the page");
    say("passed");
  } catch (error) { say("failed: " + error.message); }
})();
