/**
 * Digests of single pages, made by all channel threads of an end together.
 *
 *   main: hash these pages -> [each thread: a share] -> 8 bytes a page in shared memory
 *
 * Only for memory that nobody writes: a stopped guest. Threads take batches with one atomic add and
 * let their event loop turn in between, so that sockets do not wait for a gigabyte.
 */
import { setImmediate } from 'node:timers/promises';
import { type GuestMemory, loadPageOps, memoryMap } from '@godwit/machine/memory';
import { PAGE_BYTES } from '@godwit/protocol';

/** About a millisecond's work. */
const BATCH_PAGES = 1024;

/** Digests in page order, one a page. */
export type PageHashes = BigUint64Array<SharedArrayBuffer>;

export const pageHashes = (pages: number): PageHashes =>
  new BigUint64Array(new SharedArrayBuffer(pages * BigUint64Array.BYTES_PER_ELEMENT));

export interface HashWork {
  /** Which pages, 32 a word; null for all of them. */
  readonly which: Uint32Array | null;
  readonly into: PageHashes;
  /** One shared word, 0 at the start: the next batch. */
  readonly cursor: SharedArrayBuffer;
}

/** Does batches until none is left. */
export async function hashShare(guest: GuestMemory, work: HashWork): Promise<void> {
  const cursor = new Int32Array(work.cursor);
  const pageOps = loadPageOps(guest.memory);
  for (;;) {
    const first = Atomics.add(cursor, 0, 1) * BATCH_PAGES;
    if (first >= guest.pages) return;
    const end = Math.min(first + BATCH_PAGES, guest.pages);
    for (let page = first; page < end; page++) {
      if (work.which !== null && ((work.which[page >>> 5]! >>> (page & 31)) & 1) === 0) continue;
      work.into[page] = pageOps.hash64(memoryMap.RAM + page * PAGE_BYTES);
    }
    await setImmediate();
  }
}
