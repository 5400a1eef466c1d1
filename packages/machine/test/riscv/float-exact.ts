/**
 * IEEE 754 by definition, in exact rational arithmetic: "as if it first produced an intermediate result
 * correct to infinite precision and with unbounded range, and then rounded" (clause 5.1).
 *
 * Slow and plain on purpose: no significand, guard or sticky bit. For finite operands; NaNs, infinities
 * and exact zeros are the business of tables.
 */
import { FORMATS } from './float-operands.ts';

export const MODES = { RNE: 0, RTZ: 1, RDN: 2, RUP: 3, RMM: 4 } as const;
export const FLAGS = { NX: 1, UF: 2, OF: 4, DZ: 8, NV: 16 } as const;

/** numerator / denominator, the denominator positive. */
export interface Rational {
  readonly numerator: bigint;
  readonly denominator: bigint;
}

export interface Outcome {
  readonly bits: bigint;
  readonly flags: number;
}

const abs = (value: bigint): bigint => (value < 0n ? -value : value);
const bitLength = (value: bigint): number => (value === 0n ? 0 : value.toString(2).length);

/** value * 2^exponent */
function scaled(value: bigint, exponent: number): Rational {
  if (exponent >= 0) return { numerator: value << BigInt(exponent), denominator: 1n };
  return { numerator: value, denominator: 1n << BigInt(-exponent) };
}

export const add = (a: Rational, b: Rational): Rational => ({
  numerator: a.numerator * b.denominator + b.numerator * a.denominator,
  denominator: a.denominator * b.denominator,
});
export const multiply = (a: Rational, b: Rational): Rational => ({
  numerator: a.numerator * b.numerator,
  denominator: a.denominator * b.denominator,
});
export const divide = (a: Rational, b: Rational): Rational => ({
  numerator: a.numerator * b.denominator * (b.numerator < 0n ? -1n : 1n),
  denominator: a.denominator * abs(b.numerator),
});

/**
 * Square root of a positive value: its first 1200 bits after the point, then a 1 if that is not all of it.
 * No rounding sees the difference.
 */
export function squareRoot({ numerator, denominator }: Rational): Rational {
  const square = (numerator << 2400n) / denominator;
  let root = 1n << BigInt(Math.ceil(bitLength(square) / 2));
  for (let next = root; ; root = next) {
    next = (root + square / root) >> 1n;
    if (next >= root) break;
  }
  const isExact = root * root * denominator === numerator << 2400n;
  return { numerator: 2n * root + (isExact ? 0n : 1n), denominator: 1n << 1201n };
}

const emin = (name: 'S' | 'D'): number => 2 - 2 ** (FORMATS[name].exponentBits - 1);
const precision = (name: 'S' | 'D'): number => FORMATS[name].fractionBits + 1;

/** A finite number's value. */
export function rationalOf(name: 'S' | 'D', bits: bigint): Rational {
  const { fractionBits, exponentBits } = FORMATS[name];
  const fraction = bits & ((1n << BigInt(fractionBits)) - 1n);
  const biased = Number(bits >> BigInt(fractionBits)) & (2 ** exponentBits - 1);
  const significand = biased === 0 ? fraction : fraction | (1n << BigInt(fractionBits));
  const negative = bits >> BigInt(fractionBits + exponentBits) !== 0n;
  const exponent = emin(name) + Math.max(biased, 1) - 1 - fractionBits;
  return scaled(negative ? -significand : significand, exponent);
}

export function isNumber(name: 'S' | 'D', bits: bigint): boolean {
  const { fractionBits, exponentBits } = FORMATS[name];
  const biased = Number(bits >> BigInt(fractionBits)) & (2 ** exponentBits - 1);
  return biased !== 2 ** exponentBits - 1;
}

/** Rounded to an integer in a mode. */
export function toInteger({ numerator, denominator }: Rational, mode: number): bigint {
  const negative = numerator < 0n;
  const whole = abs(numerator) / denominator;
  const rest = abs(numerator) % denominator;
  if (rest === 0n) return negative ? -whole : whole;
  const half = 2n * rest - denominator; // its sign: below, at or above the middle
  const away =
    (mode === MODES.RNE && (half > 0n || (half === 0n && whole % 2n === 1n))) ||
    (mode === MODES.RMM && half >= 0n) ||
    (mode === MODES.RDN && negative) ||
    (mode === MODES.RUP && !negative);
  const size = away ? whole + 1n : whole;
  return negative ? -size : size;
}

/** The exponent e with 2^e <= |value| < 2^(e + 1). */
function exponentOf({ numerator, denominator }: Rational): number {
  const size = abs(numerator);
  const guess = bitLength(size) - bitLength(denominator);
  const { numerator: power, denominator: under } = scaled(1n, guess);
  return size * under >= power * denominator ? guess : guess - 1;
}

/** How many times 2^exponent the value is, rounded. */
const inUnits = (value: Rational, exponent: number, mode: number): bigint =>
  toInteger(multiply(value, scaled(1n, -exponent)), mode);

/** A value other than 0 as a number of the format, and the flags its rounding raises. */
export function round(name: 'S' | 'D', value: Rational, mode: number): Outcome {
  const { fractionBits, exponentBits } = FORMATS[name];
  const negative = value.numerator < 0n;
  const sign = negative ? 1n << BigInt(fractionBits + exponentBits) : 0n;
  const exponent = exponentOf(value);
  const last = Math.max(exponent, emin(name)) - fractionBits;
  const units = inUnits(value, last, mode);
  const exact = units * value.denominator;
  const { numerator, denominator } = scaled(1n, last);
  const inexact = exact * numerator !== value.numerator * denominator;
  // With no lower end to the exponent it would have been rounded at this place instead.
  const free = abs(inUnits(value, exponent - fractionBits, mode));
  const reaches = free >> BigInt(precision(name)) !== 0n ? 1 : 0;
  const tiny = exponent + reaches < emin(name);
  const infinity = ((1n << BigInt(exponentBits)) - 1n) << BigInt(fractionBits);
  // The hidden bit of a normal number adds one to the exponent below it.
  const bits = (BigInt(last + fractionBits - emin(name)) << BigInt(fractionBits)) + abs(units);
  if (bits >= infinity) {
    const stays = mode === MODES.RTZ || mode === (negative ? MODES.RUP : MODES.RDN);
    return { bits: sign | (stays ? infinity - 1n : infinity), flags: FLAGS.OF | FLAGS.NX };
  }
  const flags = inexact ? FLAGS.NX | (tiny ? FLAGS.UF : 0) : 0;
  return { bits: sign | bits, flags };
}
