// Places on an axis: of time, of a plot, of the pixels of a picture. No DOM here.

import { clamp } from "./numbers.js";

// Where a value lies between the first (0) and the last (1).
export function share(value, first, last) {
  return last > first ? (value - first) / (last - first) : 0;
}

// The place in `values` of the one that is nearest to the one wanted.
export function nearest(values, wanted) {
  let best = 0;
  values.forEach((value, i) => {
    if (Math.abs(value - wanted) < Math.abs(values[best] - wanted)) best = i;
  });
  return best;
}

// The place in rising `values` of the last one up to `limit`; the first one before that.
export function lastUpTo(values, limit) {
  const later = values.findIndex((value) => value > limit);
  return later < 0 ? values.length - 1 : Math.max(0, later - 1);
}

// At most about `most` of the values, evenly spread, the last among them.
export function thinned(values, most) {
  const stride = Math.ceil(values.length / most);
  return values.filter((_, i) => i % stride === 0 || i === values.length - 1);
}

// [row, column] of the pixel under a pointer at (x, y) in a picture that covers `box`.
export function pixelAt({ clientX, clientY }, box, rows, columns) {
  const place = (part, size) => clamp(Math.floor(part * size), 0, size - 1);
  const [down, right] = [clientY - box.top, clientX - box.left];
  return [place(down / box.height, rows), place(right / box.width, columns)];
}

const TARGET = 148; // screen pixels of a picture, at most, in whole steps of the image's size

// Screen pixels for each of an image's; `part` of the usual size.
export function zoomOf({ width, height }, part = 1) {
  return Math.max(1, Math.floor(part * TARGET / Math.max(width, height)));
}
