// What a Jupyter widget model offers, over a state that was saved: it lives in the page alone.

export class SavedModel {
  constructor(text) {
    this.offline = true; // for a widget that would do something else without a kernel
    this.listeners = [];
    this.onMessage = () => {};
    this.state = JSON.parse(text, (key, value) => {
      if (!value || typeof value.base64 !== "string") return value;
      const bytes = Uint8Array.from(atob(value.base64), (letter) => letter.charCodeAt(0));
      return new DataView(bytes.buffer);
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

  on(events, action) {
    for (const event of events.split(/\s+/)) this.listeners.push([event, action]);
  }

  // Without events, or without an action: all of them.
  off(events, action) {
    const gone = events ? events.split(/\s+/) : null;
    this.listeners = this.listeners.filter(([event, known]) => (
      (gone && !gone.includes(event)) || (action && known !== action)));
  }

  save_changes() {}

  send() { this.onMessage(); }
}
