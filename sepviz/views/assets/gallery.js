// Widgets of a page without a kernel: each model is the state that was saved.

import { SavedModel } from "./saved_model.js";

const NEEDS_LAB = "This needs Python, which a page has not: open the lab for it.";
const DAMAGED = "What was saved of this widget is damaged: open the lab for it.";

const models = {}, modules = {};
for (const { dataset, textContent } of document.querySelectorAll("script[data-state]")) {
  try {
    models[dataset.state] = new SavedModel(textContent);
  } catch (error) { // its place says so, below
    console.warn(error);
  }
  modules[dataset.state] = globalThis.sepvizModules[dataset.module];
}
// a reveal looks for its question
for (const model of Object.values(models)) model.page = Object.values(models);
// On paper the last step is what counts; at the first there are no forces yet.
matchMedia("print").addEventListener("change", ({ matches: printed }) => {
  for (const slider of document.querySelectorAll(".sepviz-slider")) {
    if (printed) slider.dataset.before = slider.value;
    slider.value = printed ? slider.max : slider.dataset.before;
    slider.dispatchEvent(new Event("input"));
    slider.dispatchEvent(new Event("change"));
  }
  for (const panel of document.querySelectorAll(".sepviz-panel")) {
    const nothing = panel.textContent.startsWith("no "); // "no noise here"
    panel.classList.toggle("export-nothing", printed && nothing);
  }
});
for (const place of document.querySelectorAll(".export-widget[data-model]")) {
  const model = models[place.dataset.model], found = modules[place.dataset.model];
  const note = document.createElement("p");
  note.className = "export-note";
  note.setAttribute("role", "status");
  place.after(note);
  try {
    model.onMessage = () => { note.textContent = NEEDS_LAB; };
    const widget = typeof found === "function" ? await found() : found;
    await widget.initialize?.({ model });
    await widget.render({ model, el: place });
  } catch (error) { // the next widget is shown all the same
    note.textContent = DAMAGED;
    console.warn(error);
  }
}
