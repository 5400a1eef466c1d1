/**
 * Which missing pages have been sent in post-copy, and which come next.
 *
 *   runner: load -> [push table] -> channel threads: next; faults thread: markSent, hint
 *
 * The guest is stopped for good at this end, so a page is sent once: whoever sets its bit in the sent
 * map, a channel that pushes it or the faults thread that answers for it, sends it. Pages that a dead
 * connection lost are given back and the walk begins anew.
 *
 * The order is one of chunks of PUSH_PAGES_MAX pages, hottest first (push-order.ts). After a fault the channels leave it for a while and go on around the faulted page.
 *
 *   thread     may
 *   main       load, once
 *   channel    next, giveBack
 *   faults     markSent, hint, giveBack
 */
import { PUSH_PAGES_MAX } from '@godwit/protocol';

const CURSOR = 0;
const HINT = 1;
const FAULTED_AT = 2;
const CONTROL_WORDS = 4;
/** Chunks that follow a fault before the general order is taken up again: 1 MiB. */
const NEAR_CHUNKS = 16;

/** So long after a fault the next one is expected. */
export const QUIET_AFTER_MS = 10;

/** A channel's place beside the shared one. */
export interface PushPlace {
  chunk: number;
  left: number;
}

export class PushTable {
  readonly sab: SharedArrayBuffer;
  readonly #control: Int32Array<SharedArrayBuffer>;
  readonly #missing: Uint32Array<SharedArrayBuffer>;
  readonly #sent: Uint32Array<SharedArrayBuffer>;
  readonly #order: Uint32Array<SharedArrayBuffer>;

  static make(guestPages: number): PushTable {
    const words = Math.ceil(guestPages / 32);
    return new PushTable(new SharedArrayBuffer((CONTROL_WORDS + 4 * words) * 4));
  }

  constructor(sab: SharedArrayBuffer) {
    this.sab = sab;
    const words = (sab.byteLength / 4 - CONTROL_WORDS) / 4;
    const start = CONTROL_WORDS * 4;
    this.#control = new Int32Array(sab, 0, CONTROL_WORDS);
    this.#missing = new Uint32Array(sab, start, words);
    this.#sent = new Uint32Array(sab, start + words * 4, words);
    // Two chunks a bitmap word.
    this.#order = new Uint32Array(sab, start + words * 8, words * 2);
  }

  /** @param order chunks in the order they shall go, each once */
  load(missing: Uint32Array, order: Uint32Array): void {
    this.#missing.set(missing);
    this.#order.set(order);
  }

  /** The next pages to push, now marked as sent; null when every missing page has been sent. */
  next(place: PushPlace): Uint32Array<ArrayBuffer> | null {
    const hint = Atomics.exchange(this.#control, HINT, 0);
    if (hint > 0) {
      place.chunk = hint - 1;
      place.left = NEAR_CHUNKS;
    }
    for (; place.left > 0; place.left--) {
      const runs = this.#take(place.chunk++);
      if (runs !== null) return runs;
    }
    for (;;) {
      const at = Atomics.add(this.#control, CURSOR, 1);
      if (at >= this.#order.length) {
        Atomics.compareExchange(this.#control, CURSOR, at + 1, this.#order.length);
        return null;
      }
      const runs = this.#take(this.#order[at]!);
      if (runs !== null) return runs;
    }
  }

  /** The faults thread answers for these pages: nobody needs to push them. */
  markSent(runs: Uint32Array): void {
    this.#eachPage(runs, (page) => Atomics.or(this.#sent, page >>> 5, 1 << (page & 31)));
  }

  /** A hart waited for this page: what lies around it is wanted next. */
  hint(page: number): void {
    Atomics.store(this.#control, HINT, Math.floor(page / PUSH_PAGES_MAX) + 1);
    Atomics.store(this.#control, FAULTED_AT, Date.now() | 0);
  }

  /** Whether no hart has waited for a page lately: the link is free for the push. */
  get quiet(): boolean {
    const sinceMs = ((Date.now() | 0) - Atomics.load(this.#control, FAULTED_AT)) | 0;
    return sinceMs < 0 || sinceMs > QUIET_AFTER_MS;
  }

  /** The pages may not have arrived. The caller has the channels look again. */
  giveBack(runs: Uint32Array): void {
    this.#eachPage(runs, (page) => Atomics.and(this.#sent, page >>> 5, ~(1 << (page & 31))));
    Atomics.store(this.#control, CURSOR, 0);
  }

  /** Takes what is missing and unsent of a chunk. */
  #take(chunk: number): Uint32Array<ArrayBuffer> | null {
    const word = chunk >>> 1;
    if (word >= this.#missing.length) return null;
    const shift = (chunk & 1) * PUSH_PAGES_MAX;
    const wanted = this.#missing[word]! & (0xffff << shift);
    if ((wanted & ~Atomics.load(this.#sent, word)) === 0) return null;
    const won = wanted & ~Atomics.or(this.#sent, word, wanted);
    if (won === 0) return null;
    const runs: number[] = [];
    let length = 0;
    for (let bit = shift; bit <= shift + PUSH_PAGES_MAX; bit++) {
      const taken = bit < shift + PUSH_PAGES_MAX && ((won >>> bit) & 1) === 1;
      if (taken) length++;
      else if (length > 0) {
        runs.push(word * 32 + bit - length, length);
        length = 0;
      }
    }
    return Uint32Array.from(runs);
  }

  #eachPage(runs: Uint32Array, visit: (page: number) => void): void {
    for (let i = 0; i < runs.length; i += 2) {
      for (let k = 0; k < runs[i + 1]!; k++) visit(runs[i]! + k);
    }
  }
}
