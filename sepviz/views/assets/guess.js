// A question that takes a guess, and its reveal: a number, a choice, or a curve to be sketched.

const SVG = "http://www.w3.org/2000/svg";
const HELD = 2; // percent of the plot's width: nearer than this, a point follows the pointer
let questions = 0; // so that each view's radio buttons are a group of their own

function drawing(tag, properties = {}, children = []) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(properties)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function short(value, unit = "") {
  const size = Math.abs(value), rounded = Number(value.toPrecision(3));
  const text = Math.abs(rounded) >= 1000 ? Math.round(value).toLocaleString("en")
    : size > 0 && size < 1e-4 ? rounded.toExponential() : String(rounded);
  return unit ? `${text} ${unit}` : text;
}

// --- asking: each gives {node, show(guess), says(guess)} and calls set(guess) ---

function askNumber(spec, set) {
  const { low, high, step, unit } = spec;
  const name = unit ? `your guess (${unit})` : "your guess";
  const take = (text) => { if (text !== "" && Number.isFinite(Number(text))) set(Number(text)); };
  const field = make("input", "", { type: "number", step: "any", oninput: () => take(field.value) });
  const slider = make("input", "", { type: "range", min: low, max: high, step, value: (low + high) / 2, "aria-label": `${name}, slider`,
    oninput: () => take(slider.value) });
  const end = (value) => make("span", "", { textContent: short(value), "aria-hidden": "true" });
  const node = make("div", "sepviz-answers", {}, [make("label", "", {}, [name, field]), make("span", "sepviz-slide", {}, [end(low), slider, end(high)])]);
  const show = (guess) => {
    if (document.activeElement !== field) field.value = guess ?? "";
    slider.value = guess ?? (low + high) / 2;
    slider.setAttribute("aria-valuetext", guess === null ? "no guess yet" : short(guess, unit));
  };
  return { node, show, says: (guess) => short(guess, unit) };
}

function askChoice(spec, set) {
  const name = `sepviz-question-${++questions}`;
  const radios = spec.choices.map((value) => make("input", "", { type: "radio", name, value, onchange: () => set(value) }));
  const node = make("div", "sepviz-answers", {}, radios.map((radio, i) => make("label", "", {}, [radio, spec.choices[i]])));
  return { node, show: (guess) => radios.forEach((radio) => { radio.checked = radio.value === guess; }), says: (guess) => guess };
}

// The area of a plot with its axes; `place` gives the percent across and down of a point.
function plot(spec, low, high, from, to) {
  const scale = spec.log_x ? Math.log : (value) => value;
  const place = (x, y) => [4 + 92 * (scale(x) - scale(from)) / (scale(to) - scale(from)), 96 - 92 * (y - low) / (high - low)];
  const guides = [0, 0.5, 1].map((part) => drawing("line", { class: "sepviz-guide", x1: 0, x2: 100, y1: 96 - 92 * part, y2: 96 - 92 * part,
    "vector-effect": "non-scaling-stroke" }));
  const picture = drawing("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" }, guides);
  const area = make("div", "sepviz-sketch", {}, [picture]);
  const ticks = [high, (low + high) / 2, low].map((value) => make("span", "", { textContent: short(value) }));
  const node = make("div", "sepviz-sketch-grid", {}, [make("div", "sepviz-sketch-head", { textContent: spec.y }),
    make("div", "sepviz-ticks", {}, ticks), area,
    make("div", "sepviz-sketch-foot", {}, [short(from), spec.x + (spec.log_x ? ", log scale" : ""), short(to)].map((text) => make("span", "", { textContent: text })))]);
  const path = (kind) => {
    const line = drawing("path", { class: kind, "vector-effect": "non-scaling-stroke" });
    picture.append(line);
    return (across, up) => line.setAttribute("d", across.map((x, i) => (i ? "L" : "M") + place(x, up[i]).map((part) => part.toFixed(2)).join(" ")).join(""));
  };
  const points = (count) => Array.from({ length: count }, () => area.appendChild(make("span", "sepviz-point")));
  const put = (dots, across, up) => dots.forEach((dot, i) => {
    const [left, top] = place(across[i], up[i]);
    Object.assign(dot.style, { left: `${left}%`, top: `${top}%` });
  });
  return { node, area, path, points, put, place };
}

function askCurve(spec, set) {
  const { at, low, high } = spec;
  const { node, area, path, points, put, place } = plot(spec, low, high, at[0], at[at.length - 1]);
  const line = path("sepviz-of-guess"), dots = points(at.length);
  let heights = at.map(() => (low + high) / 2), here = 0, last = null;
  const draw = () => {
    line(at, heights);
    put(dots, at, heights);
    dots.forEach((dot, i) => dot.classList.toggle("sepviz-here", i === here));
    area.setAttribute("aria-valuenow", heights[here]);
    area.setAttribute("aria-valuetext", `point ${here + 1} of ${at.length}, ${spec.x} ${short(at[here])}: ${spec.y} ${short(heights[here])}`);
  };
  const raise = (i, height) => { heights[i] = Number(Math.max(low, Math.min(high, height)).toPrecision(6)); };

  // A point that the stroke crosses goes to the height at which it is crossed; one that is held, or first touched, follows the pointer.
  const stroke = (event) => {
    const box = area.getBoundingClientRect();
    const now = { x: 100 * (event.clientX - box.left) / box.width, up: low + (high - low) * (96 - 100 * (event.clientY - box.top) / box.height) / 92 };
    const before = last ?? now;
    const places = at.map((x) => place(x, low)[0]);
    places.forEach((x, i) => {
      if ((x - before.x) * (x - now.x) < 0) raise(i, before.up + (now.up - before.up) * (x - before.x) / (now.x - before.x));
    });
    const away = places.map((x) => Math.abs(x - now.x));
    here = away.indexOf(Math.min(...away));
    if (!last || away[here] < HELD) raise(here, now.up);
    last = now;
    node.classList.remove("sepviz-untouched");
    draw();
  };
  const keys = {
    ArrowLeft: () => { here = Math.max(0, here - 1); }, ArrowRight: () => { here = Math.min(at.length - 1, here + 1); },
    Home: () => { here = 0; }, End: () => { here = at.length - 1; },
  };
  const steps = { ArrowUp: 1 / 40, ArrowDown: -1 / 40, PageUp: 1 / 8, PageDown: -1 / 8 };
  const known = { tabindex: 0, role: "slider", "aria-label": `${spec.question} Left and right choose a point, up and down move it.`,
    "aria-valuemin": low, "aria-valuemax": high, "aria-orientation": "vertical" };
  for (const [name, value] of Object.entries(known)) area.setAttribute(name, value);
  area.addEventListener("pointerdown", (event) => { area.setPointerCapture(event.pointerId); last = null; stroke(event); });
  area.addEventListener("pointermove", (event) => { if (event.buttons & 1) stroke(event); });
  area.addEventListener("pointerup", () => set([...heights]));
  area.addEventListener("pointercancel", () => set([...heights]));
  area.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (keys[event.key]) keys[event.key]();
    else if (steps[event.key]) raise(here, heights[here] + steps[event.key] * (high - low));
    else return;
    event.preventDefault();
    draw();
    if (steps[event.key]) set([...heights]);
  });
  const show = (guess) => {
    heights = guess ? [...guess] : at.map(() => (low + high) / 2);
    draw();
  };
  return { node, show, says: () => `${spec.x} ${short(at[here])}: ${spec.y} ${short(heights[here])}` };
}

function ask(model, root, spec) {
  const set = (guess) => {
    model.set("guess", guess);
    model.save_changes();
    show();
  };
  const question = { number: askNumber, choice: askChoice, curve: askCurve }[spec.kind](spec, set);
  const state = make("span", "sepviz-guess-state", { role: "status" });
  const reset = make("button", "sepviz-reset", { type: "button", textContent: "Reset", title: "Take the guess back", onclick: () => set(null) });
  const hint = spec.kind === "curve" ? "No guess yet: draw the curve, or use the arrow keys." : "No guess yet.";
  root.append(make("fieldset", "", {}, [make("legend", "sepviz-question", { textContent: spec.question }), question.node,
    make("div", "sepviz-guess-row", {}, [state, reset])]));
  const show = () => {
    const guess = model.get("guess") ?? null;
    root.dataset.guess = JSON.stringify(guess);
    question.node.classList.toggle("sepviz-untouched", guess === null);
    question.show(guess);
    state.textContent = guess === null ? hint : `Your ${spec.kind === "curve" ? "sketch, at" : "guess:"} ${question.says(guess)}.${model.offline ? "" : " Now run the next cells."}`; // a page shows the answer by itself
    reset.disabled = guess === null;
  };
  model.on("change:guess", show);
  show();
  const unwatch = watchKernel(model, root);
  return () => {
    unwatch();
    model.off("change:guess", show);
  };
}

// --- revealing: each gives the picture of guess and answer ---

function showNumber({ low, high, unit, guess, answer }) {
  const known = guess === null ? [answer] : [answer, guess];
  const from = Math.min(low, ...known), to = Math.max(high, ...known);
  const part = (value) => 100 * (value - from) / (to - from);
  const label = (value, text, y, kind) => {
    const anchor = part(value) < 25 ? "start" : part(value) > 75 ? "end" : "middle";
    return drawing("text", { x: `${part(value)}%`, y, class: kind, "text-anchor": anchor }, [text]);
  };
  const picture = drawing("svg", { role: "img", "aria-label": "number line" }, [
    drawing("line", { class: "sepviz-axis", x1: 0, x2: "100%", y1: 38, y2: 38 }),
    drawing("text", { x: 0, y: 80 }, [short(from, unit)]), drawing("text", { x: "100%", y: 80, "text-anchor": "end" }, [short(to, unit)])]);
  if (guess !== null) {
    picture.append(drawing("line", { class: "sepviz-gap", x1: `${part(guess)}%`, x2: `${part(answer)}%`, y1: 38, y2: 38 }),
      drawing("circle", { class: "sepviz-of-guess", cx: `${part(guess)}%`, cy: 38, r: 7 }), label(guess, `your guess ${short(guess, unit)}`, 20, "sepviz-of-guess"));
  }
  // a diamond: the two are told apart by their shapes too
  picture.append(drawing("svg", { x: `${part(answer)}%`, y: 38, overflow: "visible" },
    [drawing("path", { class: "sepviz-of-answer", d: "M0-8 8 0 0 8-8 0z", style: "fill: var(--sepviz-accent)" })]), label(answer, `answer ${short(answer, unit)}`, 60, "sepviz-of-answer"));
  return make("div", "sepviz-line-box", {}, [picture]);
}

function showChoice({ choices, guess, answer }) {
  return make("ul", "sepviz-choices", {}, choices.map((choice) => {
    const marks = [...(choice === answer ? ["the answer"] : []), ...(choice === guess ? ["your guess"] : [])];
    const kind = [choice === answer ? "sepviz-is-answer" : "", choice === guess ? "sepviz-is-guess" : ""].join(" ").trim();
    return make("li", kind, {}, [choice, ...(marks.length ? [make("small", "", { textContent: ` (${marks.join(", ")})` })] : [])]);
  }));
}

function showCurve(spec) {
  const { at, guess, answer: [across, up] } = spec;
  const low = Math.min(spec.low, ...up), high = Math.max(spec.high, ...up);
  const { node, area, path, points, put } = plot(spec, low, high, Math.min(at[0], across[0]), Math.max(at[at.length - 1], across[across.length - 1]));
  path("sepviz-of-answer")(across, up);
  const key = (kind, text) => make("span", "sepviz-key", {}, [
    drawing("svg", { viewBox: "0 0 30 10", "aria-hidden": "true" }, [drawing("path", { class: kind, d: "M0 5H30" })]), text]);
  const keys = [key("sepviz-of-answer", "the answer")];
  if (guess !== null) {
    path("sepviz-of-guess")(at, guess);
    put(points(at.length), at, guess);
    keys.push(key("sepviz-of-guess", "your sketch"));
  }
  area.setAttribute("role", "img");
  area.setAttribute("aria-label", `${spec.y} over ${spec.x}: ${keys.length > 1 ? "your sketch and the answer" : "the answer"}`);
  return make("div", "", {}, [make("div", "", {}, keys), node]);
}

function tell(root, spec) {
  const verdict = make("div", "sepviz-verdict", { "aria-live": "polite" });
  root.append(make("p", "sepviz-question", { textContent: spec.question }),
    { number: showNumber, choice: showChoice, curve: showCurve }[spec.kind](spec), verdict);
  const lines = [make("p", "sepviz-says", { textContent: spec.says }), make("p", "", { textContent: spec.verdict }),
    ...spec.why.map((text) => make("p", "", { textContent: text }))];
  setTimeout(() => verdict.append(...lines), 50); // a live region that is born full is not read out
  return () => {};
}

// --- a page without a kernel: the guess is made in the page, so the page judges it, in the words of guess.py ---

const CLOSE = 0.05; // of the question's range
const UNHURRIED = 1000; // milliseconds without another change: then the guess is made, and the answer opens

function interpolated(x, across, up) {
  const i = across.findIndex((place) => place >= x);
  if (i <= 0) return up[i ? up.length - 1 : 0];
  return up[i - 1] + (up[i] - up[i - 1]) * (x - across[i - 1]) / (across[i] - across[i - 1]);
}

const VERDICTS = {
  number({ low, high, unit, guess, answer }) {
    if (short(guess) === short(answer)) return `Your guess ${short(guess, unit)} is right.`;
    const off = guess - answer, near = Math.abs(off) <= CLOSE * (high - low) ? "close, " : "";
    return `Your guess ${short(guess, unit)}: ${near}${short(Math.abs(off), unit)} ${off > 0 ? "too high" : "too low"}.`;
  },
  choice({ guess, answer }) {
    return guess === answer ? `Your guess ${guess} is right.` : `Your guess was ${guess}.`;
  },
  curve({ at, log_x: log, guess, answer: [across, up] }) {
    const scale = log ? Math.log : (value) => value;
    const truth = at.map((x) => interpolated(scale(x), across.map(scale), up));
    const off = guess.map((height, i) => Math.abs(height - truth[i])), worst = off.indexOf(Math.max(...off));
    const mean = off.reduce((sum, value) => sum + value, 0) / off.length;
    return `Your sketch is off by ${short(mean)} on average, most at ${short(at[worst])}: ${short(guess[worst])} in place of ${short(truth[worst])}.`;
  },
};

function questionOf(model, spec) {
  const same = ([name, value]) => JSON.stringify(value) === JSON.stringify(spec[name]);
  return model.page?.find((other) => { // two may have the same words
    const asked = other.get("spec");
    return asked?.question === spec.question && !("answer" in asked)
      && Object.entries(asked).every(same);
  });
}

function tellOffline(model, root, spec) {
  const question = questionOf(model, spec);
  if (!question) return tell(root, { ...spec, verdict: spec.guess === null ? "" : spec.verdict });
  const answer = make("div");
  const box = make("details", "", {}, [make("summary", "sepviz-more", { textContent: `${spec.question} Guess above, then see the answer here.` }), answer]);
  root.append(box);
  let timer = null;
  const show = () => {
    const guess = question.get("guess") ?? null;
    const verdict = guess === null ? "No guess yet: make one above." : VERDICTS[spec.kind]({ ...spec, guess });
    const both = guess === null || guess === spec.answer ? [spec.answer] : [guess, spec.answer];
    const known = spec.kind === "choice" ? both.filter((choice) => choice in (spec.reasons ?? {})) : [];
    answer.replaceChildren();
    tell(answer, { ...spec, guess, verdict, why: known.length ? known.map((choice) => `${choice}: ${spec.reasons[choice]}`) : spec.why });
    clearTimeout(timer);
    if (guess !== null) timer = setTimeout(() => { box.open = true; }, UNHURRIED);
  };
  question.on("change:guess", show);
  show();
  return () => question.off("change:guess", show);
}

function render({ model, el }) {
  const spec = model.get("spec");
  const root = make("div", "sepviz sepviz-guess", { "data-kind": spec.kind });
  el.append(shield(root));
  const told = model.offline ? tellOffline : (_, ...rest) => tell(...rest);
  const off = "answer" in spec ? told(model, root, spec) : ask(model, root, spec);
  return () => {
    off();
    root.remove();
  };
}

export default { render };
