// Pen strokes on an image of 28x28 pixels: lists of points [x, y]. No DOM here.

import { clamp } from "./numbers.js";

export const SIDE = 28; // pixels of an image
const DENSE = 0.4; // pixels between two points of a stroke, at least
const POINTS = 250; // of one stroke, at most

export function copied(strokes) {
  return strokes.map((stroke) => stroke.map((point) => [...point]));
}

// The point under a pointer, on a pad that covers `box`.
export function pointAt({ clientX, clientY }, box) {
  const places = [(clientX - box.left) / box.width, (clientY - box.top) / box.height];
  return places.map((part) => clamp(part * SIDE, 0, SIDE));
}

// Lengthen the last stroke, or go on with a new one where it is long; false if nothing changed.
export function extend(strokes, point) {
  const stroke = strokes[strokes.length - 1];
  if (!stroke) return false;
  const last = stroke[stroke.length - 1];
  if (Math.hypot(point[0] - last[0], point[1] - last[1]) < DENSE) return false;
  if (stroke.length >= POINTS) strokes.push([last, point]);
  else stroke.push(point);
  return true;
}

// The keyboard's pen (null: in the middle), moved by [rows, columns] and kept on the pad.
export function penMoved(pen, [down, right], step) {
  const [x, y] = pen || [SIDE / 2, SIDE / 2];
  return [x + step * right, y + step * down].map((place) => clamp(place, 1, SIDE - 1));
}
