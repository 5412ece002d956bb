// The sum that made a pixel, as text. No DOM here.

import { number, pixelNumber } from "./numbers.js";

const FORCES = ["prior_force", "data_force", "noise"]; // what moved the sources; they add up

// {heads, rows, sum}: before + forces = now for each source, and sources + residual = mixture.
export function arithmetic(frames, frame, [row, column]) {
  const { width, height, channels, count } = frames.fixed, { place } = frames;
  const read = (values) => Array.from({ length: channels },
    (_, c) => values((c * height + row) * width + column));
  const text = (value) => value.map(pixelNumber).join(" ");
  const named = (name, k) => read(frames.values(frame, name, k));
  const forces = frame.layers.filter((layer) => FORCES.includes(layer.name));
  const moved = forces.some((layer) => frame.scales[layer.name][place]);
  const estimates = Array.from({ length: count }, (_, k) => named("estimate", k));

  const rows = estimates.map((now, k) => {
    const cells = [now];
    if (moved) {
      const parts = forces.map((layer) => named(layer.name, k));
      const before = now.map((value, c) => parts.reduce((rest, part) => rest - part[c], value));
      cells.unshift(before, ...parts);
    }
    if (frames.truth) cells.push(read(frames.true(frames.sourceUnder(frame, k))));
    return cells.map(text);
  });
  const heads = moved ? ["before", ...forces.map((layer) => `+ ${layer.label}`), "= now"] : ["now"];
  if (frames.truth) heads.push("truth");

  const weights = frame.weights[place];
  const weighted = estimates.map((value, k) => (
    weights[k] === 1 ? text(value) : `${number(weights[k], 2)} × ${text(value)}`));
  const remix = `remixed ${text(read(frames.remixed(frame)))}`;
  const filtered = frame.layers.some((layer) => layer.name === "filters");
  const terms = [...(filtered ? [remix] : weighted), `residual ${text(named("residual"))}`];
  const seen = !frames.visible || Boolean(frames.visible[row * width + column]);
  const sum = seen ? `mixture ${text(read(frames.mixed()))} = ${terms.join(" + ")}`
    : `the mixture is not seen here; ${remix}`;
  return { heads, rows, sum };
}
