// Prints every number of a player's saved state, as the browser reads it.

import { readFileSync } from "node:fs";
import { Frames } from "../../sepviz/views/assets/frames.js";
import { SavedModel } from "../../sepviz/views/assets/saved_model.js";

const model = new SavedModel(readFileSync(process.argv[2], "utf-8"));
const frames = new Frames(model.get("static")), { count, items } = frames.fixed;
frames.frames = frames.unpack(model.get("frames"));
const read = (values) => Array.from({ length: frames.image }, (_, i) => values(i));
const times = (length, each) => Array.from({ length }, (_, k) => each(k));
const layers = (frame) => Object.fromEntries(frame.layers.map(({ name, panels }) => (
  [name, times(panels, (k) => read(frames.values(frame, name, k)))])));
console.log(JSON.stringify(items.map((item) => {
  frames.item = item;
  return { mixture: read(frames.mixed()), truth: times(count, (k) => read(frames.true(k))),
    frames: frames.frames.map(layers) };
})));
