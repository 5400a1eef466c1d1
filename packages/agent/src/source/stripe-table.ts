/**
 * The plan of a round and who has taken which stripe of it.
 *
 *   harvest -> main: load -> [stripe table] -> channel threads: claim -> sent -> acknowledged
 *
 * A stripe is STRIPE_PAGES neighbouring pages; the plan says which of them are to be sent. Threads
 * claim with one atomic add on the cursor, so that a fast channel takes more than a slow one. What a
 * stripe's word says survives the death of the channel, and of the thread, that claimed it: the pages
 * of its unacknowledged stripes are ORed into the requeued map, from where they go back into the dirty
 * map. They are never sent again as old bytes.
 *
 *   thread     may
 *   main       load (no channel is in a round), requeue of a dead thread's channel, takeRequeued
 *   channel    claim; acknowledge, requeue of its own stripes
 */
import { STRIPE_PAGES } from '@godwit/protocol';

const STRIPE_WORDS = STRIPE_PAGES / 32;
const CURSOR = 0;
const CONTROL_WORDS = 4;

/** A stripe's word: 0 free, CLAIMED + channel, or ACKNOWLEDGED. */
const CLAIMED = 0x100;
const ACKNOWLEDGED = 0x200;

export class StripeTable {
  readonly sab: SharedArrayBuffer;
  readonly stripes: number;
  readonly #control: Int32Array<SharedArrayBuffer>;
  readonly #states: Int32Array<SharedArrayBuffer>;
  readonly #plan: Uint32Array<SharedArrayBuffer>;
  readonly #touched: Uint32Array<SharedArrayBuffer>;
  readonly #requeued: Uint32Array<SharedArrayBuffer>;

  static make(guestPages: number): StripeTable {
    const stripes = Math.ceil(guestPages / STRIPE_PAGES);
    const words = CONTROL_WORDS + stripes * (1 + 3 * STRIPE_WORDS);
    return new StripeTable(new SharedArrayBuffer(words * 4));
  }

  constructor(sab: SharedArrayBuffer) {
    this.sab = sab;
    this.stripes = (sab.byteLength / 4 - CONTROL_WORDS) / (1 + 3 * STRIPE_WORDS);
    const planWords = this.stripes * STRIPE_WORDS;
    const states = CONTROL_WORDS * 4;
    const plan = states + this.stripes * 4;
    this.#control = new Int32Array(sab, 0, CONTROL_WORDS);
    this.#states = new Int32Array(sab, states, this.stripes);
    this.#plan = new Uint32Array(sab, plan, planWords);
    this.#touched = new Uint32Array(sab, plan + planWords * 4, planWords);
    this.#requeued = new Uint32Array(sab, plan + planWords * 8, planWords);
  }

  /**
   * A new round: these pages, all stripes free.
   *
   * @param touched pages that may hold something else than zeros
   */
  load(dirty: Uint32Array, touched: Uint32Array): void {
    this.#plan.fill(0);
    this.#plan.set(dirty);
    this.#touched.fill(0);
    this.#touched.set(touched);
    this.#states.fill(0);
    Atomics.store(this.#control, CURSOR, 0);
  }

  /** The next stripe that has pages to send, -1 when the round has no more. */
  claim(channel: number): number {
    for (;;) {
      const stripe = Atomics.add(this.#control, CURSOR, 1);
      if (stripe >= this.stripes) {
        // Calls after the last stripe must not carry the cursor round.
        Atomics.store(this.#control, CURSOR, this.stripes);
        return -1;
      }
      if (isEmpty(this.#plan, stripe)) continue;
      Atomics.store(this.#states, stripe, CLAIMED + channel);
      return stripe;
    }
  }

  /** Whether every stripe of the round has been claimed. */
  get exhausted(): boolean {
    return Atomics.load(this.#control, CURSOR) >= this.stripes;
  }

  /** Whether nobody ever wrote to a page of the stripe: all of it is zero, and need not be looked at. */
  isUntouched(stripe: number): boolean {
    return isEmpty(this.#touched, stripe);
  }

  acknowledge(stripe: number): void {
    Atomics.store(this.#states, stripe, ACKNOWLEDGED);
  }

  /**
   * The runs to send of a stripe, as work requests take them.
   *
   * @param runPagesMax longer runs are cut
   */
  runs(stripe: number, runPagesMax: number): Uint32Array<ArrayBuffer> {
    const runs: number[] = [];
    const end = (stripe + 1) * STRIPE_PAGES;
    let length = 0;
    for (let page = stripe * STRIPE_PAGES; page < end; ) {
      const word = this.#plan[page >>> 5]! >>> (page & 31);
      const isPlanned = (word & 1) === 1;
      // Most words are all of one kind, and a full one is a step of 32 pages.
      const isWhole = (page & 31) === 0 && (word === 0 || word === 0xffffffff);
      const step = isWhole ? Math.min(32, isPlanned ? runPagesMax - length : 32) : 1;
      page += step;
      if (isPlanned) length += step;
      if (length > 0 && (!isPlanned || page === end || length === runPagesMax)) {
        runs.push(page - (isPlanned ? 0 : step) - length, length);
        length = 0;
      }
    }
    return Uint32Array.from(runs);
  }

  /** Gives up every stripe a channel holds. Returns their pages. */
  requeue(channel: number): number {
    let pages = 0;
    for (let stripe = 0; stripe < this.stripes; stripe++) {
      if (
        Atomics.compareExchange(this.#states, stripe, CLAIMED + channel, 0) !==
        CLAIMED + channel
      ) {
        continue;
      }
      for (let i = stripe * STRIPE_WORDS; i < (stripe + 1) * STRIPE_WORDS; i++) {
        Atomics.or(this.#requeued, i, this.#plan[i]!);
        for (let word = this.#plan[i]!; word !== 0; word &= word - 1) pages++;
      }
    }
    return pages;
  }

  /** ORs the requeued pages into a dirty map and forgets them. Returns how many there were. */
  takeRequeued(into: Uint32Array): number {
    let pages = 0;
    for (let i = 0; i < this.#requeued.length; i++) {
      const word = Atomics.exchange(this.#requeued, i, 0);
      if (word === 0) continue;
      into[i]! |= word;
      for (let rest = word; rest !== 0; rest &= rest - 1) pages++;
    }
    return pages;
  }
}

function isEmpty(bitmap: Uint32Array, stripe: number): boolean {
  for (let i = stripe * STRIPE_WORDS; i < (stripe + 1) * STRIPE_WORDS; i++) {
    if (bitmap[i] !== 0) return false;
  }
  return true;
}
