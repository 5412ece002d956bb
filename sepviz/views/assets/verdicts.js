// What is said of a guess where no Python is: in the words of guess.py. No DOM here.

import { short } from "./numbers.js";

const CLOSE = 0.05; // of the question's range

// The height of the curve (across, up) at x; beyond its ends that of the end.
export function interpolated(x, across, up) {
  const i = across.findIndex((place) => place >= x);
  if (i <= 0) return up[i ? up.length - 1 : 0];
  const part = (x - across[i - 1]) / (across[i] - across[i - 1]);
  return up[i - 1] + (up[i] - up[i - 1]) * part;
}

function ofNumber({ low, high, unit, guess, answer }) {
  if (short(guess) === short(answer)) return `Your guess ${short(guess, unit)} is right.`;
  const off = guess - answer, near = Math.abs(off) <= CLOSE * (high - low) ? "close, " : "";
  const side = off > 0 ? "too high" : "too low";
  return `Your guess ${short(guess, unit)}: ${near}${short(Math.abs(off), unit)} ${side}.`;
}

function ofChoice({ guess, answer }) {
  return guess === answer ? `Your guess ${guess} is right.` : `Your guess was ${guess}.`;
}

function ofCurve({ at, log_x: log, guess, answer: [across, up] }) {
  const scale = log ? Math.log : (value) => value;
  const truth = at.map((x) => interpolated(scale(x), across.map(scale), up));
  const off = guess.map((height, i) => Math.abs(height - truth[i]));
  const worst = off.indexOf(Math.max(...off));
  const mean = short(off.reduce((sum, value) => sum + value, 0) / off.length);
  return `Your sketch is off by ${mean} on average, most at ${short(at[worst])}: `
    + `${short(guess[worst])} in place of ${short(truth[worst])}.`;
}

export function verdictOf(spec) {
  return { number: ofNumber, choice: ofChoice, curve: ofCurve }[spec.kind](spec);
}
