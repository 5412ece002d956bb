// "Why this pixel": the sum that made it, in words and as a table.

import { arithmetic } from "./arithmetic.js";
import { make, says } from "./dom.js";

const HINT = "Why this pixel? Point at one, click to keep it; "
  + "or press I, then Shift and the arrows.";

export class Why {
  constructor() {
    this.hint = says("span", "sepviz-hint", HINT);
    this.node = make("div", "sepviz-why",
      { role: "region", "aria-label": "Why this pixel", "aria-live": "polite" });
  }

  // For a pixel of a frame, or the hint without one; `moving`: nobody wants every frame read out.
  show(frames, frame, pixel, pinned, moving) {
    this.node.hidden = !frame;
    if (!frame) return;
    if (!pixel) { // put there once, else it would be read out at every frame
      if (this.node.firstChild !== this.hint) this.node.replaceChildren(this.hint);
      return;
    }
    const { heads, rows, sum } = arithmetic(frames, frame, pixel);
    const head = make("tr", "", {},
      [make("td"), ...heads.map((text) => says("th", "", text, { scope: "col" }))]);
    const lines = rows.map((cells, k) => make("tr", "", {}, [
      says("th", "", `source ${k + 1}`, { scope: "row" }),
      ...cells.map((text) => says("td", "", text))]));
    const kept = pinned ? " (kept; Escape lets go)" : "";
    const place = says("strong", "", `Row ${pixel[0]}, column ${pixel[1]}${kept}: `);
    const table = make("table", "sepviz-arithmetic", {},
      [make("thead", "", {}, [head]), make("tbody", "", {}, lines)]);
    this.node.setAttribute("aria-live", moving ? "off" : "polite");
    this.node.replaceChildren(make("div", "sepviz-sum", {}, [place, sum]),
      make("div", "sepviz-scroll", {}, [table]));
  }
}
