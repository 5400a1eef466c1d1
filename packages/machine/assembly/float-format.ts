/**
 * Numbers in binary32 and binary64: their fields, how they are taken apart, rounded and put together
 * (IEEE 754-2019, clauses 3, 4 and 7; RISC-V Unprivileged ISA, chapter "F").
 *
 * float-arithmetic, float-convert -> [float-format]
 *
 * A number travels as its bits in a u64; binary32 has zeros above. `T` is f32 or f64 and says which
 * format is meant, so that each function exists once in the source and twice, specialised, in the module.
 *
 * Taken apart, a finite number other than 0 is (-1)^sign * significand * 2^(exponent - 63), with bit 63 of
 * the significand set: subnormal numbers are no special case any more. On the way back the lowest bit of
 * a significand is sticky: it stands for all that is below it.
 */

// Rounding modes, as in frm and the rm field. 5 and 6 are reserved, 7 in rm stands for frm.
export const RNE: u32 = 0;
export const RTZ: u32 = 1;
export const RDN: u32 = 2;
export const RUP: u32 = 3;
export const RMM: u32 = 4;
export const DYNAMIC: u32 = 7;

// Accrued exceptions, as in fflags.
/** Inexact. */
export const NX: u32 = 1;
/** Underflow: tiny and inexact. */
export const UF: u32 = 2;
/** Overflow. */
export const OF: u32 = 4;
/** Division by zero. */
export const DZ: u32 = 8;
/** Invalid operation. */
export const NV: u32 = 16;

export namespace fp {
  /** Rounding mode of the operation in hand: one of the five. */
  export let mode: u32 = RNE;
  /** fflags: operations only add to it. */
  export let flags: u32 = 0;
}

@inline export function signal(flags: u32): void { fp.flags |= flags; }

// ------------------------------------------------------------------------- formats (clause 3.4)

/** Bits of a significand, with the one that is not stored. */
@inline export function precision<T>(): i32 { return sizeof<T>() == 8 ? 53 : 24; }
@inline export function bias<T>(): i32 { return sizeof<T>() == 8 ? 1023 : 127; }
@inline export function signBit<T>(): u64 { return sizeof<T>() == 8 ? 1 << 63 : 1 << 31; }
/** Positive infinity. */
@inline export function infinity<T>(): u64 { return sizeof<T>() == 8 ? 0x7ff0000000000000 : 0x7f800000; }
/** The canonical NaN: quiet, positive, no payload. Every NaN that is computed is this one. */
@inline export function nan<T>(): u64 { return sizeof<T>() == 8 ? 0x7ff8000000000000 : 0x7fc00000; }
@inline function hiddenBit<T>(): u64 { return <u64>1 << (precision<T>() - 1); }

@inline export function magnitude<T>(bits: u64): u64 { return bits & ~signBit<T>(); }
@inline export function isNegative<T>(bits: u64): bool { return (bits & signBit<T>()) != 0; }
@inline export function isZero<T>(bits: u64): bool { return magnitude<T>(bits) == 0; }
@inline export function isInfinite<T>(bits: u64): bool { return magnitude<T>(bits) == infinity<T>(); }
@inline export function isNan<T>(bits: u64): bool { return magnitude<T>(bits) > infinity<T>(); }
/** Zero, infinite or a NaN: all but the first are above the numbers, and below 0 there wraps round. */
@inline export function isSpecial<T>(bits: u64): bool { return magnitude<T>(bits) - 1 >= infinity<T>() - 1; }
/** The quiet bit is the highest of the fraction. */
@inline export function isSignaling<T>(bits: u64): bool {
  return isNan<T>(bits) && (bits & hiddenBit<T>() >> 1) == 0;
}
@inline export function biasedExponent<T>(bits: u64): i32 {
  return <i32>(magnitude<T>(bits) >> (precision<T>() - 1));
}
@inline export function fraction<T>(bits: u64): u64 { return bits & (hiddenBit<T>() - 1); }
@inline export function zero<T>(negative: bool): u64 { return negative ? signBit<T>() : 0; }

// The same bits as a number of wasm's.

@inline export function valueOf<T>(bits: u64): T {
  if (sizeof<T>() == 8) return <T>reinterpret<f64>(bits);
  return <T>reinterpret<f32>(<u32>bits);
}
@inline export function bitsOf<T>(value: T): u64 {
  if (sizeof<T>() == 8) return reinterpret<u64>(<f64>value);
  return <u64>reinterpret<u32>(<f32>value);
}

// ---------------------------------------------------------------------------------- taking apart

/** Significand with bit 63 set; 0 for zero. Of a finite number. */
@inline export function significandOf<T>(bits: u64): u64 {
  const low = fraction<T>(bits);
  if (biasedExponent<T>(bits)) return (low | hiddenBit<T>()) << (64 - precision<T>());
  return low << clz(low);
}

/** Exponent that goes with significandOf; of zero it is below that of any number. */
@inline export function exponentOf<T>(bits: u64): i32 {
  const biased = biasedExponent<T>(bits);
  if (biased) return biased - bias<T>();
  return 1 - bias<T>() + (64 - precision<T>()) - <i32>clz(fraction<T>(bits));
}

// ------------------------------------------------------------------------- NaNs (clauses 6.2, 7.2)

/** Result of an operation that has none. */
export function invalid<T>(): u64 {
  signal(NV);
  return nan<T>();
}

/** Result of an operation on at least one NaN; signaling ones are invalid. */
export function nanFrom<T>(a: u64, b: u64): u64 {
  if (isSignaling<T>(a) || isSignaling<T>(b)) signal(NV);
  return nan<T>();
}

// ------------------------------------------------------------------------ rounding (clauses 4.3, 7)

/** Shifts right by 0 or more; ones that fall out leave the lowest bit set. */
@inline export function shiftRightSticky(value: u64, by: i32): u64 {
  if (by >= 64) return <u64>(value != 0);
  return value >> by | <u64>(value << (-by & 63) != 0 && by != 0);
}

/** Whether what is cut off, `rest` against the `half` of a unit, adds one to the magnitude that is kept. */
@inline export function roundsUp(negative: bool, kept: u64, rest: u64, half: u64): bool {
  switch (fp.mode) {
    case RNE: return rest > half || (rest == half && (kept & 1) != 0);
    case RDN: return negative && rest != 0;
    case RUP: return !negative && rest != 0;
    case RMM: return rest >= half;
  }
  return false; // RTZ
}

/** Too large: infinity, or the largest number where the mode rounds towards zero (clause 7.4). */
function overflow<T>(negative: bool): u64 {
  signal(OF | NX);
  const toZero = fp.mode == RTZ || fp.mode == (negative ? RUP : RDN);
  return zero<T>(negative) | (infinity<T>() - <u64>toZero);
}

/**
 * Rounds and packs; `significand` has bit 63 set. Raises NX, OF, UF.
 *
 * RISC-V detects tininess after rounding: a number just below the smallest normal one is not tiny if
 * rounding to the full precision, as though the exponent had no lower end, would make it that one.
 */
export function roundPack<T>(negative: bool, exponent: i32, significand: u64): u64 {
  const drop = 64 - precision<T>();
  const half: u64 = 1 << (drop - 1);
  const below: u64 = (1 << drop) - 1;
  let biased = exponent + bias<T>();
  let tiny = false;
  if (biased < 1) {
    const full = significand >> drop;
    const reachesNormal = biased == 0 && full == (<u64>1 << precision<T>()) - 1
      && roundsUp(negative, full, significand & below, half);
    tiny = !reachesNormal;
    significand = shiftRightSticky(significand, 1 - biased);
    biased = 1;
  }
  const kept = significand >> drop;
  const rest = significand & below;
  // The hidden bit counts as one in the exponent, and so does a carry out of the fraction.
  const bits = (<u64>(biased - 1) << (precision<T>() - 1)) + kept
    + <u64>(rest != 0 && roundsUp(negative, kept, rest, half));
  if (bits >= infinity<T>()) return overflow<T>(negative);
  if (rest) signal(tiny ? NX | UF : NX);
  return zero<T>(negative) | bits;
}

/** The same for any significand but 0. */
export function normalizeRoundPack<T>(negative: bool, exponent: i32, significand: u64): u64 {
  const shift = clz(significand);
  return roundPack<T>(negative, exponent - <i32>shift, significand << shift);
}

/** The same for a significand of 128 bits, not 0, that counts from bit 127. */
export function roundPackWide<T>(negative: bool, exponent: i32, high: u64, low: u64): u64 {
  if (!high) {
    high = low;
    low = 0;
    exponent -= 64;
  }
  const shift = clz(high);
  // A shift by 64 is one by 0 in wasm, hence in two steps.
  high = high << shift | low >> 1 >> (63 - shift);
  low <<= shift;
  return roundPack<T>(negative, exponent - <i32>shift, high | <u64>(low != 0));
}
