// Guesses that a page judges by itself, and pen strokes.

import assert from "node:assert/strict";
import { test } from "node:test";
import { MOVES, isChord } from "../../sepviz/views/assets/keys.js";
import {
  copied, extend, penMoved, pointAt,
} from "../../sepviz/views/assets/strokes.js";
import { interpolated, verdictOf } from "../../sepviz/views/assets/verdicts.js";

test("a curve between its points, and beyond them", () => {
  const at = (x) => interpolated(x, [0, 1, 3], [10, 20, 0]);
  assert.deepEqual([-1, 0, 0.5, 1, 2, 3, 9].map(at), [10, 10, 15, 20, 10, 0, 0]);
});

test("verdicts on numbers, choices and curves", () => {
  const number = { kind: "number", low: 0, high: 40, unit: "dB", answer: 15.04 };
  assert.equal(verdictOf({ ...number, guess: 15 }), "Your guess 15 dB is right.");
  assert.equal(verdictOf({ ...number, guess: 14 }), "Your guess 14 dB: close, 1.04 dB too low.");
  assert.equal(verdictOf({ ...number, guess: 30 }), "Your guess 30 dB: 15 dB too high.");
  const choice = { kind: "choice", answer: "basis" };
  assert.equal(verdictOf({ ...choice, guess: "basis" }), "Your guess basis is right.");
  assert.equal(verdictOf({ ...choice, guess: "average" }), "Your guess was average.");
  const curve = { kind: "curve", at: [1, 10, 100], log_x: true, answer: [[1, 100], [0, 2]] };
  assert.equal(verdictOf({ ...curve, guess: [0, 4, 2] }),
    "Your sketch is off by 1 on average, most at 10: 4 in place of 1.");
});

test("a stroke grows by points that are apart, and never too long", () => {
  const strokes = [];
  assert.equal(extend(strokes, [0, 0]), false); // the pen is up
  strokes.push([[0, 0]]);
  assert.equal(extend(strokes, [0.1, 0.1]), false);
  for (let i = 1; i < 300; i++) assert.ok(extend(strokes, [i, 0]));
  assert.deepEqual(strokes.map((stroke) => stroke.length), [250, 51]);
  assert.deepEqual(strokes[1][0], [249, 0]); // it goes on where the other ended
  const copy = copied(strokes);
  copy[0][0][0] = 5;
  assert.equal(strokes[0][0][0], 0);
});

test("pointer and keyboard stay on the pad", () => {
  const box = { left: 10, top: 10, width: 280, height: 280 };
  assert.deepEqual(pointAt({ clientX: 150, clientY: 45 }, box), [14, 3.5]);
  assert.deepEqual(pointAt({ clientX: 0, clientY: 999 }, box), [0, 28]);
  assert.deepEqual(penMoved(null, MOVES.ArrowUp, 1), [14, 13]);
  assert.deepEqual(penMoved([1, 27], MOVES.ArrowLeft, 4), [1, 27]);
  assert.deepEqual(penMoved([20, 3], MOVES.ArrowDown, 4), [20, 7]);
  assert.ok(isChord({ ctrlKey: true }) && !isChord({ shiftKey: true }));
});
