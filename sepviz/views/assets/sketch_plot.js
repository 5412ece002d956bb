// The plot in which a curve is sketched and shown.

import { make, says } from "./dom.js";
import { short } from "./numbers.js";

const SVG = "http://www.w3.org/2000/svg";
const THIN = { "vector-effect": "non-scaling-stroke" }; // lines keep their width in any plot

export function drawing(tag, properties = {}, children = []) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(properties)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// The axes from..to and low..high; `place` gives the percent across and down of a point, `path`
// draws lines, `points` makes dots and `put` places them.
export function sketchPlot({ x: xName, y: yName, log_x: log }, { low, high, from, to }) {
  const scale = log ? Math.log : (value) => value;
  const place = (x, y) => [4 + 92 * (scale(x) - scale(from)) / (scale(to) - scale(from)),
    96 - 92 * (y - low) / (high - low)];
  const guides = [4, 50, 96].map((y) => (
    drawing("line", { class: "sepviz-guide", x1: 0, x2: 100, y1: y, y2: y, ...THIN })));
  const picture = drawing("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none",
    "aria-hidden": "true" }, guides);
  const area = make("div", "sepviz-sketch", {}, [picture]);
  const texts = (name, values) => (
    make("div", name, {}, values.map((text) => says("span", "", text))));
  const node = make("div", "sepviz-sketch-grid", {}, [
    says("div", "sepviz-sketch-head", yName),
    texts("sepviz-ticks", [high, (low + high) / 2, low].map((value) => short(value))), area,
    texts("sepviz-sketch-foot", [short(from), xName + (log ? ", log scale" : ""), short(to)])]);

  const path = (kind) => {
    const line = drawing("path", { class: kind, ...THIN });
    picture.append(line);
    return (across, up) => {
      const steps = across.map((x, i) => place(x, up[i]).map((part) => part.toFixed(2)).join(" "));
      line.setAttribute("d", `M${steps.join("L")}`);
    };
  };
  const points = (count) => (
    Array.from({ length: count }, () => area.appendChild(make("span", "sepviz-point"))));
  const put = (dots, across, up) => dots.forEach((dot, i) => {
    const [left, top] = place(across[i], up[i]);
    Object.assign(dot.style, { left: `${left}%`, top: `${top}%` });
  });
  return { node, area, path, points, put, place };
}
