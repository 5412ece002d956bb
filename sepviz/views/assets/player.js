// The player: a View over frames that are all here from the start.

import { View } from "./view.js";

const SETTLE = 400; // milliseconds at rest before Python is told where the player stands

function render({ model, el }) {
  const view = new View(el, model.get("static"));
  view.setFrames(model.get("frames"));
  view.chooseItem(model.get("item"));
  view.show(model.get("cursor"));

  // Nothing is sent while frames go by; only the place where the player comes to rest is.
  let timer = null;
  const tell = () => {
    if (view.transport.playing || view.transport.dragging) return;
    if (view.cursor === model.get("cursor") && view.item === model.get("item")) return;
    model.set("cursor", view.cursor);
    model.set("item", view.item);
    model.save_changes();
  };
  view.onRest = () => {
    clearTimeout(timer);
    timer = setTimeout(tell, SETTLE);
  };
  const moved = () => view.show(model.get("cursor"));
  const chosen = () => view.chooseItem(model.get("item"));
  model.on("change:cursor", moved);
  model.on("change:item", chosen);
  return () => {
    clearTimeout(timer);
    model.off("change:cursor", moved);
    model.off("change:item", chosen);
    view.close();
  };
}

export default { render };
