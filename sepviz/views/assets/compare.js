// Several runs on one scrubber: a row of estimates for each, their curves in one plot.

// Okabe and Ito's colours, told apart with any colour vision, and a dash for each as well.
const STYLES = [["#0072b2", ""], ["#d55e00", "7 3"], ["#009e73", "2 3"], ["#cc79a7", "9 3 2 3"], ["#56b4e9", "12 4"], ["#e69f00", "4 2 1 2"],
  ["#8c6bb1", "1 2"], ["#7f7f7f", "6 2 2 2 2 2"]].map(([colour, dash]) => ({ colour, dash }));
const AXES = {
  evaluations: { label: "evaluations", of: (frame) => (frame.evaluations === null && frame.index === 0 ? 0 : frame.evaluations) },
  seconds: { label: "seconds", of: (frame) => frame.seconds },
  share: { label: "share of each run", of: (frame, frames) => (frames.length > 1 ? frames.indexOf(frame) / (frames.length - 1) : 1) },
};

class Comparison {
  constructor(el, fixed, runs) {
    this.fixed = fixed;
    this.runs = runs.map((pack, i) => {
      const run = new Frames(fixed);
      run.frames = run.unpack(pack);
      return Object.assign(run, { label: pack.label, style: STYLES[i % STYLES.length] });
    });
    this.cursor = 0;
    this.draws = 0;
    this.onRest = () => {};
    const { width, height, count } = fixed;
    const zoom = Math.max(1, Math.floor(0.7 * TARGET / Math.max(width, height)));
    const panel = () => new Panel(width, height, zoom);
    this.mixture = panel();
    this.truths = fixed.truth.byteLength ? Array.from({ length: count }, panel) : [];
    for (const run of this.runs) Object.assign(run, { panels: Array.from({ length: count }, panel), residual: panel(), text: make("span", "sepviz-run-text") });
    const swatch = ({ colour, dash }) => {
      const box = make("span", "sepviz-swatch", { "aria-hidden": "true" });
      box.innerHTML = `<svg viewBox="0 0 40 6" width="40" height="6"><path d="M0 3H40" stroke="${colour}" stroke-width="3" stroke-dasharray="${dash}"/></svg>`;
      return box;
    };
    const row = (head, panels) => make("div", "sepviz-compare-row", {}, [make("div", "sepviz-compare-head", {}, head), ...panels.map((each) => each.node)]);
    const rows = make("div", "sepviz-compare-rows", {}, [
      row([make("strong", "", { textContent: this.truths.length ? "mixture and truth" : "mixture" })], [...this.truths, this.mixture]),
      ...this.runs.map((run) => row([swatch(run.style), make("strong", "sepviz-run-label", { textContent: run.label }), run.text], [...run.panels, run.residual]))]);

    this.curves = ["psnr", "residual", "loss", "sigma"].map((name) => new Curve(name, (part) => this.seek(part), this.runs.map((run) => run.style)));
    this.span = make("div", "sepviz-span");
    this.transport = new Transport(this);
    const known = Object.keys(AXES).filter((name) => this.runs.every((run) => run.frames.every((frame) => AXES[name].of(frame, run.frames) !== null)));
    this.axisSelect = make("select", "sepviz-align", { "aria-label": "Aligned by", onchange: () => { this.align(this.axisSelect.value); this.transport.go(this.positions.length - 1); } },
      known.map((name) => make("option", "", { value: name, textContent: `aligned by ${AXES[name].label}` })));
    this.items = new ItemSteps(fixed, (by) => this.chooseItem(this.item + by));
    this.items.node.hidden = fixed.batch === 1;
    this.status = make("span", "sepviz-status");
    this.root = make("div", "sepviz sepviz-compare", { tabIndex: 0, role: "group",
      "aria-label": `${this.runs.length} runs side by side`,
      onkeydown: (event) => this.transport.key(event) },
      [make("div", "sepviz-header", {}, [make("strong", "sepviz-method", { textContent: `${this.runs.length} runs side by side` }), this.items.node, this.axisSelect, this.status]),
        make("div", "sepviz-body", {}, [rows, make("div", "sepviz-curves", {}, [...this.curves.map((curve) => curve.node), this.span])]), this.transport.node]);
    el.append(shield(this.root));
    this.align(known[0]);
    this.chooseItem(fixed.items[0]);
  }

  // Where every frame of every run lies on one axis, and the places that the scrubber stops at.
  align(axis) {
    this.axis = axis;
    for (const run of this.runs) run.at = run.frames.map((frame) => AXES[axis].of(frame, run.frames));
    const all = [...new Set(this.runs.flatMap((run) => run.at))].sort((a, b) => a - b);
    const stride = Math.ceil(all.length / 600);
    this.positions = all.filter((_, i) => i % stride === 0 || i === all.length - 1);
    this.transport.resize(this.positions.length);
    this.root.dataset.axis = axis;
    this.root.dataset.frames = this.positions.length;
    this.plotCurves();
  }

  get item() { return this.runs[0].item; }

  part(at) {
    const first = this.positions[0], last = this.positions[this.positions.length - 1];
    return last > first ? (at - first) / (last - first) : 0;
  }

  plotCurves() {
    for (const curve of this.curves) curve.plot(...this.runs.map((run) => run.frames.map((frame, i) => [this.part(run.at[i]), run.value(frame, curve.name)])));
    const text = (at) => `${number(at)}`;
    this.span.replaceChildren(make("span", "", { textContent: text(this.positions[0]) }), make("span", "", { textContent: AXES[this.axis].label }),
      make("span", "", { textContent: text(this.positions[this.positions.length - 1]) }));
  }

  chooseItem(item) {
    const { items, channels, low, high } = this.fixed;
    if (!items.includes(item)) return;
    for (const run of this.runs) run.item = item;
    this.root.dataset.item = item;
    this.items.at(item);
    this.mixture.draw(this.runs[0].mixed(), channels, low, high);
    this.mixture.label("mixture");
    this.truths.forEach((panel, k) => { panel.draw(this.runs[0].true(k), channels, 0, 1); panel.label(`truth ${k + 1}`); });
    this.plotCurves();
    this.show(this.cursor);
    this.onRest();
  }

  show(cursor) {
    this.cursor = Math.max(0, Math.min(this.positions.length - 1, cursor));
    const here = this.positions[this.cursor], { channels } = this.fixed;
    for (const run of this.runs) {
      const later = run.at.findIndex((at) => at > here); // a run shows its last frame up to here, before its first one that
      run.now = later < 0 ? run.frames.length - 1 : Math.max(0, later - 1);
    }
    const largest = this.runs.map((run) => run.frames[run.now].scales.residual[run.place] || 0);
    const scale = spanOf(Math.max(...largest)); // one for all runs: they are compared
    for (const run of this.runs) {
      const frame = run.frames[run.now];
      run.panels.forEach((panel, k) => { panel.draw(run.values(frame, "estimate", k), channels, 0, 1); panel.label(`estimate ${k + 1}`, `${run.label}: estimate ${k + 1}`); });
      run.residual.draw(run.values(frame, "residual"), channels, 0, scale, true);
      run.residual.label(`residual ±${number(scale, 2)}`, `${run.label}: residual`);
      const psnr = run.value(frame, "psnr");
      run.text.textContent = [frame.stage, `step ${frame.index}`, psnr === null ? "" : `${psnr.toFixed(1)} dB`].filter(Boolean).join(" · ");
    }
    for (const curve of this.curves) curve.mark(this.part(here), ...this.runs.map((run) => [this.part(run.at[run.now]), run.value(run.frames[run.now], curve.name)]));
    this.status.textContent = this.axis === "share" ? `${Math.round(100 * here)}% of each run` : `${number(here)} ${AXES[this.axis].label}`;
    this.transport.at(this.cursor, this.status.textContent);
    this.draws += 1;
    Object.assign(this.root.dataset, { frame: this.cursor, at: here, draws: this.draws, indices: this.runs.map((run) => run.frames[run.now].index).join(" "), playing: this.transport.playing });
  }

  seek(part) {
    this.transport.go(nearest(this.positions.map((at) => this.part(at)), part));
  }

  rest() { this.onRest(); }

  close() {
    this.transport.pause();
    this.root.remove();
  }
}

function render({ model, el }) {
  const view = new Comparison(el, model.get("static"), model.get("runs"));
  view.chooseItem(model.get("item"));
  view.transport.go(view.positions.length - 1);
  view.onRest = () => {
    if (view.item === model.get("item")) return;
    model.set("item", view.item);
    model.save_changes();
  };
  const chosen = () => view.chooseItem(model.get("item"));
  model.on("change:item", chosen);
  return () => {
    model.off("change:item", chosen);
    view.close();
  };
}

export default { render };
