/**
 * Bitmaps of pages: 32 pages a word, page p is bit p % 32 of word p / 32, in a plain Uint32Array that
 * one thread owns. Pure; the shared bitmap that harts mark is dirty-log.ts.
 *
 * Guest RAM comes in steps of 256 pages, so a bitmap has no bits past its last page.
 */

/** A zeroed bitmap for so many pages. */
export function makeBitmap(pages: number): Uint32Array<ArrayBuffer> {
  return new Uint32Array((pages + 31) >>> 5);
}

/** Set bits of one word. */
export function popcount32(word: number): number {
  // Sums of 2, 4, then 8 bits side by side; the multiplication adds the four bytes up.
  let v = word - ((word >>> 1) & 0x55555555);
  v = (v & 0x33333333) + ((v >>> 2) & 0x33333333);
  return Math.imul((v + (v >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}

/** Pages in the bitmap. */
export function popcount(bitmap: Uint32Array): number {
  let count = 0;
  for (let i = 0; i < bitmap.length; i++) count += popcount32(bitmap[i]!);
  return count;
}

export function testBit(bitmap: Uint32Array, page: number): boolean {
  return ((bitmap[page >>> 5]! >>> (page & 31)) & 1) === 1;
}

export function setBit(bitmap: Uint32Array, page: number): void {
  bitmap[page >>> 5]! |= 1 << (page & 31);
}

export function clearBit(bitmap: Uint32Array, page: number): void {
  bitmap[page >>> 5]! &= ~(1 << (page & 31));
}

/** into |= from; the longer of the two keeps its tail. */
export function orInto(into: Uint32Array, from: Uint32Array): void {
  const words = Math.min(into.length, from.length);
  for (let i = 0; i < words; i++) into[i]! |= from[i]!;
}

/** Whether some page is in both. */
export function intersects(a: Uint32Array, b: Uint32Array): boolean {
  const words = Math.min(a.length, b.length);
  for (let i = 0; i < words; i++) if ((a[i]! & b[i]!) !== 0) return true;
  return false;
}

/** Calls `visit` with each page of the bitmap, rising. */
export function forEachPage(bitmap: Uint32Array, visit: (page: number) => void): void {
  for (let i = 0; i < bitmap.length; i++) {
    let word = bitmap[i]!;
    while (word !== 0) {
      const lowest = word & -word;
      visit((i << 5) + (31 - Math.clz32(lowest)));
      word ^= lowest;
    }
  }
}

/**
 * Calls `visit` with each longest run of neighbouring pages, rising, cut at `runPagesMax`.
 * A run is what may be written by reference as one piece.
 */
export function forEachRun(
  bitmap: Uint32Array,
  runPagesMax: number,
  visit: (firstPage: number, pages: number) => void,
): void {
  let first = 0;
  let length = 0;
  forEachPage(bitmap, (page) => {
    if (length > 0 && page === first + length && length < runPagesMax) {
      length++;
      return;
    }
    if (length > 0) visit(first, length);
    first = page;
    length = 1;
  });
  if (length > 0) visit(first, length);
}

/** The first page at or after `from`, or -1. */
export function nextPage(bitmap: Uint32Array, from: number): number {
  let i = from >>> 5;
  if (i >= bitmap.length) return -1;
  let word = bitmap[i]! & (-1 << (from & 31));
  while (word === 0) {
    if (++i >= bitmap.length) return -1;
    word = bitmap[i]!;
  }
  return (i << 5) + (31 - Math.clz32(word & -word));
}
