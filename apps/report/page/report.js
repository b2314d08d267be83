// The curves of a report. Everything that is drawn comes from the JSON in #data; nothing is fetched.
const data = JSON.parse(document.getElementById("data").textContent);
const metrics = [
  { key: "loss", title: "training loss, nats a token", zero: false },
  { key: "val", title: "validation loss, nats a token", zero: false },
  { key: "lr", title: "learning rate", zero: true },
  { key: "grad", title: "norm of the gradient", zero: false },
  { key: "speed", title: "tokens a second", zero: true },
];
const visible = data.runs.map(() => true);

const xOf = (run, i, axis) =>
  axis === "step" ? run.steps[i] : axis === "tokens" ? run.steps[i] * run.tokens_per_step : run.time[i];

// The points of a run, smoothed as an exponential average without a bias at the start.
function points(run, metric, axis, smoothing) {
  const found = [];
  let average = 0, weight = 0;
  for (let i = 0; i < run.steps.length; ++i) {
    const y = run[metric][i];
    if (y === null) continue;
    average = smoothing * average + (1 - smoothing) * y;
    weight = smoothing * weight + (1 - smoothing);
    found.push({ x: xOf(run, i, axis), y: average / weight, step: run.steps[i] });
  }
  return found;
}

let state = null; // of the last drawing, for the cursor

function draw() {
  const metric = metrics[$("metric").selectedIndex], axis = $("axis").selectedOptions[0].text;
  const chart = curvesChart({ title: `${metric.title} over ${axis}`, axis, log: $("log").checked, zero: metric.zero, none: "No values of these runs" },
    data.runs.map((run, r) => ({ name: run.name, style: r, points: visible[r] ? points(run, metric.key, $("axis").value, +$("smooth").value) : [] })));
  $("figure").replaceChildren(chart.svg);
  state = chart.lists ? chart : null;
  if (state === null) return $("values").replaceChildren();
  chart.svg.append(chart.cursor);
  chart.svg.addEventListener("pointermove", (event) => {
    $("cursor").value = Math.round(1000 * chart.at(event));
    showValues();
  });
  showValues();
}

// The values of every run at the cursor: its last point at or before it.
function showValues() {
  if (state === null) return;
  const x = state.x0 + ($("cursor").value / 1000) * (state.x1 - state.x0);
  state.cursor.setAttribute("x1", state.sx(x));
  state.cursor.setAttribute("x2", state.sx(x));
  const rows = state.lists.map((list, r) => [r, list.filter((p) => p.x <= x + 1e-9).pop()]).filter(([, p]) => p !== undefined);
  $("values").replaceChildren(table(["run", "step", metrics[$("metric").selectedIndex].title], rows.map(([r, p]) => [data.runs[r].name, p.step, +p.y.toPrecision(6)])));
}

// A file with its colours in it, as it stands on the page.
function save() {
  const svg = $("figure").querySelector("svg").cloneNode(true), style = svgOf("style", {});
  const colours = [...Array(8).keys()].map((c) => { const line = document.querySelector(`.c${c}`); return line ? `.c${c}{stroke:${getComputedStyle(line).stroke}}` : ""; });
  const root = getComputedStyle(document.documentElement);
  style.textContent = `text{font:12px sans-serif;fill:${root.getPropertyValue("--text")}}.grid{stroke:${root.getPropertyValue("--line")}}.axis{stroke:${root.getPropertyValue("--faint")}}.curve{fill:none;stroke-width:1.8}` + colours.join("");
  svg.prepend(style);
  svg.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([new XMLSerializer().serializeToString(svg)], { type: "image/svg+xml" }));
  link.download = `${metrics[$("metric").selectedIndex].key}.svg`;
  link.click();
}

for (const metric of metrics) { const o = document.createElement("option"); o.textContent = metric.title; $("metric").append(o); }
if (data.runs.some((run) => run.val.some((v) => v !== null))) $("metric").selectedIndex = 1;
data.runs.forEach((run, r) => {
  const label = document.createElement("label"), box = document.createElement("input");
  box.type = "checkbox"; box.checked = true;
  box.addEventListener("change", () => { visible[r] = box.checked; draw(); });
  label.append(box, curveKey(r), run.name);
  $("legend").append(label);
});
for (const id of ["metric", "axis", "log", "smooth"]) $(id).addEventListener("input", draw);
$("cursor").addEventListener("input", showValues);
$("save").addEventListener("click", save);
// On paper everything is open.
addEventListener("beforeprint", () => { for (const d of document.querySelectorAll("details")) d.open = true; });
draw();
