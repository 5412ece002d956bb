// Several chains of one mixture: every chain's estimates, grouped by the mode they end in, with
// mean and spread.

import { Frames } from "./frames.js";
import { Panel } from "./panel.js";
import { Transport } from "./transport.js";
import { button, make, says } from "./dom.js";
import { spreadOf } from "./spread.js";
import { shield } from "./keys.js";
import { zoomOf } from "./axis.js";

const ALL = -1; // in place of a mode: all chains
const WIDEST = 0.5; // the standard deviation that is painted white

class Chains extends Frames {
  constructor(el, fixed, pack, mode) {
    super(fixed);
    this.frames = this.unpack(pack);
    this.mode = mode;
    this.chosen = ALL; // the mode whose mean and spread are shown
    this.cursor = 0;
    this.draws = 0;
    const zoom = zoomOf(fixed, 0.55);
    const panels = () => Array.from({ length: fixed.count }, () => new Panel(fixed, zoom));
    this.mixture = new Panel(fixed, zoom);
    this.truths = this.truth ? panels() : [];
    this.means = panels();
    this.spreads = panels();
    this.order = mode.map((_, n) => n).sort((a, b) => mode[a] - mode[b] || a - b);
    this.chains = this.order.map((n) => ({ n, panels: panels() }));
    this.modes = [...new Set(mode)].sort((a, b) => a - b);
    this.transport = new Transport(this);
    this.build(el);
    this.mixture.draw(this.mixed(), fixed, "mixture");
    const { channels } = fixed;
    this.truths.forEach((panel, k) => panel.draw(this.true(k), { channels }, `source ${k + 1}`));
    this.root.dataset.frames = this.frames.length;
    this.root.dataset.modes = this.modes.length;
    this.transport.resize(this.frames.length);
    this.transport.go(this.frames.length - 1);
  }

  build(el) {
    const { mode, modes } = this;
    const size = (m) => mode.filter((other) => other === m).length;
    const name = (m) => (m === ALL ? `all ${mode.length} chains`
      : `mode ${m + 1}: ${size(m)} of ${mode.length}`);
    const stack = (head, panels) => make("div", "sepviz-chain", {},
      [says("div", "sepviz-chain-head", head), ...panels.map((panel) => panel.node)]);
    const section = (head, stacks, properties = {}) => make("section", "sepviz-mode", properties,
      [says("div", "sepviz-mode-head", head), make("div", "sepviz-chains", {}, stacks)]);

    const choices = modes.length > 1 ? [ALL, ...modes] : [ALL];
    this.buttons = make("span", "sepviz-segments", { role: "group",
      "aria-label": "Mean and spread of" }, choices.map((m) => button("segment", name(m), () => {
      this.chosen = m;
      this.show(this.cursor);
    }, { "data-mode": m })));
    this.status = make("span", "sepviz-status");
    const truth = this.truths.length ? [stack("truth", this.truths)] : [];
    const summary = section("together", [stack("given", [this.mixture]), ...truth,
      stack("mean", this.means), stack("spread", this.spreads)]);
    const groups = modes.map((m) => section(name(m),
      this.chains.filter(({ n }) => mode[n] === m).map(({ n, panels }) => (
        stack(`chain ${n + 1}`, panels))), { "aria-label": name(m), "data-mode": m }));
    const header = make("div", "sepviz-header", {},
      [says("strong", "sepviz-method", this.fixed.method), this.buttons, this.status]);
    this.root = make("div", "sepviz sepviz-posterior", { tabIndex: 0, role: "group",
      "aria-label": `${mode.length} chains of one mixture`,
      onkeydown: (event) => this.transport.key(event) },
    [header, make("div", "sepviz-modes", {}, [summary, ...groups]), this.transport.node]);
    el.append(shield(this.root));
  }

  show(cursor) {
    this.cursor = cursor;
    const frame = this.frames[cursor], { channels, count } = this.fixed;
    const estimate = (k, n) => this.values(frame, "estimate", k, n);
    for (const { n, panels } of this.chains) {
      panels.forEach((panel, k) => panel.draw(estimate(k, n), { channels }, `source ${k + 1}`,
        `chain ${n + 1}, source ${k + 1}`));
    }
    const members = this.order.filter((n) => [ALL, this.mode[n]].includes(this.chosen));
    for (let k = 0; k < count; k++) {
      const { mean, spread } = spreadOf(members.map((n) => estimate(k, n)), this.image);
      const source = `source ${k + 1}`;
      this.means[k].draw((i) => mean[i], { channels }, source, `mean of ${source}`);
      this.spreads[k].draw((i) => spread[i], { channels, high: WIDEST }, `0 to ${WIDEST}`,
        `standard deviation of ${source}, white is ${WIDEST}`);
    }
    for (const node of this.buttons.children) {
      node.setAttribute("aria-pressed", Number(node.dataset.mode) === this.chosen);
    }
    this.status.textContent = `${frame.stage}  ·  step ${frame.index}`;
    this.transport.at(cursor, this.status.textContent);
    this.draws += 1;
    const { playing } = this.transport;
    Object.assign(this.root.dataset,
      { frame: cursor, index: frame.index, draws: this.draws, chosen: this.chosen, playing });
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
