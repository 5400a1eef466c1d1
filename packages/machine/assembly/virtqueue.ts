/**
 * A split virtqueue as the device sees it (Virtual I/O Device specification 1.2, section 2.7).
 *
 * available ring -> head -> [virtqueue: walk the chain] -> segments of RAM -> used ring
 *
 * The rings are the guest's, and a guest is a stranger: each address, index and length is checked
 * where it is used. A chain is accepted whole or not at all: takeChain() finds every page of it and of
 * the rings before the device moves a byte. What breaks the rules is BROKEN (the transport then asks
 * for a reset); what lacks a page is MISSING, has changed nothing and comes again.
 * Under the devices' lock.
 */
import { core } from './core';
import { isMissing, reach } from './dma';
import {
  HART_SCRATCH, QUEUE_DESC, QUEUE_DEVICE, QUEUE_DRIVER, QUEUE_NUM, QUEUE_NUM_MAX, QUEUE_TAKEN,
} from './machine-map.ts';
import { NO_PLACE } from './mmu';

/** takeChain: nothing is available; something is not as the specification says; a page is not here. */
export const EMPTY: i32 = 0;
export const BROKEN: i32 = -1;
export const MISSING: i32 = -2;

/** Bytes of one chain: more than any driver sends at once, little enough that a stop does not wait for it. */
export const CHAIN_BYTES_MAX: u64 = 65536;

// Descriptor: address u64, length u32, flags u16, next u16 (section 2.7.5).
const DESC_SIZE: u64 = 16;
const DESC_NEXT: u32 = 1;
const DESC_WRITE: u32 = 2;
const DESC_INDIRECT: u32 = 4;
// Available ring: flags u16, index u16, heads u16 each (section 2.7.6).
const AVAIL_NO_INTERRUPT: u32 = 1;
// Used ring: flags u16, index u16, {id u32, bytes u32} each (section 2.7.8).
const USED_ELEMENT_SIZE: u64 = 8;

/** Scratch of the hart: {place u32, length u32} of each segment; entropy's block comes before it. */
const SEGMENTS = HART_SCRATCH + 64;

let queue: usize = 0;
let num: u64 = 0;
let available: usize = 0;
let used: usize = 0;
let head: u32 = 0;

@inline function get(field: usize): u64 { return atomic.load<u64>(queue + field); }

/** Why reach() failed. */
@inline function failure(): i32 { return isMissing() ? MISSING : BROKEN; }

@inline export function segmentPlace(n: i32): usize { return load<u32>(core.block + SEGMENTS + <usize>n * 8); }
@inline export function segmentBytes(n: i32): u32 { return load<u32>(core.block + SEGMENTS + <usize>n * 8, 4); }

/** Finds both rings; 1, BROKEN or MISSING. The used ring is marked: something is going to be put there. */
function openRings(): i32 {
  num = get(QUEUE_NUM);
  if ((get(QUEUE_DESC) & 15) || (get(QUEUE_DRIVER) & 1) || (get(QUEUE_DEVICE) & 3)) return BROKEN;
  available = reach(get(QUEUE_DRIVER), 6 + 2 * num, false);
  if (available == NO_PLACE) return failure();
  used = reach(get(QUEUE_DEVICE), 6 + USED_ELEMENT_SIZE * num, true);
  return used == NO_PLACE ? failure() : 1;
}

/** Walks the chain at `head`: the number of its segments, BROKEN or MISSING. */
function walk(writable: bool): i32 {
  const table = reach(get(QUEUE_DESC), DESC_SIZE * num, false);
  if (table == NO_PLACE) return failure();
  let index = head;
  let total: u64 = 0;
  for (let n: i32 = 0; n < <i32>num; n++) {
    if (<u64>index >= num) return BROKEN;
    const descriptor = table + <usize>index * <usize>DESC_SIZE;
    const bytes = load<u32>(descriptor, 8);
    const flags = <u32>load<u16>(descriptor, 12);
    total += bytes;
    if (flags & DESC_INDIRECT || ((flags & DESC_WRITE) != 0) != writable) return BROKEN;
    if (!bytes || total > CHAIN_BYTES_MAX) return BROKEN;
    const place = reach(load<u64>(descriptor), bytes, writable);
    if (place == NO_PLACE) return failure();
    const segment = core.block + SEGMENTS + <usize>n * 8;
    store<u32>(segment, <u32>place);
    store<u32>(segment, bytes, 4);
    if (!(flags & DESC_NEXT)) return n + 1;
    index = <u32>load<u16>(descriptor, 14);
  }
  return BROKEN; // longer than the queue: it goes in a circle
}

/**
 * The next available chain of a queue whose buffers the device writes (or, `writable` false, reads): the
 * number of its segments, or EMPTY, BROKEN, MISSING. Nothing is taken before giveBack().
 */
export function takeChain(block: usize, writable: bool): i32 {
  queue = block;
  const opened = openRings();
  if (opened < 0) return opened;
  const taken = <u16>get(QUEUE_TAKEN);
  const offered = atomic.load<u16>(available + 2) - taken;
  if (!offered) return EMPTY;
  if (<u64>offered > num) return BROKEN;
  head = <u32>load<u16>(available + 4 + <usize>(<u64>taken & (num - 1)) * 2);
  return walk(writable);
}

/** Puts the chain into the used ring with so many bytes written. True: the driver wants an interrupt. */
export function giveBack(bytes: u32): bool {
  const taken = <u16>get(QUEUE_TAKEN);
  const element = used + 4 + <usize>(<u64>taken & (num - 1)) * <usize>USED_ELEMENT_SIZE;
  store<u32>(element, head);
  store<u32>(element, bytes, 4);
  atomic.store<u16>(used + 2, taken + 1);
  atomic.store<u64>(queue + QUEUE_TAKEN, <u64>(taken + 1));
  return (atomic.load<u16>(available) & <u16>AVAIL_NO_INTERRUPT) == 0;
}

/** Whether a queue of this length can be (section 2.7: a power of 2). */
export function isQueueLength(length: u64): bool {
  return length != 0 && length <= <u64>QUEUE_NUM_MAX && (length & (length - 1)) == 0;
}
