/**
 * Translation: from a virtual address to a place in this memory, through the gate and into the TLB.
 *
 * access -> TLB miss -> [translate -> gate -> mark -> entry] -> access
 *
 * Which set of entries is in use depends on the privilege (status.ts). An entry for loads or stores is
 * {tag: u64, addend: u32}: tag = virtual address of the page, addend = what to add to the low 32 bits of
 * a virtual address to get an offset in this memory. One for fetches has the page's decoded code in the
 * addend's place (code.ts). All ones is never a page's address, so it is the tag of an empty entry.
 */
import { slotOf } from './code';
import { core } from './core';
import { warm, markFill } from './dirty';
import { admit } from './gate';
import {
  DEVICES_TOHOST, PROFILE_ARMED_AGAIN, PROFILE_FETCH_MISSES, PROFILE_READ_MISSES, PROFILE_WRITE_MISSES, RAM_BASE,
} from './machine-map.ts';
import { PAGE_SHIFT, PAGE_SIZE, RAM, TLB_DISARMED, TLB_ENTRIES, TLB_ENTRY_SIZE } from './memory-map.ts';
import { tally } from './profile';
import { noteBorrowed, noteSuperpage } from './status';
import { walked } from './walk';

export const PAGE_MASK: u64 = ~<u64>(PAGE_SIZE - 1);
/** Where a page that is not mapped would be: the fills return it, and it is never valid. */
export const NO_PLACE: usize = 0;

/** The TLB entry a virtual address belongs to; `way` is core.reads, core.writes or core.fetches. */
@inline function entryOf(way: usize, address: u64): usize {
  return way + ((<usize>address >> PAGE_SHIFT) & (TLB_ENTRIES - 1)) * TLB_ENTRY_SIZE;
}

/**
 * Where a naturally aligned T at `address` lies in this memory, or NO_PLACE: no entry, or not aligned.
 * One comparison does both, as the low bits of a tag are 0.
 */
@inline export function lookUp<T>(way: usize, address: u64): usize {
  const entry = entryOf(way, address);
  const wanted = address & (PAGE_MASK | <u64>(sizeof<T>() - 1));
  return load<u64>(entry) == wanted ? <usize>address + load<u32>(entry, 8) : NO_PLACE;
}

@inline export function isRam(physical: u64): bool { return physical - RAM_BASE < core.ramBytes; }

@inline function pageOf(physical: u64): u32 { return <u32>((physical - RAM_BASE) >> PAGE_SHIFT); }

@inline export function placeOf(physical: u64): usize { return RAM + <usize>(physical - RAM_BASE); }

/** The entry for what was just translated. */
function install(way: usize, address: u64, value: usize): void {
  const entry = entryOf(way, address);
  if (walked.borrowed) noteBorrowed(entry);
  if (walked.superpage) noteSuperpage(address);
  store<u64>(entry, address & PAGE_MASK);
  store<u32>(entry, value, 8);
}

/** Place of a RAM address for loads. NO_PLACE: look at the outcome. */
export function fillRead(address: u64, physical: u64): usize {
  tally(PROFILE_READ_MISSES);
  if (!admit(pageOf(physical))) return NO_PLACE;
  const place = placeOf(physical);
  install(core.reads, address, place - <usize>address);
  return place;
}

/** The decoded code of a RAM address's page, for fetches. NO_PLACE: look at the outcome. */
export function fillFetch(address: u64, physical: u64): usize {
  tally(PROFILE_FETCH_MISSES);
  if (!admit(pageOf(physical))) return NO_PLACE;
  const slot = slotOf(placeOf(physical));
  install(core.fetches, address, slot);
  return slot;
}

/** The decoded code of an address's page if a fetch entry knows it, else NO_PLACE. */
@inline export function codeAt(fetches: usize, address: u64): usize {
  const entry = entryOf(fetches, address);
  return load<u64>(entry) == (address & PAGE_MASK) ? <usize>load<u32>(entry, 8) : NO_PLACE;
}

/**
 * Place of a RAM address for stores; marks the page. The page of `tohost` gets no entry, so that every
 * store to it comes here and is seen by the host interface.
 */
export function fillWrite(address: u64, physical: u64): usize {
  tally(PROFILE_WRITE_MISSES);
  if (!admit(pageOf(physical))) return NO_PLACE;
  markFill(pageOf(physical));
  const place = placeOf(physical);
  if (!isWatched(physical)) install(core.writes, address, place - <usize>address);
  return place;
}

/**
 * Place of an address for stores whose entry a harvest disarmed; marks the page. What the entry says holds
 * until somebody drops it, so this is no fill: no walk, and a page that was here is here. NO_PLACE: there is
 * no such entry.
 */
export function armAgain(address: u64): usize {
  const entry = entryOf(core.writes, address);
  const page = address & PAGE_MASK;
  if (load<u64>(entry) != (page | TLB_DISARMED)) return NO_PLACE;
  tally(PROFILE_ARMED_AGAIN);
  const place = <usize>address + load<u32>(entry, 8);
  markFill(<u32>((place - RAM) >> PAGE_SHIFT));
  store<u64>(entry, page);
  return place;
}

export function isWatched(physical: u64): bool {
  const tohost = atomic.load<u64>(DEVICES_TOHOST);
  return tohost != 0 && ((physical ^ tohost) & PAGE_MASK) == 0;
}
