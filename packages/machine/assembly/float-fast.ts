/**
 * The arithmetic again, by wasm's own instructions where they give the same answer.
 *
 * float-instructions -> [float-fast] -> wasm, or float-arithmetic
 *
 * wasm rounds to nearest even and tells no flags. So this is for RNE, for results that are neither NaN,
 * infinite nor near underflow (whatever raises a flag other than NX has such a result), and it needs to
 * know whether the result is exact. NX stays raised until the program clears it: once it is, nobody asks
 * any more. Before that, TwoSum finds the error of a sum exactly (Knuth; no result overflowed), and a
 * product is exact when its factors' odd parts are narrow enough. In case of doubt float-arithmetic.ts
 * computes it all again.
 */
import { addSoft, divSoft, mulAddSoft, mulSoft, sqrtSoft } from './float-arithmetic';
import { convert } from './float-convert';
import {
  bitsOf, fp, fraction, infinity, NX, precision, RNE, signal, signBit, valueOf,
} from './float-format';

@inline function isFinite<T>(value: T): bool { return abs<T>(value) < valueOf<T>(infinity<T>()); }

/** Finite, and above the smallest normal number: neither overflow nor, rounded as it is, underflow. */
@inline function isOrdinary<T>(value: T): bool {
  return isFinite<T>(value) && abs<T>(value) > valueOf<T>(<u64>1 << (precision<T>() - 1));
}

/** What rounding took from `sum` = a + b. */
@inline export function twoSumError<T>(a: T, b: T, sum: T): T {
  const bPart = sum - a;
  return <T>((a - (sum - bPart)) + (b - bPart));
}

/** Bits of a number's significand from the hidden one down to the lowest 1. */
@inline function width<T>(bits: u64): i32 {
  const low = fraction<T>(bits);
  return low ? precision<T>() - <i32>ctz(low) : 1;
}

/**
 * Whether a * b surely needs no more bits than a significand has. Of finite numbers; a subnormal one seems
 * wider than it is.
 */
@inline export function isExactProduct<T>(a: u64, b: u64): bool {
  return width<T>(a) + width<T>(b) <= precision<T>();
}

@inline function knowsInexact(): bool { return (fp.flags & NX) != 0; }

export function add<T>(a: u64, b: u64): u64 {
  const x = valueOf<T>(a);
  const y = valueOf<T>(b);
  const sum = <T>(x + y);
  if (fp.mode != RNE || !isFinite<T>(sum)) return addSoft<T>(a, b);
  if (!knowsInexact() && twoSumError<T>(x, y, sum) != 0) signal(NX);
  return bitsOf<T>(sum);
}

@inline export function sub<T>(a: u64, b: u64): u64 { return add<T>(a, b ^ signBit<T>()); }

export function mul<T>(a: u64, b: u64): u64 {
  const product = <T>(valueOf<T>(a) * valueOf<T>(b));
  if (fp.mode == RNE && isOrdinary<T>(product) && (knowsInexact() || isExactProduct<T>(a, b))) {
    return bitsOf<T>(product);
  }
  return mulSoft<T>(a, b);
}

export function div<T>(a: u64, b: u64): u64 {
  const x = valueOf<T>(a);
  const y = valueOf<T>(b);
  const quotient = <T>(x / y);
  if (fp.mode == RNE && isOrdinary<T>(quotient) && (knowsInexact()
    || (isOrdinary<T>(y) && isExactProduct<T>(bitsOf<T>(quotient), b) && quotient * y == x))) {
    return bitsOf<T>(quotient);
  }
  return divSoft<T>(a, b);
}

export function squareRoot<T>(a: u64): u64 {
  const x = valueOf<T>(a);
  const root = sqrt<T>(x);
  if (fp.mode == RNE && isOrdinary<T>(root) && (knowsInexact()
    || (isExactProduct<T>(bitsOf<T>(root), bitsOf<T>(root)) && root * root == x))) {
    return bitsOf<T>(root);
  }
  return sqrtSoft<T>(a);
}

/**
 * Fused multiply-add of singles. In binary64 their product is exact. The sum is rounded to odd, which keeps
 * in its last bit whether something was lost, and so rounding it again to a single is right (Boldo and
 * Melquiond, "Emulation of a FMA and correctly rounded sums").
 */
function mulAddSingle(a: u64, b: u64, c: u64): u64 {
  const product = <f64>valueOf<f32>(a) * <f64>valueOf<f32>(b);
  const addend = <f64>valueOf<f32>(c);
  const sum = product + addend;
  const error = twoSumError<f64>(product, addend, sum);
  let bits = bitsOf<f64>(sum);
  if (error != 0 && (bits & 1) == 0) bits += (error > 0) == (sum > 0) ? 1 : -1;
  const result = <f32>valueOf<f64>(bits);
  if (fp.mode != RNE || !isOrdinary<f32>(result)) return mulAddSoft<f32>(a, b, c);
  if (<f64>result != valueOf<f64>(bits)) signal(NX);
  return bitsOf<f32>(result);
}

export function mulAdd<T>(a: u64, b: u64, c: u64): u64 {
  return sizeof<T>() == 8 ? mulAddSoft<T>(a, b, c) : mulAddSingle(a, b, c);
}

/** binary64 to binary32, in RNE an instruction of wasm's. */
export function narrow(a: u64): u64 {
  const value = reinterpret<f64>(a);
  const result = <f32>value;
  if (fp.mode != RNE || !isOrdinary<f32>(result)) return convert<f64, f32>(a);
  if (<f64>result != value) signal(NX);
  return bitsOf<f32>(result);
}

/** binary32 to binary64: always exact. */
export function widen(a: u64): u64 {
  const value = valueOf<f32>(a);
  return value == value ? bitsOf<f64>(<f64>value) : convert<f32, f64>(a);
}
