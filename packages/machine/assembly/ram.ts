/**
 * The ten ways a hart reaches memory. Nothing else in the core loads or stores guest RAM.
 *
 * execute -> [ram] -> TLB hit: one load or store
 *                  -> miss: translate, then RAM through gate and mark, or a device
 *
 * Misaligned loads and stores work, within a page and across two; a crossing store has both pages in
 * hand before it changes a byte. In case of doubt an access has had no effect and says so in the outcome.
 */
import { deviceAt, NOTHING, readDevice, writeDevice } from './bus';
import { COPY } from './code';
import { core, DONE, DONE_LOOK_UP, raise } from './core';
import { afterStore } from './htif';
import { HART_X } from './machine-map.ts';
import { PAGE_SIZE } from './memory-map.ts';
import { armAgain, codeAt, fillFetch, fillRead, fillWrite, isRam, isWatched, lookUp, NO_PLACE, PAGE_MASK } from './mmu';
import { LOAD_MISALIGNED, STORE_MISALIGNED } from './trap';
import { accessFault, FETCH, NO_ADDRESS, READ, translate, WRITE } from './walk';

/**
 * 1: load into a register (`rd` is its place), extended as T says; returns the outcome. A load that did
 * not happen leaves the register alone: it may be the load's own base, and the load is executed again.
 */
@inline export function loadT<T>(reads: usize, address: u64, rd: usize, left: u32): i32 {
  const place = lookUp<T>(reads, address);
  if (place != NO_PLACE) {
    store<u64>(rd, <u64>load<T>(place), HART_X);
    return DONE;
  }
  core.left = left;
  loadSlow<T>(address, rd);
  return core.outcome;
}

/** 2: store; returns the outcome. */
@inline export function storeT<T>(writes: usize, address: u64, value: u64, left: u32): i32 {
  const place = lookUp<T>(writes, address);
  if (place != NO_PLACE) {
    store<T>(place, <T>value);
    return DONE;
  }
  core.left = left;
  storeSlow<T>(address, value);
  return core.outcome;
}

@inline function crosses(address: u64, size: u32): bool {
  return (<u32>address & (PAGE_SIZE - 1)) + size > <u32>PAGE_SIZE;
}

/** 3: load on a miss, into the register at `rd`. */
export function loadSlow<T>(address: u64, rd: usize): void {
  const value = loadMissed<T>(address);
  if (core.outcome == DONE) store<u64>(rd, value, HART_X);
}

function loadMissed<T>(address: u64): u64 {
  if (crosses(address, sizeof<T>())) return loadCrossing<T>(address);
  const physical = translate(address, READ);
  if (!isRam(physical)) return loadDevice<T>(address, physical);
  const place = fillRead(address, physical);
  return place == NO_PLACE ? 0 : <u64>load<T>(place);
}

function loadDevice<T>(address: u64, physical: u64): u64 {
  if (physical == NO_ADDRESS) return 0;
  const device = deviceAt(physical, sizeof<T>());
  if (device != NOTHING) return <u64><T>readDevice(device, physical, sizeof<T>());
  raise(accessFault(READ), address);
  return 0;
}

/** Place of one byte for reading, or NO_PLACE with an outcome. */
function readPlace(address: u64): usize {
  const physical = translate(address, READ);
  if (isRam(physical)) return fillRead(address, physical);
  if (physical != NO_ADDRESS) raise(accessFault(READ), address);
  return NO_PLACE;
}

/** 4: load over two pages, byte by byte. */
function loadCrossing<T>(address: u64): u64 {
  const second = (address + sizeof<T>() - 1) & PAGE_MASK;
  const low = readPlace(address);
  if (low == NO_PLACE) return 0;
  const high = readPlace(second);
  if (high == NO_PLACE) return 0;
  const split = <u32>(second - address);
  let value: u64 = 0;
  for (let i: u32 = 0; i < sizeof<T>(); i++) {
    const byte = load<u8>(i < split ? low + i : high + i - split);
    value |= <u64>byte << (i << 3);
  }
  return <u64><T>value;
}

/** 5: store on a miss. */
export function storeSlow<T>(address: u64, value: u64): void {
  if (crosses(address, sizeof<T>())) {
    storeCrossing<T>(address, value);
    return;
  }
  const armed = armAgain(address);
  if (armed != NO_PLACE) {
    store<T>(armed, <T>value);
    return;
  }
  const physical = translate(address, WRITE);
  if (!isRam(physical)) {
    storeDevice<T>(address, physical, value);
    return;
  }
  const place = fillWrite(address, physical);
  if (place == NO_PLACE) return;
  store<T>(place, <T>value);
  if (isWatched(physical)) afterStore(physical, sizeof<T>());
}

function storeDevice<T>(address: u64, physical: u64, value: u64): void {
  if (physical == NO_ADDRESS) return;
  const device = deviceAt(physical, sizeof<T>());
  if (device == NOTHING) {
    raise(accessFault(WRITE), address);
    return;
  }
  writeDevice(device, physical, sizeof<T>(), value);
  // It may have raised an interrupt or ended the guest; or it wants a page first, and RETRY stays.
  if (core.outcome == DONE) core.outcome = DONE_LOOK_UP;
}

/** Place of one byte for writing, its page marked, or NO_PLACE with an outcome. */
function writePlace(address: u64): usize {
  const armed = armAgain(address);
  if (armed != NO_PLACE) return armed;
  const physical = translate(address, WRITE);
  if (isRam(physical)) return fillWrite(address, physical);
  if (physical != NO_ADDRESS) raise(accessFault(WRITE), address);
  return NO_PLACE;
}

/** 6: store over two pages. A wait for the second one voids the first: see gate.ts. */
function storeCrossing<T>(address: u64, value: u64): void {
  const second = (address + sizeof<T>() - 1) & PAGE_MASK;
  const low = writePlace(address);
  if (low == NO_PLACE) return;
  const high = writePlace(second);
  if (high == NO_PLACE) return;
  const split = <u32>(second - address);
  for (let i: u32 = 0; i < sizeof<T>(); i++) {
    store<u8>(i < split ? low + i : high + i - split, <u8>(value >> (i << 3)));
  }
}

/** 7: place of an aligned T for LR. NO_PLACE: look at the outcome. */
export function placeToReserve<T>(address: u64): usize {
  if (address & (sizeof<T>() - 1)) {
    raise(LOAD_MISALIGNED, address);
    return NO_PLACE;
  }
  const place = lookUp<T>(core.reads, address);
  return place != NO_PLACE ? place : readPlace(address);
}

/** 8: place of an aligned T for SC and AMO, its page marked. NO_PLACE: look at the outcome. */
export function placeToModify<T>(address: u64): usize {
  if (address & (sizeof<T>() - 1)) {
    raise(STORE_MISALIGNED, address);
    return NO_PLACE;
  }
  const place = lookUp<T>(core.writes, address);
  return place != NO_PLACE ? place : writePlace(address);
}

/** 9: the decoded code of the page of an instruction (code.ts). NO_PLACE: look at the outcome. */
export function placeToFetch(address: u64): usize {
  const slot = codeAt(core.fetches, address);
  if (slot != NO_PLACE) return slot;
  const physical = translate(address, FETCH);
  if (isRam(physical)) return fillFetch(address, physical);
  if (physical != NO_ADDRESS) raise(accessFault(FETCH), address);
  return NO_PLACE;
}

/** 10: the second half of an instruction that crosses into the page at `address`. */
export function fetchHigh(address: u64): u32 {
  const slot = placeToFetch(address);
  return slot == NO_PLACE ? 0 : <u32>load<u16>(slot + COPY);
}
