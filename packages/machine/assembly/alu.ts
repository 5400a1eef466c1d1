/**
 * Arithmetic that wasm has no single instruction for: the M extension (manual, chapter "M").
 *
 * Division never traps: by zero the quotient is all ones and the remainder the dividend; the one
 * overflow, most negative / -1, gives the dividend and 0. wasm would trap on both.
 */

/** Upper 64 bits of the unsigned product, from four products of 32-bit halves. */
export function mulhu(a: u64, b: u64): u64 {
  const aLow = a & 0xffffffff;
  const aHigh = a >> 32;
  const bLow = b & 0xffffffff;
  const bHigh = b >> 32;
  const middle = aHigh * bLow + (aLow * bLow >> 32);
  const carry = aLow * bHigh + (middle & 0xffffffff);
  return aHigh * bHigh + (middle >> 32) + (carry >> 32);
}

/** Signed: a negative factor counts 2^64 too much of the other in the unsigned product. */
export function mulh(a: u64, b: u64): u64 {
  return mulhu(a, b) - (<i64>a < 0 ? b : 0) - (<i64>b < 0 ? a : 0);
}

export function mulhsu(a: u64, b: u64): u64 {
  return mulhu(a, b) - (<i64>a < 0 ? b : 0);
}

export function div(a: u64, b: u64): u64 {
  if (b == 0) return u64.MAX_VALUE;
  if (b == u64.MAX_VALUE) return 0 - a; // by -1; the overflow included
  return <u64>(<i64>a / <i64>b);
}

export function divu(a: u64, b: u64): u64 { return b == 0 ? u64.MAX_VALUE : a / b; }

export function rem(a: u64, b: u64): u64 {
  if (b == 0) return a;
  if (b == u64.MAX_VALUE) return 0;
  return <u64>(<i64>a % <i64>b);
}

export function remu(a: u64, b: u64): u64 { return b == 0 ? a : a % b; }

export function divw(a: i32, b: i32): i32 {
  if (b == 0) return -1;
  return b == -1 ? 0 - a : a / b;
}

export function divuw(a: u32, b: u32): u32 { return b == 0 ? u32.MAX_VALUE : a / b; }

export function remw(a: i32, b: i32): i32 {
  if (b == 0) return a;
  return b == -1 ? 0 : a % b;
}

export function remuw(a: u32, b: u32): u32 { return b == 0 ? a : a % b; }
