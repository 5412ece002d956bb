// The sketch pad: ink by pointer or keyboard, and beside it the mixture that Python makes of it.

import { HALF, bitsOf, bytesOf } from "./bytes.js";
import { Pad, SCALE } from "./pad.js";
import { Panel } from "./panel.js";
import { SIDE, copied } from "./strokes.js";
import { button, make, says } from "./dom.js";
import { shield } from "./keys.js";
import { stateRow } from "./state_row.js";
import { watchKernel } from "./kernel.js";

const EVERY = 80; // milliseconds between two sendings while the pen is down
const TAPS = 5; // numbers across the filter
const OFFLINE = "Drawing needs Python: open this lab in Jupyter.";

// A slider over one of the options: {node, update(options)}.
function optionSlider({ name, label, meaning, low, high, read }, write) {
  const value = make("output", "sepviz-value");
  const field = make("input", "", { type: "range", min: low, max: high, step: 0.05,
    "aria-label": label, "data-name": name,
    oninput: () => { write(Number(field.value)); value.textContent = field.value; } });
  const update = (options) => {
    field.value = read(options);
    value.textContent = Number(read(options)).toFixed(2);
  };
  const node = make("label", "sepviz-knob", {}, [says("span", "sepviz-knob-name", label), value,
    says("span", "sepviz-knob-meaning", meaning), field]);
  return { node, update };
}

// Weights, noise and pen; `set(values)` changes the options.
function slidersOf(model, count, set) {
  const weight = (k) => optionSlider({ name: `weight${k}`, label: `weight ${k + 1}`,
    meaning: `how much of source ${k + 1} is in the mixture`, low: 0.05, high: 2,
    read: ({ weights }) => weights[k] }, (value) => {
    const { weights } = model.get("options");
    set({ weights: weights.map((old, i) => (i === k ? value : old)) });
  });
  const noise = { name: "noise", label: "noise", low: 0, high: 1, read: (options) => options.noise,
    meaning: "amplitude that is added to the mixture, in pixel values" };
  const pen = { name: "pen", label: "pen", low: 0.5, high: 3, read: (options) => options.pen,
    meaning: "radius of the ink in pixels; the priors know about 1.25" };
  return [...(count <= 2 ? Array.from({ length: count }, (_, k) => weight(k)) : []),
    optionSlider(noise, (value) => set({ noise: value })),
    optionSlider(pen, (value) => set({ pen: value }))];
}

// A filter to paint, tap by tap: {node, update(options)}.
function filterOf(model, set) {
  const toggle = (i) => {
    const letters = [...(model.get("options").taps || "0".repeat(TAPS ** 2))];
    letters[i] = letters[i] === "1" ? "0" : "1";
    set({ taps: letters.includes("1") ? letters.join("") : "" });
  };
  const taps = Array.from({ length: TAPS ** 2 }, (_, i) => {
    const place = `row ${Math.floor(i / TAPS) + 1}, column ${i % TAPS + 1}`;
    return button("tap", "", () => toggle(i),
      { "aria-label": `filter, ${place}`, "aria-pressed": "false" });
  });
  const update = (options) => taps.forEach((tap, i) => (
    tap.setAttribute("aria-pressed", options.taps[i] === "1")));
  const node = make("details", "sepviz-filter", {}, [
    says("summary", "sepviz-more", "Paint a 5x5 filter that blurs every source"),
    make("div", "sepviz-taps", { role: "group", "aria-label": "Filter of 5 by 5" }, taps)]);
  return { node, update };
}

function render({ model, el }) {
  let sending = null;
  const send = () => {
    clearTimeout(sending);
    sending = null;
    model.set("strokes", pads.map((pad) => copied(pad.strokes)));
    model.save_changes();
  };
  const set = (values) => {
    model.set("options", { ...model.get("options"), ...values });
    model.save_changes();
  };
  const pads = model.get("sources").map((_, k) => new Pad(k, model.get("names"),
    (now, emptied = false) => {
      if (now) send();
      else if (sending === null) sending = setTimeout(send, EVERY);
      if (emptied) model.send({ do: "clear", pad: k });
    },
    (name) => {
      send();
      model.send({ do: "pick", pad: k, set: name });
    }));
  const sliders = slidersOf(model, pads.length, set), filter = filterOf(model, set);
  const hidden = make("input", "", { type: "checkbox",
    onchange: () => set({ visible: hidden.checked ? "top-half" : "all" }) });
  const reset = button("reset", "Reset", () => {
    for (const pad of pads) pad.empty();
    model.set("options",
      { weights: pads.map(() => 1), pen: 1.25, taps: "", noise: 0, visible: "all", seed: 0 });
    send();
    pads.forEach((_, pad) => model.send({ do: "clear", pad }));
  }, { title: "Empty pads, the options as they were" });
  const mixture = new Panel({ width: SIDE, height: SIDE }, SCALE);
  mixture.label("mixture");
  const error = says("div", "sepviz-error", "", { role: "alert", hidden: true });
  const text = stateRow("State of this mixture");
  const mixed = make("div", "sepviz-pad", {}, [says("strong", "", "mixture"), mixture.node]);
  const root = make("div", "sepviz sepviz-sketchpad",
    { role: "group", "aria-label": "Sketch pad" }, [
      make("div", "sepviz-pads", {}, [...pads.map((pad) => pad.node), mixed]),
      make("div", "sepviz-knobs", {}, sliders.map((slider) => slider.node)),
      make("div", "sepviz-transport", {},
        [make("label", "sepviz-check", {}, [hidden, " hide the lower half"]), reset]),
      filter.node, error, text.node]);
  el.append(shield(root));

  const showOptions = () => {
    const options = model.get("options");
    for (const each of [...sliders, filter]) each.update(options);
    hidden.checked = options.visible === "top-half";
    root.dataset.options = JSON.stringify(options);
  };
  const showImages = () => {
    const shown = model.get("shown"), sources = model.get("sources");
    pads.forEach((pad, k) => {
      const picked = sources[k] && !sources[k].startsWith("ink:");
      if (sources[k] !== pad.source && picked) pad.strokes = [];
      pad.source = sources[k];
      pad.show(bytesOf(shown.images[k]), pad.strokes.length > 0);
    });
    const bits = shown.mixture.byteLength ? bitsOf(shown.mixture) : null;
    mixture.draw((i) => (bits ? HALF[bits[i]] : 0),
      { channels: 1, low: shown.low, high: shown.high },
      bits ? "mixture" : "draw or pick every source");
    error.textContent = model.offline ? OFFLINE : shown.error;
    error.hidden = !error.textContent;
    text.show(shown.state);
    const shows = Number(root.dataset.shows || 0) + 1;
    Object.assign(root.dataset, { mixed: Boolean(bits), state: shown.state, shows });
  };
  const showStrokes = () => { // from Python: restored, picked
    model.get("strokes").forEach((strokes, k) => {
      const same = JSON.stringify(strokes) === JSON.stringify(pads[k].strokes);
      if (same || sending !== null) return;
      pads[k].strokes = copied(strokes);
      pads[k].draw();
    });
  };
  const events = { "change:strokes": showStrokes, "change:options": showOptions,
    "change:shown": showImages };
  showOptions();
  showStrokes();
  showImages();
  for (const [name, action] of Object.entries(events)) model.on(name, action);
  const unwatch = watchKernel(model, root);
  return () => {
    unwatch();
    clearTimeout(sending);
    for (const [name, action] of Object.entries(events)) model.off(name, action);
    root.remove();
  };
}

export default { render };
