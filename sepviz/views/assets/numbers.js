// Numbers as text, and within limits. No DOM here.

export function clamp(value, low, high) {
  return Math.max(low, Math.min(high, value));
}

export function number(value, digits = 3) {
  if (value === null || value === undefined) return "n/a";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e5)) return value.toExponential(digits - 1);
  return value.toPrecision(Math.max(digits, Math.ceil(Math.log10(size + 1))));
}

// A pixel's value, or what was added to it: three decimals unless that would say 0.
export function pixelNumber(value) {
  const size = Math.abs(value);
  const text = size !== 0 && size < 0.0005 ? size.toExponential(0) : size.toFixed(3);
  return (value < 0 ? "−" : "") + text;
}

// Three digits, as Python's Guess writes them.
export function short(value, unit = "") {
  const size = Math.abs(value), rounded = Number(value.toPrecision(3));
  let text = size > 0 && size < 1e-4 ? rounded.toExponential() : String(rounded);
  if (Math.abs(rounded) >= 1000) text = Math.round(value).toLocaleString("en");
  return unit ? `${text} ${unit}` : text;
}
