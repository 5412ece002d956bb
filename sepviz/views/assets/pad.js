// One pad to draw on, by pointer or keyboard.

import { MOVES, isChord } from "./keys.js";
import { Panel } from "./panel.js";
import { SIDE, extend, penMoved, pointAt } from "./strokes.js";
import { button, make, says, select } from "./dom.js";

export const SCALE = 7; // screen pixels of one of an image's
const UNIT = 2 * SCALE; // pixels of the canvas, for sharp lines
const HELP = "Draw with the pointer; or arrows move the pen, space puts it down and up, "
  + "Backspace takes a stroke back, Delete clears";

export class Pad {
  // `names`: of the data sets to pick from. `changed(now, emptied)`: the ink changed; `now`: the
  // pen is up; `emptied`: a picture that Python picked goes, too. `pick(name)`: ask for a picture.
  constructor(number, names, changed, pick) {
    this.strokes = [];
    this.changed = changed;
    this.pen = null; // where the keyboard's pen is
    this.down = false;
    this.canvas = make("canvas", "sepviz-canvas sepviz-pen", { width: SIDE * UNIT,
      height: SIDE * UNIT, tabIndex: 0, role: "application", "data-pad": number,
      "aria-label": `Drawing ${number + 1}. ${HELP}` });
    this.canvas.style.width = this.canvas.style.height = `${SIDE * SCALE}px`;
    this.context = this.canvas.getContext("2d");
    this.says = says("span", "sepviz-state", "", { role: "status" });
    const act = (name, text, label, action) => (
      button(name, text, action, { "aria-label": `${label} ${number + 1}` }));
    const undo = act("undo", "Undo", "Take back the last stroke of drawing", () => this.undo());
    const clear = act("clear", "Clear", "Clear drawing", () => this.clear());
    const choice = act("pick", "Pick", "Pick an image for drawing", () => {
      this.strokes = [];
      pick(set.value);
    });
    const set = select("set", `Data set to pick drawing ${number + 1} from`,
      names.map((name) => [name, name]));
    this.view = new Panel({ width: SIDE, height: SIDE }, 2);
    this.view.label("as seen", "as the method sees it");
    this.node = make("div", "sepviz-pad", {}, [says("strong", "", `source ${number + 1}`),
      this.canvas, make("div", "sepviz-transport", {}, [undo, clear]),
      make("div", "sepviz-transport", {}, [choice, set]), this.says, this.view.node]);
    this.listen();
    this.draw();
  }

  listen() {
    const { canvas } = this;
    const at = (event) => pointAt(event, canvas.getBoundingClientRect());
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      canvas.setPointerCapture(event.pointerId);
      this.begin(at(event));
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!(event.buttons & 1) || !canvas.hasPointerCapture(event.pointerId)) return;
      const events = event.getCoalescedEvents?.() ?? [];
      for (const each of events.length ? events : [event]) this.extend(at(each));
    });
    canvas.addEventListener("pointerup", () => this.changed(true));
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => {
      if (!this.pen) return;
      this.pen = null;
      this.down = false;
      this.draw();
    });
  }

  begin(point) {
    this.picture = null;
    this.strokes.push([point]);
    this.draw();
    this.changed(false);
  }

  extend(point) {
    if (!extend(this.strokes, point)) return;
    this.draw();
    this.changed(false);
  }

  undo() {
    this.strokes.pop();
    this.draw();
    this.changed(true);
  }

  empty() {
    this.strokes = [];
    this.picture = null;
    this.draw();
  }

  clear() {
    this.empty();
    this.changed(true, true);
  }

  putPen() {
    this.pen = this.pen || [SIDE / 2, SIDE / 2];
    this.down = !this.down;
    if (this.down) this.begin([...this.pen]);
    else this.changed(true);
  }

  movePen(by, step) {
    this.pen = penMoved(this.pen, by, step);
    if (this.down) this.extend([...this.pen]);
  }

  key(event) {
    if (isChord(event)) return;
    const actions = { " ": () => this.putPen(), Backspace: () => this.undo(),
      Delete: () => this.clear() };
    for (const [name, by] of Object.entries(MOVES)) {
      actions[name] = () => this.movePen(by, event.shiftKey ? 4 : 1);
    }
    if (!(event.key in actions)) return;
    event.preventDefault();
    event.stopPropagation();
    actions[event.key]();
    const place = this.pen?.map(Math.round).join(", ");
    this.says.textContent = this.pen ? `pen ${this.down ? "down" : "up"} at ${place}` : "";
    this.draw();
  }

  draw() {
    const { context } = this;
    context.fillStyle = "#000";
    context.fillRect(0, 0, SIDE * UNIT, SIDE * UNIT);
    if (this.picture && !this.strokes.length) {
      context.imageSmoothingEnabled = false;
      context.drawImage(this.view.canvas, 0, 0, SIDE * UNIT, SIDE * UNIT);
    }
    context.strokeStyle = context.fillStyle = "#fff";
    context.lineWidth = 2.4 * UNIT;
    context.lineCap = context.lineJoin = "round";
    for (const stroke of this.strokes) {
      const [[x, y]] = stroke;
      context.beginPath();
      context.moveTo(x * UNIT, y * UNIT);
      for (const [right, down] of stroke.slice(1)) context.lineTo(right * UNIT, down * UNIT);
      if (stroke.length === 1) context.lineTo(x * UNIT + 0.1, y * UNIT); // a dot
      context.stroke();
    }
    if (!this.pen) return;
    context.lineWidth = 3;
    context.strokeStyle = this.down ? "#ffc107" : "#9ecbff";
    context.beginPath();
    context.arc(this.pen[0] * UNIT, this.pen[1] * UNIT, 1.6 * UNIT, 0, 7);
    context.stroke();
  }

  // What Python made of it: bytes of the image, none where the pad is empty.
  show(bytes, drawn) {
    const empty = !bytes.byteLength;
    this.view.draw((i) => (empty ? 0 : bytes[i] / 255), { channels: 1 });
    this.picture = !empty && !drawn;
    this.canvas.dataset.empty = empty;
    this.draw();
  }
}
