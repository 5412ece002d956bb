// A parameter of a method as a control.
// Its spec: {name, kind, value, low, high, log, unit, meaning, choices}.

import { clamp } from "./numbers.js";
import { make, says, select } from "./dom.js";

const STOPS = 1000; // of a slider

// The value at a part (0 to 1) of a parameter's range, and the other way round.
export function valueAt({ low, high, log, kind }, part) {
  const value = log ? low * (high / low) ** part : low + (high - low) * part;
  return kind === "int" ? Math.round(value) : Number(value.toPrecision(3));
}

export function partOf({ low, high, log, value }) {
  const part = log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
  return clamp(part, 0, 1);
}

export class Knob {
  constructor(spec, send) {
    const { name, kind, unit, meaning } = spec;
    const label = name.replaceAll("_", " ") + (unit ? ` (${unit})` : "");
    const about = { "aria-label": label, title: meaning, "data-name": name };
    const input = (type, more) => make("input", "", { type, ...about, ...more });
    if (kind === "choice") {
      const choices = spec.choices.map((choice) => [choice, choice]);
      this.field = select("choice", label, choices, () => send(name, this.field.value));
      this.field.title = meaning;
      this.field.dataset.name = name;
    } else if (kind === "bool") {
      this.field = input("checkbox", { onchange: () => send(name, this.field.checked) });
    } else {
      this.field = input("number", { step: kind === "int" ? 1 : "any", onchange: () => {
        if (this.field.value !== "") send(name, Number(this.field.value));
      } });
    }
    const children = [says("span", "sepviz-knob-name", label), this.field,
      says("span", "sepviz-knob-meaning", meaning)];
    if (["int", "float"].includes(kind) && spec.low !== null && spec.high !== null) {
      this.slider = input("range", { min: 0, max: STOPS, step: 1,
        // shown while dragged, sent when let go
        oninput: () => { this.field.value = valueAt(this.spec, this.slider.value / STOPS); },
        onchange: () => send(name, Number(this.field.value)) });
      children.push(this.slider);
    }
    this.node = make("div", "sepviz-knob", {}, children);
    this.update(spec);
  }

  update(spec) {
    this.spec = spec;
    if (spec.kind === "bool") this.field.checked = spec.value;
    else this.field.value = spec.value;
    if (!this.slider) return;
    this.slider.value = STOPS * partOf(spec);
    this.slider.setAttribute("aria-valuetext", String(spec.value));
  }
}
