// Bytes that came from Python. No DOM here.

export function bytesOf(value) {
  return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
}

// Every float16, by its bits: not all browsers have such arrays yet.
export const HALF = Float32Array.from({ length: 65536 }, (_, bits) => {
  const power = (bits >> 10) & 31, part = bits & 1023;
  let size = power ? 2 ** (power - 15) * (1 + part / 1024) : 2 ** -24 * part;
  if (power === 31) size = part ? NaN : Infinity;
  return bits & 32768 ? -size : size;
});

// The bits of numbers that came as float16; copied only where they begin at an odd place.
export function bitsOf(value) {
  const bytes = bytesOf(value);
  return bytes.byteOffset % 2
    ? new Uint16Array(bytes.slice().buffer)
    : new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
}
