/**
 * Add, subtract, multiply, divide, square root and fused multiply-add, each rounded once (IEEE 754-2019,
 * clause 5.4.1), in integers: every rounding mode, every operand, every flag.
 *
 * float-fast -> [float-arithmetic] -> float-format
 *
 * The definition that float-fast.ts takes its short cuts from. Each operation first does away with
 * NaNs, infinities and zeros (clauses 6 and 7), then computes an exact or sticky significand and rounds.
 */
import { mulhu } from './alu';
import {
  DZ, exponentOf, fp, infinity, invalid, isInfinite, isNan, isNegative, isSignaling, isSpecial, isZero,
  magnitude, nanFrom, normalizeRoundPack, NV, RDN, roundPack, roundPackWide, shiftRightSticky, signal, signBit,
  significandOf, zero,
} from './float-format';

/** Sum of two zeros, or of two numbers that cancel: +0 unless both are negative or the mode is RDN (6.3). */
function zeroSum<T>(aNegative: bool, bNegative: bool): u64 {
  return zero<T>(aNegative == bNegative ? aNegative : fp.mode == RDN);
}

export function addSoft<T>(a: u64, b: u64): u64 {
  if (isNan<T>(a) || isNan<T>(b)) return nanFrom<T>(a, b);
  if (isInfinite<T>(a)) return isInfinite<T>(b) && a != b ? invalid<T>() : a;
  if (isInfinite<T>(b)) return b;
  if (magnitude<T>(a) < magnitude<T>(b)) {
    const other = a;
    a = b;
    b = other;
  }
  // One bit of room for the carry; at least ten of zeros below, so that the sticky one is never in reach.
  const exponent = exponentOf<T>(a);
  const larger = significandOf<T>(a) >> 1;
  const smaller = shiftRightSticky(significandOf<T>(b) >> 1, exponent - exponentOf<T>(b));
  const negative = isNegative<T>(a);
  const sum = negative == isNegative<T>(b) ? larger + smaller : larger - smaller;
  if (!sum) return zeroSum<T>(negative, isNegative<T>(b));
  return normalizeRoundPack<T>(negative, exponent + 1, sum);
}

export function subSoft<T>(a: u64, b: u64): u64 { return addSoft<T>(a, b ^ signBit<T>()); }

export function mulSoft<T>(a: u64, b: u64): u64 {
  if (isNan<T>(a) || isNan<T>(b)) return nanFrom<T>(a, b);
  const negative = isNegative<T>(a ^ b);
  if (isInfinite<T>(a) || isInfinite<T>(b)) {
    return isZero<T>(a) || isZero<T>(b) ? invalid<T>() : zero<T>(negative) | infinity<T>();
  }
  if (isZero<T>(a) || isZero<T>(b)) return zero<T>(negative);
  const x = significandOf<T>(a);
  const y = significandOf<T>(b);
  return roundPackWide<T>(negative, exponentOf<T>(a) + exponentOf<T>(b) + 1, mulhu(x, y), x * y);
}

// -------------------------------------------------------------------------------------- division

/** What the last digit of a division left. */
let remainder: u64 = 0;

/**
 * A digit of 32 bits of a long division: floor((high * 2^32 + next) / divisor), high < divisor, bit 63
 * of the divisor set. A guess from the divisor's upper half is at most 2 too large.
 */
function digit(high: u64, next: u64, divisor: u64): u64 {
  const upper = divisor >> 32;
  const lower = divisor & 0xffffffff;
  let quotient = high / upper;
  let rest = high - quotient * upper;
  while (quotient >> 32 || quotient * lower > (rest << 32 | next)) {
    quotient--;
    rest += upper;
    if (rest >> 32) break;
  }
  remainder = (high << 32 | next) - quotient * divisor;
  return quotient;
}

export function divSoft<T>(a: u64, b: u64): u64 {
  if (isNan<T>(a) || isNan<T>(b)) return nanFrom<T>(a, b);
  const negative = isNegative<T>(a ^ b);
  if (isInfinite<T>(a)) return isInfinite<T>(b) ? invalid<T>() : zero<T>(negative) | infinity<T>();
  if (isInfinite<T>(b)) return zero<T>(negative);
  if (isZero<T>(b)) {
    if (isZero<T>(a)) return invalid<T>();
    signal(DZ);
    return zero<T>(negative) | infinity<T>();
  }
  if (isZero<T>(a)) return zero<T>(negative);
  const divisor = significandOf<T>(b);
  const dividend = significandOf<T>(a);
  // Halved where it is not the smaller one, so that the quotient has exactly 64 bits.
  const half = dividend >= divisor;
  const exponent = exponentOf<T>(a) - exponentOf<T>(b) - (half ? 0 : 1);
  const high = digit(half ? dividend >> 1 : dividend, 0, divisor);
  const low = digit(remainder, 0, divisor);
  return roundPack<T>(negative, exponent, high << 32 | low | <u64>(remainder != 0));
}

// ----------------------------------------------------------------------------------- square root

/** Bits of the root that are computed: more than a precision and a rounding bit. */
const ROOT_BITS = 56;

export function sqrtSoft<T>(a: u64): u64 {
  if (isNan<T>(a)) return nanFrom<T>(a, a);
  if (isZero<T>(a)) return a; // -0 too
  if (isNegative<T>(a)) return invalid<T>();
  if (isInfinite<T>(a)) return a;
  // The radicand lies in [1, 4) with 62 bits after the point, and what remains of the exponent is even.
  const odd = exponentOf<T>(a) & 1;
  let radicand = odd ? significandOf<T>(a) : significandOf<T>(a) >> 1;
  let root: u64 = 0;
  let rest: u64 = 0;
  for (let i = 0; i < ROOT_BITS; i++) {
    rest = rest << 2 | radicand >> 62;
    radicand <<= 2;
    const trial = root << 2 | 1;
    const fits = rest >= trial;
    if (fits) rest -= trial;
    root = root << 1 | <u64>fits;
  }
  return roundPack<T>(false, exponentOf<T>(a) - odd >> 1, root << (64 - ROOT_BITS) | <u64>(rest != 0));
}

// --------------------------------------------------------------------------- fused multiply-add

// A significand of 128 bits: what shiftWide answers.
let wideHigh: u64 = 0;
let wideLow: u64 = 0;

/** shiftRightSticky over 128 bits, into wideHigh and wideLow. */
function shiftWide(high: u64, low: u64, by: i32): void {
  if (by >= 64) {
    wideHigh = 0;
    wideLow = shiftRightSticky(high, by - 64) | <u64>(low != 0);
  } else {
    wideHigh = high >> by;
    wideLow = high << 1 << (63 - by) | shiftRightSticky(low, by);
  }
}

/** Sum of a product (bit 126 of its 128 is the highest, set) and an addend (bit 62 of 64 likewise). */
function addProduct<T>(
  productNegative: bool, productExponent: i32, high: u64, low: u64, negative: bool, exponent: i32, addend: u64,
): u64 {
  let bHigh = addend;
  let bLow: u64 = 0;
  const addendIsLarger = exponent > productExponent || (exponent == productExponent && addend > high);
  if (addendIsLarger) {
    shiftWide(high, low, exponent - productExponent);
    high = addend;
    low = 0;
    bHigh = wideHigh;
    bLow = wideLow;
  } else {
    shiftWide(addend, 0, productExponent - exponent);
    bHigh = wideHigh;
    bLow = wideLow;
  }
  if (productNegative == negative) {
    low += bLow;
    high += bHigh + <u64>(low < bLow);
  } else {
    high -= bHigh + <u64>(low < bLow);
    low -= bLow;
    if (!(high | low)) return zeroSum<T>(productNegative, negative);
  }
  return roundPackWide<T>(
    addendIsLarger ? negative : productNegative, (addendIsLarger ? exponent : productExponent) + 1, high, low,
  );
}

/**
 * a * b + c where one of them is a NaN, infinite or zero. Infinity times zero is invalid even if c is a
 * quiet NaN (chapter "F").
 */
function mulAddSpecial<T>(a: u64, b: u64, c: u64): u64 {
  const isNil = isZero<T>(a) || isZero<T>(b);
  const isEndless = isInfinite<T>(a) || isInfinite<T>(b);
  if (isNan<T>(a) || isNan<T>(b) || isNan<T>(c)) {
    if (isSignaling<T>(c) || (isNil && isEndless)) signal(NV);
    return nanFrom<T>(a, b);
  }
  const productNegative = isNegative<T>(a ^ b);
  const negative = isNegative<T>(c);
  if (isEndless) {
    if (isNil || (isInfinite<T>(c) && productNegative != negative)) return invalid<T>();
    return zero<T>(productNegative) | infinity<T>();
  }
  if (isInfinite<T>(c)) return c;
  if (!isNil) return mulSoft<T>(a, b); // c is zero
  return isZero<T>(c) ? zeroSum<T>(productNegative, negative) : c;
}

/** a * b + c. */
export function mulAddSoft<T>(a: u64, b: u64, c: u64): u64 {
  if (isSpecial<T>(a) || isSpecial<T>(b) || isSpecial<T>(c)) return mulAddSpecial<T>(a, b, c);
  const x = significandOf<T>(a);
  const y = significandOf<T>(b);
  let high = mulhu(x, y);
  let low = x * y;
  let exponent = exponentOf<T>(a) + exponentOf<T>(b);
  // To bit 126: one of room for the carry. At most 106 bits are in use, so none falls out.
  if (<i64>high < 0) {
    low = high << 63 | low >> 1;
    high >>= 1;
    exponent++;
  }
  return addProduct<T>(
    isNegative<T>(a ^ b), exponent, high, low, isNegative<T>(c), exponentOf<T>(c), significandOf<T>(c) >> 1,
  );
}
