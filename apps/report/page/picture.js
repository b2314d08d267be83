"use strict";
// What the pages draw with: elements, tables, bars, and figures that can be saved as SVG with their numbers as JSON.
const NS = "http://www.w3.org/2000/svg";
const $ = (id) => document.getElementById(id);
const svgOf = (name, attributes, ...children) => {
  const e = document.createElementNS(NS, name);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  e.append(...children);
  return e;
};
const html = (name, properties, ...children) => { const e = Object.assign(document.createElement(name), properties); e.append(...children); return e; };
const shown = (text) => (text === "\n" ? "↵" : text === " " ? "␣" : text === "\t" ? "⇥" : text);
const fixed = (v, digits) => (v === null || v === undefined ? "–" : v.toFixed(digits));
const dark = () => matchMedia("(prefers-color-scheme: dark)").matches;

function table(titles, rows, caption) {
  return html("table", {}, ...(caption ? [html("caption", { textContent: caption })] : []), html("tr", {}, ...titles.map((t) => html("th", { scope: "col", textContent: t }))),
    ...rows.map((row) => html("tr", {}, ...row.map((cell, c) => { const e = html(c ? "td" : "th", { className: c && typeof cell !== "string" ? "number" : "", textContent: String(cell) }); if (!c) e.scope = "row"; return e; }))));
}

function download(text, type, name) {
  const link = html("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
}

// A file with its colours in it, dark on light, whatever the page has at the moment.
function svgText(svg) {
  const copy = svg.cloneNode(true);
  copy.setAttribute("xmlns", NS);
  copy.prepend(svgOf("style", {}, "text{font:12px sans-serif;fill:#1b1f24}.axis{stroke:#57606a}.grid{stroke:#d0d7de}.bar{fill:#0550ae}.marked{fill:#bc4c00}.baseline{fill:none;stroke:#bc4c00;stroke-width:2}.ray{stroke:#0550ae}.path{stroke:#0550ae;fill:none}.dot{fill:#57606a}"));
  return new XMLSerializer().serializeToString(copy);
}

// Puts a picture into the <figure> of this id, with its two buttons; they stay when the picture is drawn again.
const pictures = {};
function picture(id, title, svg, numbers) {
  const figure = $(id);
  if (!figure) return;
  if (!pictures[id]) {
    pictures[id] = {};
    const save = html("button", { type: "button", className: "save", textContent: "Save as SVG", ariaLabel: `Save as SVG: ${id}` });
    save.addEventListener("click", () => download(svgText(figure.querySelector("svg")), "image/svg+xml", `${id}.svg`));
    const json = html("button", { type: "button", className: "numbers", textContent: "Numbers as JSON", ariaLabel: `Numbers as JSON: ${id}` });
    json.addEventListener("click", () => download(JSON.stringify(pictures[id].numbers), "application/json", `${id}.json`));
    figure.replaceChildren(html("figcaption", {}), html("div", { className: "picture" }), html("div", { className: "buttons" }, save, json));
  }
  pictures[id].numbers = { title, ...numbers };
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", title);
  figure.querySelector("figcaption").textContent = title;
  figure.querySelector(".picture").replaceChildren(svg);
}

// Every how many of these labels has room in a row of this width, at the 12 px of a text in a picture.
const labelStep = (labels, width) => Math.max(1, Math.ceil((labels.length * (9 * Math.max(1, ...labels.map((text) => text.length)) + 4)) / width));

// Bars with their values as titles; `marked`: the index of the bar in another colour; `baseline`: a line over each bar.
function bars(values, labels, { marked = -1, baseline = null, height = 180 } = {}) {
  const width = 960, left = 52, bottom = 34, all = baseline ? values.concat(baseline) : values, most = Math.max(1e-12, ...all), w = (width - left) / Math.max(1, values.length);
  const svg = svgOf("svg", { viewBox: `0 0 ${width} ${height}` }), up = (v) => (Math.max(0, v) / most) * (height - bottom - 16);
  svg.append(svgOf("text", { x: left - 4, y: 14, "text-anchor": "end" }, most.toPrecision(3)), svgOf("text", { x: left - 4, y: height - bottom, "text-anchor": "end" }, "0"));
  svg.append(svgOf("line", { class: "axis", x1: left, x2: width, y1: height - bottom, y2: height - bottom }));
  const every = labelStep(labels, width - left), labelled = (i) => i === marked || (i % every === 0 && (marked < 0 || Math.abs(i - marked) >= every));
  values.forEach((v, i) => {
    const h = up(v), bar = svgOf("rect", { class: i === marked ? "marked" : "bar", x: left + i * w, y: height - bottom - h, width: Math.max(0.5, w - 1), height: h });
    bar.append(svgOf("title", {}, `${labels[i]}: ${(+v).toPrecision(4)}` + (baseline ? `, uniform ${baseline[i].toPrecision(4)}` : "")));
    svg.append(bar);
    if (labelled(i)) svg.append(svgOf("text", { x: left + i * w + w / 2, y: height - bottom + 15, "text-anchor": "middle" }, labels[i]));
  });
  if (baseline) baseline.forEach((v, i) => svg.append(svgOf("line", { class: "baseline", x1: left + i * w, x2: left + (i + 1) * w - 1, y1: height - bottom - up(v), y2: height - bottom - up(v) })));
  return svg;
}

// Values [rows][columns] between -1 and 1 as points of an image: the darker, the larger the size; negative ones in another colour.
function image(rows, columns, valueOf) {
  const canvas = html("canvas", { width: columns, height: rows }), context = canvas.getContext("2d"), points = context.createImageData(columns, rows);
  const ground = dark() ? [13, 17, 23] : [255, 255, 255], ink = dark() ? [121, 192, 255] : [5, 80, 174], under = dark() ? [255, 166, 87] : [188, 76, 0];
  for (let y = 0; y < rows; ++y) for (let x = 0; x < columns; ++x) {
    const v = valueOf(y, x), p = 4 * (y * columns + x), to = v < 0 ? under : ink, size = Math.min(1, Math.abs(v));
    for (let c = 0; c < 3; ++c) points.data[p + c] = ground[c] + size * (to[c] - ground[c]);
    points.data[p + 3] = 255;
  }
  context.putImageData(points, 0, 0);
  return canvas;
}
