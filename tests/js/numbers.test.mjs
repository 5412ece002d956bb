// Numbers, places and curves of the views.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  lastUpTo, nearest, pixelAt, share, thinned, zoomOf,
} from "../../sepviz/views/assets/axis.js";
import { isShown, pathOf, scaleOf } from "../../sepviz/views/assets/curves.js";
import { partOf, valueAt } from "../../sepviz/views/assets/knobs.js";
import { clamp, number, pixelNumber, short } from "../../sepviz/views/assets/numbers.js";
import { spreadOf } from "../../sepviz/views/assets/spread.js";

test("numbers have three digits, and all that are before the point", () => {
  const texts = [[null, "n/a"], [undefined, "n/a"], [0, "0.00"], [1, "1.00"], [12345, "12345"],
    [0.00012, "0.000120"], [0.00001, "1.00e-5"], [1e6, "1.00e+6"], [-2.5, "-2.50"]];
  for (const [value, text] of texts) assert.equal(number(value), text);
  assert.equal(number(0.1234, 2), "0.12");
});

test("a pixel's number is never a false 0", () => {
  const texts = [[0, "0.000"], [0.5, "0.500"], [-0.25, "−0.250"], [0.0004, "4e-4"],
    [-0.0001, "−1e-4"], [0.0005, "0.001"]];
  for (const [value, text] of texts) assert.equal(pixelNumber(value), text);
});

test("short numbers are those of Python", () => {
  const texts = [[15.04, "15"], [0.5, "0.5"], [15432.1, "15,432"], [999.7, "1,000"],
    [999.4, "999"], [0.00012, "0.00012"], [1.5e-5, "1.5e-5"], [0, "0"], [-812.6, "-813"]];
  for (const [value, text] of texts) assert.equal(short(value), text);
  assert.equal(short(14, "dB"), "14 dB");
});

test("places on an axis", () => {
  assert.deepEqual([2, 5, 8].map((value) => share(value, 2, 8)), [0, 0.5, 1]);
  assert.equal(share(3, 3, 3), 0);
  assert.equal(nearest([0, 0.4, 1], 0.6), 1);
  assert.equal(nearest([0, 0.5, 1], 0.75), 1); // of two as near, the first
  assert.deepEqual([-1, 0, 4, 5, 9].map((limit) => lastUpTo([0, 2, 5], limit)), [0, 0, 1, 2, 2]);
  assert.deepEqual([5, -5, 0.5].map((value) => clamp(value, 0, 1)), [1, 0, 0.5]);
});

test("thinned values keep the last", () => {
  const values = Array.from({ length: 11 }, (_, i) => i);
  assert.deepEqual(thinned(values, 4), [0, 3, 6, 9, 10]);
  assert.deepEqual(thinned(values, 600), values);
});

test("the pixel under a pointer lies in the picture", () => {
  const box = { left: 10, top: 20, width: 70, height: 60 };
  const at = (clientX, clientY) => pixelAt({ clientX, clientY }, box, 6, 7);
  assert.deepEqual(at(10, 20), [0, 0]);
  assert.deepEqual(at(35, 49), [2, 2]);
  assert.deepEqual(at(80, 80), [5, 6]); // at the very edge
  assert.deepEqual(at(0, 0), [0, 0]);
});

test("pictures are as large as fits, in whole steps", () => {
  assert.equal(zoomOf({ width: 28, height: 28 }), 5);
  assert.equal(zoomOf({ width: 28, height: 32 }, 0.7), 3);
  assert.equal(zoomOf({ width: 400, height: 1 }), 1);
});

test("curves fill the box, on a linear and on a log scale", () => {
  const linear = scaleOf([[[0, 1], [1, 3]], [[0, null], [1, 2]]], false);
  assert.deepEqual([linear.low, linear.high], [1, 3]);
  assert.deepEqual([1, 2, 3].map(linear.height), [96, 50, 4]);
  const log = scaleOf([[[0, 0.01], [0.5, 0], [1, 1]]], true);
  assert.deepEqual([log.low, log.high], [0.01, 1]);
  assert.ok(Math.abs(log.height(0.1) - 50) < 1e-9);
  assert.equal(scaleOf([[[0, 5]]], false).height(5), 96); // one value: no division by 0
  assert.equal(scaleOf([[[0, null], [1, 0]], []], true), null);
});

test("what cannot be drawn is a gap", () => {
  assert.ok(isShown(0, false) && !isShown(0, true) && !isShown(null, false));
  const points = [[0, 1], [0.25, 2], [0.5, null], [0.75, 2], [1, 1]];
  const height = (value) => 10 * value;
  assert.equal(pathOf(points, true, height),
    "M0.00 10.00L25.00 20.00M75.00 20.00L100.00 10.00");
  assert.equal(pathOf([[0, null]], false, height), "");
});

test("a knob's slider and its value agree", () => {
  const log = { low: 0.001, high: 10, log: true, kind: "float" };
  const whole = { low: 1, high: 9, log: false, kind: "int" };
  assert.deepEqual([0, 0.25, 1].map((part) => valueAt(log, part)), [0.001, 0.01, 10]);
  assert.deepEqual([0, 0.3, 1].map((part) => valueAt(whole, part)), [1, 3, 9]);
  for (const value of [0.001, 0.05, 10]) {
    assert.ok(Math.abs(valueAt(log, partOf({ ...log, value })) / value - 1) < 1e-9);
  }
  assert.equal(partOf({ ...whole, value: 99 }), 1); // set in Python, beyond the range
});

test("mean and spread, pixel by pixel", () => {
  const pictures = [[0, 1, 0.25], [1, 1, 0.75]].map((values) => (i) => values[i]);
  const { mean, spread } = spreadOf(pictures, 3);
  assert.deepEqual([...mean], [0.5, 1, 0.5]);
  assert.deepEqual([...spread], [0.5, 0, 0.25]);
});
