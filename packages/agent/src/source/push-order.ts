/**
 * In which order missing pages are pushed: what the guest wrote most lately comes first.
 *
 *   heat of the source's pages -> [push order] -> push table
 *
 * Heat is counted by the harts' write fills and halved now and then; a page that was hot here will be
 * asked for there. Chunks of equal heat keep the order of memory, so that a cold guest is pushed as it
 * lies. A counting sort, because it runs while the guest waits for its first pages. Pure.
 */
import { type GuestMemory, heatOf } from '@godwit/machine';
import { PUSH_PAGES_MAX } from '@godwit/protocol';

/** A chunk is as hot as its hottest page: one byte. */
const HEATS = 256;

/** All chunks of the guest, hottest first. */
export function hottestFirst(guest: GuestMemory): Uint32Array<ArrayBuffer> {
  const heat = heatOf(guest);
  const chunks = Math.ceil(guest.pages / PUSH_PAGES_MAX);
  const hottestOf = new Uint8Array(chunks);
  const counts = new Uint32Array(HEATS);
  for (let chunk = 0; chunk < chunks; chunk++) {
    let hottest = 0;
    const end = Math.min((chunk + 1) * PUSH_PAGES_MAX, guest.pages);
    for (let page = chunk * PUSH_PAGES_MAX; page < end; page++) {
      hottest = Math.max(hottest, heat[page]!);
    }
    hottestOf[chunk] = hottest;
    counts[hottest]!++;
  }
  const next = new Uint32Array(HEATS);
  for (let value = HEATS - 2; value >= 0; value--)
    next[value] = next[value + 1]! + counts[value + 1]!;
  const order = new Uint32Array(chunks);
  for (let chunk = 0; chunk < chunks; chunk++) order[next[hottestOf[chunk]!]!++] = chunk;
  return order;
}
