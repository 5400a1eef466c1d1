/**
 * Registered memory regions: which pages a peer may touch, how, and under which key.
 *
 *   frame header -> [region table] -> placement, or `channel.protection`
 *
 * The table lies in a SharedArrayBuffer, so that a revocation on the main thread holds at once in
 * every channel thread. An entry is written before its key is stored and is unusable from the moment
 * the key is 0; keys are random, never 0 and never reused within a table.
 *
 * Beside the entries stands, for each channel, the key of the frame it is placing. A channel names the
 * key before it looks for it, main takes the key away before it looks who names it, and all of these
 * are sequentially consistent: a channel that main does not find naming a revoked key will not find the
 * key. So a revocation asks only those threads that are in the middle of a frame, and mostly none.
 *
 *   thread            may
 *   main              register, revoke, find, isPlacing
 *   channel, faults   begin and finish (its own channel), find, access, covers, holds
 */
import { CHANNELS_MAX } from '@godwit/protocol';
import { randomInt } from './builtin.ts';

/** write: any page, in a round. land: absent pages only, post-copy. read: READ is answered. */
export type Access = 'write' | 'land' | 'read';

export interface Region {
  readonly firstPage: number;
  readonly pages: number;
  readonly access: Access;
}

const ACCESS_CODES: readonly Access[] = ['write', 'land', 'read'];
const ENTRIES = 64;
const ENTRY_WORDS = 4;
const KEY = 0;
const FIRST = 1;
const PAGES = 2;
const ACCESS = 3;
/** The page channels', and one for the faults channel. */
const PLACING_WORDS = CHANNELS_MAX + 1;
/** The faults channel's place among the channels. */
export const FAULTS_CHANNEL = CHANNELS_MAX;

export class RegionTable {
  readonly sab: SharedArrayBuffer;
  readonly #words: Uint32Array<SharedArrayBuffer>;
  /** Key of the frame each channel is placing, 0 for none. */
  readonly #placing: Uint32Array<SharedArrayBuffer>;
  readonly #used = new Set<number>();

  constructor(sab = new SharedArrayBuffer((ENTRIES * ENTRY_WORDS + PLACING_WORDS) * 4)) {
    this.sab = sab;
    this.#words = new Uint32Array(sab, 0, ENTRIES * ENTRY_WORDS);
    this.#placing = new Uint32Array(sab, this.#words.byteLength, PLACING_WORDS);
  }

  /**
   * Registers pages for the peer.
   *
   * @param key of a region the two ends agree on; a random one is drawn when it is left out
   * @returns the key; the peer must name it in every frame
   */
  registerRegion(region: Region, key: number = this.#freshKey()): { rkey: number } {
    const entry = this.#freeEntry();
    Atomics.store(this.#words, entry + FIRST, region.firstPage);
    Atomics.store(this.#words, entry + PAGES, region.pages);
    Atomics.store(this.#words, entry + ACCESS, ACCESS_CODES.indexOf(region.access));
    Atomics.store(this.#words, entry + KEY, key);
    this.#used.add(key);
    return { rkey: key };
  }

  /** The key opens nothing any more. Unknown keys are ignored: revoking twice is no error. */
  revoke(key: number): void {
    const entry = this.find(key);
    if (entry >= 0) Atomics.store(this.#words, entry + KEY, 0);
  }

  /** Entry of a key, -1 when there is none. */
  find(key: number): number {
    if (key === 0) return -1;
    for (let entry = 0; entry < this.#words.length; entry += ENTRY_WORDS) {
      if (Atomics.load(this.#words, entry + KEY) === key) return entry;
    }
    return -1;
  }

  /**
   * A channel is about to place a frame's bytes, until `finish`.
   *
   * @returns the entry of the key, -1 when there is none
   */
  begin(channel: number, key: number): number {
    Atomics.store(this.#placing, channel, key);
    return this.find(key);
  }

  /** The frame is complete, or no byte of it will come any more. */
  finish(channel: number): void {
    Atomics.store(this.#placing, channel, 0);
  }

  /** Whether bytes under the key may still land through the channel, though it has been revoked. */
  isPlacing(channel: number, key: number): boolean {
    return Atomics.load(this.#placing, channel) === key;
  }

  /** Whether the entry still belongs to the key. */
  holds(entry: number, key: number): boolean {
    return Atomics.load(this.#words, entry + KEY) === key;
  }

  access(entry: number): Access {
    return ACCESS_CODES[Atomics.load(this.#words, entry + ACCESS)]!;
  }

  /** Whether all of the pages lie in the region. */
  covers(entry: number, firstPage: number, pages: number): boolean {
    const first = Atomics.load(this.#words, entry + FIRST);
    const end = first + Atomics.load(this.#words, entry + PAGES);
    return firstPage >= first && firstPage + pages <= end;
  }

  #freeEntry(): number {
    for (let entry = 0; entry < this.#words.length; entry += ENTRY_WORDS) {
      if (Atomics.load(this.#words, entry + KEY) === 0) return entry;
    }
    throw new RangeError(`more than ${ENTRIES} regions registered at once`);
  }

  #freshKey(): number {
    for (;;) {
      const key = randomInt(1, 0x1_0000_0000);
      if (!this.#used.has(key)) return key;
    }
  }
}
