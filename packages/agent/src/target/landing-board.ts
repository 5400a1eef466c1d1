/**
 * What has landed at the target, in shared memory: every channel thread adds, the main thread reads.
 *
 *   placement -> [landing board] -> manifest check, progress, ALL_PRESENT
 *
 *   part        written by                      what
 *   rounds      channel threads, add            pages landed in each round
 *   remaining   main, add; whoever makes a      missing pages of post-copy, down to 0
 *               page present, subtract
 *   retried     whoever finds a wrong hash      pages that were asked for once more
 *   hashes      channel threads, with --verify  digests of the pages that are here, before RUN
 *               main, before post-copy          the source's digests of its missing pages
 *   generation  a channel's thread, add         connections of each channel so far, whichever thread made them
 *   written     channel threads, or             pages that were given bytes; the others of a memory
 *                                               that began as zeros still are zero
 *
 * Post-copy is begun by one store of main's, after everything it needs is in place: a page that lands
 * right then finds the digest it is checked against.
 */
import { CHANNELS_MAX } from '@godwit/protocol';
import type { PageHashes } from '../channel/page-hashes.ts';

/** Rounds counted one by one; later ones together in the last place. */
const ROUNDS = 4096;
const REMAINING = 0;
const POSTCOPY = 1;
const POSTCOPY_OFF = 0;
const POSTCOPY_ON = 1;
const POSTCOPY_CHECKED = 2;
const FRESH = 2;
/** The page channels', and one for the faults channel. */
const GENERATIONS = 4;
/** An even number: digests lie behind it. */
const CONTROL_WORDS = GENERATIONS + 2 * Math.ceil((CHANNELS_MAX + 1) / 2);

export class LandingBoard {
  readonly sab: SharedArrayBuffer;
  readonly #control: Int32Array<SharedArrayBuffer>;
  readonly #rounds: Int32Array<SharedArrayBuffer>;
  readonly #retried: Uint32Array<SharedArrayBuffer>;
  readonly #written: Uint32Array<SharedArrayBuffer>;
  readonly hashes: PageHashes;

  /** @param fresh all of guest memory is zero now */
  static make(guestPages: number, fresh: boolean): LandingBoard {
    // Whole bitmap words, so that the size tells the pages. Memory that is not touched costs nothing.
    const words = Math.ceil(guestPages / 32);
    const bytes = (CONTROL_WORDS + ROUNDS + 2 * words) * 4 + words * 32 * 8;
    const board = new LandingBoard(new SharedArrayBuffer(bytes));
    Atomics.store(board.#control, FRESH, fresh ? 1 : 0);
    return board;
  }

  constructor(sab: SharedArrayBuffer) {
    this.sab = sab;
    const bitmap = (CONTROL_WORDS + ROUNDS) * 4;
    const words = (sab.byteLength - bitmap) / (2 * 4 + 32 * 8);
    this.#control = new Int32Array(sab, 0, CONTROL_WORDS);
    this.#rounds = new Int32Array(sab, CONTROL_WORDS * 4, ROUNDS);
    this.#retried = new Uint32Array(sab, bitmap, words);
    this.#written = new Uint32Array(sab, bitmap + words * 4, words);
    this.hashes = new BigUint64Array(sab, bitmap + words * 8, words * 32);
  }

  /** These pages are about to be given bytes. Before the kernel, or a copy, gets a view of them. */
  markWritten(firstPage: number, pages: number): void {
    const end = firstPage + pages;
    for (let page = firstPage; page < end; ) {
      const next = Math.min((page | 31) + 1, end);
      const bits = next - page === 32 ? -1 : ((1 << (next - page)) - 1) << (page & 31);
      Atomics.or(this.#written, page >>> 5, bits);
      page = next;
    }
  }

  /**
   * Visits the pages of a run that may not be zero, in runs of their own: the others are, because they
   * began so and were never given a byte.
   */
  forEachWritten(
    firstPage: number,
    pages: number,
    visit: (firstPage: number, pages: number) => void,
  ): void {
    if (Atomics.load(this.#control, FRESH) === 0) return visit(firstPage, pages);
    const end = firstPage + pages;
    let start = -1;
    for (let page = firstPage; page < end; ) {
      const bits = Atomics.load(this.#written, page >>> 5) >>> (page & 31);
      const isWritten = (bits & 1) === 1;
      if (isWritten && start < 0) start = page;
      if (!isWritten && start >= 0) {
        visit(start, page - start);
        start = -1;
      }
      page = bits === 0 ? (page | 31) + 1 : page + 1;
    }
    if (start >= 0) visit(start, end - start);
  }

  /** The pages that were given bytes, one bit a page, if the others are zero; null when they may not be. */
  written(): Uint32Array | null {
    return Atomics.load(this.#control, FRESH) === 0 ? null : Uint32Array.from(this.#written);
  }

  countRound(round: number, pages: number): void {
    Atomics.add(this.#rounds, Math.min(round, ROUNDS - 1), pages);
  }

  /** Pages landed in each of so many rounds. Read in the blackout, so no more than that is looked at. */
  rounds(count: number): number[] {
    const length = Math.min(count, ROUNDS);
    return Array.from({ length }, (_, round) => Atomics.load(this.#rounds, round));
  }

  /** Number of the connection that a channel makes now, from 1. */
  nextGeneration(channel: number): number {
    return Atomics.add(this.#control, GENERATIONS + channel, 1) + 1;
  }

  get remaining(): number {
    return Atomics.load(this.#control, REMAINING);
  }

  /** Begins post-copy: so many pages are missing, and are checked if there are digests. */
  startPostcopy(pages: number, hashes: Uint8Array): void {
    const { buffer, byteOffset, byteLength } = this.hashes;
    new Uint8Array(buffer, byteOffset, byteLength).set(hashes.subarray(0, byteLength));
    Atomics.store(this.#control, REMAINING, pages);
    Atomics.store(this.#control, POSTCOPY, hashes.length === 0 ? POSTCOPY_ON : POSTCOPY_CHECKED);
  }

  get inPostcopy(): boolean {
    return Atomics.load(this.#control, POSTCOPY) !== POSTCOPY_OFF;
  }

  /** The digest a page must have, null when pages are not checked. */
  hashOf(page: number): bigint | null {
    if (Atomics.load(this.#control, POSTCOPY) !== POSTCOPY_CHECKED) return null;
    return this.hashes[page]!;
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
