// Ways to take a guess: each gives {node, show(guess), text(guess)} and calls set(guess).

import { clamp, short } from "./numbers.js";
import { isChord } from "./keys.js";
import { make, says } from "./dom.js";
import { sketchPlot } from "./sketch_plot.js";

const HELD = 2; // percent of the plot's width: nearer than this, a point follows the pointer
const STEPS = { ArrowUp: 1 / 40, ArrowDown: -1 / 40, PageUp: 1 / 8, PageDown: -1 / 8 };
let questions = 0; // so that each view's radio buttons are a group of their own

function askNumber({ low, high, step, unit }, set) {
  const name = unit ? `your guess (${unit})` : "your guess", middle = (low + high) / 2;
  const take = (text) => {
    if (text !== "" && Number.isFinite(Number(text))) set(Number(text));
  };
  const field = make("input", "", { type: "number", step: "any",
    oninput: () => take(field.value) });
  const slider = make("input", "", { type: "range", min: low, max: high, step, value: middle,
    "aria-label": `${name}, slider`, oninput: () => take(slider.value) });
  const end = (value) => says("span", "", short(value), { "aria-hidden": "true" });
  const node = make("div", "sepviz-answers", {}, [make("label", "", {}, [name, field]),
    make("span", "sepviz-slide", {}, [end(low), slider, end(high)])]);
  const show = (guess) => {
    if (document.activeElement !== field) field.value = guess ?? "";
    slider.value = guess ?? middle;
    slider.setAttribute("aria-valuetext", guess === null ? "no guess yet" : short(guess, unit));
  };
  return { node, show, text: (guess) => short(guess, unit) };
}

function askChoice({ choices }, set) {
  const name = `sepviz-question-${++questions}`;
  const radios = choices.map((value) => (
    make("input", "", { type: "radio", name, value, onchange: () => set(value) })));
  const labels = radios.map((radio, i) => make("label", "", {}, [radio, choices[i]]));
  const show = (guess) => radios.forEach((radio) => { radio.checked = radio.value === guess; });
  return { node: make("div", "sepviz-answers", {}, labels), show, text: (guess) => guess };
}

function askCurve(spec, set) {
  const { at, low, high } = spec, last = at.length - 1;
  const { node, area, path, points, put, place } = sketchPlot(spec,
    { low, high, from: at[0], to: at[last] });
  const line = path("sepviz-of-guess"), dots = points(at.length);
  const flat = () => at.map(() => (low + high) / 2);
  let heights = flat(), here = 0, before = null; // `before`: where the pointer was in this stroke
  const text = () => `${spec.x} ${short(at[here])}: ${spec.y} ${short(heights[here])}`;
  const draw = () => {
    line(at, heights);
    put(dots, at, heights);
    dots.forEach((dot, i) => dot.classList.toggle("sepviz-here", i === here));
    area.setAttribute("aria-valuenow", heights[here]);
    area.setAttribute("aria-valuetext", `point ${here + 1} of ${at.length}, ${text()}`);
  };
  const raise = (i, height) => { heights[i] = Number(clamp(height, low, high).toPrecision(6)); };
  const done = () => set([...heights]);

  // A point that the stroke crosses goes to the height at which it is crossed; one that is held,
  // or first touched, follows the pointer.
  const stroke = ({ clientX, clientY }) => {
    const { left, top, width, height } = area.getBoundingClientRect();
    const now = { x: 100 * (clientX - left) / width,
      up: low + (high - low) * (96 - 100 * (clientY - top) / height) / 92 };
    const from = before ?? now, places = at.map((x) => place(x, low)[0]);
    places.forEach((x, i) => {
      const part = (x - from.x) / (now.x - from.x);
      if (part > 0 && part < 1) raise(i, from.up + (now.up - from.up) * part);
    });
    const away = places.map((x) => Math.abs(x - now.x));
    here = away.indexOf(Math.min(...away));
    if (!before || away[here] < HELD) raise(here, now.up);
    before = now;
    node.classList.remove("sepviz-untouched");
    draw();
  };
  const moves = { ArrowLeft: () => here - 1, ArrowRight: () => here + 1, Home: () => 0,
    End: () => last };
  const key = (event) => {
    if (isChord(event)) return;
    const move = moves[event.key], step = STEPS[event.key];
    if (move) here = clamp(move(), 0, last);
    else if (step) raise(here, heights[here] + step * (high - low));
    else return;
    event.preventDefault();
    draw();
    if (step) done();
  };
  const known = { tabindex: 0, role: "slider", "aria-valuemin": low, "aria-valuemax": high,
    "aria-orientation": "vertical",
    "aria-label": `${spec.question} Left and right choose a point, up and down move it.` };
  for (const [name, value] of Object.entries(known)) area.setAttribute(name, value);
  area.addEventListener("pointerdown", (event) => {
    area.setPointerCapture(event.pointerId);
    before = null;
    stroke(event);
  });
  area.addEventListener("pointermove", (event) => { if (event.buttons & 1) stroke(event); });
  area.addEventListener("pointerup", done);
  area.addEventListener("pointercancel", done);
  area.addEventListener("keydown", key);
  const show = (guess) => {
    heights = guess ? [...guess] : flat();
    draw();
  };
  return { node, show, text };
}

export function questionFor(spec, set) {
  return { number: askNumber, choice: askChoice, curve: askCurve }[spec.kind](spec, set);
}
