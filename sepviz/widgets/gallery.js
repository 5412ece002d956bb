// Widgets of a page without a kernel: each model is the state that was saved, and lives in the browser alone.

const NEEDS_LAB = "This needs Python, which a page has not: open the lab for it.";

class SavedModel {
  constructor(text) {
    this.offline = true; // for a widget that would do something else without a kernel
    this.listeners = [];
    this.onMessage = () => {};
    this.state = JSON.parse(text, (key, value) => {
      if (!value || typeof value.base64 !== "string") return value;
      return new DataView(Uint8Array.from(atob(value.base64), (letter) => letter.charCodeAt(0)).buffer);
    });
  }

  get(name) { return this.state[name]; }

  set(name, value) {
    if (this.state[name] === value) return;
    this.state[name] = value;
    for (const event of [`change:${name}`, "change"]) {
      for (const [heard, action] of [...this.listeners]) if (heard === event) action(this, value);
    }
  }

  on(events, action) { for (const event of events.split(/\s+/)) this.listeners.push([event, action]); }

  off(events, action) {
    const gone = events ? events.split(/\s+/) : null;
    this.listeners = this.listeners.filter(([event, known]) => !((!gone || gone.includes(event)) && (!action || known === action)));
  }

  save_changes() {}

  send() { this.onMessage(); }
}

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
