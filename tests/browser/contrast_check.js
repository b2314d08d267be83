// Every text that is seen has a contrast of at least 4.5 to its ground (WCAG 2, relative luminance); large text of 3.
(() => {
  const say = (text) => { const p = document.createElement("p"); p.id = "walk-result"; p.textContent = text; document.body.append(p); };
  try {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    canvas.canvas.width = canvas.canvas.height = 1;
    const over = (colours) => { // painted one over the other, the last on top
      canvas.clearRect(0, 0, 1, 1);
      for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
      return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const luminance = (rgb) => { const [r, g, b] = rgb.map((v) => { const c = v / 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
    let checked = 0;
    for (const e of document.querySelectorAll("body *")) {
      if (!e.checkVisibility() || ![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim() !== "") || ["SCRIPT", "STYLE", "TITLE", "title", "OPTION"].includes(e.tagName)) continue;
      const style = getComputedStyle(e), grounds = [];
      for (let p = e; p !== null; p = p.parentElement) grounds.unshift(getComputedStyle(p).backgroundColor);
      const ground = over(["white", ...grounds]), text = over(["white", ...grounds, e.namespaceURI.endsWith("svg") ? style.fill : style.color]);
      const [light, low] = [luminance(ground), luminance(text)].sort((p, q) => q - p), ratio = (light + 0.05) / (low + 0.05), large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && +style.fontWeight >= 700);
      if (ratio < (large ? 3 : 4.5)) throw new Error(`contrast ${ratio.toFixed(2)} of "${e.textContent.trim().slice(0, 40)}" (${e.tagName} ${e.className}), ${style.color} on ${ground}`);
      ++checked;
    }
    if (checked < 20) throw new Error(`only ${checked} texts were seen`);
    if (document.documentElement.scrollWidth - document.documentElement.clientWidth !== 0) throw new Error("the page is wider than the screen");
    for (const e of document.querySelectorAll("button, select, input")) if (e.checkVisibility() && !(e.textContent.trim() || e.getAttribute("aria-label") || e.labels?.length)) throw new Error(`a control without a name: ${e.outerHTML.slice(0, 60)}`);
    const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
    if (new Set(ids).size !== ids.length) throw new Error("two elements have one id");
    say("passed");
  } catch (error) { say("failed: " + error.message); }
})();
