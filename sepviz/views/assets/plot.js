// A plot of one curve of CURVES, for one run or several.

import { clamp, number } from "./numbers.js";
import { CURVES, isShown, pathOf, scaleOf } from "./curves.js";
import { make, says } from "./dom.js";

const PATH = '<path class="sepviz-line" fill="none" vector-effect="non-scaling-stroke"/>';

export class Plot {
  // One line for each style {colour, dash}; `seek` is called with a place from 0 to 1.
  constructor(name, seek, styles = [{}]) {
    Object.assign(this, CURVES[name], { name });
    const box = make("div", "sepviz-plot-box");
    box.innerHTML = `<svg class="sepviz-plot" viewBox="0 0 100 100" preserveAspectRatio="none"
      role="img">${PATH.repeat(styles.length)}<line class="sepviz-cursor" y1="0" y2="100"
      vector-effect="non-scaling-stroke"/></svg>`;
    this.svg = box.firstChild;
    this.line = this.svg.lastElementChild;
    this.lines = styles.map(({ colour, dash }, i) => {
      const path = this.svg.children[i], dot = make("span", "sepviz-dot");
      if (colour) {
        Object.assign(path.style, { stroke: colour, strokeDasharray: dash });
        dot.style.background = colour;
      }
      box.append(dot);
      return { path, dot };
    });
    this.value = make("span", "sepviz-value");
    this.top = make("span", "sepviz-tick");
    this.bottom = make("span", "sepviz-tick");
    const title = says("span", "", this.label + (this.log ? ", log scale" : ""));
    this.node = make("div", "sepviz-curve", { "data-curve": name }, [
      make("div", "sepviz-curve-head", {}, [title, this.value]),
      make("div", "sepviz-ticks", {}, [this.top, this.bottom]),
      box,
    ]);
    const at = ({ clientX }) => {
      const { left, width } = this.svg.getBoundingClientRect();
      seek(clamp((clientX - left) / width, 0, 1));
    };
    this.svg.addEventListener("pointerdown", (event) => {
      this.svg.setPointerCapture(event.pointerId);
      at(event);
    });
    this.svg.addEventListener("pointermove", (event) => { if (event.buttons & 1) at(event); });
  }

  // For each line its points (x from 0 to 1, value or null).
  plot(...lines) {
    const scale = scaleOf(lines, this.log);
    this.node.hidden = !scale;
    if (!scale) return;
    const { low, high, height } = scale;
    this.height = height;
    this.bottom.textContent = low === high ? "" : number(low);
    this.top.textContent = number(high);
    lines.forEach((points, i) => (
      this.lines[i].path.setAttribute("d", pathOf(points, this.log, height))));
  }

  // The cursor at x; a dot on each line at its own [x, value].
  mark(x, ...points) {
    if (this.node.hidden) return;
    this.line.setAttribute("x1", 100 * x);
    this.line.setAttribute("x2", 100 * x);
    points.forEach(([place, value], i) => {
      const { dot } = this.lines[i];
      dot.hidden = !isShown(value, this.log);
      if (dot.hidden) return;
      Object.assign(dot.style, { left: `${100 * place}%`, top: `${this.height(value)}%` });
    });
    const text = points.map(([, value]) => number(value)).join("  ");
    this.value.textContent = points.length === 1 ? text : "";
    this.svg.setAttribute("aria-label", `${this.label}: ${text} at this step`);
  }
}

// The plots of several curves under each other, and what lies below them: {node, plots, span}.
export function plotsOf(names, seek, styles) {
  const plots = names.map((name) => new Plot(name, seek, styles));
  const span = make("div", "sepviz-span");
  const node = make("div", "sepviz-curves", {}, [...plots.map((plot) => plot.node), span]);
  const below = (...texts) => span.replaceChildren(...texts.map((text) => says("span", "", text)));
  return { node, plots, below };
}
