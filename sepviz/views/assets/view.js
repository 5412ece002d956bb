// What the player and the live run share: panels, curves, transport. No dependencies.

const TARGET = 148; // screen pixels of a panel, at most, in whole steps of the image's size
const WHOLE = 8; // seconds that a whole run takes to play, unless another speed is chosen
const LINGER = 1500; // milliseconds at the end before it plays again
const RATES = ["whole", "2", "5", "10", "25", "50", "0"]; // frames per second; 0: one a refresh
const CURVES = {
  residual: { label: "residual (RMS)", log: true },
  sigma: { label: "sigma", log: true },
  loss: { label: "loss of the training", log: true },
  discriminator_loss: { label: "loss of the discriminator", log: true },
  generator_loss: { label: "loss of the generator", log: true },
  mask_loss: { label: "loss of the mask", log: true },
  psnr: { label: "PSNR (dB)", log: false },
};

const FINEST = 0.01; // no signed picture's scale is finer, in pixel values
const ROUNDING = 1e-3; // of frames in float16 and of sums of them: a signed pixel below this is 0
const FORCES = ["prior_force", "data_force", "noise"]; // what moved the sources in a step; they add up
const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

function make(tag, className, properties = {}, children = []) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

const ICONS = {
  first: "M3 3h2v10H3zM13 3v10L6 8z",
  back: "M10.6 2.6 12 4 8 8l4 4-1.4 1.4L5.2 8z",
  play: "M4 2.5v11L13.5 8z",
  pause: "M4 3h3v10H4zM9 3h3v10H9z",
  forward: "M5.4 2.6 4 4l4 4-4 4 1.4 1.4L10.8 8z",
  last: "M11 3h2v10h-2zM3 3v10l7-5z",
};

function icon(button, name) {
  button.innerHTML = `<svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true"><path d="${ICONS[name]}" fill="currentColor"/></svg>`;
}

function pictureButton(name, picture, label, action) {
  const node = make("button", `sepviz-${name}`, { type: "button", title: label, "aria-label": label, onclick: action });
  icon(node, picture);
  return node;
}

function bytesOf(value) {
  return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
}

// Every float16, by its bits: browsers have no such arrays yet.
const HALF = Float32Array.from({ length: 65536 }, (_, bits) => {
  const power = (bits >> 10) & 31, part = bits & 1023;
  const size = power === 31 ? (part ? NaN : Infinity) : power ? 2 ** (power - 15) * (1 + part / 1024) : 2 ** -24 * part;
  return bits & 32768 ? -size : size;
});

// Numbers that came as float16: a view on their bits, copied only where they do not lie at an even place.
function bitsOf(value) {
  const bytes = bytesOf(value);
  return bytes.byteOffset % 2 ? new Uint16Array(bytes.slice().buffer) : new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
}

function number(value, digits = 3) {
  if (value === null || value === undefined) return "n/a";
  if (value !== 0 && (Math.abs(value) < 1e-4 || Math.abs(value) >= 1e5)) return value.toExponential(digits - 1);
  return value.toPrecision(Math.max(digits, Math.ceil(Math.log10(Math.abs(value) + 1))));
}

// One line of text to copy: {node, show(text)}; hidden while there is none.
function stateRow(label) {
  const field = make("input", "", { type: "text", readOnly: true, "aria-label": label, onfocus: () => field.select() });
  const copy = make("button", "sepviz-copy", { type: "button", textContent: "Copy", title: `Copy: ${label}`, onclick: async () => {
    field.select();
    try { await navigator.clipboard.writeText(field.value); } catch { document.execCommand("copy"); } // no permission: the old way
    copy.textContent = "Copied";
    setTimeout(() => { copy.textContent = "Copy"; }, 1500);
  } });
  const says = make("span");
  const node = make("div", "sepviz-text", { hidden: true }, [says, field, copy]);
  return { node, show: (text, what = "state") => { node.hidden = !text; says.textContent = what; if (field.value !== text) field.value = text; } };
}

// Where Python is gone (kernel restarted or stopped, notebook opened anew) the widget says so once
// and calls `stop`. JupyterLab marks views of dead models; a kernel that died only says so itself.
function watchKernel(model, root, stop = () => {}) {
  if (model.offline) return () => {};
  const kernel = model.widget_manager && model.widget_manager.kernel;
  const gone = () => {
    if (root.dataset.kernel === "gone") return;
    root.dataset.kernel = "gone";
    const textContent = "The kernel was restarted or stopped: run this cell again.";
    root.prepend(make("div", "sepviz-error", { role: "alert", textContent }));
    stop();
  };
  const dead = () => root.closest(".jupyter-widgets-disconnected");
  const look = () => setTimeout(() => { if (dead()) gone(); }, 0);
  const ends = ["restarting", "autorestarting", "terminating", "dead"];
  const status = (_, now) => { if (ends.includes(now)) gone(); };
  model.on("comm_live_update", look);
  if (kernel && kernel.statusChanged) kernel.statusChanged.connect(status);
  look();
  return () => {
    model.off("comm_live_update", look);
    if (kernel && kernel.statusChanged) kernel.statusChanged.disconnect(status);
  };
}

// A pixel's value or what was added to it, three decimals unless that would say 0.
function pixelNumber(value) {
  const sign = value < 0 ? "−" : "";
  const size = Math.abs(value);
  return sign + (size !== 0 && size < 0.0005 ? size.toExponential(0) : size.toFixed(3));
}

// --- panels -------------------------------------------------------------------------------------

// ColorBrewer's RdBu in reverse, told apart with any colour vision: blue below 0, white, orange-red above.
const DIVERGING = (() => {
  const stops = [[5, 48, 97], [67, 147, 195], [247, 247, 247], [244, 140, 80], [127, 39, 4]];
  return Uint8Array.from({ length: 256 * 3 }, (_, i) => {
    const place = Math.min(1, Math.max(0, (Math.floor(i / 3) - 1) / 254)) * (stops.length - 1);
    const left = Math.min(stops.length - 2, Math.floor(place));
    return stops[left][i % 3] + (stops[left + 1][i % 3] - stops[left][i % 3]) * (place - left);
  });
})();

// What is painted in full colour: the largest value, but nothing as fine as rounding.
function spanOf(largest) {
  return Math.max(FINEST, largest || 0);
}

class Panel {
  constructor(width, height, zoom) {
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
    this.node = make("figure", "sepviz-panel", {}, [make("div", "sepviz-picture", {}, [this.canvas, this.marker]), this.caption]);
  }

  // Call `move(row, column)` for the pixel under the pointer, `choose` for one that is clicked.
  watch(move, choose) {
    const at = (event, action) => {
      const box = this.canvas.getBoundingClientRect();
      const place = (value, size) => Math.max(0, Math.min(size - 1, Math.floor(value * size)));
      action(place((event.clientY - box.top) / box.height, this.canvas.height), place((event.clientX - box.left) / box.width, this.canvas.width));
    };
    this.canvas.addEventListener("pointermove", (event) => at(event, move));
    this.canvas.addEventListener("pointerdown", (event) => at(event, choose));
  }

  mark(pixel) {
    this.marker.hidden = !pixel;
    if (!pixel) return;
    this.marker.style.top = `${100 * pixel[0] / this.canvas.height}%`;
    this.marker.style.left = `${100 * pixel[1] / this.canvas.width}%`;
  }

  // Values `valueAt(i)` from `low` (black) to `high` (white); signed, from -high (blue) to high
  // (orange): orange adds, everywhere.
  draw(valueAt, channels, low, high, signed = false) {
    const { data, width, height } = this.image;
    const top = signed ? spanOf(high) : high || 1;
    const size = width * height, from = signed ? -top : low, span = top - from;
    for (let i = 0; i < size; i++) {
      for (let c = 0; c < 3; c++) {
        const pixel = valueAt((channels === 3 ? c * size : 0) + i);
        const part = ((signed && Math.abs(pixel) < ROUNDING ? 0 : pixel) - from) / span;
        const value = signed ? Math.max(1, Math.min(255, Math.round(part * 254) + 1)) : Math.max(0, Math.min(255, Math.round(part * 255)));
        data[4 * i + c] = signed && channels === 1 ? DIVERGING[3 * value + c] : value;
      }
    }
    this.canvas.classList.toggle("sepviz-signed", signed && channels === 1);
    this.context.putImageData(this.image, 0, 0);
  }

  label(text, description = text) {
    if (this.caption.textContent !== text) this.caption.textContent = text;
    if (this.description !== description) this.canvas.setAttribute("aria-label", description);
    this.description = description;
  }
}

// --- curves -------------------------------------------------------------------------------------

class Curve {
  // One line for each style {colour, dash} of `styles`; `seek` is called with a place from 0 to 1.
  constructor(name, seek, styles = [{}]) {
    Object.assign(this, CURVES[name], { name });
    const box = make("div", "sepviz-plot-box");
    box.innerHTML = `<svg class="sepviz-plot" viewBox="0 0 100 100" preserveAspectRatio="none" role="img">
      ${styles.map(() => '<path class="sepviz-line" fill="none" vector-effect="non-scaling-stroke"/>').join("")}
      <line class="sepviz-cursor" y1="0" y2="100" vector-effect="non-scaling-stroke"/></svg>`;
    this.svg = box.firstChild;
    this.line = this.svg.lastElementChild;
    this.lines = styles.map((style, i) => {
      const path = this.svg.children[i], dot = make("span", "sepviz-dot");
      if (style.colour) { path.style.stroke = style.colour; path.style.strokeDasharray = style.dash; dot.style.background = style.colour; }
      box.append(dot);
      return { path, dot };
    });
    this.value = make("span", "sepviz-value");
    this.top = make("span", "sepviz-tick");
    this.bottom = make("span", "sepviz-tick");
    const title = make("span", "", { textContent: this.label + (this.log ? ", log scale" : "") });
    this.node = make("div", "sepviz-curve", { "data-curve": name }, [
      make("div", "sepviz-curve-head", {}, [title, this.value]),
      make("div", "sepviz-ticks", {}, [this.top, this.bottom]),
      box,
    ]);
    const at = (event) => {
      const box = this.svg.getBoundingClientRect();
      seek(Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)));
    };
    this.svg.addEventListener("pointerdown", (event) => { this.svg.setPointerCapture(event.pointerId); at(event); });
    this.svg.addEventListener("pointermove", (event) => { if (event.buttons & 1) at(event); });
  }

  ok(value) {
    return value !== null && value !== undefined && (!this.log || value > 0);
  }

  // For each line its points (x in 0..1, value or null).
  plot(...lines) {
    const values = lines.flat().map((point) => point[1]).filter((value) => this.ok(value));
    this.node.hidden = !values.length;
    if (!values.length) return;
    const scale = this.log ? Math.log10 : (value) => value;
    let low = Infinity, high = -Infinity;
    for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
    [this.bottom.textContent, this.top.textContent] = low === high ? ["", number(low)] : [number(low), number(high)];
    const from = scale(low), span = scale(high) - from || 1;
    this.height = (value) => 96 - 92 * (scale(value) - from) / span;
    lines.forEach((points, i) => {
      let path = "", pen = "M";
      for (const [x, value] of points) {
        if (!this.ok(value)) { pen = "M"; continue; }
        path += `${pen}${(100 * x).toFixed(2)} ${this.height(value).toFixed(2)}`;
        pen = "L";
      }
      this.lines[i].path.setAttribute("d", path);
    });
  }

  // The cursor at x; a dot on each line at its own [x, value].
  mark(x, ...points) {
    if (this.node.hidden) return;
    this.line.setAttribute("x1", 100 * x);
    this.line.setAttribute("x2", 100 * x);
    points.forEach(([place, value], i) => {
      const { dot } = this.lines[i], known = this.ok(value);
      dot.hidden = !known;
      if (!known) return;
      dot.style.left = `${100 * place}%`;
      dot.style.top = `${this.height(value)}%`;
    });
    const text = points.map((point) => number(point[1])).join("  ");
    this.value.textContent = points.length === 1 ? text : "";
    this.svg.setAttribute("aria-label", `${this.label}: ${text} at this step`);
  }
}

// --- the transport ------------------------------------------------------------------------------

// Buttons, slider, speed and keys over the places 0 to count - 1. `host`: {root, cursor, show(place), rest()}; the root is told.
class Transport {
  constructor(host) {
    this.host = host;
    this.count = 0;
    this.loop = !matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.playing = false;
    this.dragging = false;
    const button = pictureButton;
    this.playButton = button("play", "play", "Play (space)", () => (this.playing ? this.pause() : this.play()));
    this.slider = make("input", "sepviz-slider", { type: "range", min: 0, max: 0, value: 0, step: 1, "aria-label": "Step",
      oninput: () => { this.dragging = true; this.pause(); this.host.show(Number(this.slider.value)); },
      onchange: () => { this.dragging = false; this.host.rest(); } });
    const names = { whole: `whole run in ${WHOLE} s`, 0: "fastest" };
    const rates = RATES.map((value) => make("option", "",
      { value, textContent: names[value] || `${value} frames/s` }));
    this.rateSelect = make("select", "sepviz-rate", { "aria-label": "Speed" }, rates);
    this.loopButton = make("button", "sepviz-loop", { type: "button", textContent: "Loop",
      title: "Play again and again", "aria-pressed": this.loop, onclick: () => {
        this.loop = !this.loop;
        this.loopButton.setAttribute("aria-pressed", this.loop);
      } });
    this.node = make("div", "sepviz-transport", {}, [
      button("first", "first", "First step (Home)", () => this.go(0)),
      button("back", "back", "Step back (left arrow)", () => this.move(-1)),
      this.playButton,
      button("forward", "forward", "Step forward (right arrow)", () => this.move(1)),
      button("last", "last", "Last step (End)", () => this.go(this.count - 1)),
      this.slider, this.rateSelect, this.loopButton]);
  }

  // Frames per second; 0: one per screen refresh.
  get rate() {
    const { value } = this.rateSelect;
    return value === "whole" ? (this.count - 1) / WHOLE : Number(value);
  }

  resize(count) {
    this.count = count;
    this.slider.max = Math.max(0, count - 1);
  }

  at(place, text) {
    this.slider.value = place;
    this.slider.setAttribute("aria-valuetext", text);
  }

  go(place) {
    this.dragging = false;
    this.pause();
    this.host.show(Math.max(0, Math.min(this.count - 1, place)));
    this.host.rest();
  }

  move(by) {
    this.go(this.host.cursor + by);
  }

  play() {
    if (this.playing || this.count < 2) return;
    this.playing = true;
    this.host.root.dataset.playing = true;
    this.labelPlay("pause", "Pause (space)");
    this.host.show(this.host.cursor >= this.count - 1 ? 0 : this.host.cursor);
    let before = performance.now();
    const tick = (now) => {
      if (!this.playing) return;
      if (!this.host.root.isConnected) { this.pause(); return; }
      const { rate } = this, end = this.count - 1;
      const due = rate ? Math.floor((now - before) * rate / 1000) : 1;
      if (this.host.cursor >= end) { // it lingers, then begins again
        if (!this.loop) { this.pause(); return; }
        if (now - before > LINGER) { before = now; this.host.show(0); }
      } else if (due > 0) {
        before = rate ? before + due * 1000 / rate : now;
        this.host.show(Math.min(end, this.host.cursor + due));
      }
      this.request = requestAnimationFrame(tick);
    };
    this.request = requestAnimationFrame(tick);
  }

  pause() {
    if (!this.playing) return;
    this.playing = false;
    cancelAnimationFrame(this.request);
    this.labelPlay("play", "Play (space)");
    this.host.root.dataset.playing = false;
    this.host.rest();
  }

  labelPlay(picture, text) {
    icon(this.playButton, picture);
    this.playButton.title = text;
    this.playButton.setAttribute("aria-label", text);
  }

  // Keys of the root; `more` are the host's own. Other controls have keys of their own.
  key(event, more = {}) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const { target } = event;
    const own = target === this.host.root || target === this.slider;
    if (!own && !(target.tagName === "BUTTON" && event.key !== " ")) return;
    const actions = {
      " ": () => (this.playing ? this.pause() : this.play()),
      ArrowLeft: () => this.move(-1),
      ArrowRight: () => this.move(1),
      Home: () => this.go(0),
      End: () => this.go(this.count - 1),
      ...more,
    };
    const action = actions[(event.shiftKey && `Shift+${event.key}` in actions ? "Shift+" : "") + event.key];
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  }
}

// The place of the value that is nearest to the one wanted.
function nearest(values, wanted) {
  let best = 0;
  values.forEach((value, i) => { if (Math.abs(value - wanted) < Math.abs(values[best] - wanted)) best = i; });
  return best;
}

// Which mixture is shown, and the way to the one before and the next: {node, at(item)}; `move(by)` is asked to go there.
class ItemSteps {
  constructor({ items, batch }, move) {
    this.previous = pictureButton("previous", "back", "Previous mixture", () => move(-1));
    this.next = pictureButton("next", "forward", "Next mixture", () => move(1));
    this.label = make("span", "sepviz-item");
    this.node = make("span", "sepviz-items", {}, [this.previous, this.label, this.next]);
    this.at = (item) => {
      this.label.textContent = `mixture ${item + 1} of ${batch}`;
      this.previous.disabled = item === items[0];
      this.next.disabled = item === items[items.length - 1];
    };
  }
}

// --- frames -------------------------------------------------------------------------------------

// What came from Python, and where in it a layer of a frame lies.
class Frames {
  constructor(fixed) {
    this.fixed = fixed;
    this.mixtures = bitsOf(fixed.mixtures);
    this.truth = fixed.truth.byteLength ? bytesOf(fixed.truth) : null;
    this.visible = fixed.visible.byteLength ? bytesOf(fixed.visible) : null; // which pixels of the mixtures were seen; all of them if null
    this.frames = []; // one per step, {index, stage, scales, values, evaluations, order, layers, bits, at}
    this.item = fixed.items[0]; // the mixture on the screen, counted over the whole problem
  }

  get image() {
    return this.fixed.channels * this.fixed.height * this.fixed.width;
  }

  get place() {
    return this.fixed.items.indexOf(this.item);
  }

  unpack(pack) {
    const bits = bitsOf(pack.bytes);
    const size = pack.layers.reduce((sum, layer) => sum + layer.panels, 0) * this.image * this.fixed.items.length;
    return pack.records.map((record, i) => ({ ...record, layers: pack.layers, weights: pack.weights, bits, at: i * size }));
  }

  // The values of a layer of a frame, for one source: (pixel and channel) -> value; null if there is no such layer.
  values(frame, name, k = 0, place = this.place) {
    let at = frame.at;
    for (const layer of frame.layers) {
      if (layer.name === name) {
        const first = at + (place * layer.panels + k) * this.image;
        return (i) => HALF[frame.bits[first + i]];
      }
      at += this.fixed.items.length * layer.panels * this.image;
    }
    return null;
  }

  // The mixture on the screen, and a true source of it, as `values` gives the layers.
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

  value(frame, name) {
    return name in frame.values ? frame.values[name][this.place] : null;
  }
}

// --- the view -----------------------------------------------------------------------------------

class View extends Frames {
  constructor(el, fixed) {
    super(fixed);
    this.pixel = null; // [row, column] whose arithmetic is shown
    this.pinned = false; // it stays when the pointer moves on
    this.cursor = 0;
    this.layer = null; // which extra is shown under the estimates
    this.wholeRun = false; // one colour scale for the whole run, or one per step
    this.draws = 0;
    this.onRest = () => {}; // called when the view comes to rest
    this.onShow = () => {}; // called when a frame has been drawn
    this.build(el);
  }

  build(el) {
    const { fixed } = this;
    const { width, height, count } = fixed;
    const zoom = Math.max(1, Math.floor((count > 4 ? 0.7 : 1) * TARGET / Math.max(width, height)));
    // Columns: the mixture's, then one per source; they wrap as a whole, so what belongs together stays together.
    const column = (names) => Object.fromEntries(names.map((name) => [name, new Panel(width, height, zoom)]));
    this.mixtureColumn = column(["mixture", "remix", "residual"]);
    this.sourceColumns = Array.from({ length: count }, () => column(this.truth ? ["estimate", "truth", "extra"] : ["estimate", "extra"]));
    const stack = (panels, className) => make("div", `sepviz-column ${className}`, {}, Object.values(panels).map((panel) => panel.node));
    const columns = make("div", "sepviz-columns", {}, [stack(this.mixtureColumn, "sepviz-of-mixture"),
      ...this.sourceColumns.map((panels) => stack(panels, "sepviz-of-source"))]);

    this.panels = [this.mixtureColumn, ...this.sourceColumns].flatMap((panels) => Object.values(panels));
    for (const panel of this.panels) {
      panel.watch((row, column) => { if (!this.pinned) this.point([row, column]); }, (row, column) => {
        this.pinned = !(this.pinned && this.pixel[0] === row && this.pixel[1] === column);
        this.point([row, column]);
      });
    }
    this.hint = make("span", "sepviz-hint", { textContent: "Why this pixel? Point at one, click to keep it; or press I, then Shift and the arrows." });
    this.why = make("div", "sepviz-why", { role: "region", "aria-label": "Why this pixel", "aria-live": "polite" });

    this.curves = Object.keys(CURVES).map((name) => new Curve(name, (part) => this.seek(part)));
    this.span = make("div", "sepviz-span");
    const curves = make("div", "sepviz-curves", {}, [...this.curves.map((curve) => curve.node), this.span]);

    this.items = new ItemSteps(fixed, (by) => this.chooseItem(this.item + by));
    this.status = make("span", "sepviz-status");
    const header = make("div", "sepviz-header", {}, [make("strong", "sepviz-method", { textContent: fixed.method }),
      this.items.node, this.status]);
    this.items.node.hidden = fixed.batch === 1;

    this.transport = new Transport(this);
    this.layerButtons = make("span", "sepviz-segments", { role: "group", "aria-label": "Layer under the estimates" });
    this.scaleSelect = make("select", "sepviz-scale", { "aria-label": "Colour scale",
      onchange: () => { this.wholeRun = this.scaleSelect.value === "run"; this.show(this.cursor); } }, [
      make("option", "", { value: "step", textContent: "colours scaled to this step" }),
      make("option", "", { value: "run", textContent: "colours scaled to the whole run" })]);
    const ramp = make("span", "sepviz-ramp", { "aria-hidden": "true" }); // the words say it
    this.ramp = make("span", "sepviz-legend", {}, fixed.channels === 3
      ? ["gray is 0, darker takes away, brighter adds"]
      : ["blue − takes away", ramp, "orange + adds"]);
    this.layerRow = make("div", "sepviz-layers", {}, [this.layerButtons, this.ramp, this.scaleSelect]);

    this.root = make("div", count > 4 ? "sepviz sepviz-many" : "sepviz", {
      tabIndex: 0, role: "group", "aria-label": `${fixed.method}: separation step by step`,
      onkeydown: (event) => this.key(event) },
      [header, make("div", "sepviz-body", {}, [columns, curves]), this.transport.node, this.layerRow, this.why]);
    el.append(shield(this.root));
    this.chooseItem(this.item);
  }

  // --- frames ---

  // Replace all frames, staying at the same step of the run, or at the end.
  setFrames(pack) {
    const here = this.frames[this.cursor];
    const atEnd = this.cursor === this.frames.length - 1;
    this.frames = this.unpack(pack);
    const place = here && !atEnd ? this.frames.findIndex((frame) => frame.index >= here.index) : -1;
    this.cursor = place >= 0 ? place : here ? Math.max(0, this.frames.length - 1) : 0;
    this.framesChanged();
  }

  // Add the newest frames of a run that goes on; who looks at the end stays at the end.
  append(pack) {
    const atEnd = this.cursor >= this.frames.length - 1 && !this.transport.dragging;
    const last = this.frames.length ? this.frames[this.frames.length - 1].index : -1;
    this.frames.push(...this.unpack(pack).filter((frame) => frame.index > last));
    if (this.frames.length > 600) { // a long run: every second of them will do
      this.frames = this.frames.filter((frame, i) => i % 2 === 0 || i === this.frames.length - 1);
      this.cursor = Math.floor(this.cursor / 2);
    }
    if (atEnd) this.cursor = this.frames.length - 1;
    this.framesChanged();
  }

  framesChanged() {
    this.transport.resize(this.frames.length);
    this.root.dataset.frames = this.frames.length;
    this.root.classList.toggle("sepviz-empty", !this.frames.length);
    if (!this.frames.length) {
      this.status.textContent = "not started";
      return;
    }
    const names = new Map();
    for (const frame of this.frames) for (const layer of frame.layers) if (layer.label) names.set(layer.name, layer.label);
    if (!names.has(this.layer)) this.layer = names.size ? [...names.keys()][0] : null;
    if (this.layerButtons.childElementCount !== names.size) {
      this.layerButtons.replaceChildren(...[...names].map(([name, label]) => make("button", "sepviz-segment", { type: "button", textContent: label,
        "data-layer": name, onclick: () => { this.layer = name; this.framesChanged(); } })));
    }
    for (const node of this.layerButtons.children) node.setAttribute("aria-pressed", node.dataset.layer === this.layer);
    this.layerButtons.hidden = !names.size;
    for (const panels of this.sourceColumns) panels.extra.node.hidden = !names.size;
    this.largest = {};
    for (const frame of this.frames) {
      for (const [name, scales] of Object.entries(frame.scales)) {
        this.largest[name] = Math.max(this.largest[name] || 0, ...scales.map((scale) => scale || 0));
      }
    }
    this.plotCurves();
    this.show(this.cursor);
  }

  plotCurves() {
    const place = this.place;
    for (const curve of this.curves) {
      curve.plot(this.frames.map((frame) => [this.part(frame), this.value(frame, curve.name)]));
    }
    const first = this.frames[0], last = this.frames[this.frames.length - 1];
    this.span.replaceChildren(make("span", "", { textContent: `step ${first.index}` }), make("span", "", { textContent: `step ${last.index}` }));
  }

  // Where a frame is between the first (0) and the last (1).
  part(frame) {
    const first = this.frames[0].index, last = this.frames[this.frames.length - 1].index;
    return last > first ? (frame.index - first) / (last - first) : 0;
  }

  // --- why this pixel ---

  point(pixel) {
    if (this.pixel && pixel && this.pixel[0] === pixel[0] && this.pixel[1] === pixel[1] && this.root.dataset.pinned === String(this.pinned)) return;
    this.pixel = pixel;
    if (!pixel) this.pinned = false;
    for (const panel of this.panels) panel.mark(pixel);
    Object.assign(this.root.dataset, { pixel: pixel ? pixel.join(" ") : "", pinned: this.pinned });
    this.explain();
  }

  // The sum that made the pixel: before + forces = now for each source, and sources + residual = mixture.
  explain() {
    const frame = this.frames[this.cursor];
    this.why.hidden = !frame;
    if (!frame) return;
    if (!this.pixel) {
      if (this.why.firstChild !== this.hint) this.why.replaceChildren(this.hint); // else every frame would be read out
      return;
    }
    const { width, height, channels, count } = this.fixed;
    const [row, column] = this.pixel;
    const weights = frame.weights[this.place];
    const read = (values) => Array.from({ length: channels }, (_, c) => values((c * height + row) * width + column));
    const plus = (...parts) => Array.from({ length: channels }, (_, c) => parts.reduce((sum, part) => sum + part[c], 0));
    const text = (parts) => parts.map(pixelNumber).join(" ");
    const place = this.place;
    const forces = frame.layers.filter((layer) => FORCES.includes(layer.name));
    const moved = forces.some((layer) => frame.scales[layer.name][place]);
    const estimates = Array.from({ length: count }, (_, k) => read(this.values(frame, "estimate", k)));
    const rows = estimates.map((now, k) => {
      const parts = moved ? forces.map((layer) => read(this.values(frame, layer.name, k))) : [];
      const before = moved ? [plus(now, ...parts.map((part) => part.map((value) => -value)))] : [];
      const cells = [...before, ...parts, now];
      if (this.truth) cells.push(read(this.true(frame.order ? frame.order[place][k] : k)));
      return make("tr", "", {}, [make("th", "", { scope: "row", textContent: `source ${k + 1}` }), ...cells.map((cell) => make("td", "", { textContent: text(cell) }))]);
    });
    const heads = ["", ...(moved ? ["before", ...forces.map((layer) => `+ ${layer.label}`), "= now"] : ["now"]), ...(this.truth ? ["truth"] : [])];
    const mixture = read(this.mixed()), remix = read(this.remixed(frame)), residual = read(this.values(frame, "residual"));
    const seen = !this.visible || Boolean(this.visible[row * width + column]);
    const filtered = frame.layers.some((layer) => layer.name === "filters");
    const terms = filtered ? [`remixed ${text(remix)}`] : estimates.map((value, k) => (weights[k] === 1 ? text(value) : `${number(weights[k], 2)} × ${text(value)}`));
    const sum = seen ? `mixture ${text(mixture)} = ${[...terms, `residual ${text(residual)}`].join(" + ")}` : `the mixture is not seen here; remixed ${text(remix)}`;
    this.why.setAttribute("aria-live", this.transport.playing ? "off" : "polite"); // nobody wants every frame read out
    this.why.replaceChildren(
      make("div", "sepviz-sum", {}, [make("strong", "", { textContent: `Row ${row}, column ${column}${this.pinned ? " (kept; Escape lets go)" : ""}: ` }), sum]),
      make("div", "sepviz-scroll", {}, [make("table", "sepviz-arithmetic", {}, [make("thead", "", {}, [make("tr", "", {}, heads.map((head) => (
        head ? make("th", "", { scope: "col", textContent: head }) : make("td"))))]), make("tbody", "", {}, rows)])]));
  }

  // --- moving ---

  show(cursor) {
    if (!this.frames.length) return;
    this.cursor = Math.max(0, Math.min(this.frames.length - 1, cursor));
    const frame = this.frames[this.cursor];
    const { channels, low, high, count } = this.fixed;
    const place = this.place;
    for (const layer of frame.layers) {
      const scale = layer.signed ? frame.scales[layer.name][place] : null;
      const largest = this.wholeRun ? this.largest[layer.name] : scale;
      const range = layer.signed ? ` ±${number(spanOf(largest), 2)}` : "";
      const limits = layer.signed ? [0, largest, true] : [0, 1];
      const draw = (panel, k, text) => {
        panel.draw(this.values(frame, layer.name, k), channels, ...limits);
        panel.label(text);
      };
      if (layer.name === "estimate") this.sourceColumns.forEach((panels, k) => draw(panels.estimate, k, `estimate ${k + 1}`));
      else if (layer.name === "residual") draw(this.mixtureColumn.residual, 0, `residual${range}`);
      else if (layer.name === this.layer) {
        this.sourceColumns.forEach((panels, k) => draw(panels.extra, k, scale ? `${layer.label}${range}` : `no ${layer.label} here`));
      }
    }
    this.mixtureColumn.remix.draw(this.remixed(frame), channels, low, high);
    this.mixtureColumn.remix.label("remixed");
    if (this.truth) {
      this.sourceColumns.forEach((panels, k) => {
        const source = frame.order ? frame.order[place][k] : k;
        panels.truth.draw(this.true(source), channels, 0, 1);
        panels.truth.label(`truth ${source + 1}`);
      });
    }
    const x = this.part(frame);
    for (const curve of this.curves) curve.mark(x, [x, this.value(frame, curve.name)]);
    const evaluations = frame.evaluations === null ? "" : `${frame.evaluations} evaluations`;
    this.status.textContent = [frame.stage, `step ${frame.index}`, evaluations].filter(Boolean).join("  ·  ");
    this.explain();
    this.transport.at(this.cursor, `step ${frame.index}, ${frame.stage}`);
    this.draws += 1;
    Object.assign(this.root.dataset, { frame: this.cursor, index: frame.index, draws: this.draws, playing: this.transport.playing });
    this.onShow(frame);
  }

  chooseItem(item) {
    if (!this.fixed.items.includes(item)) return;
    const moved = item !== this.item;
    this.item = item;
    this.root.dataset.item = item;
    this.items.at(item);
    this.mixtureColumn.mixture.draw(this.mixed(), this.fixed.channels, this.fixed.low, this.fixed.high);
    this.mixtureColumn.mixture.label("mixture");
    if (this.frames.length) { this.plotCurves(); this.show(this.cursor); }
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
    const step = ([down, right]) => () => {
      this.pinned = true;
      this.point(this.pixel.map((place, axis) => Math.max(0, Math.min(sizes[axis] - 1, place + [down, right][axis]))));
    };
    const moves = this.pixel ? Object.fromEntries(Object.entries(MOVES).map(([name, by]) => [`Shift+${name}`, step(by)])) : {};
    const point = () => { this.pinned = true; this.point(this.pixel || sizes.map((size) => size >> 1)); };
    this.transport.key(event, { i: point, ...(this.pixel ? { Escape: () => this.point(null) } : {}), ...moves });
  }

  close() {
    this.transport.pause();
    this.root.remove();
  }
}
