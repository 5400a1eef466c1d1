/**
 * Comparison, minimum and maximum, class (IEEE 754-2019, clauses 5.11, 9.6 and 5.7.2; chapter "F", sections
 * "Floating-Point Compare" and "Floating-Point Classify").
 *
 * float-instructions -> [float-compare] -> float-format
 */
import {
  biasedExponent, fraction, isInfinite, isNan, isNegative, isSignaling, nan, NV, signal, valueOf,
} from './float-format';

/** FEQ is quiet: only signaling NaNs are invalid. Unordered is false. */
export function equal<T>(a: u64, b: u64): u64 {
  if (isSignaling<T>(a) || isSignaling<T>(b)) signal(NV);
  return <u64>(valueOf<T>(a) == valueOf<T>(b));
}

/** FLT and FLE signal for any NaN. */
export function less<T>(a: u64, b: u64): u64 {
  if (isNan<T>(a) || isNan<T>(b)) signal(NV);
  return <u64>(valueOf<T>(a) < valueOf<T>(b));
}

export function lessOrEqual<T>(a: u64, b: u64): u64 {
  if (isNan<T>(a) || isNan<T>(b)) signal(NV);
  return <u64>(valueOf<T>(a) <= valueOf<T>(b));
}

/** minimumNumber or maximumNumber where one operand is a NaN: the other one, or the canonical NaN. */
function numberOf<T>(a: u64, b: u64): u64 {
  if (isSignaling<T>(a) || isSignaling<T>(b)) signal(NV);
  if (!isNan<T>(a)) return a;
  return isNan<T>(b) ? nan<T>() : b;
}

/** -0 is below +0. */
@inline function isBelow<T>(a: u64, b: u64): bool {
  return valueOf<T>(a) < valueOf<T>(b) || (valueOf<T>(a) == valueOf<T>(b) && isNegative<T>(a));
}

export function minimum<T>(a: u64, b: u64): u64 {
  if (isNan<T>(a) || isNan<T>(b)) return numberOf<T>(a, b);
  return isBelow<T>(a, b) ? a : b;
}

export function maximum<T>(a: u64, b: u64): u64 {
  if (isNan<T>(a) || isNan<T>(b)) return numberOf<T>(a, b);
  return isBelow<T>(a, b) ? b : a;
}

/** Bit number of the class: -inf, -normal, -subnormal, -0, +0, +subnormal, +normal, +inf, sNaN, qNaN. */
export function classify<T>(a: u64): u64 {
  if (isNan<T>(a)) return isSignaling<T>(a) ? 1 << 8 : 1 << 9;
  const size = isInfinite<T>(a) ? 3 : biasedExponent<T>(a) ? 2 : fraction<T>(a) ? 1 : 0;
  return <u64>1 << (isNegative<T>(a) ? 3 - size : 4 + size);
}
