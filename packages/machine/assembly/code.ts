/**
 * Decoded instructions: each hart keeps, for pages it executes, an entry for each halfword.
 *
 * fetch -> TLB miss -> gate -> [code: slot of the page] -> execute
 *
 * An entry is 8 bytes, filled when it is first executed (predecode.ts):
 *
 *   0 operation | 1 rd | 2 rs1 | 3 rs2 | 4 step to the next entry in bytes, 5..7 immediate (signed)
 *
 * rd = 32 stands for x0: a slot of the register file that nobody reads. A slot holds the 2048 entries of
 * a page, two more that lead out of it, the bytes they were decoded from, and the number of the page in
 * RAM; one of two is chosen by that number, so that a change of translation costs no decoded instruction.
 *
 * Stale code. The manual lets a hart execute old bytes until its FENCE.I, so nobody watches stores, DMA
 * or landing pages: FENCE.I (and a fence for other harts, and each start of the hart) drops the fetch
 * entries and begins a new era, and a slot from an earlier era is compared with RAM, 4 KiB, before it is
 * used again. What is decoded comes from the copy, never from RAM, so a slot is always of one piece.
 *
 * The hart's own thread only. Nothing of this is moved with a guest.
 */
import { core } from './core';
import { PROFILE_PAGES_COMPARED, PROFILE_PAGES_DECODED } from './machine-map.ts';
import {
  DECODE, DECODE_SIZE, PAGE_SHIFT, PAGE_SIZE, RAM, TLB_ARRAY_SIZE, TLB_EMPTY_BYTE, TLB_FETCH,
} from './memory-map.ts';
import { DO_PAGE_END } from './operations';
import { tally } from './profile';

export const ENTRY_SIZE: usize = 8;
/** Entries of a page: 8 bytes a halfword. */
const ENTRIES_SIZE: usize = <usize>PAGE_SIZE / 2 * ENTRY_SIZE;
/** A 16-bit or 32-bit instruction at the page's end steps to the first or second of these. */
const ENDS_SIZE: usize = 64;
/** The page's bytes, and two more for an instruction across the end. */
export const COPY: usize = ENTRIES_SIZE + ENDS_SIZE;
const PAGE_NUMBER: usize = COPY + <usize>PAGE_SIZE + 8;
const ERA: usize = PAGE_NUMBER + 4;
const SLOT_SIZE: usize = COPY + <usize>PAGE_SIZE + 64;

/** Before a hart's slots: its present era (32 bits). */
const HEADER_SIZE: usize = 64;
const SLOTS: u32 = <u32>((<usize>DECODE_SIZE - HEADER_SIZE) / SLOT_SIZE);
/** Pairs of slots; the first slot is the crossing one. */
const PAIRS: u32 = (SLOTS - 1) / 2;
/** In the first slot of a pair: 1 = it was asked for last, so that the other one is given up. */
const LAST: usize = ERA + 4;

@inline function region(): usize { return DECODE + <usize>core.number * DECODE_SIZE; }
@inline function slotAt(index: u32): usize { return region() + HEADER_SIZE + <usize>index * SLOT_SIZE; }

/** The slot in which an instruction across two pages is put together; never a page's. */
export function crossingSlot(): usize { return slotAt(0); }

function dropFetches(): void {
  memory.fill(core.tlb + TLB_FETCH, <u8>TLB_EMPTY_BYTE, TLB_ARRAY_SIZE);
}

/** What was decoded until now is not used again before it was compared with RAM. */
export function dropCode(): void {
  dropFetches();
  store<u32>(region(), load<u32>(region()) + 1);
}

function isCopy(slot: usize, place: usize): bool {
  for (let at: usize = 0; at < <usize>PAGE_SIZE; at += 64) {
    const a = v128.xor(v128.load(slot + COPY + at), v128.load(place + at));
    const b = v128.xor(v128.load(slot + COPY + at, 16), v128.load(place + at, 16));
    const c = v128.xor(v128.load(slot + COPY + at, 32), v128.load(place + at, 32));
    const d = v128.xor(v128.load(slot + COPY + at, 48), v128.load(place + at, 48));
    if (v128.any_true(v128.or(v128.or(a, b), v128.or(c, d)))) return false;
  }
  return true;
}

/** Makes every entry of the slot one to be decoded. */
function clear(slot: usize): void {
  memory.fill(slot, 0, ENTRIES_SIZE + ENDS_SIZE);
  store<u8>(slot + ENTRIES_SIZE, DO_PAGE_END);
  store<u8>(slot + ENTRIES_SIZE + ENTRY_SIZE, DO_PAGE_END);
}

/** Of the two slots a page may be in, the one it is in, or else the one that was not asked for last. */
function chosenFor(page: u32): usize {
  const first = slotAt(1 + 2 * (page % PAIRS));
  const known = load<u32>(first + PAGE_NUMBER);
  const other = load<u32>(first + SLOT_SIZE + PAGE_NUMBER);
  const isFirst = known == page + 1 || (other != page + 1 && load<u8>(first + LAST) == 0);
  store<u8>(first + LAST, isFirst ? 1 : 0);
  return isFirst ? first : first + SLOT_SIZE;
}

/** The slot of the page of RAM at this place, with its present bytes. The page is here (gate.ts). */
export function slotOf(place: usize): usize {
  const page = <u32>((place - RAM) >> PAGE_SHIFT);
  const start = RAM + (<usize>page << PAGE_SHIFT);
  const slot = chosenFor(page);
  const era = load<u32>(region());
  const known = load<u32>(slot + PAGE_NUMBER);
  if (known == page + 1 && load<u32>(slot + ERA) == era) return slot;
  if (known == page + 1) tally(PROFILE_PAGES_COMPARED);
  if (known != page + 1 || !isCopy(slot, start)) {
    tally(PROFILE_PAGES_DECODED);
    // Fetch entries of the page that was here must not lead to the new one.
    if (known) dropFetches();
    clear(slot);
    memory.copy(slot + COPY, start, PAGE_SIZE);
    store<u32>(slot + PAGE_NUMBER, page + 1);
  }
  store<u32>(slot + ERA, era);
  return slot;
}

/** Its one entry in use, the last of a page; the next two lead on. */
export function crossingEntry(): usize { return crossingSlot() + ENTRIES_SIZE - ENTRY_SIZE; }

/** Makes it the place of this instruction. */
export function prepareCrossing(instruction: u32): void {
  const slot = crossingSlot();
  store<u8>(slot + ENTRIES_SIZE, DO_PAGE_END);
  store<u8>(slot + ENTRIES_SIZE + ENTRY_SIZE, DO_PAGE_END);
  store<u32>(slot + COPY + <usize>PAGE_SIZE - 2, instruction);
}
