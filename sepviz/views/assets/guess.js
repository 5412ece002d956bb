// A question that takes a guess, and its reveal: a number, a choice, or a curve to be sketched.

import { button, make, says } from "./dom.js";
import { pictureOf } from "./answers.js";
import { questionFor } from "./questions.js";
import { shield } from "./keys.js";
import { verdictOf } from "./verdicts.js";
import { watchKernel } from "./kernel.js";

const UNHURRIED = 1000; // milliseconds without a change: then the guess is made, the answer opens

function ask(model, root, spec) {
  const set = (guess) => {
    model.set("guess", guess);
    model.save_changes();
    show();
  };
  const question = questionFor(spec, set);
  const state = says("span", "sepviz-guess-state", "", { role: "status" });
  const reset = button("reset", "Reset", () => set(null), { title: "Take the guess back" });
  root.append(make("fieldset", "", {}, [says("legend", "sepviz-question", spec.question),
    question.node, make("div", "sepviz-guess-row", {}, [state, reset])]));
  const [none, begin] = spec.kind === "curve"
    ? ["No guess yet: draw the curve, or use the arrow keys.", "Your sketch, at"]
    : ["No guess yet.", "Your guess:"];
  const next = model.offline ? "" : " Now run the next cells."; // a page shows the answer by itself
  const show = () => {
    const guess = model.get("guess") ?? null;
    root.dataset.guess = JSON.stringify(guess);
    question.node.classList.toggle("sepviz-untouched", guess === null);
    question.show(guess);
    state.textContent = guess === null ? none : `${begin} ${question.text(guess)}.${next}`;
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

function tell(root, spec) {
  const verdict = make("div", "sepviz-verdict", { "aria-live": "polite" });
  root.append(says("p", "sepviz-question", spec.question), pictureOf(spec), verdict);
  const lines = [says("p", "sepviz-says", spec.says),
    ...[spec.verdict, ...spec.why].map((text) => says("p", "", text))];
  setTimeout(() => verdict.append(...lines), 50); // a live region that is born full is not read out
  return () => {};
}

// --- a page without a kernel: the guess is made there, so the page judges it ---

function questionOf(model, spec) {
  return model.page?.find((other) => { // two may have the same words
    const asked = other.get("spec");
    const same = ([name, value]) => JSON.stringify(value) === JSON.stringify(spec[name]);
    return asked?.question === spec.question && !("answer" in asked)
      && Object.entries(asked).every(same);
  });
}

// The reveal for a guess that was made in the page.
function revealed(spec, guess) {
  const verdict = guess === null ? "No guess yet: make one above." : verdictOf({ ...spec, guess });
  const both = guess === null || guess === spec.answer ? [spec.answer] : [guess, spec.answer];
  const reasons = spec.kind === "choice" ? spec.reasons ?? {} : {};
  const known = both.filter((choice) => choice in reasons);
  const why = known.length ? known.map((choice) => `${choice}: ${reasons[choice]}`) : spec.why;
  return { ...spec, guess, verdict, why };
}

function tellOffline(model, root, spec) {
  const question = questionOf(model, spec);
  if (!question) return tell(root, { ...spec, verdict: spec.guess === null ? "" : spec.verdict });
  const answer = make("div");
  const text = `${spec.question} Guess above, then see the answer here.`;
  const box = make("details", "", {}, [says("summary", "sepviz-more", text), answer]);
  root.append(box);
  let timer = null;
  const show = () => {
    const guess = question.get("guess") ?? null;
    answer.replaceChildren();
    tell(answer, revealed(spec, guess));
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
  let off;
  if (!("answer" in spec)) off = ask(model, root, spec);
  else off = model.offline ? tellOffline(model, root, spec) : tell(root, spec);
  return () => {
    off();
    root.remove();
  };
}

export default { render };
