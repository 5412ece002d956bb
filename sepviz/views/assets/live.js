// The live run: a View that grows while a method runs, with the method's knobs above it.

const KNOBS = 4; // shown at a time; the rest are under "more"

// One parameter of the method: {name, kind, value, low, high, log, unit, meaning, choices}.
class Knob {
  constructor(spec, send) {
    this.send = send;
    const label = spec.name.replaceAll("_", " ") + (spec.unit ? ` (${spec.unit})` : "");
    const known = { "aria-label": label, title: spec.meaning, "data-name": spec.name };
    const name = make("span", "sepviz-knob-name", { textContent: label });
    const meaning = make("span", "sepviz-knob-meaning", { textContent: spec.meaning });
    const children = [name];
    if (spec.kind === "choice") {
      this.field = make("select", "", { ...known, onchange: () => send(spec.name, this.field.value) },
        spec.choices.map((choice) => make("option", "", { value: choice, textContent: choice })));
    } else if (spec.kind === "bool") {
      this.field = make("input", "", { type: "checkbox", ...known, onchange: () => send(spec.name, this.field.checked) });
    } else {
      this.field = make("input", "", { type: "number", step: spec.kind === "int" ? 1 : "any", ...known,
        onchange: () => { if (this.field.value !== "") send(spec.name, Number(this.field.value)); } });
    }
    children.push(this.field, meaning);
    if (["int", "float"].includes(spec.kind) && spec.low !== null && spec.high !== null) {
      this.slider = make("input", "", { type: "range", min: 0, max: 1000, step: 1, ...known,
        oninput: () => { this.field.value = this.at(this.slider.value / 1000); }, // shown while dragged, sent when let go
        onchange: () => send(spec.name, Number(this.field.value)) });
      children.push(this.slider);
    }
    this.node = make("div", "sepviz-knob", {}, children);
    this.update(spec);
  }

  at(part) {
    const { low, high, log, kind } = this.spec;
    const value = log ? low * (high / low) ** part : low + (high - low) * part;
    return kind === "int" ? Math.round(value) : Number(value.toPrecision(3));
  }

  update(spec) {
    this.spec = spec;
    if (spec.kind === "bool") this.field.checked = spec.value;
    else this.field.value = spec.value;
    if (!this.slider) return;
    const { low, high, log, value } = spec;
    const part = log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
    this.slider.value = 1000 * Math.max(0, Math.min(1, part));
    this.slider.setAttribute("aria-valuetext", String(value));
  }
}

function render({ model, el }) {
  const view = new View(el, model.get("static"));
  const send = (message) => model.send(message);
  const button = (name, text, label, message) => make("button", `sepviz-${name}`, { type: "button", textContent: text, title: label, onclick: () => send(message()) });
  const start = button("start", "Run", "Run the method from its last step", () => ({ do: "start" }));
  const pause = button("pause", "Pause", "Pause after this step", () => ({ do: "pause" }));
  const one = button("one", "One step", "Run one step", () => ({ do: "one_step" }));
  const reset = button("reset", "Reset", "Back to before the first step", () => ({ do: "reset" }));
  const fork = button("fork", "Fork from here", "Go on from the step on the screen, with the parameters as they are now",
    () => ({ do: "fork", index: view.frames[view.cursor].index }));
  const branch = make("select", "sepviz-branch", { "aria-label": "Branch", onchange: () => send({ do: "select", branch: Number(branch.value) }) });
  const state = make("span", "sepviz-state", { role: "status" });
  const error = make("div", "sepviz-error", { role: "alert" });

  const text = stateRow("State of this run");
  const knobs = model.get("controls").map((spec) => new Knob(spec, (name, value) => send({ do: "set", name, value })));
  const grid = (part) => make("div", "sepviz-knobs", {}, part.map((knob) => knob.node));
  const rest = knobs.slice(KNOBS);
  const more = make("details", "", {}, [make("summary", "sepviz-more", { textContent: `${rest.length} more` }), grid(rest)]);
  more.hidden = !rest.length;
  const run = make("div", "sepviz-run", {}, [
    make("div", "sepviz-run-buttons", {}, [start, pause, one, reset, fork, state, branch]), error,
    grid(knobs.slice(0, KNOBS)), more, text.node]);
  view.root.firstChild.after(run);
  pause.addEventListener("click", () => { state.textContent = "pausing after this step"; });

  const showStatus = () => {
    const status = model.get("status");
    view.root.dataset.state = status.state;
    start.disabled = one.disabled = status.state === "running";
    pause.disabled = status.state !== "running";
    state.textContent = status.state;
    error.textContent = status.error;
    text.show(status.text, status.changed ? "state, from step 0 on (this run was changed on its way)" : "state");
    error.hidden = !status.error;
    branch.replaceChildren(...status.branches.map((name, i) => make("option", "", { value: i, textContent: name, selected: i === status.branch })));
    branch.hidden = status.branches.length < 2;
    model.get("controls").forEach((spec, i) => { if (document.activeElement !== knobs[i].field || status.error) knobs[i].update(spec); });
  };
  const showFork = (frame) => {
    fork.disabled = !frame;
    fork.textContent = frame ? `Fork from step ${frame.index}` : "Fork from here";
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
    if (!view.frames.length) showFork(null);
  };
  const showFrame = () => {
    const frame = model.get("frame");
    if (frame.records && frame.branch === shown) view.append(frame);
  };
  view.onShow = showFork;
  showFork(null);
  showHistory();
  showFrame();
  showStatus();
  const events = { "change:status": showStatus, "change:controls": showStatus, "change:history": showHistory, "change:frame": showFrame };
  for (const [name, action] of Object.entries(events)) model.on(name, action);
  const unwatch = watchKernel(model, view.root, () => { // what is recorded can still be scrubbed
    view.onShow = () => {};
    const controls = ":is(.sepviz-run-buttons, .sepviz-knobs) :is(button, input, select)";
    for (const control of run.querySelectorAll(controls)) control.disabled = true;
    view.root.dataset.state = "gone";
    state.textContent = "";
  });
  return () => {
    unwatch();
    for (const [name, action] of Object.entries(events)) model.off(name, action);
    view.close();
  };
}

export default { render };
