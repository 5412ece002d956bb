// Mean and standard deviation of several pictures, pixel by pixel. No DOM here.

export function spreadOf(pictures, size) {
  const mean = new Float32Array(size), square = new Float32Array(size);
  for (const values of pictures) {
    for (let i = 0; i < size; i++) {
      const value = values(i);
      mean[i] += value / pictures.length;
      square[i] += value * value / pictures.length;
    }
  }
  const spread = mean.map((value, i) => Math.sqrt(Math.max(0, square[i] - value * value)));
  return { mean, spread };
}
