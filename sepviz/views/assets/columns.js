// The pictures of a mixture: its own column, then one for each source.

import { Panel } from "./panel.js";
import { make } from "./dom.js";
import { zoomOf } from "./axis.js";

export const MANY = 4; // sources; the pictures of more are smaller

export class Columns {
  constructor(frames, move, choose) {
    const { fixed, truth } = frames;
    const zoom = zoomOf(fixed, fixed.count > MANY ? 0.7 : 1);
    const column = (...names) => (
      Object.fromEntries(names.map((name) => [name, new Panel(fixed, zoom)])));
    this.frames = frames;
    this.ofMixture = column("mixture", "remix", "residual");
    this.ofSources = Array.from({ length: fixed.count }, () => (
      truth ? column("estimate", "truth", "extra") : column("estimate", "extra")));
    // They wrap as a whole, so what belongs together stays together.
    const stack = (panels, name) => make("div", `sepviz-column sepviz-of-${name}`, {},
      Object.values(panels).map((panel) => panel.node));
    this.node = make("div", "sepviz-columns", {}, [stack(this.ofMixture, "mixture"),
      ...this.ofSources.map((panels) => stack(panels, "source"))]);
    this.panels = [this.ofMixture, ...this.ofSources].flatMap((panels) => Object.values(panels));
    for (const panel of this.panels) panel.watch(move, choose);
  }

  mark(pixel) {
    for (const panel of this.panels) panel.mark(pixel);
  }

  showExtras(there) {
    for (const { extra } of this.ofSources) extra.node.hidden = !there;
  }

  drawMixture() {
    const { channels, low, high } = this.frames.fixed;
    this.ofMixture.mixture.draw(this.frames.mixed(), { channels, low, high }, "mixture");
  }

  draw(frame, row) {
    const { frames } = this, { channels, low, high } = frames.fixed;
    for (const { name, label, signed } of frame.layers) {
      const own = signed ? frame.scales[name][frames.place] : null;
      const { text, ...limits } = signed ? row.limits(name, own) : {};
      const draw = (panel, k, caption) => (
        panel.draw(frames.values(frame, name, k), { channels, ...limits }, caption));
      if (name === "residual") draw(this.ofMixture.residual, 0, `residual ${text}`);
      this.ofSources.forEach(({ estimate, extra }, k) => {
        if (name === "estimate") draw(estimate, k, `estimate ${k + 1}`);
        if (name === row.name) draw(extra, k, own ? `${label} ${text}` : `no ${label} here`);
      });
    }
    this.ofMixture.remix.draw(frames.remixed(frame), { channels, low, high }, "remixed");
    if (!frames.truth) return;
    this.ofSources.forEach(({ truth }, k) => {
      const source = frames.sourceUnder(frame, k);
      truth.draw(frames.true(source), { channels }, `truth ${source + 1}`);
    });
  }
}
