// Buttons, slider, speed and keys that move a view through its frames.

import { clamp } from "./numbers.js";
import { button, icon, make, pictureButton, says, select } from "./dom.js";
import { isChord } from "./keys.js";

const WHOLE = 8; // seconds that a whole run takes to play, unless another speed is chosen
const LINGER = 1500; // milliseconds at the end before it plays again
const RATES = [ // frames per second; 0: one a refresh
  ["whole", `whole run in ${WHOLE} s`],
  ...["2", "5", "10", "25", "50"].map((rate) => [rate, `${rate} frames/s`]),
  ["0", "fastest"],
];

// Over the places 0 to count - 1 of a `host`: {root, cursor, show(place), rest()}.
export class Transport {
  constructor(host) {
    this.host = host;
    this.count = 0;
    this.loop = !matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.playing = false;
    this.dragging = false;
    this.playButton = pictureButton("play", "play", "Play (space)", () => this.toggle());
    this.slider = make("input", "sepviz-slider", { type: "range", min: 0, max: 0, value: 0, step: 1,
      "aria-label": "Step",
      oninput: () => {
        this.dragging = true;
        this.pause();
        this.host.show(Number(this.slider.value));
      },
      onchange: () => { this.dragging = false; this.host.rest(); } });
    this.rateSelect = select("rate", "Speed", RATES);
    this.loopButton = button("loop", "Loop", () => {
      this.loop = !this.loop;
      this.loopButton.setAttribute("aria-pressed", this.loop);
    }, { title: "Play again and again", "aria-pressed": this.loop });
    this.node = make("div", "sepviz-transport", {}, [
      pictureButton("first", "first", "First step (Home)", () => this.go(0)),
      pictureButton("back", "back", "Step back (left arrow)", () => this.move(-1)),
      this.playButton,
      pictureButton("forward", "forward", "Step forward (right arrow)", () => this.move(1)),
      pictureButton("last", "last", "Last step (End)", () => this.go(this.count - 1)),
      this.slider, this.rateSelect, this.loopButton]);
  }

  // Frames per second; 0: one per screen refresh.
  get rate() {
    const { value } = this.rateSelect;
    return value === "whole" ? (this.count - 1) / WHOLE : Number(value);
  }

  resize(count) {
    this.count = count;
    this.slider.max = Math.max(0, count - 1);
  }

  at(place, text) {
    this.slider.value = place;
    this.slider.setAttribute("aria-valuetext", text);
  }

  go(place) {
    this.dragging = false;
    this.pause();
    this.host.show(clamp(place, 0, this.count - 1));
    this.host.rest();
  }

  move(by) {
    this.go(this.host.cursor + by);
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  play() {
    if (this.playing || this.count < 2) return;
    this.playing = true;
    this.host.root.dataset.playing = true;
    this.labelPlay("pause", "Pause (space)");
    this.host.show(this.host.cursor >= this.count - 1 ? 0 : this.host.cursor);
    let before = performance.now();
    const tick = (now) => {
      if (!this.playing) return;
      if (!this.host.root.isConnected) { this.pause(); return; }
      const { rate } = this, end = this.count - 1;
      const due = rate ? Math.floor((now - before) * rate / 1000) : 1;
      if (this.host.cursor >= end) { // it lingers, then begins again
        if (!this.loop) { this.pause(); return; }
        if (now - before > LINGER) { before = now; this.host.show(0); }
      } else if (due > 0) {
        before = rate ? before + due * 1000 / rate : now;
        this.host.show(Math.min(end, this.host.cursor + due));
      }
      this.request = requestAnimationFrame(tick);
    };
    this.request = requestAnimationFrame(tick);
  }

  pause() {
    if (!this.playing) return;
    this.playing = false;
    cancelAnimationFrame(this.request);
    this.labelPlay("play", "Play (space)");
    this.host.root.dataset.playing = false;
    this.host.rest();
  }

  labelPlay(picture, text) {
    icon(this.playButton, picture);
    this.playButton.title = text;
    this.playButton.setAttribute("aria-label", text);
  }

  // Keys of the root; `more` are the host's own. Other controls have keys of their own.
  key(event, more = {}) {
    if (isChord(event)) return;
    const { target } = event;
    const own = target === this.host.root || target === this.slider;
    if (!own && !(target.tagName === "BUTTON" && event.key !== " ")) return;
    const actions = {
      " ": () => this.toggle(),
      ArrowLeft: () => this.move(-1),
      ArrowRight: () => this.move(1),
      Home: () => this.go(0),
      End: () => this.go(this.count - 1),
      ...more,
    };
    const shifted = `Shift+${event.key}`;
    const action = actions[event.shiftKey && shifted in actions ? shifted : event.key];
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  }
}

// Which mixture is shown; `move(by)` is asked to go to the one before (-1) or the next (1).
export class ItemSteps {
  constructor({ items, batch }, move) {
    Object.assign(this, { items, batch });
    this.previous = pictureButton("previous", "back", "Previous mixture", () => move(-1));
    this.next = pictureButton("next", "forward", "Next mixture", () => move(1));
    this.label = says("span", "sepviz-item", "");
    this.node = make("span", "sepviz-items", {}, [this.previous, this.label, this.next]);
    this.node.hidden = batch === 1;
  }

  at(item) {
    this.label.textContent = `mixture ${item + 1} of ${this.batch}`;
    this.previous.disabled = item === this.items[0];
    this.next.disabled = item === this.items[this.items.length - 1];
  }
}
