/**
 * The one way a device reaches guest RAM: through the gate and the dirty log, like a hart.
 *
 * virtio, sbi, htif -> [dma: in RAM? here? marked] -> a place in this memory
 *
 * Devices have no thread of their own: the hart that rings one executes it. A request names all its
 * memory first and acts when all of it is here; if a page is missing it has done nothing, the hart
 * waits for the page (never while it holds the devices' lock), and the request is made again from its
 * start: by executing the instruction anew, or at the next look of the hart's loop. So a stop, a harvest
 * or a capture never meets a request half done, and there is nothing in flight to be moved.
 */
import { core, RETRY } from './core';
import { markFill } from './dirty';
import { admit, isHere } from './gate';
import { RAM_BASE } from './machine-map.ts';
import { PAGE_SHIFT, RAM } from './memory-map.ts';
import { NO_PLACE } from './mmu';

const NO_PAGE: i64 = -1;

/** The page that the last reach() did without, or NO_PAGE. */
let missing: i64 = NO_PAGE;

/**
 * Place of a range of RAM whose pages are all here; with `writes` they are marked, which holds until the
 * hart's next safepoint. NO_PLACE: the range is not all RAM, or (isMissing) one of its pages is not here.
 */
export function reach(physical: u64, bytes: u64, writes: bool): usize {
  missing = NO_PAGE;
  const offset = physical - RAM_BASE;
  if (!bytes || offset >= core.ramBytes || bytes > core.ramBytes - offset) return NO_PLACE;
  const last = <u32>((offset + bytes - 1) >> PAGE_SHIFT);
  for (let page = <u32>(offset >> PAGE_SHIFT); page <= last; page++) {
    if (!isHere(page)) {
      missing = <i64>page;
      return NO_PLACE;
    }
    if (writes) markFill(page);
  }
  return RAM + <usize>offset;
}

/** Whether the last reach() failed for want of a page. */
export function isMissing(): bool { return missing != NO_PAGE; }

/** Waits for the page that reach() did without; the outcome is RETRY then. Not under the devices' lock. */
export function awaitMissing(): void {
  if (missing == NO_PAGE) return;
  admit(<u32>missing);
  missing = NO_PAGE;
  core.outcome = RETRY; // also when the page landed just before the wait
}

/** reach() and the wait in one, for a request of one range: NO_PLACE with the outcome RETRY is a wait. */
export function reachOrWait(physical: u64, bytes: u64, writes: bool): usize {
  const place = reach(physical, bytes, writes);
  if (place == NO_PLACE) awaitMissing();
  return place;
}
