// Every run in a row: score, assumption, pictures. A click on the pictures opens the run's player
// under the table.

import { Frames } from "./frames.js";
import { Panel } from "./panel.js";
import { View } from "./view.js";
import { make, says } from "./dom.js";
import { shield } from "./keys.js";

const HEAD = ["", "method", "PSNR (dB)", "SSIM", "evaluations", "seconds", "it assumes",
  "what it finds: click to watch"];
const SIDE = 42; // screen pixels of a picture, at most

// The cells of a row, without its pictures: [text, class].
function cellsOf({ psnr, interval, ssim, evaluations, seconds, assumes }) {
  const fixed = (value, digits) => (value === null ? "n/a" : value.toFixed(digits));
  const around = psnr === null || interval === null ? "" : ` ± ${interval.toFixed(1)}`;
  const score = fixed(psnr, 1) + around, count = String(Math.round(evaluations));
  const numbers = [score, fixed(ssim, 3), count, fixed(seconds, 1)];
  return [...numbers.map((text) => [text, "sepviz-number"]), [assumes, "sepviz-assumes"]];
}

// The last estimates of a run, for every mixture.
function picturesOf(fixed, run) {
  const frames = new Frames(fixed), last = frames.unpack(run).at(-1), { channels } = fixed;
  const zoom = Math.max(1, Math.floor(SIDE / Math.max(fixed.width, fixed.height)));
  return fixed.items.map((item, place) => make("span", "sepviz-pair", { "aria-hidden": "true" },
    Array.from({ length: fixed.count }, (_, k) => {
      const panel = new Panel(fixed, zoom);
      panel.draw(frames.values(last, "estimate", k, place), { channels });
      return panel.canvas;
    })));
}

function render({ model, el }) {
  const fixed = model.get("static"), rows = model.get("rows"), runs = model.get("runs");
  const named = { role: "group", "aria-label": "Leaderboard" };
  const root = make("div", "sepviz sepviz-leaderboard", named);
  const stage = make("div", "sepviz-stage");
  let open = null;
  const watch = (i) => {
    const { name } = rows[i], same = open?.i === i;
    open?.view.close();
    open = same ? null : { i, view: new View(stage, { ...fixed, method: name }) };
    root.dataset.open = open ? name : "";
    for (const node of root.querySelectorAll(".sepviz-watch")) {
      node.setAttribute("aria-expanded", Boolean(open) && node.dataset.run === String(i));
    }
    if (!open) return;
    open.view.setFrames(runs[i]);
    open.view.transport.go(open.view.frames.length - 1);
    open.view.root.scrollIntoView({ block: "nearest" });
  };
  const lines = rows.map((row, i) => make("tr", "", {}, [
    says("td", "", `${i + 1}`), says("th", "", row.name, { scope: "row" }),
    ...cellsOf(row).map(([text, name]) => says("td", name, text)),
    make("td", "", {}, [make("button", "sepviz-watch", { type: "button", title: "Watch this run",
      "aria-expanded": "false", "data-run": i, "aria-label": `Watch ${row.name}, step by step`,
      onclick: () => watch(i) }, picturesOf(fixed, runs[i]))])]));
  const { n } = rows[0];
  const about = n === 1 ? "one mixture" : `${n} mixtures, mean PSNR with its 95% interval`;
  const head = HEAD.map((text) => (text ? says("th", "", text, { scope: "col" }) : make("td")));
  const table = make("table", "sepviz-table", {}, [says("caption", "", about),
    make("thead", "", {}, [make("tr", "", {}, head)]), make("tbody", "", {}, lines)]);
  const scroll = { tabIndex: 0, role: "region", "aria-label": "Scores" };
  root.append(make("div", "sepviz-scroll", scroll, [table]), stage);
  el.append(shield(root));
  return () => {
    open?.view.close();
    root.remove();
  };
}

export default { render };
