// Widgets of a page without a kernel: each model is the state that was saved, and lives in the browser alone.

const NEEDS_LAB = "This needs Python, which a page has not: open the lab for it.";

const models = {};
for (const place of document.querySelectorAll(".export-widget")) {
  const { model: id, module } = place.dataset;
  models[id] ??= new SavedModel(document.getElementById(`state-${id}`).textContent);
  const model = models[id];
  const found = globalThis.sepvizModules[module];
  const widget = typeof found === "function" ? await found() : found;
  const say = document.createElement("p");
  say.className = "export-note";
  say.setAttribute("role", "status");
  model.onMessage = () => { say.textContent = NEEDS_LAB; };
  place.after(say);
  try {
    await widget.initialize?.({ model });
    await widget.render({ model, el: place });
  } catch (error) { // the next widget is shown all the same
    say.textContent = NEEDS_LAB;
    console.error(error);
  }
}
