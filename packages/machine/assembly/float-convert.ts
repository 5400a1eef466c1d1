/**
 * Conversions between formats and to and from integers (IEEE 754-2019, clauses 5.4.1 and 5.8; chapter "F",
 * table "Domains of float-to-integer conversions").
 *
 * float-instructions -> [float-convert] -> float-format
 *
 * `I` is i32, u32, i64 or u64, the integer W, WU, L or LU. Integers travel as a register holds them: 32
 * bits are sign-extended, unsigned ones too.
 */
import {
  exponentOf, fp, infinity, isInfinite, isNan, isNegative, isZero, nanFrom, normalizeRoundPack, NV, NX,
  roundPack, roundsUp, RTZ, shiftRightSticky, signal, significandOf, valueOf, zero,
} from './float-format';

/** One format's number in the other. */
export function convert<From, To>(a: u64): u64 {
  if (isNan<From>(a)) {
    nanFrom<From>(a, a);
    return nanFrom<To>(0, 0);
  }
  const negative = isNegative<From>(a);
  if (isInfinite<From>(a)) return zero<To>(negative) | infinity<To>();
  if (isZero<From>(a)) return zero<To>(negative);
  return roundPack<To>(negative, exponentOf<From>(a), significandOf<From>(a));
}

export function fromInteger<T, I>(x: u64): u64 {
  const value = <I>x;
  if (!value) return 0;
  const negative = isSigned<I>() && <i64>value < 0;
  const size = negative ? 0 - <u64>value : <u64>value;
  return normalizeRoundPack<T>(negative, 63, size);
}

/** A 32-bit result as a register holds it. */
@inline function extended<I>(value: u64): u64 {
  return sizeof<I>() == 4 ? <u64><i64><i32>value : value;
}

/** Out of range: the nearest integer there is; NaN goes with +infinity. */
function saturated<I>(low: bool): u64 {
  signal(NV);
  if (!isSigned<I>()) return low ? 0 : u64.MAX_VALUE; // sign-extended, WU's largest is all ones too
  const highest: u64 = (1 << (sizeof<I>() * 8 - 1)) - 1;
  return low ? ~highest : highest;
}

/** Rounded to an integer in the mode in hand. */
export function toInteger<T, I>(a: u64): u64 {
  if (isNan<T>(a)) return saturated<I>(false);
  const negative = isNegative<T>(a);
  const exponent = exponentOf<T>(a);
  if (exponent > 63) return saturated<I>(negative);
  const significand = significandOf<T>(a);
  // The point is below bit 63 - exponent; what is behind it, moved up to bit 63.
  let size = exponent < 0 ? 0 : significand >> (63 - exponent);
  const rest = exponent < 0 ? shiftRightSticky(significand, -1 - exponent)
    : significand << exponent << 1;
  size += <u64>roundsUp(negative, size, rest, 1 << 63);
  const bits = sizeof<I>() * 8;
  const limit: u64 = isSigned<I>() ? (<u64>1 << (bits - 1)) - <u64>!negative
    : negative ? 0 : u64.MAX_VALUE >> (64 - bits);
  if (size > limit) return saturated<I>(negative);
  if (rest) signal(NX);
  return extended<I>(negative ? 0 - size : size);
}

/** toInteger for what C means by a cast, the commonest by far: RTZ, well within a signed 64-bit range. */
export function toIntegerFast<T, I>(a: u64): u64 {
  const value = valueOf<T>(a);
  if (fp.mode != RTZ || !(abs<T>(value) < <T>1e9) || (!isSigned<I>() && value < 0)) return toInteger<T, I>(a);
  const whole = <i64>value;
  if (<T>whole != value) signal(NX);
  return <u64>whole;
}
