(() => {
  const say = (text) => { const p = document.createElement("p"); p.id = "walk-result"; p.textContent = text; document.body.append(p); };
  try {
    const must = (ok, what) => { if (!ok) throw new Error(what); };
    const $ = (id) => document.getElementById(id);
    const data = JSON.parse($("data").textContent);
    const program = JSON.parse($("program").textContent); // what --json prints
    const count = data.tokens.length;
    const tokens = () => document.querySelectorAll(".token");
    must(tokens().length === count, "every token stands on the page");
    must(JSON.stringify(data.losses) === JSON.stringify(program.losses), "the losses are the program's");
    const press = (key) => $("text").dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
    press("Home");
    must($("token").textContent.includes("Token 0 of"), "Home chooses the first token");
    press("ArrowRight");
    must($("token").textContent.includes("Token 1 of"), "the right arrow chooses the next");
    must($("token").textContent.includes(data.losses[0].toFixed(4)), "its loss");
    must($("text").getAttribute("aria-activedescendant") === "token-1", "the chosen token is told to a screen reader");
    press("End");
    must($("token").textContent.includes("Token " + (count - 1) + " of"), "End chooses the last");
    tokens()[2].click();
    must($("token").textContent.includes("Token 2 of"), "a click chooses");
    must($("token").textContent.includes(String(+data.guesses[2][0].p.toFixed(4))), "the likeliest next token");
    must(document.querySelectorAll("#lens tr").length === data.lens.length + 1, "a row for each residual stream");
    const heads = document.querySelectorAll(".head");
    must(heads.length === data.softmax.length + data.mamba.length + data.shift.length, "a map for each head of every kind");
    must(($("heads-section") === null) === (heads.length === 0), "the section of heads");
    const columns = data.tokens_per_column;
    const same = (shown, wanted, what) => must(shown === +wanted.toPrecision(4) || (data.bytes_per_weight === 2 && shown === 0 && wanted < 1e-6), what + ": " + shown + " on the page, " + wanted + " from the program");
    const kinds = { softmax: program.softmax, Mamba: program.mamba, shift: program.shift };
    for (const button of heads) {
      button.click();
      must(button.getAttribute("aria-pressed") === "true", "the chosen head");
      const [, layer, head, kind] = /layer (\d+), head (\d+): (softmax|Mamba|shift)/.exec(button.textContent);
      const wanted = kinds[kind].find((h) => h.layer === +layer && h.head === +head);
      must($("head-title").textContent.includes(`layer ${layer}, head ${head} (${kind})`), "its name");
      for (const token of [0, 2, count - 1]) {
        tokens()[token].click();
        const shown = [...document.querySelectorAll("#row rect title")].map((t) => +/: ([^:]*)$/.exec(t.textContent)[1]);
        must(shown.length === Math.floor(token / columns) + 1, "a bar for each token that the chosen one sees");
        if (kind === "shift") {
          must($("row").querySelector("figcaption").textContent.includes("drawn with equal weights") === (wanted.a === null), "whether the weights are known");
          continue;
        }
        shown.forEach((value, c) => {
          let sum = 0;
          for (let j = c * columns; j < Math.min((c + 1) * columns, token + 1); ++j) sum += wanted.weights[token * count + j];
          same(value, sum, `weight of ${button.textContent}, token ${token}, column ${c}`);
        });
        if (kind === "Mamba") {
          const left = [...document.querySelectorAll("#left rect title")].map((t) => +/: ([^:]*)$/.exec(t.textContent)[1]);
          if (columns === 1) left.forEach((value, j) => same(value, wanted.left[token * count + j], "what is left in the state"));
          must($("selection").textContent.includes(String(+wanted.step[token][0].toFixed(4))), "the step of the slowest channels");
          must($("selection").textContent.includes(String(+wanted.kept[token][0].toFixed(4))), "what they keep");
        }
      }
      // The picture of the map: no column is left out, whether or not neighbours share it.
      const map = button.querySelector("canvas"), across = Math.floor((count - 1) / columns) + 1;
      must(map.width === across && map.height === across, "a point of the map for each column");
      const points = map.getContext("2d").getImageData(0, across - 1, across, 1).data;
      if (kind !== "shift") for (let c = 0; c < across; ++c) {
        let most = 0;
        for (let i = (across - 1) * columns; i < count; ++i) { let sum = 0; for (let j = c * columns; j < Math.min((c + 1) * columns, i + 1); ++j) sum += wanted.weights[i * count + j]; most = Math.max(most, sum); }
        must(Math.abs(points[4 * c] - (255 + Math.sqrt(Math.min(1, most)) * (5 - 255))) < 2, `the colour of column ${c} in the last row of ${button.textContent}`);
      }
      must($("memory").hidden === (kind !== "Mamba"), "the memory of Mamba heads alone");
      if (kind !== "shift") must(button.textContent.includes(wanted.recency.toFixed(3)) && button.textContent.includes(wanted.uniform.toFixed(3)), "the recency ratio beside its baseline");
      if (kind !== "shift") must(document.querySelectorAll("#distance rect").length === wanted.by_distance.length, "attention by distance");
    }
    must(($("shift-section") === null) === (data.shift.length === 0), "the section of shift mixing");
    must(($("mamba-section") === null) === (data.mamba.length === 0), "the section of Mamba heads");
    must(($("depth-section") === null) === (data.depth.length === 0), "the section of the shortcut");
    if (data.shift.length !== 0) must(document.querySelectorAll("#shift tr").length === data.shift.length + 1, "a row for each shift head");
    if (data.shift_paths.length !== 0) {
      press("End");
      for (const path of data.shift_paths[0].paths.slice(0, 8)) {
        $("path-lag").value = path.lag;
        $("path-lag").dispatchEvent(new Event("input"));
        const same = data.shift_paths[0].paths.filter((p) => p.lag === path.lag);
        must($("paths").textContent.includes(`${same.length} ${same.length === 1 ? "path" : "paths"} from`), "the number of paths of lag " + path.lag);
        if (path.weight !== null) must($("paths-table").textContent.includes(String(+path.weight.toPrecision(4))), "the weight of a path of lag " + path.lag);
      }
    }
    if (data.depth.length !== 0) {
      press("End");
      must($("depth").textContent.includes(data.effective_depth[count - 1].toFixed(3)), "the effective depth of the chosen token");
      must(document.querySelectorAll("#effective rect").length === count, "effective depth over the text");
    }
    for (const svg of document.querySelectorAll("figure svg")) {
      const boxes = [...svg.querySelectorAll('text[text-anchor="middle"]')].map((t) => t.getBoundingClientRect()).filter((r) => r.width > 0).sort((p, q) => p.top - q.top || p.left - q.left);
      boxes.forEach((r, i) => must(i === 0 || boxes[i - 1].top !== r.top || boxes[i - 1].right <= r.left + 0.5, "two labels overlap: " + svg.getAttribute("aria-label")));
    }
    const figures = [...document.querySelectorAll("figure")].filter((f) => f.textContent !== "");
    for (const figure of figures) {
      must(figure.querySelector("button.save") && figure.querySelector("button.numbers"), "a picture is saved as SVG and JSON: " + figure.id);
      must(figure.querySelector("svg").getAttribute("aria-label"), "a picture has a name: " + figure.id);
      must(new DOMParser().parseFromString(svgText(figure.querySelector("svg")), "image/svg+xml").querySelector("parsererror") === null, "what is saved is SVG: " + figure.id);
      JSON.parse(JSON.stringify(pictures[figure.id].numbers));
    }
    for (const e of document.querySelectorAll("button, a, select, input, #text")) { if (e.offsetParent === null && !e.classList.contains("skip")) continue; e.focus(); must(document.activeElement === e, "the keyboard reaches " + (e.id || e.textContent)); }
    for (const e of document.querySelectorAll("input, select")) must(e.labels.length !== 0, "a label for " + e.id);
    must(document.documentElement.scrollWidth - document.documentElement.clientWidth === 0, "nothing is wider than the page");
    say("passed");
  } catch (error) { say("failed: " + error.message); }
})();
