/**
 * What has landed at the target, in shared memory: every channel thread adds, the main thread reads.
 *
 *   placement -> [landing board] -> manifest check, progress, ALL_PRESENT
 *
 *   part        written by                      what
 *   rounds      channel threads, add            pages landed in each round
 *   covered     channel threads, or             pages that landed in some round
 *   remaining   whoever makes a page present    missing pages of post-copy, down to 0
 *   retried     whoever finds a wrong hash      pages that were asked for once more
 */

/** Rounds counted one by one; later ones together in the last place. */
const ROUNDS = 4096;
const REMAINING = 0;
const CONTROL_WORDS = 4;

export class LandingBoard {
  readonly sab: SharedArrayBuffer;
  readonly #control: Int32Array<SharedArrayBuffer>;
  readonly #rounds: Int32Array<SharedArrayBuffer>;
  readonly #covered: Uint32Array<SharedArrayBuffer>;
  readonly #retried: Uint32Array<SharedArrayBuffer>;

  static make(guestPages: number): LandingBoard {
    const bitmapWords = Math.ceil(guestPages / 32);
    return new LandingBoard(new SharedArrayBuffer((CONTROL_WORDS + ROUNDS + 2 * bitmapWords) * 4));
  }

  constructor(sab: SharedArrayBuffer) {
    this.sab = sab;
    const words = (sab.byteLength / 4 - CONTROL_WORDS - ROUNDS) / 2;
    const covered = (CONTROL_WORDS + ROUNDS) * 4;
    this.#control = new Int32Array(sab, 0, CONTROL_WORDS);
    this.#rounds = new Int32Array(sab, CONTROL_WORDS * 4, ROUNDS);
    this.#covered = new Uint32Array(sab, covered, words);
    this.#retried = new Uint32Array(sab, covered + words * 4, words);
  }

  countRound(round: number, pages: number): void {
    Atomics.add(this.#rounds, Math.min(round, ROUNDS - 1), pages);
  }

  cover(firstPage: number, pages: number): void {
    const end = firstPage + pages;
    for (let page = firstPage; page < end; ) {
      const count = Math.min(end - page, 32 - (page & 31));
      const ones = count === 32 ? -1 : (1 << count) - 1;
      Atomics.or(this.#covered, page >>> 5, ones << (page & 31));
      page += count;
    }
  }

  /** Pages landed in each round, up to the last that had any. */
  rounds(): number[] {
    const counts = Array.from(this.#rounds, (_, i) => Atomics.load(this.#rounds, i));
    return counts.slice(0, counts.findLastIndex((count) => count > 0) + 1);
  }

  /** The pages that never landed in any round. */
  uncovered(guestPages: number): number {
    let missing = 0;
    for (let page = 0; page < guestPages; page++) {
      missing += 1 - ((Atomics.load(this.#covered, page >>> 5) >>> (page & 31)) & 1);
    }
    return missing;
  }

  get remaining(): number {
    return Atomics.load(this.#control, REMAINING);
  }

  setRemaining(pages: number): void {
    Atomics.store(this.#control, REMAINING, pages);
  }

  /** One missing page is present. True for the caller that brought in the last. */
  pagePresent(): boolean {
    return Atomics.sub(this.#control, REMAINING, 1) === 1;
  }

  /** Marks a page as asked for again. False when it had been before. */
  retryOnce(page: number): boolean {
    const bit = 1 << (page & 31);
    return (Atomics.or(this.#retried, page >>> 5, bit) & bit) === 0;
  }
}
