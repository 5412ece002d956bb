// One picture with its caption.

import { pixelAt } from "./axis.js";
import { paint } from "./colours.js";
import { make } from "./dom.js";

export class Panel {
  constructor({ width, height }, zoom) {
    this.canvas = make("canvas", "sepviz-canvas", { width, height, role: "img" });
    this.canvas.style.width = `${width * zoom}px`;
    this.canvas.style.height = `${height * zoom}px`;
    this.context = this.canvas.getContext("2d");
    this.image = this.context.createImageData(width, height);
    this.image.data.fill(255);
    this.caption = make("figcaption", "sepviz-caption");
    this.caption.style.width = `${width * zoom}px`;
    this.marker = make("div", "sepviz-pixel", { hidden: true });
    // in percent: the picture may be drawn smaller
    Object.assign(this.marker.style, { width: `${100 / width}%`, height: `${100 / height}%` });
    const picture = make("div", "sepviz-picture", {}, [this.canvas, this.marker]);
    this.node = make("figure", "sepviz-panel", {}, [picture, this.caption]);
  }

  // Call `move(pixel)` for the one under the pointer, `choose(pixel)` for one that is clicked.
  watch(move, choose) {
    const { canvas } = this;
    for (const [name, action] of [["pointermove", move], ["pointerdown", choose]]) {
      canvas.addEventListener(name, (event) => (
        action(pixelAt(event, canvas.getBoundingClientRect(), canvas.height, canvas.width))));
    }
  }

  mark(pixel) {
    this.marker.hidden = !pixel;
    if (!pixel) return;
    this.marker.style.top = `${100 * pixel[0] / this.canvas.height}%`;
    this.marker.style.left = `${100 * pixel[1] / this.canvas.width}%`;
  }

  // Values `valueAt(i)` on the scale {channels, low, high, signed} of `paint`, under a caption.
  draw(valueAt, scale, caption, description = caption) {
    paint(this.image.data, valueAt, scale);
    const diverging = Boolean(scale.signed) && scale.channels === 1;
    this.canvas.classList.toggle("sepviz-signed", diverging);
    this.context.putImageData(this.image, 0, 0);
    if (caption !== undefined) this.label(caption, description);
  }

  label(text, description = text) {
    if (this.caption.textContent !== text) this.caption.textContent = text;
    if (this.description !== description) this.canvas.setAttribute("aria-label", description);
    this.description = description;
  }
}
