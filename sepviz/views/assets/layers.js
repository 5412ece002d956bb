// Which layer is shown under the estimates, and on which scale signed pictures are painted.

import { button, make, select } from "./dom.js";
import { largestOf, layersOf } from "./frames.js";
import { number } from "./numbers.js";
import { spanOf } from "./colours.js";

const SCALES = [
  ["step", "colours scaled to this step"],
  ["run", "colours scaled to the whole run"],
];

export class LayerRow {
  constructor(channels, changed) {
    this.name = null; // of the layer that is shown
    this.wholeRun = false; // one colour scale for the whole run, or one per step
    this.largest = {};
    this.changed = changed;
    this.buttons = make("span", "sepviz-segments",
      { role: "group", "aria-label": "Layer under the estimates" });
    const scale = select("scale", "Colour scale", SCALES, () => {
      this.wholeRun = scale.value === "run";
      changed();
    });
    const ramp = make("span", "sepviz-ramp", { "aria-hidden": "true" }); // the words say it
    const legend = channels === 3 ? ["gray is 0, darker takes away, brighter adds"]
      : ["blue − takes away", ramp, "orange + adds"];
    this.node = make("div", "sepviz-layers", {},
      [this.buttons, make("span", "sepviz-legend", {}, legend), scale]);
  }

  setFrames(frames) {
    const layers = layersOf(frames);
    if (!layers.has(this.name)) this.name = layers.size ? [...layers.keys()][0] : null;
    if (this.buttons.childElementCount !== layers.size) {
      this.buttons.replaceChildren(...[...layers].map(([name, label]) => button("segment", label,
        () => { this.name = name; this.mark(); this.changed(); }, { "data-layer": name })));
    }
    this.buttons.hidden = !layers.size;
    this.largest = largestOf(frames);
    this.mark();
  }

  mark() {
    for (const node of this.buttons.children) {
      node.setAttribute("aria-pressed", node.dataset.layer === this.name);
    }
  }

  // The limits in which a signed layer is painted, and their text; `own` is the step's largest.
  limits(name, own) {
    const high = this.wholeRun ? this.largest[name] : own;
    return { high, signed: true, text: `±${number(spanOf(high), 2)}` };
  }
}
