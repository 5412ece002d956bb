// Pictures of a guess beside the answer.

import { drawing, sketchPlot } from "./sketch_plot.js";
import { make, says } from "./dom.js";
import { short } from "./numbers.js";

const LINE = 38; // pixels from the top to the number line
const DIAMOND = { class: "sepviz-of-answer", d: "M0-8 8 0 0 8-8 0z",
  style: "fill: var(--sepviz-accent)" };

function showNumber({ low, high, unit, guess, answer }) {
  const known = guess === null ? [answer] : [answer, guess];
  const from = Math.min(low, ...known), to = Math.max(high, ...known);
  const part = (value) => 100 * (value - from) / (to - from), x = (value) => `${part(value)}%`;
  const label = (value, text, y, kind) => {
    let anchor = "middle";
    if (part(value) < 25) anchor = "start";
    if (part(value) > 75) anchor = "end";
    return drawing("text", { x: x(value), y, class: kind, "text-anchor": anchor }, [text]);
  };
  const line = (kind, x1, x2) => drawing("line", { class: kind, x1, x2, y1: LINE, y2: LINE });
  const picture = drawing("svg", { role: "img", "aria-label": "number line" }, [
    line("sepviz-axis", 0, "100%"),
    drawing("text", { x: 0, y: 80 }, [short(from, unit)]),
    drawing("text", { x: "100%", y: 80, "text-anchor": "end" }, [short(to, unit)])]);
  if (guess !== null) {
    picture.append(line("sepviz-gap", x(guess), x(answer)),
      drawing("circle", { class: "sepviz-of-guess", cx: x(guess), cy: LINE, r: 7 }),
      label(guess, `your guess ${short(guess, unit)}`, 20, "sepviz-of-guess"));
  }
  // a diamond: the two are told apart by their shapes too
  picture.append(
    drawing("svg", { x: x(answer), y: LINE, overflow: "visible" }, [drawing("path", DIAMOND)]),
    label(answer, `answer ${short(answer, unit)}`, 60, "sepviz-of-answer"));
  return make("div", "sepviz-line-box", {}, [picture]);
}

function showChoice({ choices, guess, answer }) {
  return make("ul", "sepviz-choices", {}, choices.map((choice) => {
    const marks = [[answer, "the answer", "sepviz-is-answer"],
      [guess, "your guess", "sepviz-is-guess"]].filter(([value]) => value === choice);
    const words = marks.map(([, text]) => text).join(", ");
    return make("li", marks.map(([, , kind]) => kind).join(" "), {},
      words ? [choice, says("small", "", ` (${words})`)] : [choice]);
  }));
}

function showCurve(spec) {
  const { at, guess, answer: [across, up] } = spec;
  const { node, area, path, points, put } = sketchPlot(spec, {
    low: Math.min(spec.low, ...up), high: Math.max(spec.high, ...up),
    from: Math.min(at[0], across[0]), to: Math.max(at[at.length - 1], across[across.length - 1]) });
  path("sepviz-of-answer")(across, up);
  const key = (kind, text) => make("span", "sepviz-key", {}, [
    drawing("svg", { viewBox: "0 0 30 10", "aria-hidden": "true" },
      [drawing("path", { class: kind, d: "M0 5H30" })]), text]);
  const keys = [key("sepviz-of-answer", "the answer")];
  if (guess !== null) {
    path("sepviz-of-guess")(at, guess);
    put(points(at.length), at, guess);
    keys.push(key("sepviz-of-guess", "your sketch"));
  }
  const what = guess === null ? "the answer" : "your sketch and the answer";
  area.setAttribute("role", "img");
  area.setAttribute("aria-label", `${spec.y} over ${spec.x}: ${what}`);
  return make("div", "", {}, [make("div", "", {}, keys), node]);
}

export function pictureOf(spec) {
  return { number: showNumber, choice: showChoice, curve: showCurve }[spec.kind](spec);
}
