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
import { seenTicks } from './clock';
import { core, field } from './core';
import {
  CLINT_MSIP, DEVICES_SSIP, DEVICES_SUPERVISOR, HART_MIDELEG, HART_MIE, HART_MIP, HART_MSTATUS, PRIVILEGE_M,
  PRIVILEGE_S,
} from './machine-map.ts';
import { CONTROL_HARTS, HART_SIZE, HART_WAKE, HARTS } from './memory-map.ts';
import { ring } from './park';
import { externalInterrupts, MIP_MEIP, MIP_SEIP } from './plic';
import { rtcTimer } from './rtc';
import { supervisorTimer } from './sbi';
import { MSTATUS_MIE, MSTATUS_SIE } from './status';
import { inputWaits } from './uart';

export const MIP_SSIP: u64 = 1 << 1;
export const MIP_STIP: u64 = 1 << 5;

/** Those of supervisor mode, which can be delegated; and all there are. */
export const SUPERVISOR_BITS: u64 = 0x222;
export const ALL_BITS: u64 = 0xaaa;

/** A timer that never fires. */
export const NEVER: u64 = u64.MAX_VALUE;

/** The machine itself is the firmware: started in supervisor mode. */
@inline export function isSupervised(): bool { return atomic.load<u64>(DEVICES_SUPERVISOR) != 0; }

@inline function bitOf(words: usize, bit: u64): u64 {
  return atomic.load<u64>(words + <usize>core.number * 8) ? bit : 0;
}

@inline function reached(timer: u64): bool { return timer != NEVER && seenTicks() >= timer; }

/** The bits of mip that software sets: a CSR's read-modify-write sees these only. */
export function softwareBits(): u64 { return field(HART_MIP) | bitOf(DEVICES_SSIP, MIP_SSIP); }

/** mip of this hart. */
export function pendingInterrupts(): u64 {
  let bits = bitOf(CLINT_MSIP, MIP_MSIP) | softwareBits() | externalInterrupts();
  if (reached(machineTimer())) bits |= MIP_MTIP;
  if (isSupervised() && reached(supervisorTimer())) bits |= MIP_STIP;
  return bits;
}

/**
 * Those to be taken now (section "Machine Interrupt Registers"). Machine mode's own come first; the
 * delegated ones only if there are none.
 */
export function takable(): u64 {
  const ready = pendingInterrupts() & field(HART_MIE);
  if (!ready) return 0;
  const status = field(HART_MSTATUS);
  const delegated = field(HART_MIDELEG);
  const machine = ready & ~delegated;
  if (machine && (core.privilege < PRIVILEGE_M || (status & MSTATUS_MIE))) return machine;
  const open = core.privilege < PRIVILEGE_S || (core.privilege == PRIVILEGE_S && (status & MSTATUS_SIE) != 0);
  return open ? ready & delegated : 0;
}

/** Number of the first of them: external before software before timer, machine before supervisor. */
export function firstOf(bits: u64): u64 {
  if (bits & MIP_MEIP) return 11;
  if (bits & MIP_MSIP) return 3;
  if (bits & MIP_MTIP) return 7;
  if (bits & MIP_SEIP) return 9;
  return bits & MIP_SSIP ? 1 : 5;
}

/**
 * Whether a hart in WFI may go on: an enabled interrupt is pending. The console's input ends a wait too,
 * as the manual allows, for programs that poll the UART; not under an operating system, which would
 * never sleep while it lets input lie.
 */
export function endsWait(): bool {
  return (pendingInterrupts() & field(HART_MIE)) != 0 || (!isSupervised() && inputWaits());
}

/** Guest time at which some input of this hart changes by itself; NEVER. What is past is not counted. */
export function nextChange(): u64 {
  const at = seenTicks();
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
