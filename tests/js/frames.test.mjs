// Bytes that came from Python, as numbers, colours and sums.

import assert from "node:assert/strict";
import { test } from "node:test";
import { arithmetic } from "../../sepviz/views/assets/arithmetic.js";
import { HALF, bitsOf } from "../../sepviz/views/assets/bytes.js";
import { DIVERGING, paint, spanOf } from "../../sepviz/views/assets/colours.js";
import { Frames, largestOf, layersOf } from "../../sepviz/views/assets/frames.js";
import { SavedModel } from "../../sepviz/views/assets/saved_model.js";

const BITS = new Map(Array.from({ length: 0xfc00 }, (_, bits) => [HALF[bits], bits]));
BITS.set(0, 0); // not the bits of -0, which is the same key

// Numbers that a float16 holds exactly, as Python sends them.
function halves(...values) {
  const bits = Uint16Array.from(values, (value) => BITS.get(value));
  return new DataView(bits.buffer);
}

test("every kind of float16", () => {
  const known = [[0x0000, 0], [0x3c00, 1], [0xc000, -2], [0x3555, 0.333251953125],
    [0x7bff, 65504], [0x0001, 2 ** -24], [0x0400, 2 ** -14], [0x7c00, Infinity],
    [0xfc00, -Infinity], [0x7e00, NaN]];
  for (const [bits, value] of known) assert.equal(HALF[bits], value);
});

test("bits at an odd place are copied, others are looked at", () => {
  const bytes = Uint8Array.from([9, 0x00, 0x3c, 0x00, 0xc0, 9]);
  const odd = bitsOf(new DataView(bytes.buffer, 1, 4));
  assert.deepEqual([...odd], [0x3c00, 0xc000]);
  const even = bitsOf(new DataView(bytes.buffer, 2, 4));
  assert.equal(even.buffer, bytes.buffer);
});

function painted(values, scale) {
  const data = new Uint8ClampedArray(4 * values.length / (scale.channels === 3 ? 3 : 1)).fill(255);
  paint(data, (i) => values[i], scale);
  return Array.from({ length: data.length / 4 }, (_, i) => [...data.slice(4 * i, 4 * i + 3)]);
}

test("gray and colours from black to white", () => {
  assert.deepEqual(painted([0, 0.5, 1, 7, -7], { channels: 1 }),
    [0, 128, 255, 255, 0].map((value) => [value, value, value]));
  assert.deepEqual(painted([-1, 3], { channels: 1, low: -1, high: 3 }),
    [[0, 0, 0], [255, 255, 255]]);
  assert.deepEqual(painted([1, 0, 0, 0, 0, 1], { channels: 3 }), [[255, 0, 0], [0, 0, 255]]);
});

test("signed pictures are white at 0 and at rounding, blue below, orange above", () => {
  const [zero, rounding, below, above] = painted([0, 9e-4, -0.5, 0.5],
    { channels: 1, high: 0.5, signed: true });
  assert.deepEqual([zero, rounding], [[247, 247, 247], [247, 247, 247]]);
  assert.deepEqual([below, above], [[5, 48, 97], [127, 39, 4]]);
  assert.deepEqual([DIVERGING[3], DIVERGING[3 * 255]], [5, 127]);
  // of several channels: gray is 0
  assert.deepEqual(painted([0, 0, 0], { channels: 3, high: 1, signed: true }), [[128, 128, 128]]);
});

test("no scale is as fine as rounding", () => {
  assert.deepEqual([0.5, 0.01, 1e-6, 0, null, undefined].map(spanOf),
    [0.5, 0.01, 0.01, 0.01, 0.01, 0.01]);
});

const none = new DataView(new ArrayBuffer(0));
const LAYERS = [{ name: "estimate", signed: false, panels: 2 },
  { name: "residual", signed: true, panels: 1 },
  { name: "noise", label: "noise", signed: true, panels: 2 }];

// Two mixtures of two sources, two steps, images of one row and two columns.
function run(more = {}) {
  const fixed = { items: [4, 5], batch: 6, count: 2, channels: 1, height: 1, width: 2,
    mixtures: halves(1, 0.5, 0.25, 2), truth: new DataView(Uint8Array.of(
      0, 51, 102, 153, 204, 255, 0, 255).buffer), visible: none, ...more };
  const step = (sign) => [
    0.5, 0.25, 0.25, 0.25, 0, 1, 0.25, 0.5, // estimates of the first mixture, of the second
    0.25, 0, 0, 0.5, // residuals
    ...[0.125, 0, 0.0625, 0.25, 0.5, 0, 0, 0].map((value) => sign * value)]; // noise
  const record = (index, scale) => ({ index, stage: "", order: null, evaluations: index,
    scales: { residual: [0.25, 0.5], noise: [scale, 0] }, values: { psnr: [10 + index, null] } });
  const frames = new Frames(fixed);
  frames.frames = frames.unpack({ layers: LAYERS, records: [record(0, 0.25), record(10, 0.125)],
    bytes: halves(...step(1), ...step(-1)), weights: [[1, 1], [2, 1]] });
  return frames;
}

function all(values) {
  return [values(0), values(1)];
}

test("each layer of a frame is where it was packed", () => {
  const frames = run(), [first, last] = frames.frames;
  assert.deepEqual(all(frames.values(first, "estimate", 1)), [0.25, 0.25]);
  assert.deepEqual(all(frames.values(last, "noise", 0)), [-0.125, 0]);
  frames.item = 5;
  assert.deepEqual(all(frames.values(last, "estimate", 1)), [0.25, 0.5]);
  assert.deepEqual(all(frames.values(last, "residual")), [0, 0.5]);
  assert.deepEqual(all(frames.values(last, "residual", 0, 0)), [0.25, 0]);
  assert.equal(frames.values(last, "filters"), null);
  assert.deepEqual(all(frames.mixed()), [0.25, 2]);
  assert.deepEqual(all(frames.true(1)), [0, 1]);
  assert.deepEqual(all(frames.remixed(last)), [0.25, 1.5]); // the mixture less the residual
});

test("values, parts and orders of frames", () => {
  const frames = run(), [first, last] = frames.frames;
  assert.equal(frames.value(last, "psnr"), 20);
  assert.equal(frames.value(last, "sigma"), null);
  assert.deepEqual([first, last].map((frame) => frames.part(frame)), [0, 1]);
  assert.equal(frames.last, last);
  assert.equal(frames.sourceUnder(first, 1), 1);
  assert.equal(frames.sourceUnder({ order: [[1, 0], [0, 1]] }, 1), 0);
});

test("layers that may be shown, and their largest values", () => {
  const { frames } = run();
  assert.deepEqual([...layersOf(frames)], [["noise", "noise"]]);
  assert.deepEqual(largestOf(frames), { residual: 0.5, noise: 0.25 });
  assert.deepEqual(largestOf([{ scales: { noise: [null, 2] } }]), { noise: 2 });
});

test("the sum that made a pixel", () => {
  const frames = run(), [first] = frames.frames;
  assert.deepEqual(arithmetic(frames, first, [0, 0]), {
    heads: ["before", "+ noise", "= now", "truth"],
    rows: [["0.375", "0.125", "0.500", "0.000"], ["0.188", "0.063", "0.250", "0.400"]],
    sum: "mixture 1.000 = 0.500 + 0.250 + residual 0.250",
  });
  frames.item = 5; // nothing moved there, and its first source counts twice
  assert.deepEqual(arithmetic(frames, first, [0, 1]), {
    heads: ["now", "truth"], rows: [["1.000", "1.000"], ["0.500", "1.000"]],
    sum: "mixture 2.000 = 2.0 × 1.000 + 0.500 + residual 0.500",
  });
  const hidden = run({ truth: none, visible: new DataView(Uint8Array.of(1, 0).buffer) });
  assert.deepEqual(arithmetic(hidden, hidden.frames[0], [0, 1]).sum,
    "the mixture is not seen here; remixed 0.500");
});

test("a saved model holds bytes, and tells who listens", () => {
  const text = JSON.stringify({ item: 1, nested: [{ bytes: { base64: "AAEC" } }] });
  const model = new SavedModel(text), heard = [];
  const { bytes } = model.get("nested")[0];
  assert.deepEqual([bytes.byteLength, bytes.getUint8(2)], [3, 2]);
  const note = (_, value) => heard.push(value);
  model.on("change:item change:other", note);
  model.set("item", 1); // as it was
  model.set("item", 2);
  model.set("other", 3);
  model.off("change:item", note);
  model.set("item", 4);
  model.set("other", 5);
  model.off();
  model.set("other", 6);
  assert.deepEqual(heard, [2, 3, 5]);
  model.onMessage = () => heard.push("sent");
  model.send({ do: "start" });
  assert.equal(heard.at(-1), "sent");
});
