/**
 * The dirty log and the heat map: one bit and one byte a page.
 *
 * write fill -> [mark] -> TLB entry -> stores without a mark
 *
 * Marked before the write entry exists, so every store through an entry comes after the mark. A harvest
 * disarms the entries after it took the bits; a page is marked before its entry is armed again. Devices
 * write first and mark after, since no flush makes them wait.
 */
import { CONTROL_WRITE_FILLS, DIRTY, HEAT } from './memory-map.ts';

export function mark(page: u32): void {
  atomic.or<u32>(DIRTY + ((page >> 5) << 2), 1 << (page & 31));
}

/** Counts a use of the page, up to 255. Not atomic: a count lost between harts changes nothing. */
export function warm(page: u32): void {
  const heat = load<u8>(HEAT + page);
  if (heat != 255) store<u8>(HEAT + page, heat + 1);
}

export function markFill(page: u32): void {
  mark(page);
  warm(page);
  atomic.add<u64>(CONTROL_WRITE_FILLS, 1);
}
