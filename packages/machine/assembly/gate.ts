/**
 * The gate every first access to a page goes through: is the page here yet?
 *
 * TLB fill -> [gate] -> fault slot -> the agent's faults thread fetches the page -> wake
 *
 * Only fills look, hits never do: a present page does not become absent again while the guest runs.
 * A hart that had to wait tells its caller to execute the instruction anew from its start. It was
 * parked, so a harvest may have disarmed its write entries, and an address obtained before the wait
 * (the first page of a crossing store) is no longer covered by a mark.
 */
import { core, RETRY } from './core';
import { warm } from './dirty';
import {
  CONTROL_BELL_FAULT, CONTROL_FAULTS, CONTROL_GATED, CONTROL_RUN, FAULT_NONE, FAULT_WAITING,
  HART_FAULT_PAGE, HART_FAULT_SEQUENCE, HART_FAULT_STATE, HART_STALL_US, PAGE_PRESENT, RUN_GO, STATE,
} from './memory-map.ts';
import { now, park, ring, unpark, WAIT_LIMIT_NS } from './park';

function isPresent(page: u32): bool {
  const word = atomic.load<u32>(STATE + ((page >> 4) << 2));
  return ((word >> ((page & 15) << 1)) & 3) == PAGE_PRESENT;
}

/** Whether the page may be used at once. */
export function isHere(page: u32): bool {
  return !atomic.load<u32>(CONTROL_GATED) || isPresent(page);
}

/** Puts the page in the fault slot and waits until it is present or the guest must stop. */
function waitFor(page: u32): void {
  const slot = core.block;
  const since = now();
  atomic.store<u32>(slot + HART_FAULT_PAGE, page);
  atomic.store<u32>(slot + HART_FAULT_STATE, FAULT_WAITING);
  atomic.add<u32>(slot + HART_FAULT_SEQUENCE, 1);
  atomic.add<u64>(CONTROL_FAULTS, 1);
  warm(page);
  park();
  ring(CONTROL_BELL_FAULT);
  // The page may have landed before the slot said that anyone waits, so look before each wait.
  while (!isPresent(page) && atomic.load<u32>(CONTROL_RUN) == RUN_GO) {
    // A slot that was answered but whose page is not there yet: ask again.
    if (atomic.cmpxchg<u32>(slot + HART_FAULT_STATE, FAULT_NONE, FAULT_WAITING) == FAULT_NONE) {
      atomic.add<u32>(slot + HART_FAULT_SEQUENCE, 1);
      ring(CONTROL_BELL_FAULT);
    }
    atomic.wait<i32>(slot + HART_FAULT_STATE, FAULT_WAITING, WAIT_LIMIT_NS);
  }
  atomic.store<u32>(slot + HART_FAULT_STATE, FAULT_NONE);
  if (isPresent(page)) noteStall((now() - since) / 1000);
  unpark();
}

function noteStall(us: u64): void {
  const longest = core.block + HART_STALL_US;
  const stall = <u32>min<u64>(us, u32.MAX_VALUE);
  if (stall > atomic.load<u32>(longest)) atomic.store<u32>(longest, stall);
}

/** True: the page may be used. False: it was waited for, and the outcome is RETRY. */
export function admit(page: u32): bool {
  if (isHere(page)) return true;
  waitFor(page);
  core.outcome = RETRY;
  return false;
}
