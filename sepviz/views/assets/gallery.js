// Widgets of a page without a kernel: each model is the state that was saved, and lives in the browser alone.

const NEEDS_LAB = "This needs Python, which a page has not: open the lab for it.";

const models = {}, modules = {};
for (const script of document.querySelectorAll("script[data-state]")) {
  try {
    models[script.dataset.state] = new SavedModel(script.textContent);
  } catch (error) { // its place says so, below
    console.warn(error);
  }
  modules[script.dataset.state] = globalThis.sepvizModules[script.dataset.module];
}
for (const model of Object.values(models)) model.page = Object.values(models); // a reveal looks for its question
// On paper the last step is what counts; at the first there are no forces yet.
matchMedia("print").addEventListener("change", ({ matches: printed }) => {
  for (const slider of document.querySelectorAll(".sepviz-slider")) {
    if (printed) slider.dataset.before = slider.value;
    slider.value = printed ? slider.max : slider.dataset.before;
    slider.dispatchEvent(new Event("input"));
    slider.dispatchEvent(new Event("change"));
  }
  for (const panel of document.querySelectorAll(".sepviz-panel")) {
    panel.classList.toggle("export-nothing", printed && panel.textContent.startsWith("no ")); // "no noise here"
  }
});
for (const place of document.querySelectorAll(".export-widget[data-model]")) {
  const model = models[place.dataset.model], found = modules[place.dataset.model];
  const say = document.createElement("p");
  say.className = "export-note";
  say.setAttribute("role", "status");
  place.after(say);
  try {
    model.onMessage = () => { say.textContent = NEEDS_LAB; };
    const widget = typeof found === "function" ? await found() : found;
    await widget.initialize?.({ model });
    await widget.render({ model, el: place });
  } catch (error) { // the next widget is shown all the same
    say.textContent = "What was saved of this widget is damaged: open the lab for it.";
    console.warn(error);
  }
}
