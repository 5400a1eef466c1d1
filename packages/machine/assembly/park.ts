/**
 * A hart between instructions: states, safepoints, and obeying a flush.
 *
 *   thread          may                                             never
 *   this hart       STOPPED -> RUNNING, RUNNING <-> PARKED, -> STOPPED  leaves PARKED or STOPPED while HELD
 *   the harvester   PARKED or STOPPED -> HELD and back               touches a RUNNING hart's TLB
 *
 * Leaving PARKED is a compare-and-set, and the very next act is to obey a pending flush. Were the
 * harvester to take "parked" itself for an acknowledgement, the hart could wake between its look and
 * its copy and write through an entry from before the harvest: that write would be in no snapshot.
 */
import { dropCode } from './code';
import { core } from './core';
import {
  CONTROL_BELL_ACK, CONTROL_FLUSH, HART_FLUSH_SEEN, HART_HELD,
  HART_PARKED, HART_RUNNING, HART_STARTED_NS, HART_STATE, HART_STOPPED, HART_STOPPED_NS,
  HART_WAKE, TLB_ARRAY_SIZE, TLB_DISARMED, TLB_ENTRY_SIZE, TLB_WRITE,
} from './memory-map.ts';
import { applyStatus, dropEntries } from './status';

/** Host's monotonic clock, ns. */
@external("env", "now") declare function hostNow(): i64;

export function now(): u64 { return <u64>hostNow(); }

/** How long a wait for another thread's short act may last, ns: a lost notify costs this and no more. */
export const WAIT_LIMIT_NS: i64 = 10_000_000;

/** Counts one up and wakes who waits for it. */
export function ring(bell: usize): void {
  atomic.add<u32>(bell, 1);
  atomic.notify(bell, -1);
}

function disarmWrites(): void {
  const end = core.tlb + TLB_WRITE + TLB_ARRAY_SIZE;
  for (let at = core.tlb + TLB_WRITE; at < end; at += TLB_ENTRY_SIZE) {
    store<u64>(at, load<u64>(at) | TLB_DISARMED);
  }
}

/** Disarms the write entries if a harvest asks for it; tells the harvester. */
export function obeyFlush(): void {
  const wanted = atomic.load<u32>(CONTROL_FLUSH);
  if (atomic.load<u32>(core.block + HART_FLUSH_SEEN) == wanted) return;
  disarmWrites();
  atomic.store<u32>(core.block + HART_FLUSH_SEEN, wanted);
  ring(CONTROL_BELL_ACK);
}

/** Goes from `from` to RUNNING; waits while the harvester holds the hart. False: it was neither. */
function becomeRunning(from: u32): bool {
  while (true) {
    const seen = atomic.cmpxchg<u32>(core.block + HART_STATE, from, HART_RUNNING);
    if (seen == from) return true;
    if (seen != HART_HELD) return false;
    atomic.wait<i32>(core.block + HART_STATE, HART_HELD, WAIT_LIMIT_NS);
  }
}

/**
 * Starts to run. False: another thread runs this hart. Entries made in an earlier life are dropped
 * after RUNNING is visible: a harvest that saw STOPPED has taken its snapshot without us.
 */
export function start(): bool {
  if (!becomeRunning(HART_STOPPED)) return false;
  dropEntries();
  dropCode();
  applyStatus();
  obeyFlush();
  atomic.store<u64>(core.block + HART_STARTED_NS, now());
  ring(CONTROL_BELL_ACK);
  return true;
}

export function stop(): void {
  atomic.store<u64>(core.block + HART_STOPPED_NS, now());
  atomic.store<u32>(core.block + HART_STATE, HART_STOPPED);
  atomic.notify(core.block + HART_STATE, -1);
  ring(CONTROL_BELL_ACK);
}

/** RUNNING -> PARKED. A harvester that asked just before, and saw RUNNING, is told to look again. */
export function park(): void {
  atomic.store<u32>(core.block + HART_STATE, HART_PARKED);
  if (atomic.load<u32>(CONTROL_FLUSH) != atomic.load<u32>(core.block + HART_FLUSH_SEEN)) {
    ring(CONTROL_BELL_ACK);
  }
}

export function unpark(): void {
  becomeRunning(HART_PARKED);
  obeyFlush();
}

/** Sleeps on this hart's wake word while it holds `seen`, at most so long. The hart must be parked. */
export function sleep(seen: u32, limitNs: i64): void {
  atomic.wait<i32>(core.block + HART_WAKE, <i32>seen, limitNs);
}

export function wakeWord(): u32 { return atomic.load<u32>(core.block + HART_WAKE); }
