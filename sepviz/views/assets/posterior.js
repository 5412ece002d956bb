// Several chains of one mixture: every chain's estimates, grouped by the mode they end in, with mean and spread.

class Chains extends Frames {
  constructor(el, fixed, pack, mode) {
    super(fixed);
    this.frames = this.unpack(pack);
    this.mode = mode;
    this.chosen = -1; // the mode whose mean and spread are shown; -1: all chains
    this.cursor = 0;
    this.draws = 0;
    const { width, height, count } = fixed;
    const zoom = Math.max(1, Math.floor(0.55 * TARGET / Math.max(width, height)));
    const panels = () => Array.from({ length: count }, () => new Panel(width, height, zoom));
    const stack = (head, list) => make("div", "sepviz-chain", {}, [make("div", "sepviz-chain-head", {}, [head]), ...list.map((panel) => panel.node)]);
    this.mixture = new Panel(width, height, zoom);
    this.truths = fixed.truth.byteLength ? panels() : [];
    [this.means, this.spreads] = [panels(), panels()];
    this.order = mode.map((_, n) => n).sort((a, b) => mode[a] - mode[b] || a - b);
    this.chains = this.order.map((n) => ({ n, panels: panels() }));
    this.modes = [...new Set(mode)].sort((a, b) => a - b);
    const size = (m) => mode.filter((other) => other === m).length;
    const name = (m) => (m < 0 ? `all ${mode.length} chains` : `mode ${m + 1}: ${size(m)} of ${mode.length}`);
    this.buttons = make("span", "sepviz-segments", { role: "group", "aria-label": "Mean and spread of" }, [-1, ...this.modes].filter((m) => m < 0 || this.modes.length > 1)
      .map((m) => make("button", "sepviz-segment", { type: "button", textContent: name(m), "data-mode": m, onclick: () => { this.chosen = m; this.show(this.cursor); } })));
    const groups = this.modes.map((m) => make("section", "sepviz-mode", { "aria-label": name(m), "data-mode": m }, [make("div", "sepviz-mode-head", { textContent: name(m) }),
      make("div", "sepviz-chains", {}, this.chains.filter((chain) => mode[chain.n] === m).map((chain) => stack(`chain ${chain.n + 1}`, chain.panels)))]));
    this.transport = new Transport(this);
    this.status = make("span", "sepviz-status");
    const summary = make("section", "sepviz-mode", {}, [make("div", "sepviz-mode-head", { textContent: "together" }), make("div", "sepviz-chains", {}, [
      stack("given", [this.mixture]), ...(this.truths.length ? [stack("truth", this.truths)] : []), stack("mean", this.means), stack("spread", this.spreads)])]);
    this.root = make("div", "sepviz sepviz-posterior", { tabIndex: 0, role: "group",
      "aria-label": `${mode.length} chains of one mixture`,
      onkeydown: (event) => this.transport.key(event) },
      [make("div", "sepviz-header", {}, [make("strong", "sepviz-method", { textContent: fixed.method }), this.buttons, this.status]),
        make("div", "sepviz-modes", {}, [summary, ...groups]), this.transport.node]);
    el.append(shield(this.root));
    this.mixture.draw(this.mixed(), fixed.channels, fixed.low, fixed.high);
    this.mixture.label("mixture");
    this.truths.forEach((panel, k) => { panel.draw(this.true(k), fixed.channels, 0, 1); panel.label(`source ${k + 1}`); });
    this.root.dataset.frames = this.frames.length;
    this.root.dataset.modes = this.modes.length;
    this.transport.resize(this.frames.length);
    this.transport.go(this.frames.length - 1);
  }

  show(cursor) {
    this.cursor = cursor;
    const frame = this.frames[cursor], { channels, count } = this.fixed;
    for (const chain of this.chains) {
      chain.panels.forEach((panel, k) => { panel.draw(this.values(frame, "estimate", k, chain.n), channels, 0, 1); panel.label(`source ${k + 1}`, `chain ${chain.n + 1}, source ${k + 1}`); });
    }
    const members = this.order.filter((n) => this.chosen < 0 || this.mode[n] === this.chosen);
    for (let k = 0; k < count; k++) {
      const mean = new Float32Array(this.image), square = new Float32Array(this.image);
      for (const n of members) {
        const values = this.values(frame, "estimate", k, n);
        for (let i = 0; i < this.image; i++) { const value = values(i); mean[i] += value / members.length; square[i] += value * value / members.length; }
      }
      const spread = mean.map((value, i) => Math.sqrt(Math.max(0, square[i] - value * value)));
      this.means[k].draw((i) => mean[i], channels, 0, 1);
      this.means[k].label(`source ${k + 1}`, `mean of source ${k + 1}`);
      this.spreads[k].draw((i) => spread[i], channels, 0, 0.5);
      this.spreads[k].label("0 to 0.5", `standard deviation of source ${k + 1}, white is 0.5`);
    }
    for (const button of this.buttons.children) button.setAttribute("aria-pressed", Number(button.dataset.mode) === this.chosen);
    this.status.textContent = `${frame.stage}  ·  step ${frame.index}`;
    this.transport.at(cursor, this.status.textContent);
    this.draws += 1;
    Object.assign(this.root.dataset, { frame: cursor, index: frame.index, draws: this.draws, chosen: this.chosen, playing: this.transport.playing });
  }

  rest() {}

  close() {
    this.transport.pause();
    this.root.remove();
  }
}

function render({ model, el }) {
  const view = new Chains(el, model.get("static"), model.get("frames"), model.get("mode"));
  return () => view.close();
}

export default { render };
