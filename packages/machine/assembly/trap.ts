/**
 * Exceptions, interrupts and the way back (Privileged ISA manual, chapter "Machine-Level ISA").
 *
 * execute -> [trap] -> execute at mtvec
 *
 * Machine mode only for now: mstatus.MPP can hold nothing but M, nothing is delegated.
 */
import { isSupervised, pendingInterrupts } from './interrupts';
import { core, field, setField } from './core';
import {
  HART_LAST_TRAP, HART_MCAUSE, HART_MEPC, HART_MIE, HART_MSTATUS, HART_MTVAL, HART_MTVEC, HART_PC,
  HART_WFI,
} from './machine-map.ts';
import { END_CRASH, HART_INSTRUCTIONS } from './memory-map.ts';
import { endGuest } from './syscon';
import { inputWaits } from './uart';

// Exception codes (table "Machine cause register values after trap").
export const FETCH_ACCESS_FAULT: u64 = 1;
export const ILLEGAL_INSTRUCTION: u64 = 2;
export const BREAKPOINT: u64 = 3;
export const LOAD_MISALIGNED: u64 = 4;
export const LOAD_ACCESS_FAULT: u64 = 5;
export const STORE_MISALIGNED: u64 = 6;
export const STORE_ACCESS_FAULT: u64 = 7;
export const ECALL_FROM_M: u64 = 11;

export const INTERRUPT: u64 = 1 << 63;

// mstatus bits.
export const MSTATUS_MIE: u64 = 1 << 3;
export const MSTATUS_MPIE: u64 = 1 << 7;
export const MSTATUS_MPP: u64 = 3 << 11;
/** State of the floating-point unit: 0 Off, 1 Initial, 2 Clean, 3 Dirty. */
export const MSTATUS_FS: u64 = 3 << 13;
/** Read only: FS is Dirty. */
export const MSTATUS_SD: u64 = 1 << 63;

/** External interrupts come first, then software, then timer (section "Machine Interrupt Registers"). */
const EXTERNAL: u64 = 11;
const SOFTWARE: u64 = 3;
const TIMER: u64 = 7;

/** Enters the handler: saves pc and MIE, stacks the privilege, jumps to mtvec. */
function enter(cause: u64, value: u64): void {
  const status = field(HART_MSTATUS);
  const mpie = (status & MSTATUS_MIE) << 4;
  setField(HART_MSTATUS, (status & ~(MSTATUS_MIE | MSTATUS_MPIE)) | mpie | MSTATUS_MPP);
  setField(HART_MEPC, field(HART_PC));
  setField(HART_MCAUSE, cause);
  setField(HART_MTVAL, value);
  const vector = field(HART_MTVEC);
  const base = vector & ~3;
  const vectored = (vector & 1) != 0 && (cause & INTERRUPT) != 0;
  setField(HART_PC, vectored ? base + 4 * (cause & ~INTERRUPT) : base);
}

/**
 * Takes the exception the interpreter stopped at.
 *
 * A first instruction of the handler that itself traps, with nothing retired since, does so for ever:
 * the hart is in a state that leads to itself. That ends the guest with the cause as its code, since
 * no count of instructions would ever end it.
 */
export function takeException(): void {
  const mark = field(HART_INSTRUCTIONS) + 1;
  const inHandler = field(HART_PC) == (field(HART_MTVEC) & ~3);
  if (inHandler && field(HART_LAST_TRAP) == mark) {
    endGuest(END_CRASH, <u32>core.cause);
    return;
  }
  setField(HART_LAST_TRAP, mark);
  enter(core.cause, core.value);
}

/** Takes the pending interrupt of the highest priority, if interrupts are enabled. */
export function takeInterrupt(): void {
  if (!(field(HART_MSTATUS) & MSTATUS_MIE)) return;
  const ready = pendingInterrupts() & field(HART_MIE);
  if (!ready) return;
  const number = ready & (1 << EXTERNAL) ? EXTERNAL : ready & (1 << SOFTWARE) ? SOFTWARE : TIMER;
  enter(INTERRUPT | number, 0);
}

/** MRET: returns the pc to go on at. */
export function mret(): u64 {
  const status = field(HART_MSTATUS);
  const mie = (status & MSTATUS_MPIE) >> 4;
  setField(HART_MSTATUS, (status & ~MSTATUS_MIE) | mie | MSTATUS_MPIE | MSTATUS_MPP);
  return field(HART_MEPC);
}

/**
 * Whether a hart in WFI may go on: an enabled interrupt is pending. The console's input ends a wait too,
 * as the manual allows, for programs that poll the UART; not under an operating system, which would
 * never sleep while it lets input lie.
 */
export function endWait(): bool {
  if (!(pendingInterrupts() & field(HART_MIE)) && (isSupervised() || !inputWaits())) return false;
  setField(HART_WFI, 0);
  return true;
}
