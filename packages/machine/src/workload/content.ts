/**
 * What a page of a workload guest holds: base content made from the seed, and on pages that were written
 * a stamp at the start and again at the end.
 *
 * The stamp is {page, sequence low, sequence high, check}, four little-endian words; sequence is the
 * hart's write number + 1, so that 0 stays "never written". It stands at both ends of the page, so that a
 * page put together of two moments is seen. Pages that were never written are pure base content: those of
 * `zero` are zero pages.
 *
 * `compressible` holds 16 random bytes in every 64: about 3 : 1 for a fast byte-oriented compressor.
 */
import * as map from '../../assembly/memory-map.ts';
import type { GuestMemory } from '../guest-memory.ts';
import { mix32 } from './hash.ts';
import type { Content } from './spec.ts';

export const PAGE_WORDS = map.PAGE_SIZE / 4;
export const STAMP_WORDS = 4;
/** Word of the page where the second stamp starts. */
export const STAMP_TAIL = PAGE_WORDS - STAMP_WORDS;

const WEYL = 0x9e3779b9 | 0;

/** All of RAM as 32-bit words: page p starts at p * PAGE_WORDS. */
export function ramWords(guest: GuestMemory): Int32Array<SharedArrayBuffer> {
  return new Int32Array(guest.sab, map.RAM, guest.pages * PAGE_WORDS);
}

/** Writes a page's base content at word `at`. */
export function fillBase(
  words: Int32Array,
  at: number,
  content: Content,
  seed: number,
  page: number,
): void {
  if (content === 'zero') {
    words.fill(0, at, at + PAGE_WORDS);
    return;
  }
  const start = mix32(mix32(seed | 0) ^ Math.imul(page, 0x85ebca6b));
  if (content === 'random') fillRandom(words, at, start);
  else fillCompressible(words, at, start, seed);
}

/** Stamps a page at word `at` with its number and sequence (1 or more). */
export function stampPage(words: Int32Array, at: number, page: number, sequence: number): void {
  const low = sequence | 0;
  const high = (sequence / 4294967296) | 0;
  const check = stampCheck(page, low, high);
  words[at] = page;
  words[at + 1] = low;
  words[at + 2] = high;
  words[at + 3] = check;
  words[at + STAMP_TAIL] = page;
  words[at + STAMP_TAIL + 1] = low;
  words[at + STAMP_TAIL + 2] = high;
  words[at + STAMP_TAIL + 3] = check;
}

/** The sequence that a stamp at word `at` shows for this page; -1 when there is no whole stamp. */
export function readStamp(words: Int32Array, at: number, page: number): number {
  const low = words[at + 1]!;
  const high = words[at + 2]!;
  if (words[at] !== page || words[at + 3] !== stampCheck(page, low, high)) return -1;
  return (high >>> 0) * 4294967296 + (low >>> 0);
}

function stampCheck(page: number, low: number, high: number): number {
  return mix32(Math.imul(page, WEYL) ^ Math.imul(low, 0x85ebca6b) ^ high);
}

/** A counter through a mixing function: no word waits for the one before it. */
function fillRandom(words: Int32Array, at: number, start: number): void {
  let counter = start;
  for (let i = at; i < at + PAGE_WORDS; i++) {
    counter = (counter + WEYL) | 0;
    let x = Math.imul(counter ^ (counter >>> 16), 0x21f0aaad);
    x ^= x >>> 15;
    words[i] = Math.imul(x, 0x735a2d97);
  }
}

function fillCompressible(words: Int32Array, at: number, start: number, seed: number): void {
  for (let block = 0; block < PAGE_WORDS; block += 16) {
    for (let i = 0; i < 4; i++) words[at + block + i] = mix32(start + block + i);
    for (let i = 4; i < 16; i++) words[at + block + i] = seed + i;
  }
}
