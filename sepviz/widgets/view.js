// What the player and the live run share: panels, curves, transport. No dependencies.

const TARGET = 148; // screen pixels of a panel, at most, in whole steps of the image's size
const RATES = [2, 5, 10, 25, 50, 0]; // frames per second; 0: one per screen refresh
const CURVES = {
  residual: { label: "residual (RMS)", log: true },
  sigma: { label: "sigma", log: true },
  loss: { label: "loss of the training", log: true },
  psnr: { label: "PSNR (dB)", log: false },
};

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
    this.zoom = zoom;
    this.marker = make("div", "sepviz-pixel", { hidden: true });
    this.marker.style.width = this.marker.style.height = `${zoom}px`;
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
    if (pixel) [this.marker.style.top, this.marker.style.left] = pixel.map((place) => `${place * this.zoom}px`);
  }

  // Values `valueAt(i)` from `low` (black) to `high` (white); signed, from -high (blue) to high (orange).
  draw(valueAt, channels, low, high, signed = false) {
    const { data, width, height } = this.image;
    const top = high || 1; // a layer that is 0 everywhere has no scale
    const size = width * height, from = signed ? -top : low, span = top - from;
    for (let i = 0; i < size; i++) {
      for (let c = 0; c < 3; c++) {
        const part = (valueAt((channels === 3 ? c * size : 0) + i) - from) / span;
        const value = signed ? Math.max(1, Math.min(255, Math.round(part * 254) + 1)) : Math.max(0, Math.min(255, Math.round(part * 255)));
        data[4 * i + c] = signed && channels === 1 ? DIVERGING[3 * value + c] : value;
      }
    }
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
  constructor(name, seek) {
    Object.assign(this, CURVES[name], { name });
    const box = make("div", "sepviz-plot-box");
    box.innerHTML = `<svg class="sepviz-plot" viewBox="0 0 100 100" preserveAspectRatio="none" role="img">
      <path class="sepviz-line" fill="none" vector-effect="non-scaling-stroke"/>
      <line class="sepviz-cursor" y1="0" y2="100" vector-effect="non-scaling-stroke"/></svg>`;
    this.svg = box.firstChild;
    [this.path, this.line] = this.svg.children;
    this.dot = make("span", "sepviz-dot");
    this.value = make("span", "sepviz-value");
    this.top = make("span", "sepviz-tick");
    this.bottom = make("span", "sepviz-tick");
    const title = make("span", "", { textContent: this.label + (this.log ? ", log scale" : "") });
    this.node = make("div", "sepviz-curve", { "data-curve": name }, [
      make("div", "sepviz-curve-head", {}, [title, this.value]),
      make("div", "sepviz-ticks", {}, [this.top, this.bottom]),
      box,
    ]);
    box.append(this.dot);
    const at = (event) => {
      const box = this.svg.getBoundingClientRect();
      seek(Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)));
    };
    this.svg.addEventListener("pointerdown", (event) => { this.svg.setPointerCapture(event.pointerId); at(event); });
    this.svg.addEventListener("pointermove", (event) => { if (event.buttons & 1) at(event); });
  }

  // Points are (x in 0..1, value or null).
  plot(points) {
    const ok = (value) => value !== null && value !== undefined && (!this.log || value > 0);
    const values = points.map((point) => point[1]).filter(ok);
    this.node.hidden = !values.length;
    if (!values.length) return;
    const scale = this.log ? Math.log10 : (value) => value;
    let low = Infinity, high = -Infinity;
    for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
    [this.bottom.textContent, this.top.textContent] = low === high ? ["", number(low)] : [number(low), number(high)];
    const from = scale(low), span = scale(high) - from || 1;
    this.height = (value) => 96 - 92 * (scale(value) - from) / span;
    let path = "", pen = "M";
    for (const [x, value] of points) {
      if (!ok(value)) { pen = "M"; continue; }
      path += `${pen}${(100 * x).toFixed(2)} ${this.height(value).toFixed(2)}`;
      pen = "L";
    }
    this.path.setAttribute("d", path);
    this.ok = ok;
  }

  mark(x, value) {
    if (this.node.hidden) return;
    this.line.setAttribute("x1", 100 * x);
    this.line.setAttribute("x2", 100 * x);
    const known = this.ok(value);
    this.dot.hidden = !known;
    if (known) {
      this.dot.style.left = `${100 * x}%`;
      this.dot.style.top = `${this.height(value)}%`;
    }
    this.value.textContent = number(value);
    this.svg.setAttribute("aria-label", `${this.label}: ${number(value)} at this step`);
  }
}

// --- the view -----------------------------------------------------------------------------------

class View {
  // Frames: one per step, {index, stage, scales, values, evaluations, order, layers, bytes, at}.
  constructor(el, fixed) {
    this.fixed = fixed;
    this.mixtures = bitsOf(fixed.mixtures);
    this.truth = fixed.truth.byteLength ? bytesOf(fixed.truth) : null;
    this.pixel = null; // [row, column] whose arithmetic is shown
    this.pinned = false; // it stays when the pointer moves on
    this.frames = [];
    this.cursor = 0;
    this.item = fixed.items[0]; // counted over the whole problem
    this.layer = null; // which extra is shown under the estimates
    this.wholeRun = false; // one colour scale for the whole run, or one per step
    this.rate = 25;
    this.playing = false;
    this.dragging = false;
    this.draws = 0;
    this.onRest = () => {}; // called when the view comes to rest
    this.onShow = () => {}; // called when a frame has been drawn
    this.build(el);
  }

  build(el) {
    const { fixed } = this;
    const { width, height, count } = fixed;
    const zoom = Math.max(1, Math.floor((count > 4 ? 0.7 : 1) * TARGET / Math.max(width, height)));
    const button = (name, picture, label, action) => {
      const node = make("button", `sepviz-${name}`, { type: "button", title: label, "aria-label": label, onclick: action });
      icon(node, picture);
      return node;
    };

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
    this.why = make("div", "sepviz-why", { role: "region", "aria-label": "Why this pixel", "aria-live": "polite" });

    this.curves = Object.keys(CURVES).map((name) => new Curve(name, (part) => this.seek(part)));
    this.span = make("div", "sepviz-span");
    const curves = make("div", "sepviz-curves", {}, [...this.curves.map((curve) => curve.node), this.span]);

    this.previous = button("previous", "back", "Previous mixture", () => this.chooseItem(this.item - 1));
    this.next = button("next", "forward", "Next mixture", () => this.chooseItem(this.item + 1));
    this.itemLabel = make("span", "sepviz-item");
    this.status = make("span", "sepviz-status");
    const header = make("div", "sepviz-header", {}, [make("strong", "sepviz-method", { textContent: fixed.method }),
      make("span", "sepviz-items", {}, [this.previous, this.itemLabel, this.next]), this.status]);
    if (fixed.batch === 1) header.children[1].hidden = true;

    this.playButton = button("play", "play", "Play (space)", () => (this.playing ? this.pause() : this.play()));
    this.slider = make("input", "sepviz-slider", { type: "range", min: 0, max: 0, value: 0, step: 1, "aria-label": "Step",
      oninput: () => { this.dragging = true; this.pause(); this.show(Number(this.slider.value)); },
      onchange: () => { this.dragging = false; this.onRest(); } });
    const rates = RATES.map((rate) => make("option", "", { value: rate, textContent: rate ? `${rate} frames/s` : "fastest", selected: rate === this.rate }));
    this.rateSelect = make("select", "sepviz-rate", { "aria-label": "Speed", onchange: () => { this.rate = Number(this.rateSelect.value); } }, rates);
    const transport = make("div", "sepviz-transport", {}, [
      button("first", "first", "First step (Home)", () => { this.pause(); this.show(0); this.onRest(); }),
      button("back", "back", "Step back (left arrow)", () => this.move(-1)),
      this.playButton,
      button("forward", "forward", "Step forward (right arrow)", () => this.move(1)),
      button("last", "last", "Last step (End)", () => { this.pause(); this.show(this.frames.length - 1); this.onRest(); }),
      this.slider, this.rateSelect]);

    this.layerButtons = make("span", "sepviz-segments", { role: "group", "aria-label": "Layer under the estimates" });
    this.scaleSelect = make("select", "sepviz-scale", { "aria-label": "Colour scale",
      onchange: () => { this.wholeRun = this.scaleSelect.value === "run"; this.show(this.cursor); } }, [
      make("option", "", { value: "step", textContent: "colours scaled to this step" }),
      make("option", "", { value: "run", textContent: "colours scaled to the whole run" })]);
    this.ramp = make("span", "sepviz-legend", {}, fixed.channels === 3 ? ["gray is 0"] : ["−", make("span", "sepviz-ramp", { role: "img", "aria-label": "blue below zero, white zero, orange above zero" }), "+"]);
    this.layerRow = make("div", "sepviz-layers", {}, [this.layerButtons, this.ramp, this.scaleSelect]);

    this.root = make("div", count > 4 ? "sepviz sepviz-many" : "sepviz", { tabIndex: 0, role: "group", "aria-label": `${fixed.method}: separation step by step`,
      "data-lm-suppress-shortcuts": "true", onkeydown: (event) => this.key(event) },
      [header, make("div", "sepviz-body", {}, [columns, curves]), transport, this.layerRow, this.why]);
    el.append(this.root);
    this.chooseItem(this.item);
  }

  // --- frames ---

  unpack(pack) {
    const bits = bitsOf(pack.bytes);
    const { channels, height, width, items } = this.fixed;
    const image = channels * height * width;
    const size = pack.layers.reduce((sum, layer) => sum + layer.panels, 0) * image * items.length;
    return pack.records.map((record, i) => ({ ...record, layers: pack.layers, bits, at: i * size }));
  }

  // The values of a layer of a frame, for one source: (pixel and channel) -> value; null if there is no such layer.
  values(frame, name, k = 0) {
    const { channels, height, width, items } = this.fixed;
    const image = channels * height * width;
    let at = frame.at;
    for (const layer of frame.layers) {
      if (layer.name === name) {
        const first = at + (this.place() * layer.panels + k) * image;
        return (i) => HALF[frame.bits[first + i]];
      }
      at += items.length * layer.panels * image;
    }
    return null;
  }

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
    const atEnd = this.cursor >= this.frames.length - 1 && !this.dragging;
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
    this.slider.max = Math.max(0, this.frames.length - 1);
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
    const place = this.place();
    for (const curve of this.curves) {
      curve.plot(this.frames.map((frame) => [this.part(frame), curve.name in frame.values ? frame.values[curve.name][place] : null]));
    }
    const first = this.frames[0], last = this.frames[this.frames.length - 1];
    this.span.replaceChildren(make("span", "", { textContent: `step ${first.index}` }), make("span", "", { textContent: `step ${last.index}` }));
  }

  // Where a frame is between the first (0) and the last (1).
  part(frame) {
    const first = this.frames[0].index, last = this.frames[this.frames.length - 1].index;
    return last > first ? (frame.index - first) / (last - first) : 0;
  }

  place() {
    return this.fixed.items.indexOf(this.item);
  }

  // The mixture on the screen, and a true source of it, as `values` gives the layers.
  mixed() {
    const first = this.place() * this.fixed.channels * this.fixed.height * this.fixed.width;
    return (i) => HALF[this.mixtures[first + i]];
  }

  true(source) {
    const first = (this.place() * this.fixed.count + source) * this.fixed.channels * this.fixed.height * this.fixed.width;
    return (i) => this.truth[first + i] / 255;
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
      this.why.replaceChildren(make("span", "sepviz-hint", { textContent: "Why this pixel? Point at one, click to keep it; or press I, then Shift and the arrows." }));
      return;
    }
    const { width, height, channels, count, weights } = this.fixed;
    const [row, column] = this.pixel;
    const read = (values) => Array.from({ length: channels }, (_, c) => values((c * height + row) * width + column));
    const plus = (...parts) => Array.from({ length: channels }, (_, c) => parts.reduce((sum, part) => sum + part[c], 0));
    const text = (parts) => parts.map(pixelNumber).join(" ");
    const place = this.place();
    const forces = frame.layers.filter((layer) => FORCES.includes(layer.name));
    const moved = forces.some((layer) => frame.scales[layer.name][place]);
    const rows = Array.from({ length: count }, (_, k) => {
      const now = read(this.values(frame, "estimate", k));
      const parts = moved ? forces.map((layer) => read(this.values(frame, layer.name, k))) : [];
      const before = moved ? [plus(now, ...parts.map((part) => part.map((value) => -value)))] : [];
      const cells = [...before, ...parts, now];
      if (this.truth) cells.push(read(this.true(frame.order ? frame.order[place][k] : k)));
      return make("tr", "", {}, [make("th", "", { scope: "row", textContent: `source ${k + 1}` }), ...cells.map((cell) => make("td", "", { textContent: text(cell) }))]);
    });
    const heads = ["", ...(moved ? ["before", ...forces.map((layer) => `+ ${layer.label}`), "= now"] : ["now"]), ...(this.truth ? ["truth"] : [])];
    const estimates = Array.from({ length: count }, (_, k) => read(this.values(frame, "estimate", k)));
    const mixture = read(this.mixed()), remix = read(this.values(frame, "remix")), residual = read(this.values(frame, "residual"));
    const seen = plus(mixture, remix.map((value) => -value), residual.map((value) => -value)).every((gap) => Math.abs(gap) < 0.02);
    const filtered = frame.layers.some((layer) => layer.name === "filters");
    const terms = filtered ? [`remixed ${text(remix)}`] : estimates.map((value, k) => (weights[k] === 1 ? text(value) : `${number(weights[k], 2)} × ${text(value)}`));
    const sum = seen ? `mixture ${text(mixture)} = ${[...terms, `residual ${text(residual)}`].join(" + ")}` : `the mixture is not seen here; remixed ${text(remix)}`;
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
    const place = this.place();
    for (const layer of frame.layers) {
      const scale = layer.signed ? frame.scales[layer.name][place] : null;
      const largest = this.wholeRun ? this.largest[layer.name] : scale;
      const range = layer.signed ? ` ±${number(largest, 2)}` : "";
      const limits = layer.signed ? [0, largest, true] : layer.name === "remix" ? [low, high] : [0, 1];
      const draw = (panel, k, text) => {
        panel.draw(this.values(frame, layer.name, k), channels, ...limits);
        panel.label(text);
      };
      if (layer.name === "estimate") this.sourceColumns.forEach((panels, k) => draw(panels.estimate, k, `estimate ${k + 1}`));
      else if (layer.name === "remix") draw(this.mixtureColumn.remix, 0, "remixed");
      else if (layer.name === "residual") draw(this.mixtureColumn.residual, 0, `residual${range}`);
      else if (layer.name === this.layer) {
        this.sourceColumns.forEach((panels, k) => draw(panels.extra, k, scale ? `${layer.label}${range}` : `no ${layer.label} here`));
      }
    }
    if (this.truth) {
      this.sourceColumns.forEach((panels, k) => {
        const source = frame.order ? frame.order[place][k] : k;
        panels.truth.draw(this.true(source), channels, 0, 1);
        panels.truth.label(`truth ${source + 1}`);
      });
    }
    const x = this.part(frame);
    for (const curve of this.curves) curve.mark(x, curve.name in frame.values ? frame.values[curve.name][place] : null);
    const evaluations = frame.evaluations === null ? "" : `${frame.evaluations} evaluations`;
    this.status.textContent = [frame.stage, `step ${frame.index}`, evaluations].filter(Boolean).join("  ·  ");
    this.explain();
    this.slider.value = this.cursor;
    this.slider.setAttribute("aria-valuetext", `step ${frame.index}, ${frame.stage}`);
    this.draws += 1;
    Object.assign(this.root.dataset, { frame: this.cursor, index: frame.index, draws: this.draws, playing: this.playing });
    this.onShow(frame);
  }

  chooseItem(item) {
    const { items, batch } = this.fixed;
    if (!items.includes(item)) return;
    const moved = item !== this.item;
    this.item = item;
    this.root.dataset.item = item;
    this.itemLabel.textContent = `mixture ${item + 1} of ${batch}`;
    this.previous.disabled = item === items[0];
    this.next.disabled = item === items[items.length - 1];
    this.mixtureColumn.mixture.draw(this.mixed(), this.fixed.channels, this.fixed.low, this.fixed.high);
    this.mixtureColumn.mixture.label("mixture");
    if (this.frames.length) { this.plotCurves(); this.show(this.cursor); }
    if (moved) this.onRest();
  }

  seek(part) {
    this.dragging = false;
    this.pause();
    let best = 0;
    this.frames.forEach((frame, i) => { if (Math.abs(this.part(frame) - part) < Math.abs(this.part(this.frames[best]) - part)) best = i; });
    this.show(best);
    this.onRest();
  }

  move(by) {
    this.dragging = false;
    this.pause();
    this.show(this.cursor + by);
    this.onRest();
  }

  play() {
    if (this.playing || this.frames.length < 2) return;
    this.playing = true;
    this.labelPlay("pause", "Pause (space)");
    this.show(this.cursor >= this.frames.length - 1 ? 0 : this.cursor);
    let before = performance.now();
    const tick = (now) => {
      if (!this.playing) return;
      if (!this.root.isConnected) { this.pause(); return; }
      const due = this.rate ? Math.floor((now - before) * this.rate / 1000) : 1;
      if (due > 0) {
        before = this.rate ? before + due * 1000 / this.rate : now;
        this.show(this.cursor + due);
        if (this.cursor === this.frames.length - 1) { this.pause(); return; }
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
    this.root.dataset.playing = false;
    this.onRest();
  }

  labelPlay(picture, text) {
    icon(this.playButton, picture);
    this.playButton.title = text;
    this.playButton.setAttribute("aria-label", text);
  }

  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const { target } = event;
    const own = target === this.root || target === this.slider;
    if (!own && !(target.tagName === "BUTTON" && event.key !== " ")) return; // other controls have keys of their own
    const actions = {
      " ": () => (this.playing ? this.pause() : this.play()),
      ArrowLeft: () => this.move(-1),
      ArrowRight: () => this.move(1),
      Home: () => { this.pause(); this.show(0); this.onRest(); },
      End: () => { this.pause(); this.show(this.frames.length - 1); this.onRest(); },
      i: () => { this.pinned = true; this.point(this.pixel || [this.fixed.height >> 1, this.fixed.width >> 1]); },
      Escape: () => this.point(null),
    };
    if (event.shiftKey && this.pixel && event.key in MOVES) {
      const sizes = [this.fixed.height, this.fixed.width];
      this.pinned = true;
      this.point(this.pixel.map((place, axis) => Math.max(0, Math.min(sizes[axis] - 1, place + MOVES[event.key][axis]))));
      event.preventDefault();
      event.stopPropagation();
      return;
    }
    if (!(event.key in actions)) return;
    event.preventDefault();
    event.stopPropagation();
    actions[event.key]();
  }

  close() {
    this.pause();
    this.root.remove();
  }
}
