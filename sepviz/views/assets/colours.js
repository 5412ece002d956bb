// Values as colours. No DOM here.

import { clamp } from "./numbers.js";

const FINEST = 0.01; // no scale of signed pictures is finer, in pixel values
const ROUNDING = 1e-3; // of float16 and of sums of it: a signed pixel below this is 0

// ColorBrewer's RdBu in reverse, safe for any colour vision: blue below 0, white, orange above.
export const DIVERGING = (() => {
  const stops = [[5, 48, 97], [67, 147, 195], [247, 247, 247], [244, 140, 80], [127, 39, 4]];
  return Uint8Array.from({ length: 256 * 3 }, (_, i) => {
    const place = clamp((Math.floor(i / 3) - 1) / 254, 0, 1) * (stops.length - 1);
    const left = Math.min(stops.length - 2, Math.floor(place));
    const [from, to] = [stops[left][i % 3], stops[left + 1][i % 3]];
    return from + (to - from) * (place - left);
  });
})();

// What is painted in full colour: the largest value, but nothing as fine as rounding.
export function spanOf(largest) {
  return Math.max(FINEST, largest || 0);
}

// Fill RGBA `data` with values `valueAt(i)` (channel by channel) from `low` (black) to `high`
// (white); signed ones from -high (blue) to high (orange): orange adds, everywhere.
export function paint(data, valueAt, { channels, low = 0, high = 1, signed = false }) {
  const size = data.length / 4, top = signed ? spanOf(high) : high || 1;
  const from = signed ? -top : low, span = top - from;
  for (let i = 0; i < size; i++) {
    for (let c = 0; c < 3; c++) {
      const pixel = valueAt((channels === 3 ? c * size : 0) + i);
      const part = ((signed && Math.abs(pixel) < ROUNDING ? 0 : pixel) - from) / span;
      const value = signed ? clamp(Math.round(part * 254) + 1, 1, 255)
        : clamp(Math.round(part * 255), 0, 255);
      data[4 * i + c] = signed && channels === 1 ? DIVERGING[3 * value + c] : value;
    }
  }
}
