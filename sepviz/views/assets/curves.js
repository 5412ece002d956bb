// Curves of a run as paths in a box of 100 by 100. No DOM here.

export const CURVES = {
  residual: { label: "residual (RMS)", log: true },
  sigma: { label: "sigma", log: true },
  loss: { label: "loss of the training", log: true },
  discriminator_loss: { label: "loss of the discriminator", log: true },
  generator_loss: { label: "loss of the generator", log: true },
  mask_loss: { label: "loss of the mask", log: true },
  psnr: { label: "PSNR (dB)", log: false },
};

// Whether a value can be drawn.
export function isShown(value, log) {
  return value !== null && value !== undefined && (!log || value > 0);
}

// The limits of all lines of points [x, value], and the height of a value in the box; null if
// there is no value to draw.
export function scaleOf(lines, log) {
  let low = Infinity, high = -Infinity;
  for (const [, value] of lines.flat()) {
    if (!isShown(value, log)) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (low > high) return null;
  const scale = log ? Math.log10 : (value) => value;
  const from = scale(low), span = scale(high) - from || 1;
  return { low, high, height: (value) => 96 - 92 * (scale(value) - from) / span };
}

// The points (x from 0 to 1) as an SVG path with gaps where there is no value.
export function pathOf(points, log, height) {
  let path = "", pen = "M";
  for (const [x, value] of points) {
    const shown = isShown(value, log);
    if (shown) path += `${pen}${(100 * x).toFixed(2)} ${height(value).toFixed(2)}`;
    pen = shown ? "L" : "M";
  }
  return path;
}
