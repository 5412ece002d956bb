// The live run: a View that grows while a method runs, with the method's knobs above it.

import { Knob } from "./knobs.js";
import { View } from "./view.js";
import { button, make, says, select } from "./dom.js";
import { stateRow } from "./state_row.js";
import { watchKernel } from "./kernel.js";

const KNOBS = 4; // shown at a time; the rest are under "more"
const CONTROLS = ":is(.sepviz-run-buttons, .sepviz-knobs) :is(button, input, select)";
const WAS_CHANGED = "state, from step 0 on (this run was changed on its way)";

// The controls above a run: buttons, branches, knobs.
class Controls {
  constructor(model, view) {
    const send = (message) => model.send(message);
    const act = (name, text, title, message) => (
      button(name, text, () => send(message()), { title }));
    this.start = act("start", "Run", "Run the method from its last step", () => ({ do: "start" }));
    this.pause = act("pause", "Pause", "Pause after this step", () => ({ do: "pause" }));
    this.one = act("one", "One step", "Run one step", () => ({ do: "one_step" }));
    this.reset = act("reset", "Reset", "Back to before the first step", () => ({ do: "reset" }));
    this.fork = act("fork", "Fork from here",
      "Go on from the step on the screen, with the parameters as they are now",
      () => ({ do: "fork", index: view.frames[view.cursor].index }));
    this.branch = select("branch", "Branch", [],
      () => send({ do: "select", branch: Number(this.branch.value) }));
    this.state = says("span", "sepviz-state", "", { role: "status" });
    this.error = says("div", "sepviz-error", "", { role: "alert" });
    this.text = stateRow("State of this run");
    this.pause.addEventListener("click", () => {
      this.state.textContent = "pausing after this step";
    });

    const set = (name, value) => send({ do: "set", name, value });
    this.knobs = model.get("controls").map((spec) => new Knob(spec, set));
    const grid = (knobs) => make("div", "sepviz-knobs", {}, knobs.map((knob) => knob.node));
    const rest = this.knobs.slice(KNOBS);
    const more = make("details", "", { hidden: !rest.length },
      [says("summary", "sepviz-more", `${rest.length} more`), grid(rest)]);
    const buttons = make("div", "sepviz-run-buttons", {}, [this.start, this.pause, this.one,
      this.reset, this.fork, this.state, this.branch]);
    this.node = make("div", "sepviz-run", {}, [buttons, this.error,
      grid(this.knobs.slice(0, KNOBS)), more, this.text.node]);
  }

  show({ state, error, text, changed, branch, branches }, specs) {
    this.start.disabled = this.one.disabled = state === "running";
    this.pause.disabled = state !== "running";
    this.state.textContent = state;
    this.error.textContent = error;
    this.error.hidden = !error;
    this.text.show(text, changed ? WAS_CHANGED : "state");
    this.branch.replaceChildren(...branches.map((name, i) => (
      says("option", "", name, { value: i, selected: i === branch }))));
    this.branch.hidden = branches.length < 2;
    specs.forEach((spec, i) => {
      const { field } = this.knobs[i];
      if (document.activeElement !== field || error) this.knobs[i].update(spec);
    });
  }

  showFork(frame) {
    this.fork.disabled = !frame;
    this.fork.textContent = frame ? `Fork from step ${frame.index}` : "Fork from here";
  }

  disable() {
    for (const control of this.node.querySelectorAll(CONTROLS)) control.disabled = true;
    this.state.textContent = "";
  }
}

function render({ model, el }) {
  const view = new View(el, model.get("static"));
  const controls = new Controls(model, view);
  view.root.firstChild.after(controls.node);

  const showStatus = () => {
    const status = model.get("status");
    view.root.dataset.state = status.state;
    controls.show(status, model.get("controls"));
  };
  let shown = null; // the branch whose frames are on the screen
  const showHistory = () => {
    const history = model.get("history");
    view.transport.pause();
    if (history.branch !== shown) view.frames = []; // another branch: nothing to stay at
    const begun = view.frames.length > 0;
    view.setFrames(history);
    if (!begun && view.frames.length) view.show(view.frames.length - 1);
    shown = history.branch;
    if (!view.frames.length) controls.showFork(null);
  };
  const showFrame = () => {
    const frame = model.get("frame");
    if (frame.records && frame.branch === shown) view.append(frame);
  };
  view.onShow = (frame) => controls.showFork(frame);
  controls.showFork(null);
  showHistory();
  showFrame();
  showStatus();
  const events = { "change:status": showStatus, "change:controls": showStatus,
    "change:history": showHistory, "change:frame": showFrame };
  for (const [name, action] of Object.entries(events)) model.on(name, action);
  const unwatch = watchKernel(model, view.root, () => { // what is recorded can still be scrubbed
    view.onShow = () => {};
    controls.disable();
    view.root.dataset.state = "gone";
  });
  return () => {
    unwatch();
    for (const [name, action] of Object.entries(events)) model.off(name, action);
    view.close();
  };
}

export default { render };
