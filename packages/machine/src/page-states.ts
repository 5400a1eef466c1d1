/**
 * Page states of a target: absent, landing, present, and who waits for which page.
 *
 * channel thread -> [page states: win the page] -> kernel writes it -> [present] -> hart wakes
 *
 *   absent -> landing    tryLand        compare-and-set, won before the kernel gets the view
 *   landing -> present   makePresent    by the winner, when the bytes are all there
 *   landing -> absent    backToAbsent   by the winner's owner, only after its socket is closed
 *
 * A present page never lands again: a late byte would overwrite what the guest has written since. Two
 * bits a page, sixteen pages a word, so every change is a compare-and-set loop against neighbours.
 *
 *   thread                  may
 *   landing, faults         tryLand, makePresent, backToAbsent, faults
 *   main, guest stopped     clearAll, setAbsentFrom, setGated
 *   main, nothing lands     landingToAbsent
 *   vCPU threads            look (hart-gate.ts)
 *
 * While CONTROL_GATED is 0 nobody looks here and every page counts as present.
 */
import * as map from '../assembly/memory-map.ts';
import { popcount32 } from './bitmap.ts';
import { MachineError } from './errors.ts';
import type { GuestMemory } from './guest-memory.ts';

export type PageState = typeof map.PAGE_ABSENT | typeof map.PAGE_LANDING | typeof map.PAGE_PRESENT;

/** A hart that waits for a page. */
export interface Fault {
  readonly hart: number;
  readonly page: number;
  /** Rises with every request of this hart: what was answered once is not answered twice. */
  readonly sequence: number;
}

const STATE = map.STATE >> 2;
const PAGES_PER_WORD = 16;
/** Each of the 16 fields in a word set to the state. */
const FIELDS = 0x55555555;

export class PageStates {
  readonly #guest: GuestMemory;
  readonly #i32: Int32Array<SharedArrayBuffer>;
  readonly #words: number;

  constructor(guest: GuestMemory) {
    this.#guest = guest;
    this.#i32 = guest.i32;
    this.#words = guest.pages / PAGES_PER_WORD;
  }

  get(page: number): PageState {
    const word = Atomics.load(this.#i32, STATE + (page >>> 4));
    return ((word >>> ((page & 15) << 1)) & 3) as PageState;
  }

  /** Absent -> landing. True for exactly one caller: it alone may let bytes into the page. */
  tryLand(page: number): boolean {
    return this.#change(page, map.PAGE_ABSENT, map.PAGE_LANDING);
  }

  /**
   * Landing -> present, and wakes the harts that wait for it.
   *
   * @throws MachineError page.bad_transition
   */
  makePresent(page: number): void {
    this.#mustChange(page, map.PAGE_LANDING, map.PAGE_PRESENT);
    this.wakeWaiters(page);
  }

  /**
   * Landing -> absent: the socket that was filling it is closed. A hart that waits for it asks again.
   *
   * @throws MachineError page.bad_transition
   */
  backToAbsent(page: number): void {
    this.#mustChange(page, map.PAGE_LANDING, map.PAGE_ABSENT);
    this.wakeWaiters(page);
  }

  /** Pages of winners that came to their end without a word: absent again. Only while nobody lands pages. */
  landingToAbsent(): void {
    for (let word = 0; word < this.#words; word++) {
      // LANDING is the lower bit of a field.
      if ((Atomics.load(this.#i32, STATE + word) & FIELDS) === 0) continue;
      const end = (word + 1) * PAGES_PER_WORD;
      for (let page = word * PAGES_PER_WORD; page < end; page++) {
        if (this.get(page) === map.PAGE_LANDING) this.backToAbsent(page);
      }
    }
  }

  /** Lets every hart whose fault slot names the page look at its state again. */
  wakeWaiters(page: number): void {
    for (let hart = 0; hart < this.#guest.harts; hart++) {
      const slot = this.#guest.hartWord(hart, map.HART_FAULT_STATE);
      if (Atomics.load(this.#i32, slot) !== map.FAULT_WAITING) continue;
      if (Atomics.load(this.#i32, this.#slotPage(hart)) !== page) continue;
      // If the hart has meanwhile moved on to another page this wakes it for nothing, and it asks again.
      Atomics.compareExchange(this.#i32, slot, map.FAULT_WAITING, map.FAULT_NONE);
      Atomics.notify(this.#i32, slot);
    }
  }

  /** The harts that wait for a page now. */
  faults(): Fault[] {
    const found: Fault[] = [];
    for (let hart = 0; hart < this.#guest.harts; hart++) {
      const sequenceWord = this.#guest.hartWord(hart, map.HART_FAULT_SEQUENCE);
      const sequence = Atomics.load(this.#i32, sequenceWord);
      const page = Atomics.load(this.#i32, this.#slotPage(hart));
      const state = Atomics.load(this.#i32, this.#guest.hartWord(hart, map.HART_FAULT_STATE));
      // Page and sequence belong together only if the sequence stood still meanwhile; if it did not,
      // the hart has rung the bell again and the caller comes back.
      if (state !== map.FAULT_WAITING || Atomics.load(this.#i32, sequenceWord) !== sequence)
        continue;
      found.push({ hart, page, sequence });
    }
    return found;
  }

  /** Every page to one state. Only while no hart runs and nothing lands. */
  clearAll(state: PageState): void {
    for (let i = 0; i < this.#words; i++) {
      Atomics.store(this.#i32, STATE + i, Math.imul(FIELDS, state));
    }
  }

  /**
   * Every page of the bitmap absent, every other present. Only while no hart runs and nothing lands.
   * Part of a blackout: stretches of pages that are alike, which is most of them, are filled at once.
   */
  setAbsentFrom(bitmap: Uint32Array): void {
    const words = this.#words >> 1;
    for (let first = 0, next = 0; first < words; first = next) {
      const absent = bitmap[first]!;
      do next++;
      while (next < words && bitmap[next] === absent);
      // PRESENT is the upper bit of a field and ABSENT none, so the fields are the bits spread apart.
      const low = spread(~absent & 0xffff) << 1;
      const high = spread(~absent >>> 16) << 1;
      if (low === high) this.#i32.fill(low, STATE + 2 * first, STATE + 2 * next);
      else for (let word = first; word < next; word++) this.#setTwo(word, low, high);
    }
  }

  /** Pages in the state; a moment's figure while pages land. */
  count(state: PageState): number {
    let count = 0;
    for (let i = 0; i < this.#words; i++) {
      // A field equals the state where the difference has neither of its two bits set.
      const differs = Atomics.load(this.#i32, STATE + i) ^ Math.imul(FIELDS, state);
      count += popcount32(~(differs | (differs >>> 1)) & FIELDS);
    }
    return count;
  }

  countAbsent(): number {
    return this.count(map.PAGE_ABSENT);
  }

  /** Whether fills look at the page states at all. Off is set last, when every page is present. */
  setGated(gated: boolean): void {
    this.#guest.setControl(map.CONTROL_GATED, gated ? 1 : 0);
  }

  #setTwo(word: number, low: number, high: number): void {
    this.#i32[STATE + 2 * word] = low;
    this.#i32[STATE + 2 * word + 1] = high;
  }

  #slotPage(hart: number): number {
    return this.#guest.hartWord(hart, map.HART_FAULT_PAGE);
  }

  #change(page: number, from: PageState, to: PageState): boolean {
    const index = STATE + (page >>> 4);
    const shift = (page & 15) << 1;
    let word = Atomics.load(this.#i32, index);
    while (((word >>> shift) & 3) === from) {
      const next = word ^ ((from ^ to) << shift);
      const was = Atomics.compareExchange(this.#i32, index, word, next);
      if (was === word) return true;
      word = was;
    }
    return false;
  }

  #mustChange(page: number, from: PageState, to: PageState): void {
    if (this.#change(page, from, to)) return;
    throw new MachineError('page.bad_transition', { page, from: this.get(page), to });
  }
}

/** 16 bits to the even bits of a word (interleaving by doubling steps). */
function spread(bits: number): number {
  let word = (bits | (bits << 8)) & 0x00ff00ff;
  word = (word | (word << 4)) & 0x0f0f0f0f;
  word = (word | (word << 2)) & 0x33333333;
  return (word | (word << 1)) & 0x55555555;
}
