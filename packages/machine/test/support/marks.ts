/** What the skipping of untouched pages rests on: a page with content was marked when it got it. */
import { makeBitmap, testBit } from '../../src/bitmap.ts';
import { DirtyLog } from '../../src/dirty-log.ts';
import type { GuestMemory } from '../../src/guest-memory.ts';
import { loadPageOps } from '../../src/page-ops.ts';

/** Pages that hold something and were never marked, of a stopped guest whose RAM began as zeros. */
export async function unmarkedContent(
  guest: GuestMemory,
): Promise<{ unmarked: number[]; touched: number }> {
  const log = new DirtyLog(guest);
  log.beganAsZerosBut(makeBitmap(guest.pages));
  await log.startLog();
  const { touched } = log;
  const { isZero } = loadPageOps(guest.memory);
  const unmarked: number[] = [];
  let count = 0;
  for (let page = 0; page < guest.pages; page++) {
    if (testBit(touched, page)) count++;
    else if (!isZero(guest.ramOffset(page))) unmarked.push(page);
  }
  return { unmarked, touched: count };
}
