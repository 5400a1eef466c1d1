/**
 * The interrupt inputs of a hart, all in one place: mip, and the timers that change it.
 *
 * CLINT, SBI, PLIC -> [interrupts] -> trap.ts takes one, hart.ts ends a wait or a slice
 *
 * Every bit is a level computed from state that moves with the guest. Under CLOCK_INSTRUCTIONS a bit
 * changes at a known instruction only: at an access to a device (the slice ends after it) or when a
 * timer is reached (the slice ends there).
 */
import { machineTimer, MIP_MSIP, MIP_MTIP } from './clint';
import { guestTicks } from './clock';
import { core, field } from './core';
import { CLINT_MSIP, DEVICES_SSIP, DEVICES_SUPERVISOR, HART_MIE } from './machine-map.ts';
import { CONTROL_HARTS, HART_SIZE, HART_WAKE, HARTS } from './memory-map.ts';
import { ring } from './park';
import { externalInterrupts } from './plic';
import { rtcTimer } from './rtc';
import { supervisorTimer } from './sbi';

export const MIP_SSIP: u64 = 1 << 1;
export const MIP_STIP: u64 = 1 << 5;

/** A timer that never fires. */
export const NEVER: u64 = u64.MAX_VALUE;

/** The machine itself is the firmware: started in supervisor mode. */
@inline export function isSupervised(): bool { return atomic.load<u64>(DEVICES_SUPERVISOR) != 0; }

@inline function bitOf(words: usize, bit: u64): u64 {
  return atomic.load<u64>(words + <usize>core.number * 8) ? bit : 0;
}

@inline function reached(timer: u64): bool { return timer != NEVER && guestTicks() >= timer; }

/** mip of this hart, as far as hardware sets it. */
export function pendingInterrupts(): u64 {
  let bits = bitOf(CLINT_MSIP, MIP_MSIP) | bitOf(DEVICES_SSIP, MIP_SSIP) | externalInterrupts();
  if (reached(machineTimer())) bits |= MIP_MTIP;
  if (isSupervised() && reached(supervisorTimer())) bits |= MIP_STIP;
  return bits;
}

/** Guest time at which some input of this hart changes by itself; NEVER. What is past is not counted. */
export function nextChange(): u64 {
  const at = guestTicks();
  let next = NEVER;
  const machine = machineTimer();
  if (machine > at) next = machine;
  const supervisor = isSupervised() ? supervisorTimer() : NEVER;
  if (supervisor > at && supervisor < next) next = supervisor;
  const rtc = rtcTimer();
  return rtc > at && rtc < next ? rtc : next;
}

/** Guest time at which a hart in WFI goes on by itself; NEVER. */
export function nextWake(): u64 {
  const enabled = field(HART_MIE);
  let next = enabled & MIP_MTIP ? machineTimer() : NEVER;
  if (isSupervised() && enabled & MIP_STIP) next = min<u64>(next, supervisorTimer());
  return min<u64>(next, rtcTimer());
}

/** A device's level has changed: other harts that sleep look for interrupts. This one looks anyway. */
export function alertHarts(): void {
  const harts = <i32>atomic.load<u32>(CONTROL_HARTS);
  for (let hart = 0; hart < harts; hart++) {
    if (hart != core.number) ring(HARTS + <usize>hart * HART_SIZE + HART_WAKE);
  }
}
