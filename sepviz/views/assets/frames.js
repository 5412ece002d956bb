// What came from Python, and where in it a layer of a frame lies. No DOM here.

import { HALF, bitsOf, bytesOf } from "./bytes.js";
import { share } from "./axis.js";

// `values`, `mixed`, `remixed` and `true` give functions: (channel, row and column) -> value.
export class Frames {
  constructor(fixed) {
    this.fixed = fixed;
    this.mixtures = bitsOf(fixed.mixtures);
    this.truth = fixed.truth.byteLength ? bytesOf(fixed.truth) : null;
    this.visible = fixed.visible.byteLength ? bytesOf(fixed.visible) : null; // null: all is seen
    // one per step: {index, stage, scales, values, evaluations, order, layers, weights, bits, at}
    this.frames = [];
    this.item = fixed.items[0]; // the mixture on the screen, counted over the whole problem
    this.image = fixed.channels * fixed.height * fixed.width; // numbers of one image
  }

  get place() {
    return this.fixed.items.indexOf(this.item);
  }

  get last() {
    return this.frames[this.frames.length - 1];
  }

  unpack({ bytes, layers, records, weights }) {
    const bits = bitsOf(bytes), panels = layers.reduce((sum, layer) => sum + layer.panels, 0);
    const size = panels * this.image * this.fixed.items.length;
    return records.map((record, i) => ({ ...record, layers, weights, bits, at: i * size }));
  }

  // A layer of a frame, for one source; null if there is no such layer.
  values(frame, name, k = 0, place = this.place) {
    let { at } = frame;
    for (const layer of frame.layers) {
      if (layer.name === name) {
        const first = at + (place * layer.panels + k) * this.image;
        return (i) => HALF[frame.bits[first + i]];
      }
      at += this.fixed.items.length * layer.panels * this.image;
    }
    return null;
  }

  mixed() {
    const first = this.place * this.image;
    return (i) => HALF[this.mixtures[first + i]];
  }

  // Sent only where part of the mixture is hidden.
  remixed(frame) {
    const sent = this.values(frame, "remix");
    if (sent) return sent;
    const mixture = this.mixed(), residual = this.values(frame, "residual");
    return (i) => mixture(i) - residual(i);
  }

  true(source) {
    const first = (this.place * this.fixed.count + source) * this.image;
    return (i) => this.truth[first + i] / 255;
  }

  // Which true source belongs under estimate `k`.
  sourceUnder(frame, k) {
    return frame.order ? frame.order[this.place][k] : k;
  }

  // A frame's value on a curve.
  value(frame, name) {
    return name in frame.values ? frame.values[name][this.place] : null;
  }

  // Where a frame is between the first (0) and the last (1).
  part(frame) {
    return share(frame.index, this.frames[0].index, this.last.index);
  }
}

// The layers that may be shown under the estimates: name -> label.
export function layersOf(frames) {
  const layers = frames.flatMap((frame) => frame.layers).filter((layer) => layer.label);
  return new Map(layers.map((layer) => [layer.name, layer.label]));
}

// The largest value of every signed layer over all frames and mixtures: name -> value.
export function largestOf(frames) {
  const largest = {};
  for (const { scales } of frames) {
    for (const [name, values] of Object.entries(scales)) {
      largest[name] = Math.max(largest[name] || 0, ...values.map((value) => value || 0));
    }
  }
  return largest;
}
