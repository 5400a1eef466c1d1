/**
 * Guest time: what mtime shows, in ticks of 100 ns.
 *
 * CLOCK_INSTRUCTIONS derives it from this hart's retired instructions plus the ticks skipped in WFI, so
 * that the same image and inputs give the same machine at instruction N. (Several harts have a time
 * each, as far apart as their counts.) CLOCK_HOST is the host's monotonic clock plus an offset.
 *
 * Frozen. The host freezes the clock when all harts have stopped (src/machine-state.ts). The first hart
 * to start again sets the offset so that time goes on from where it stood: never back, and the
 * blackout does not show.
 */
import { core, field, retired, setField } from './core';
import {
  CLOCK_FROZEN, CLOCK_RUNS, CLOCK_THAWING, DEVICES_CLOCK, DEVICES_FROZEN_TICKS, HART_TICKS_SKIPPED,
  INSTRUCTIONS_PER_TICK, NANOSECONDS_PER_TICK,
} from './machine-map.ts';
import { CLOCK_INSTRUCTIONS, CONTROL_CLOCK, CONTROL_TIME_OFFSET } from './memory-map.ts';
import { now, WAIT_LIMIT_NS } from './park';

export function countsInstructions(): bool {
  return atomic.load<u32>(CONTROL_CLOCK) == CLOCK_INSTRUCTIONS;
}

function hostTicks(): u64 { return now() / NANOSECONDS_PER_TICK; }

/** CLOCK_HOST: mtime at the last look at the host's clock, which costs a call to the host. */
let lastTicks: u64 = 0;

/** mtime as this hart sees it. */
export function guestTicks(): u64 {
  if (countsInstructions()) return retired() / INSTRUCTIONS_PER_TICK + field(HART_TICKS_SKIPPED);
  lastTicks = hostTicks() + atomic.load<u64>(CONTROL_TIME_OFFSET);
  return lastTicks;
}

/** The same for interrupts, which are looked at often: with CLOCK_HOST the time of the last look. */
export function seenTicks(): u64 { return countsInstructions() ? guestTicks() : lastTicks; }

/** A write to mtime. */
export function setGuestTicks(ticks: u64): void {
  if (countsInstructions()) setField(HART_TICKS_SKIPPED, ticks - retired() / INSTRUCTIONS_PER_TICK);
  else atomic.store<u64>(CONTROL_TIME_OFFSET, ticks - hostTicks());
}

/** CLOCK_INSTRUCTIONS: a hart that has nothing to do until then goes there at once. */
export function skipTo(ticks: u64): void {
  setField(HART_TICKS_SKIPPED, field(HART_TICKS_SKIPPED) + (ticks - guestTicks()));
}

/** Called by each hart as it starts; exactly one of them thaws a frozen clock, the others wait for it. */
export function thaw(): void {
  const seen = atomic.cmpxchg<u32>(DEVICES_CLOCK, CLOCK_FROZEN, CLOCK_THAWING);
  if (seen == CLOCK_FROZEN) {
    atomic.store<u64>(CONTROL_TIME_OFFSET, atomic.load<u64>(DEVICES_FROZEN_TICKS) - hostTicks());
    atomic.store<u32>(DEVICES_CLOCK, CLOCK_RUNS);
    atomic.notify(DEVICES_CLOCK, -1);
    return;
  }
  while (atomic.load<u32>(DEVICES_CLOCK) == CLOCK_THAWING) {
    atomic.wait<i32>(DEVICES_CLOCK, CLOCK_THAWING, WAIT_LIMIT_NS);
  }
}
