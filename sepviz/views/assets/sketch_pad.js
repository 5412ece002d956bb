// The sketch pad: ink by pointer or keyboard, and beside it the mixture that Python makes of it.

const SIDE = 28; // pixels of an image
const SCALE = 7; // screen pixels of one
const DENSE = 0.4; // pixels between two points of a stroke, at least
const POINTS = 250; // of one stroke, at most
const EVERY = 80; // milliseconds between two sendings while the pen is down

class Pad {
  constructor(number, names, changed, pick) {
    this.strokes = [];
    this.number = number;
    this.changed = changed;
    this.pen = null; // where the keyboard's pen is
    this.down = false;
    const size = SIDE * SCALE;
    this.canvas = make("canvas", "sepviz-canvas sepviz-pen", { width: 2 * size, height: 2 * size, tabIndex: 0, role: "application", "data-pad": number,
      "aria-label": `Drawing ${number + 1}. Draw with the pointer; or arrows move the pen, space puts it down and up, Backspace takes a stroke back, Delete clears` });
    this.canvas.style.width = this.canvas.style.height = `${size}px`;
    this.context = this.canvas.getContext("2d");
    this.says = make("span", "sepviz-state", { role: "status" });
    const button = (name, text, label, action) => make("button", `sepviz-${name}`, { type: "button", textContent: text, "aria-label": `${label} ${number + 1}`, onclick: action });
    const set = make("select", "sepviz-set", { "aria-label": `Data set to pick drawing ${number + 1} from` }, names.map((name) => make("option", "", { value: name, textContent: name })));
    this.view = new Panel(SIDE, SIDE, 2);
    this.view.label("as seen", "as the method sees it");
    this.node = make("div", "sepviz-pad", {}, [make("strong", "", { textContent: `source ${number + 1}` }), this.canvas,
      make("div", "sepviz-transport", {}, [button("undo", "Undo", "Take back the last stroke of drawing", () => this.undo()), button("clear", "Clear", "Clear drawing", () => this.clear())]),
      make("div", "sepviz-transport", {}, [button("pick", "Pick", "Pick an image for drawing", () => { this.strokes = []; pick(number, set.value); }), set]),
      this.says, this.view.node]);
    this.canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      this.canvas.setPointerCapture(event.pointerId);
      this.begin(this.place(event));
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (!(event.buttons & 1) || !this.canvas.hasPointerCapture(event.pointerId)) return;
      for (const each of event.getCoalescedEvents && event.getCoalescedEvents().length ? event.getCoalescedEvents() : [event]) this.extend(this.place(each));
    });
    this.canvas.addEventListener("pointerup", () => this.changed(true));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("blur", () => { if (this.pen) { this.pen = null; this.down = false; this.draw(); } });
    this.draw();
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) * SIDE / box.width, (event.clientY - box.top) * SIDE / box.height].map((at) => Math.max(0, Math.min(SIDE, at)));
  }

  begin(point) {
    this.picture = null;
    this.strokes.push([point]);
    this.draw();
    this.changed(false);
  }

  extend(point) {
    const stroke = this.strokes[this.strokes.length - 1];
    if (!stroke) return;
    const last = stroke[stroke.length - 1];
    if (Math.hypot(point[0] - last[0], point[1] - last[1]) < DENSE) return;
    if (stroke.length >= POINTS) { this.strokes.push([last, point]); } else stroke.push(point);
    this.draw();
    this.changed(false);
  }

  undo() {
    this.strokes.pop();
    this.draw();
    this.changed(true);
  }

  clear() {
    this.strokes = [];
    this.picture = null;
    this.draw();
    this.changed(true, true);
  }

  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const step = event.shiftKey ? 4 : 1;
    const actions = {
      " ": () => { this.pen = this.pen || [SIDE / 2, SIDE / 2]; this.down = !this.down; if (this.down) this.begin([...this.pen]); else this.changed(true); },
      Backspace: () => this.undo(),
      Delete: () => this.clear(),
    };
    if (event.key in MOVES) {
      const [down, right] = MOVES[event.key];
      actions[event.key] = () => {
        const from = this.pen || [SIDE / 2, SIDE / 2];
        this.pen = [from[0] + step * right, from[1] + step * down].map((at) => Math.max(1, Math.min(SIDE - 1, at)));
        if (this.down) this.extend([...this.pen]);
      };
    }
    if (!(event.key in actions)) return;
    event.preventDefault();
    event.stopPropagation();
    actions[event.key]();
    this.says.textContent = this.pen ? `pen ${this.down ? "down" : "up"} at ${Math.round(this.pen[0])}, ${Math.round(this.pen[1])}` : "";
    this.draw();
  }

  draw() {
    const { context } = this, unit = 2 * SCALE;
    context.fillStyle = "#000";
    context.fillRect(0, 0, SIDE * unit, SIDE * unit);
    if (this.picture && !this.strokes.length) {
      context.imageSmoothingEnabled = false;
      context.drawImage(this.view.canvas, 0, 0, SIDE * unit, SIDE * unit);
    }
    context.strokeStyle = context.fillStyle = "#fff";
    context.lineWidth = 2.4 * unit;
    context.lineCap = context.lineJoin = "round";
    for (const stroke of this.strokes) {
      context.beginPath();
      stroke.forEach(([x, y], i) => (i ? context.lineTo(x * unit, y * unit) : context.moveTo(x * unit, y * unit)));
      if (stroke.length === 1) context.lineTo(stroke[0][0] * unit + 0.1, stroke[0][1] * unit);
      context.stroke();
    }
    if (this.pen) {
      context.lineWidth = 3;
      context.strokeStyle = this.down ? "#ffc107" : "#9ecbff";
      context.beginPath();
      context.arc(this.pen[0] * unit, this.pen[1] * unit, 1.6 * unit, 0, 7);
      context.stroke();
    }
  }

  // What Python made of it: bytes of the image, none where the pad is empty.
  show(bytes, drawn) {
    this.view.draw((i) => (bytes.byteLength ? bytes[i] / 255 : 0), 1, 0, 1);
    this.picture = bytes.byteLength && !drawn;
    this.canvas.dataset.empty = !bytes.byteLength;
    this.draw();
  }
}

function render({ model, el }) {
  const count = model.get("sources").length;
  const named = { role: "group", "aria-label": "Sketch pad" };
  const node = make("div", "sepviz sepviz-sketchpad", named);
  let sending = null;
  const send = () => {
    clearTimeout(sending);
    sending = null;
    model.set("strokes", pads.map((pad) => pad.strokes.map((stroke) => stroke.map((point) => [...point]))));
    model.save_changes();
  };
  // `now`: the pen is up; `emptied`: a picture that Python picked goes, too.
  const changed = (number) => (now, emptied = false) => {
    if (now) send();
    else if (sending === null) sending = setTimeout(send, EVERY);
    if (emptied) model.send({ do: "clear", pad: number });
  };
  const pads = Array.from({ length: count }, (_, k) => new Pad(k, model.get("names"), (now, emptied) => changed(k)(now, emptied), (pad, set) => { send(); model.send({ do: "pick", pad, set }); }));

  const set = (values) => { model.set("options", { ...model.get("options"), ...values }); model.save_changes(); };
  const slider = (name, label, meaning, low, high, read, write) => {
    const value = make("output", "sepviz-value");
    const field = make("input", "", { type: "range", min: low, max: high, step: 0.05, "aria-label": label, "data-name": name,
      oninput: () => { write(Number(field.value)); value.textContent = field.value; } });
    const update = () => { field.value = read(model.get("options")); value.textContent = Number(read(model.get("options"))).toFixed(2); };
    return { node: make("label", "sepviz-knob", {}, [make("span", "sepviz-knob-name", { textContent: label }), value, make("span", "sepviz-knob-meaning", { textContent: meaning }), field]), update };
  };
  const weight = (k) => slider(`weight${k}`, `weight ${k + 1}`, `how much of source ${k + 1} is in the mixture`, 0.05, 2, (options) => options.weights[k],
    (value) => set({ weights: model.get("options").weights.map((old, i) => (i === k ? value : old)) }));
  const sliders = [...(count <= 2 ? pads.map((_, k) => weight(k)) : []),
    slider("noise", "noise", "amplitude that is added to the mixture, in pixel values", 0, 1, (options) => options.noise, (noise) => set({ noise })),
    slider("pen", "pen", "radius of the ink in pixels; the priors know about 1.25", 0.5, 3, (options) => options.pen, (pen) => set({ pen }))];

  const taps = Array.from({ length: 25 }, (_, i) => make("button", "sepviz-tap", { type: "button", "aria-label": `filter, row ${Math.floor(i / 5) + 1}, column ${i % 5 + 1}`, "aria-pressed": "false",
    onclick: () => {
      const letters = [...(model.get("options").taps || "0".repeat(25))];
      letters[i] = letters[i] === "1" ? "0" : "1";
      set({ taps: letters.includes("1") ? letters.join("") : "" });
    } }));
  const filter = make("details", "sepviz-filter", {}, [make("summary", "sepviz-more", { textContent: "Paint a 5x5 filter that blurs every source" }), make("div", "sepviz-taps", { role: "group", "aria-label": "Filter of 5 by 5" }, taps)]);
  const hidden = make("input", "", { type: "checkbox", onchange: () => set({ visible: hidden.checked ? "top-half" : "all" }) });
  const reset = make("button", "sepviz-reset", { type: "button", textContent: "Reset", title: "Empty pads, the options as they were",
    onclick: () => {
      for (const pad of pads) { pad.strokes = []; pad.picture = null; pad.draw(); }
      model.set("options", { weights: pads.map(() => 1), pen: 1.25, taps: "", noise: 0, visible: "all", seed: 0 });
      send();
      pads.forEach((_, pad) => model.send({ do: "clear", pad }));
    } });
  const mixture = new Panel(SIDE, SIDE, SCALE);
  mixture.label("mixture");
  const error = make("div", "sepviz-error", { role: "alert", hidden: true });
  const text = stateRow("State of this mixture");
  node.append(make("div", "sepviz-pads", {}, [...pads.map((pad) => pad.node), make("div", "sepviz-pad", {}, [make("strong", "", { textContent: "mixture" }), mixture.node])]),
    make("div", "sepviz-knobs", {}, sliders.map((each) => each.node)),
    make("div", "sepviz-transport", {}, [make("label", "sepviz-check", {}, [hidden, " hide the lower half"]), reset]), filter, error, text.node);
  el.append(shield(node));

  const showOptions = () => {
    const options = model.get("options");
    for (const each of sliders) each.update();
    taps.forEach((tap, i) => tap.setAttribute("aria-pressed", options.taps[i] === "1"));
    hidden.checked = options.visible === "top-half";
    node.dataset.options = JSON.stringify(options);
  };
  const showImages = () => {
    const shown = model.get("shown"), sources = model.get("sources");
    pads.forEach((pad, k) => {
      if (sources[k] !== pad.source && sources[k] && !sources[k].startsWith("ink:")) pad.strokes = [];
      pad.source = sources[k];
      pad.show(bytesOf(shown.images[k]), pad.strokes.length > 0);
    });
    const bits = shown.mixture.byteLength ? bitsOf(shown.mixture) : null;
    mixture.draw((i) => (bits ? HALF[bits[i]] : 0), 1, shown.low, shown.high);
    mixture.label(bits ? "mixture" : "draw or pick every source");
    error.textContent = model.offline ? "Drawing needs Python: open this lab in Jupyter." : shown.error;
    error.hidden = !error.textContent;
    text.show(shown.state);
    Object.assign(node.dataset, { mixed: Boolean(bits), state: shown.state, shows: Number(node.dataset.shows || 0) + 1 });
  };
  const showStrokes = () => { // from Python: restored, picked
    model.get("strokes").forEach((strokes, k) => { if (JSON.stringify(strokes) !== JSON.stringify(pads[k].strokes) && sending === null) { pads[k].strokes = strokes.map((stroke) => stroke.map((point) => [...point])); pads[k].draw(); } });
  };
  showOptions();
  showStrokes();
  showImages();
  model.on("change:strokes", showStrokes);
  model.on("change:options", showOptions);
  model.on("change:shown", showImages);
  const unwatch = watchKernel(model, node);
  return () => {
    unwatch();
    clearTimeout(sending);
    model.off("change:strokes", showStrokes);
    model.off("change:options", showOptions);
    model.off("change:shown", showImages);
    node.remove();
  };
}

export default { render };
