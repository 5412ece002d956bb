// Several runs on one scrubber: a row of estimates for each, their curves in one plot.

import { Frames } from "./frames.js";
import { ItemSteps, Transport } from "./transport.js";
import { Panel } from "./panel.js";
import { clamp, number } from "./numbers.js";
import { lastUpTo, nearest, share, thinned, zoomOf } from "./axis.js";
import { make, says, select } from "./dom.js";
import { plotsOf } from "./plot.js";
import { shield } from "./keys.js";
import { spanOf } from "./colours.js";

// Okabe and Ito's colours, safe for any colour vision, and a dash for each as well.
const STYLES = [
  ["#0072b2", ""], ["#d55e00", "7 3"], ["#009e73", "2 3"], ["#cc79a7", "9 3 2 3"],
  ["#56b4e9", "12 4"], ["#e69f00", "4 2 1 2"], ["#8c6bb1", "1 2"], ["#7f7f7f", "6 2 2 2 2 2"],
].map(([colour, dash]) => ({ colour, dash }));
const CURVE_NAMES = ["psnr", "residual", "loss", "sigma"];
const STOPS = 600; // of the scrubber, at most about
const AXES = { // what aligns the runs; `of` gives a frame's place
  evaluations: { label: "evaluations",
    of: ({ evaluations, index }) => (evaluations === null && index === 0 ? 0 : evaluations) },
  seconds: { label: "seconds", of: (frame) => frame.seconds },
  share: { label: "share of each run",
    of: (frame, frames) => (
      frames.length > 1 ? share(frames.indexOf(frame), 0, frames.length - 1) : 1) },
};

function swatch({ colour, dash }) {
  const box = make("span", "sepviz-swatch", { "aria-hidden": "true" });
  box.innerHTML = `<svg viewBox="0 0 40 6" width="40" height="6"><path d="M0 3H40"
    stroke="${colour}" stroke-width="3" stroke-dasharray="${dash}"/></svg>`;
  return box;
}

class Comparison {
  constructor(el, fixed, runs) {
    this.fixed = fixed;
    this.cursor = 0;
    this.draws = 0;
    this.onRest = () => {};
    const zoom = zoomOf(fixed, 0.7), panel = () => new Panel(fixed, zoom);
    const panels = () => Array.from({ length: fixed.count }, panel);
    this.mixture = panel();
    this.truths = fixed.truth.byteLength ? panels() : [];
    this.runs = runs.map((pack, i) => {
      const run = new Frames(fixed);
      run.frames = run.unpack(pack);
      return Object.assign(run, { label: pack.label, style: STYLES[i % STYLES.length],
        panels: panels(), residual: panel(), text: make("span", "sepviz-run-text") });
    });
    this.build(el);
    this.align(this.axisSelect.value);
    this.chooseItem(fixed.items[0]);
  }

  build(el) {
    const row = (head, panels) => make("div", "sepviz-compare-row", {},
      [make("div", "sepviz-compare-head", {}, head), ...panels.map((panel) => panel.node)]);
    const title = this.truths.length ? "mixture and truth" : "mixture";
    const rows = make("div", "sepviz-compare-rows", {}, [
      row([says("strong", "", title)], [...this.truths, this.mixture]),
      ...this.runs.map(({ style, label, text, panels, residual }) => row(
        [swatch(style), says("strong", "sepviz-run-label", label), text], [...panels, residual]))]);
    const styles = this.runs.map((run) => run.style);
    this.curves = plotsOf(CURVE_NAMES, (part) => this.seek(part), styles);
    this.transport = new Transport(this);
    const known = Object.keys(AXES).filter((name) => this.runs.every(({ frames }) => (
      frames.every((frame) => AXES[name].of(frame, frames) !== null))));
    const choices = known.map((name) => [name, `aligned by ${AXES[name].label}`]);
    this.axisSelect = select("align", "Aligned by", choices, () => {
      this.align(this.axisSelect.value);
      this.transport.go(this.positions.length - 1);
    });
    this.items = new ItemSteps(this.fixed, (by) => this.chooseItem(this.item + by));
    this.status = make("span", "sepviz-status");
    const name = `${this.runs.length} runs side by side`;
    const header = make("div", "sepviz-header", {},
      [says("strong", "sepviz-method", name), this.items.node, this.axisSelect, this.status]);
    this.root = make("div", "sepviz sepviz-compare", { tabIndex: 0, role: "group",
      "aria-label": name, onkeydown: (event) => this.transport.key(event) },
    [header, make("div", "sepviz-body", {}, [rows, this.curves.node]), this.transport.node]);
    el.append(shield(this.root));
  }

  // Where every frame of every run lies on one axis, and the places that the scrubber stops at.
  align(axis) {
    this.axis = axis;
    for (const run of this.runs) {
      run.at = run.frames.map((frame) => AXES[axis].of(frame, run.frames));
    }
    const all = [...new Set(this.runs.flatMap((run) => run.at))].sort((a, b) => a - b);
    this.positions = thinned(all, STOPS);
    this.transport.resize(this.positions.length);
    Object.assign(this.root.dataset, { axis, frames: this.positions.length });
    this.plotCurves();
  }

  get item() { return this.runs[0].item; }

  part(at) {
    return share(at, this.positions[0], this.positions[this.positions.length - 1]);
  }

  plotCurves() {
    for (const plot of this.curves.plots) {
      plot.plot(...this.runs.map((run) => run.frames.map((frame, i) => (
        [this.part(run.at[i]), run.value(frame, plot.name)]))));
    }
    const [first, last] = [this.positions[0], this.positions[this.positions.length - 1]];
    this.curves.below(number(first), AXES[this.axis].label, number(last));
  }

  chooseItem(item) {
    const { items, channels } = this.fixed;
    if (!items.includes(item)) return;
    for (const run of this.runs) run.item = item;
    this.root.dataset.item = item;
    this.items.at(item);
    const [first] = this.runs;
    this.mixture.draw(first.mixed(), this.fixed, "mixture");
    this.truths.forEach((panel, k) => panel.draw(first.true(k), { channels }, `truth ${k + 1}`));
    this.plotCurves();
    this.show(this.cursor);
    this.onRest();
  }

  show(cursor) {
    this.cursor = clamp(cursor, 0, this.positions.length - 1);
    const here = this.positions[this.cursor];
    for (const run of this.runs) run.now = lastUpTo(run.at, here);
    const now = this.runs.map((run) => run.frames[run.now]);
    const largest = this.runs.map((run, i) => now[i].scales.residual[run.place] || 0);
    const high = spanOf(Math.max(...largest)); // one for all runs: they are compared
    this.runs.forEach((run, i) => this.showRun(run, now[i], high));
    for (const plot of this.curves.plots) {
      plot.mark(this.part(here), ...this.runs.map((run, i) => (
        [this.part(run.at[run.now]), run.value(now[i], plot.name)])));
    }
    this.status.textContent = this.axis === "share" ? `${Math.round(100 * here)}% of each run`
      : `${number(here)} ${AXES[this.axis].label}`;
    this.transport.at(this.cursor, this.status.textContent);
    this.draws += 1;
    const indices = now.map((frame) => frame.index).join(" "), { playing } = this.transport;
    Object.assign(this.root.dataset,
      { frame: this.cursor, at: here, draws: this.draws, indices, playing });
  }

  showRun(run, frame, high) {
    const { channels } = this.fixed, { label } = run;
    run.panels.forEach((panel, k) => panel.draw(run.values(frame, "estimate", k), { channels },
      `estimate ${k + 1}`, `${label}: estimate ${k + 1}`));
    run.residual.draw(run.values(frame, "residual"), { channels, high, signed: true },
      `residual ±${number(high, 2)}`, `${label}: residual`);
    const psnr = run.value(frame, "psnr");
    const score = psnr === null ? "" : `${psnr.toFixed(1)} dB`;
    const texts = [frame.stage, `step ${frame.index}`, score];
    run.text.textContent = texts.filter(Boolean).join(" · ");
  }

  seek(part) {
    this.transport.go(nearest(this.positions.map((at) => this.part(at)), part));
  }

  rest() { this.onRest(); }

  close() {
    this.transport.pause();
    this.root.remove();
  }
}

function render({ model, el }) {
  const view = new Comparison(el, model.get("static"), model.get("runs"));
  view.chooseItem(model.get("item"));
  view.transport.go(view.positions.length - 1);
  view.onRest = () => {
    if (view.item === model.get("item")) return;
    model.set("item", view.item);
    model.save_changes();
  };
  const chosen = () => view.chooseItem(model.get("item"));
  model.on("change:item", chosen);
  return () => {
    model.off("change:item", chosen);
    view.close();
  };
}

export default { render };
