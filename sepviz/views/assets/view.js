// A run on the screen: pictures and curves, why a pixel is as it is, and what moves through it.

import { CURVES } from "./curves.js";
import { Columns, MANY } from "./columns.js";
import { Frames } from "./frames.js";
import { ItemSteps, Transport } from "./transport.js";
import { LayerRow } from "./layers.js";
import { MOVES, shield } from "./keys.js";
import { Why } from "./why.js";
import { clamp } from "./numbers.js";
import { make, says } from "./dom.js";
import { nearest } from "./axis.js";
import { plotsOf } from "./plot.js";

const LONG = 600; // frames; of a longer run that still goes on, every second one is shown

export class View extends Frames {
  constructor(el, fixed) {
    super(fixed);
    this.pixel = null; // [row, column] whose arithmetic is shown
    this.pinned = false; // it stays when the pointer moves on
    this.cursor = 0;
    this.draws = 0;
    this.onRest = () => {}; // called when the view comes to rest
    this.onShow = () => {}; // called when a frame has been drawn
    this.columns = new Columns(this, (pixel) => { if (!this.pinned) this.point(pixel); },
      (pixel) => this.point(pixel, !(this.pinned && String(this.pixel) === String(pixel))));
    this.curves = plotsOf(Object.keys(CURVES), (part) => this.seek(part));
    this.items = new ItemSteps(fixed, (by) => this.chooseItem(this.item + by));
    this.layers = new LayerRow(fixed.channels, () => this.show(this.cursor));
    this.transport = new Transport(this);
    this.why = new Why();
    this.status = make("span", "sepviz-status");
    const header = make("div", "sepviz-header", {},
      [says("strong", "sepviz-method", fixed.method), this.items.node, this.status]);
    const body = make("div", "sepviz-body", {}, [this.columns.node, this.curves.node]);
    this.root = make("div", fixed.count > MANY ? "sepviz sepviz-many" : "sepviz", {
      tabIndex: 0, role: "group", "aria-label": `${fixed.method}: separation step by step`,
      onkeydown: (event) => this.key(event),
    }, [header, body, this.transport.node, this.layers.node, this.why.node]);
    el.append(shield(this.root));
    this.chooseItem(this.item);
  }

  // --- frames ---

  // Replace all frames, staying at the same step of the run, or at the end.
  setFrames(pack) {
    const here = this.frames[this.cursor], atEnd = here && here === this.last;
    this.frames = this.unpack(pack);
    const same = here && !atEnd ? this.frames.findIndex(({ index }) => index >= here.index) : -1;
    if (same >= 0) this.cursor = same;
    else this.cursor = here ? Math.max(0, this.frames.length - 1) : 0;
    this.framesChanged();
  }

  // Add the newest frames of a run that goes on; who looks at the end stays at the end.
  append(pack) {
    const atEnd = this.cursor >= this.frames.length - 1 && !this.transport.dragging;
    const newest = this.last ? this.last.index : -1;
    this.frames.push(...this.unpack(pack).filter((frame) => frame.index > newest));
    if (this.frames.length > LONG) {
      this.frames = this.frames.filter((frame, i) => i % 2 === 0 || frame === this.last);
      this.cursor = Math.floor(this.cursor / 2);
    }
    if (atEnd) this.cursor = this.frames.length - 1;
    this.framesChanged();
  }

  framesChanged() {
    const count = this.frames.length;
    this.transport.resize(count);
    this.root.dataset.frames = count;
    this.root.classList.toggle("sepviz-empty", !count);
    if (!count) {
      this.status.textContent = "not started";
      return;
    }
    this.layers.setFrames(this.frames);
    this.columns.showExtras(this.layers.name !== null);
    this.plotCurves();
    this.show(this.cursor);
  }

  plotCurves() {
    for (const plot of this.curves.plots) {
      plot.plot(this.frames.map((frame) => [this.part(frame), this.value(frame, plot.name)]));
    }
    this.curves.below(`step ${this.frames[0].index}`, `step ${this.last.index}`);
  }

  // --- why this pixel ---

  point(pixel, pinned = this.pinned) {
    if (pixel && String(this.pixel) === String(pixel) && this.pinned === pinned) return;
    this.pixel = pixel;
    this.pinned = Boolean(pixel) && pinned;
    this.columns.mark(pixel);
    const told = pixel ? pixel.join(" ") : "";
    Object.assign(this.root.dataset, { pixel: told, pinned: this.pinned });
    this.explain();
  }

  explain() {
    const frame = this.frames[this.cursor];
    this.why.show(this, frame, this.pixel, this.pinned, this.transport.playing);
  }

  // --- moving ---

  show(cursor) {
    if (!this.frames.length) return;
    this.cursor = clamp(cursor, 0, this.frames.length - 1);
    const frame = this.frames[this.cursor], { stage, index } = frame, x = this.part(frame);
    this.columns.draw(frame, this.layers);
    for (const plot of this.curves.plots) plot.mark(x, [x, this.value(frame, plot.name)]);
    const evaluations = frame.evaluations === null ? "" : `${frame.evaluations} evaluations`;
    const count = stage.endsWith(` ${index}`) ? "" : `step ${index}`; // "iteration 9" says it
    this.status.textContent = [stage, count, evaluations].filter(Boolean).join("  ·  ");
    this.explain();
    this.transport.at(this.cursor, `step ${index}, ${stage}`);
    this.draws += 1;
    Object.assign(this.root.dataset,
      { frame: this.cursor, index, draws: this.draws, playing: this.transport.playing });
    this.onShow(frame);
  }

  chooseItem(item) {
    if (!this.fixed.items.includes(item)) return;
    const moved = item !== this.item;
    this.item = item;
    this.root.dataset.item = item;
    this.items.at(item);
    this.columns.drawMixture();
    if (this.frames.length) {
      this.plotCurves();
      this.show(this.cursor);
    }
    if (moved) this.onRest();
  }

  seek(part) {
    this.transport.go(nearest(this.frames.map((frame) => this.part(frame)), part));
  }

  rest() {
    this.onRest();
  }

  key(event) {
    const sizes = [this.fixed.height, this.fixed.width];
    const keys = { i: () => this.point(this.pixel || sizes.map((size) => size >> 1), true) };
    if (this.pixel) {
      keys.Escape = () => this.point(null);
      for (const [name, by] of Object.entries(MOVES)) {
        const next = this.pixel.map((place, axis) => clamp(place + by[axis], 0, sizes[axis] - 1));
        keys[`Shift+${name}`] = () => this.point(next, true);
      }
    }
    this.transport.key(event, keys);
  }

  close() {
    this.transport.pause();
    this.root.remove();
  }
}
