/**
 * The dirty log: which pages were written since they were last harvested.
 *
 * guest store -> hart gate (write TLB) -> [dirty log] -> round plan -> channel -> wire
 *
 *   thread                  may                                   never
 *   vCPU threads            set a bit, before the store           clear one
 *   device code, landing    markDirty, after the store            clear one
 *   main                    harvest, startLog, markAll            block
 *
 * Why a harvest is more than taking the bits. A hart marks a page when it fills a write TLB entry and
 * then stores through the entry without marking. So taken bits mean nothing until every hart has disarmed
 * its write entries, so that no store finds them: the harvest takes the bits, asks, waits for all
 * acknowledgements, and only then may its caller read the pages. A store through an old entry comes before the acknowledgement and is seen by
 * that reading; one after it marks anew. A hart that sleeps (PARKED) or is STOPPED cannot answer; it must
 * not count as having answered either, or it would wake with its old entries. It is held by
 * compare-and-set while its entries are disarmed for it. They are not dropped: a harvest says that a page is
 * to be marked, not that it lies elsewhere now, so arming an entry again needs no walk of the page tables.
 *
 * What was ever marked is remembered, because a page that began as zeros and was never marked is zero
 * still: a guest that uses a quarter of its RAM need not have the rest of it looked at.
 *
 * A device has no entries and gives no answer. It stores first and marks second: then either the reading
 * sees the store, or the mark stays for the next harvest. It is quiesced before the last one.
 */
import * as map from '../assembly/memory-map.ts';
import { makeBitmap, orInto, popcount32 } from './bitmap.ts';
import { MachineError } from './errors.ts';
import type { GuestMemory } from './guest-memory.ts';
import { waitForWord } from './word-wait.ts';

/**
 * How long a running hart may take to a safepoint. They are about 100 us apart; the limit is for a host
 * so busy that a vCPU thread gets no core, and past it the migration fails and the guest runs on.
 */
export const ACKNOWLEDGE_LIMIT_MS = 2000;

export interface DirtyLogOptions {
  /** @default ACKNOWLEDGE_LIMIT_MS */
  readonly acknowledgeLimitMs?: number;
}

const DIRTY = map.DIRTY >> 2;
const FLUSH = map.CONTROL_FLUSH >> 2;
const BELL_ACK = map.CONTROL_BELL_ACK >> 2;

export class DirtyLog {
  readonly #guest: GuestMemory;
  readonly #words: number;
  readonly #limitMs: number;
  /** Taken by any harvest so far. */
  readonly #everMarked: Uint32Array;
  /** The same, and pages that were not zero when this log began, or may not have been. */
  readonly #touched: Uint32Array;
  /** Harvests queue here: a second flush request would hide the first one's acknowledgements. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(guest: GuestMemory, options: DirtyLogOptions = {}) {
    this.#guest = guest;
    this.#words = guest.pages >>> 5;
    this.#everMarked = makeBitmap(guest.pages);
    this.#touched = makeBitmap(guest.pages).fill(0xffffffff);
    this.#limitMs = options.acknowledgeLimitMs ?? ACKNOWLEDGE_LIMIT_MS;
  }

  /** For stores that do not go through a TLB (devices, loaders): store first, then mark. */
  markDirty(page: number): void {
    Atomics.or(this.#guest.i32, DIRTY + (page >>> 5), 1 << (page & 31));
  }

  /** Marks every page. */
  markAll(): void {
    for (let i = 0; i < this.#words; i++) Atomics.store(this.#guest.i32, DIRTY + i, -1);
  }

  /** Puts pages back into the log: what a harvest took and no peer acknowledged. */
  markBitmap(bitmap: Uint32Array): void {
    for (let i = 0; i < this.#words; i++) {
      if (bitmap[i] !== 0) Atomics.or(this.#guest.i32, DIRTY + i, bitmap[i]! | 0);
    }
  }

  /**
   * RAM was zero when this log began, but for these pages; until this is said any page may hold anything.
   *
   * @param pages one bit a page; copied
   */
  beganAsZerosBut(pages: Uint32Array): void {
    this.#touched.set(pages);
    orInto(this.#touched, this.#everMarked);
  }

  /**
   * Pages that may have held something else than zeros at the last harvest, one bit a page: all that were
   * ever marked, and what was there before. A page outside of it is marked if it is not zero any more. The
   * log's own, which the next harvest changes.
   */
  get touched(): Uint32Array {
    return this.#touched;
  }

  /** Pages marked now; a moment's figure while the guest runs. */
  countDirty(): number {
    let count = 0;
    for (let i = 0; i < this.#words; i++) {
      count += popcount32(Atomics.load(this.#guest.i32, DIRTY + i));
    }
    return count;
  }

  /**
   * Moves the log into `into` (one bit a page, overwritten) and resolves to the number of pages in it,
   * once no store can reach them unmarked. From then on the pages may be read.
   *
   * If a hart does not answer, everything taken is put back before the error is thrown: no mark is lost.
   *
   * @throws MachineError hart.no_acknowledge
   */
  harvest(into: Uint32Array): Promise<number> {
    const harvest = this.#last.then(() => this.#harvest(into));
    this.#last = harvest.catch(() => {});
    return harvest;
  }

  /**
   * Forgets what was written until now and logs from here on: the start of round 0, which sends all.
   *
   * @throws MachineError hart.no_acknowledge
   */
  async startLog(): Promise<void> {
    await this.harvest(new Uint32Array(this.#words));
  }

  async #harvest(into: Uint32Array): Promise<number> {
    if (into.length < this.#words) {
      throw new RangeError(`bitmap of ${into.length} words for ${this.#words}`);
    }
    const { i32 } = this.#guest;
    let count = 0;
    for (let i = 0; i < this.#words; i++) {
      // Most words are 0 in a late round, and a load does not take the line away from the harts.
      const word = Atomics.load(i32, DIRTY + i) === 0 ? 0 : Atomics.exchange(i32, DIRTY + i, 0);
      into[i] = word;
      if (word === 0) continue;
      this.#everMarked[i]! |= word;
      this.#touched[i]! |= word;
      count += popcount32(word);
    }
    const flush = (Atomics.add(i32, FLUSH, 1) + 1) | 0;
    if (await waitForWord(i32, BELL_ACK, () => this.#silentHart(flush) < 0, this.#limitMs)) {
      return count;
    }
    this.markBitmap(into);
    const hart = this.#silentHart(flush);
    const state = Atomics.load(i32, this.#guest.hartWord(Math.max(hart, 0), map.HART_STATE));
    throw new MachineError('hart.no_acknowledge', {
      hart,
      waitedFor: 'a flush of its write entries',
      state,
      limitMs: this.#limitMs,
    });
  }

  /** The first hart that has not obeyed the flush and cannot be made to, or -1. */
  #silentHart(flush: number): number {
    for (let hart = 0; hart < this.#guest.harts; hart++) {
      const seen = Atomics.load(this.#guest.i32, this.#guest.hartWord(hart, map.HART_FLUSH_SEEN));
      if (seen !== flush && !this.#flushHeld(hart, flush)) return hart;
    }
    return -1;
  }

  /** Flushes for a hart that is not running. False when it runs, or began to. */
  #flushHeld(hart: number, flush: number): boolean {
    const { i32 } = this.#guest;
    const state = this.#guest.hartWord(hart, map.HART_STATE);
    const was = Atomics.load(i32, state);
    if (was !== map.HART_PARKED && was !== map.HART_STOPPED) return false;
    if (Atomics.compareExchange(i32, state, was, map.HART_HELD) !== was) return false;
    const entries = map.TLB + hart * map.TLB_SIZE + map.TLB_WRITE;
    const end = (entries + map.TLB_ARRAY_SIZE) >> 2;
    for (let tag = entries >> 2; tag < end; tag += map.TLB_ENTRY_SIZE >> 2) {
      i32[tag]! |= map.TLB_DISARMED;
    }
    Atomics.store(i32, this.#guest.hartWord(hart, map.HART_FLUSH_SEEN), flush);
    Atomics.store(i32, state, was);
    Atomics.notify(i32, state);
    return true;
  }
}
