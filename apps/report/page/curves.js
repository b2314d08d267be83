// Charts of curves over one axis, for the report and for the page in the browser. picture.js stands before this file.
const dashes = ["", "7 3", "2 3", "9 3 2 3"];

function ticks(low, high, count) {
  if (!(high > low)) return [low];
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((f) => f * power >= raw) * power;
  const found = [];
  for (let t = Math.ceil(low / step) * step; t <= high + step * 1e-9; t += step) found.push(Math.abs(t) < step * 1e-9 ? 0 : t);
  return found;
}
function logTicks(low, high) {
  const found = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); ++e)
    for (const f of [1, 2, 5]) { const t = f * 10 ** e; if (t >= low * 0.999 && t <= high * 1.001) found.push(t); }
  return found.length > 1 ? found : [low, high];
}
function short(v) {
  if (v === 0) return "0";
  const size = Math.abs(v);
  if (size >= 1e9) return +(v / 1e9).toPrecision(3) + " G";
  if (size >= 1e6) return +(v / 1e6).toPrecision(3) + " M";
  if (size >= 1e4) return +(v / 1e3).toPrecision(3) + " k";
  return size < 1e-3 ? v.toExponential(1) : String(+v.toPrecision(4));
}

// A chart of lists of points {x, y}: { title, axis, log, zero } and [{ name, points, style }], where `style` chooses
// colour and dashes. zero: the ordinate begins at 0. Gives { svg, lists, sx, x0, x1, cursor, at(event) }, or only the svg
// when there are no points; cursor is a line that the caller may put into it, and at(event) the part of the axis, 0 to 1, under
// a pointer.
function curvesChart({ title, axis, log = false, zero = false, none = "No values", width = 960, height = 440 }, curves) {
  const lists = curves.map(({ points }) => (log ? points.filter((p) => p.y > 0) : points));
  const all = lists.flat(), left = 64, right = 12, top = 12, bottom = 44;
  const svg = svgOf("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title });
  if (all.length === 0) {
    svg.append(svgOf("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, none));
    return { svg };
  }
  const ends = (values) => values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
  let [x0, x1] = ends(all.map((p) => p.x)), [y0, y1] = ends(all.map((p) => p.y));
  if (zero && !log) y0 = Math.min(0, y0);
  if (x0 === x1) [x0, x1] = [x0 - 1, x1 + 1];
  if (y0 === y1) [y0, y1] = log ? [y0 / 1.1, y1 * 1.1] : [y0 - Math.abs(y0) * 0.1 - 1e-9, y1 + Math.abs(y1) * 0.1 + 1e-9];
  const sx = (x) => left + ((x - x0) / (x1 - x0)) * (width - left - right);
  const part = log ? (y) => Math.log(y / y0) / Math.log(y1 / y0) : (y) => (y - y0) / (y1 - y0);
  const sy = (y) => height - bottom - part(y) * (height - top - bottom);
  for (const t of log ? logTicks(y0, y1) : ticks(y0, y1, 6)) {
    svg.append(svgOf("line", { class: "grid", x1: left, x2: width - right, y1: sy(t), y2: sy(t) }));
    svg.append(svgOf("text", { x: left - 8, y: sy(t) + 4, "text-anchor": "end" }, short(t)));
  }
  for (const t of ticks(x0, x1, width / 120)) {
    svg.append(svgOf("line", { class: "grid", x1: sx(t), x2: sx(t), y1: top, y2: height - bottom }));
    svg.append(svgOf("text", { x: sx(t), y: height - bottom + 18, "text-anchor": "middle" }, short(t)));
  }
  svg.append(svgOf("line", { class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }));
  svg.append(svgOf("text", { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, axis));
  lists.forEach((list, c) => {
    if (list.length === 0) return;
    const { name, style } = curves[c];
    const d = list.map((p, i) => (i ? "L" : "M") + sx(p.x).toFixed(1) + " " + sy(p.y).toFixed(1)).join("");
    svg.append(svgOf("path", { class: `curve c${style % 8}`, d, "stroke-dasharray": dashes[Math.floor(style / 8) % 4] }, svgOf("title", {}, name)));
    if (list.length === 1) svg.append(svgOf("circle", { class: `c${style % 8}`, cx: sx(list[0].x), cy: sy(list[0].y), r: 3, fill: "none" }));
  });
  const cursor = svgOf("line", { class: "axis", y1: top, y2: height - bottom, "stroke-dasharray": "3 3" });
  const at = (event) => {
    const box = svg.getBoundingClientRect();
    return Math.min(1, Math.max(0, ((event.clientX - box.left) / box.width * width - left) / (width - left - right)));
  };
  return { svg, sx, x0, x1, cursor, at, lists };
}

// The line of a curve as it stands in a legend.
function curveKey(style) {
  const key = svgOf("svg", { width: 28, height: 10, "aria-hidden": "true" });
  key.append(svgOf("line", { class: `curve c${style % 8}`, x1: 0, x2: 28, y1: 5, y2: 5, "stroke-dasharray": dashes[Math.floor(style / 8) % 4] }));
  return key;
}
