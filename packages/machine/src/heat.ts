/**
 * Heat: how often each page was filled for writing or waited for, lately. One byte a page.
 *
 * vCPU threads count up (hart gate, wasm core), the main thread halves everything now and then, and the
 * source pushes hot pages first in post-copy. It only orders pages: a count lost between two threads
 * changes nothing, so nothing here is atomic.
 */
import * as map from '../assembly/memory-map.ts';
import type { GuestMemory } from './guest-memory.ts';

/** The heat of every page, live: 0 to 255. */
export function heatOf(guest: GuestMemory): Uint8Array<SharedArrayBuffer> {
  return new Uint8Array(guest.sab, map.HEAT, guest.pages);
}

/** Halves the heat of every page; at a steady interval that is an exponential decay. */
export function decayHeat(guest: GuestMemory): void {
  const words = new Uint32Array(guest.sab, map.HEAT, guest.pages / 4);
  // Four bytes at a time; the mask drops the bit that crossed from the byte above.
  for (let i = 0; i < words.length; i++) words[i] = (words[i]! >>> 1) & 0x7f7f7f7f;
}
