/**
 * Which page the n-th write of a hart goes to, and the way back: which write was the last to a page.
 *
 * Pure. The vCPU thread walks forwards with a cursor; the auditor asks backwards, a page at a time,
 * without replaying anything.
 *
 * How that is possible. A hart owns every harts-th page of a region and writes in passes: each pass is a
 * permutation of the hart's K pages, position(i) = (a * i + b) mod K with a prime to K, and a, b drawn
 * from seed, hart, region and pass. So the pass that holds write n is n / K, and the place of a page in a
 * pass is found with the inverse of a. The last write to a page is in the pass under way or in the one
 * before it. `sequential` is the permutation with a = 1, b = 0.
 *
 * `hotset` has two regions: of 16 writes of a hart 15 go to the hot one, the last to the rest of memory.
 * The other patterns stay inside a hot region if there is one. Where it begins is drawn from the seed.
 */
import { makeHash } from './hash.ts';
import type { WorkloadSpec } from './spec.ts';

/** One of so many writes of a `hotset` goes outside the hot set. */
const COLD_EVERY = 16;

/** A run of pages, round the end of memory, of which each hart owns every harts-th. */
interface Region {
  readonly firstPage: number;
  readonly pages: number;
}

/** Pages that one hart writes in one region, in passes. */
class Walk {
  /** Pages of this hart in the region. */
  readonly size: number;
  readonly #seed: number;
  readonly #sequential: boolean;
  /** Passes looked at last; an audit and a cursor never need more than two. */
  #newer: Pass;
  #older: Pass;

  constructor(size: number, seed: number, sequential: boolean) {
    this.size = size;
    this.#seed = seed;
    this.#sequential = sequential;
    this.#newer = this.#makePass(0);
    this.#older = this.#newer;
  }

  pass(number: number): Pass {
    if (this.#newer.number === number) return this.#newer;
    if (this.#older.number !== number) this.#older = this.#makePass(number);
    const found = this.#older;
    this.#older = this.#newer;
    this.#newer = found;
    return found;
  }

  /** The last of the first `count` writes of this walk that went to the position; -1 = none did. */
  lastWrite(position: number, count: number): number {
    const number = Math.floor(count / this.size);
    const inThis = this.pass(number).indexOf(position);
    if (inThis < count - number * this.size) return number * this.size + inThis;
    if (number === 0) return -1;
    return (number - 1) * this.size + this.pass(number - 1).indexOf(position);
  }

  #makePass(number: number): Pass {
    if (this.#sequential || this.size < 3) return new Pass(number, this.size, 1, 0);
    const hash = makeHash(this.#seed, number);
    // From the middle half: neighbours in time are then not neighbours in memory.
    let a = Math.floor(this.size / 4) + (hash(0) % Math.ceil(this.size / 2));
    a = Math.max(a, 1);
    while (gcd(a, this.size) !== 1) a++;
    return new Pass(number, this.size, a % this.size, hash(1) % this.size);
  }
}

/** One permutation of a walk's positions. Products stay below 2^40: exact. */
class Pass {
  readonly number: number;
  readonly size: number;
  readonly a: number;
  readonly b: number;
  readonly #aInverse: number;

  constructor(number: number, size: number, a: number, b: number) {
    this.number = number;
    this.size = size;
    this.a = a;
    this.b = b;
    this.#aInverse = inverse(a, size);
  }

  position(index: number): number {
    return (this.a * index + this.b) % this.size;
  }

  indexOf(position: number): number {
    return (this.#aInverse * (position - this.b + this.size)) % this.size;
  }
}

/** The writes of one hart: forwards by `cursor`, backwards by `lastWrite`. */
export class WritePattern {
  readonly #spec: WorkloadSpec;
  readonly #pages: number;
  readonly #harts: number;
  readonly #hart: number;
  readonly #main: Region;
  readonly #mainWalk: Walk;
  /** `hotset`: what lies outside. undefined = every write goes to the main region. */
  readonly #cold: Region | undefined;
  readonly #coldWalk: Walk | undefined;

  constructor(spec: WorkloadSpec, pages: number, harts: number, hart: number) {
    this.#spec = spec;
    this.#pages = pages;
    this.#harts = harts;
    this.#hart = hart;
    const hash = makeHash(spec.seed, 0x9a77);
    const firstPage = spec.hotPages > 0 ? hash(0) % pages : 0;
    this.#main = { firstPage, pages: spec.hotPages || pages };
    this.#mainWalk = this.#makeWalk(this.#main, hash(1 + hart));
    const rest = pages - this.#main.pages;
    // Fewer cold pages than harts would leave some hart without one: then nobody writes there.
    if (spec.pattern === 'hotset' && rest >= harts) {
      this.#cold = { firstPage: (firstPage + this.#main.pages) % pages, pages: rest };
      this.#coldWalk = this.#makeWalk(this.#cold, hash(101 + hart));
    }
  }

  /** The page of write `n` (0-based). For a loop use a cursor. */
  page(n: number): number {
    const cold = Math.floor(n / COLD_EVERY);
    if (this.#coldWalk === undefined) return this.#pageOf(this.#main, this.#mainWalk, n);
    if (n % COLD_EVERY !== COLD_EVERY - 1)
      return this.#pageOf(this.#main, this.#mainWalk, n - cold);
    return this.#pageOf(this.#cold!, this.#coldWalk, cold);
  }

  /**
   * Number (0-based) of the last of this hart's first `count` writes that went to the page; -1 when none
   * did or the page is another hart's.
   */
  lastWrite(page: number, count: number): number {
    if (this.#spec.pattern === 'idle') return -1;
    const coldDone = this.#coldWalk === undefined ? 0 : Math.floor(count / COLD_EVERY);
    const inMain = this.#place(this.#main, page);
    if (inMain >= 0) {
      const last = this.#mainWalk.lastWrite(inMain, count - coldDone);
      if (last < 0 || this.#coldWalk === undefined) return last;
      return last + Math.floor(last / (COLD_EVERY - 1));
    }
    if (this.#coldWalk === undefined) return -1;
    const inCold = this.#place(this.#cold!, page);
    if (inCold < 0) return -1;
    const last = this.#coldWalk.lastWrite(inCold, coldDone);
    return last < 0 ? -1 : last * COLD_EVERY + COLD_EVERY - 1;
  }

  /** Walks the writes from number `n` on, an addition each. */
  cursor(n: number): WriteCursor {
    const cold = this.#coldWalk === undefined ? 0 : Math.floor(n / COLD_EVERY);
    const walker = (region: Region, walk: Walk, index: number) =>
      new RegionCursor(
        walk,
        index,
        (region.firstPage + this.#hart) % this.#pages,
        this.#harts,
        this.#pages,
      );
    const main = walker(this.#main, this.#mainWalk, n - cold);
    if (this.#coldWalk === undefined) return main;
    return new MixedCursor(main, walker(this.#cold!, this.#coldWalk, cold), n);
  }

  #makeWalk(region: Region, seed: number): Walk {
    const size = Math.ceil((region.pages - this.#hart) / this.#harts);
    return new Walk(size, seed, this.#spec.pattern === 'sequential');
  }

  #pageOf(region: Region, walk: Walk, index: number): number {
    const number = Math.floor(index / walk.size);
    const position = walk.pass(number).position(index - number * walk.size);
    return (region.firstPage + position * this.#harts + this.#hart) % this.#pages;
  }

  /** Position of the page in this hart's walk of the region; -1 = not there. */
  #place(region: Region, page: number): number {
    const offset = (page - region.firstPage + this.#pages) % this.#pages;
    if (offset >= region.pages || offset % this.#harts !== this.#hart) return -1;
    return (offset - this.#hart) / this.#harts;
  }
}

export interface WriteCursor {
  /** The page of the next write; the cursor moves on. */
  next(): number;
}

class RegionCursor implements WriteCursor {
  readonly #walk: Walk;
  readonly #firstPage: number;
  readonly #harts: number;
  readonly #pages: number;
  #pass: Pass;
  #index: number;
  #position: number;

  constructor(walk: Walk, index: number, firstPage: number, harts: number, pages: number) {
    this.#walk = walk;
    this.#firstPage = firstPage;
    this.#harts = harts;
    this.#pages = pages;
    this.#pass = walk.pass(Math.floor(index / walk.size));
    this.#index = index % walk.size;
    this.#position = this.#pass.position(this.#index);
  }

  next(): number {
    let page = this.#firstPage + this.#position * this.#harts;
    if (page >= this.#pages) page -= this.#pages;
    this.#advance();
    return page;
  }

  #advance(): void {
    const { size, a, number } = this.#pass;
    if (++this.#index === size) {
      this.#pass = this.#walk.pass(number + 1);
      this.#index = 0;
      this.#position = this.#pass.position(0);
      return;
    }
    this.#position += a;
    if (this.#position >= size) this.#position -= size;
  }
}

class MixedCursor implements WriteCursor {
  readonly #main: RegionCursor;
  readonly #cold: RegionCursor;
  #phase: number;

  constructor(main: RegionCursor, cold: RegionCursor, n: number) {
    this.#main = main;
    this.#cold = cold;
    this.#phase = n % COLD_EVERY;
  }

  next(): number {
    const phase = this.#phase;
    this.#phase = (phase + 1) % COLD_EVERY;
    return phase === COLD_EVERY - 1 ? this.#cold.next() : this.#main.next();
  }
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}

/** x with a * x = 1 modulo m (extended Euclid); a is prime to m. */
function inverse(a: number, m: number): number {
  let [r0, r1, x0, x1] = [m, a % m, 0, 1];
  while (r1 !== 0) {
    const q = Math.floor(r0 / r1);
    [r0, r1, x0, x1] = [r1, r0 - q * r1, x1, x0 - q * x1];
  }
  return ((x0 % m) + m) % m;
}
