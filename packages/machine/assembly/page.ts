/**
 * Zero test, hash and fill of guest pages, with SIMD, straight in the shared memory.
 *
 * round plan -> [page] -> zero elision, --verify; ZERO frames, a memory that is scrubbed -> [page] -> zeros
 *
 * Its own small module, so that channel threads need not load the machine. A page that the guest writes
 * meanwhile gives some answer, and whoever needs a steady one looks at a page that cannot change.
 */
import { PAGE_SIZE } from './memory-map.ts';

/** Whether the 4096 bytes at `offset` (a multiple of 16) are all zero. */
export function isZero(offset: usize): bool {
  for (let at = offset; at < offset + PAGE_SIZE; at += 64) {
    const low = v128.or(v128.load(at), v128.load(at, 16));
    const high = v128.or(v128.load(at, 32), v128.load(at, 48));
    if (v128.any_true(v128.or(low, high))) return false;
  }
  return true;
}

/** How many pages from `offset` on are zero before the first that is not; at most `pages`. */
export function firstNonZero(offset: usize, pages: u32): u32 {
  for (let page: u32 = 0; page < pages; page++) {
    if (!isZero(offset + <usize>page * PAGE_SIZE)) return page;
  }
  return pages;
}

/** How many pages from `offset` on are not zero before the first that is; at most `pages`. */
export function firstZero(offset: usize, pages: u32): u32 {
  for (let page: u32 = 0; page < pages; page++) {
    if (isZero(offset + <usize>page * PAGE_SIZE)) return page;
  }
  return pages;
}

/** `bytes` bytes from `offset` on become `value`. */
export function fill(offset: usize, value: u8, bytes: usize): void {
  memory.fill(offset, value, bytes);
}

// ------------------------------------------------------------------------------------------ hash
// 64 bits, in the manner of XXH3 (not its values): eight 64-bit lanes, each accumulating the product of
// the halves of (data ^ key), plus the neighbour's data so that a zero factor hides nothing. Keys change
// from stripe to stripe, or swapped stripes would go unseen; every 1024 bytes the lanes are scrambled.

const STRIPE: usize = 64;
const STRIPES_PER_BLOCK: u32 = 16;

// Odd, without pattern: fractional digits of the square roots of the primes 2, 3, 5, 7, 11...
const K0: u64 = 0x6a09e667f3bcc909;
const K1: u64 = 0xbb67ae8584caa73b;
const K2: u64 = 0x3c6ef372fe94f82b;
const K3: u64 = 0xa54ff53a5f1d36f1;
const K4: u64 = 0x510e527fade682d1;
const K5: u64 = 0x9b05688c2b3e6c1f;
const K6: u64 = 0x1f83d9abfb41bd6b;
const K7: u64 = 0x5be0cd19137e2179;
/** Added to the keys after each stripe: 2^64 over the golden ratio. */
const STEP: u64 = 0x9e3779b97f4a7c15;

@inline function pair(low: u64, high: u64): v128 {
  return i64x2.replace_lane(i64x2.splat(<i64>low), 1, <i64>high);
}

/** One stripe's 16 bytes into two lanes. */
@inline function accumulate(lanes: v128, at: usize, keys: v128): v128 {
  const data = v128.load(at);
  const mixed = v128.xor(data, keys);
  const low = v128.shuffle<i32>(mixed, mixed, 0, 2, 0, 2);
  const high = v128.shuffle<i32>(mixed, mixed, 1, 3, 1, 3);
  const swapped = v128.shuffle<i64>(data, data, 1, 0);
  return i64x2.add(i64x2.add(lanes, swapped), i64x2.extmul_low_i32x4_u(low, high));
}

/** Brings the high bits of a lane, which products reach best, down to the low ones, and keys it. */
@inline function scramble(lanes: v128, keys: v128): v128 {
  const folded = v128.xor(v128.xor(lanes, i64x2.shr_u(lanes, 47)), keys);
  return i64x2.mul(folded, i64x2.splat(<i64>K7));
}

/** The two halves of a 128-bit product, folded together. */
function fold(a: u64, b: u64): u64 {
  const middle = (a >> 32) * (b & 0xffffffff) + ((a & 0xffffffff) * (b & 0xffffffff) >> 32);
  const carry = (a & 0xffffffff) * (b >> 32) + (middle & 0xffffffff);
  return a * b ^ ((a >> 32) * (b >> 32) + (middle >> 32) + (carry >> 32));
}

@inline function foldLanes(lanes: v128, low: u64, high: u64): u64 {
  return fold(<u64>i64x2.extract_lane(lanes, 0) ^ low, <u64>i64x2.extract_lane(lanes, 1) ^ high);
}

/** Hash of `length` bytes (a multiple of 64, more than 0) at `offset`. The length is part of it. */
export function hash64(offset: usize, length: usize): u64 {
  const step = i64x2.splat(<i64>STEP);
  let a = pair(K0, K1), b = pair(K2, K3), c = pair(K4, K5), d = pair(K6, K7);
  let ka = pair(K7, K6), kb = pair(K5, K4), kc = pair(K3, K2), kd = pair(K1, K0);
  let stripes: u32 = 0;
  for (let at = offset; at < offset + length; at += STRIPE) {
    a = accumulate(a, at, ka);
    b = accumulate(b, at + 16, kb);
    c = accumulate(c, at + 32, kc);
    d = accumulate(d, at + 48, kd);
    ka = i64x2.add(ka, step);
    kb = i64x2.add(kb, step);
    kc = i64x2.add(kc, step);
    kd = i64x2.add(kd, step);
    if (++stripes % STRIPES_PER_BLOCK != 0) continue;
    a = scramble(a, ka);
    b = scramble(b, kb);
    c = scramble(c, kc);
    d = scramble(d, kd);
  }
  let hash = <u64>length * STEP;
  hash += foldLanes(a, K1, K2) + foldLanes(b, K3, K4) + foldLanes(c, K5, K6) + foldLanes(d, K7, K0);
  hash = (hash ^ hash >> 37) * K2;
  return hash ^ hash >> 32;
}
