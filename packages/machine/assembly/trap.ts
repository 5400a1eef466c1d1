/**
 * Exceptions, interrupts and the way back (Privileged ISA manual, chapters "Machine-Level ISA" and
 * "Supervisor-Level ISA").
 *
 * execute -> [trap] -> execute at mtvec or stvec
 *
 * The hart's own thread, between instructions. A trap goes to machine mode unless medeleg or mideleg
 * hands it to the supervisor, and never to a lower privilege than the one it interrupts.
 */
import { core, DONE_LOOK_UP, field, setField } from './core';
import { firstOf, takable } from './interrupts';
import {
  HART_LAST_TRAP, HART_MCAUSE, HART_MEDELEG, HART_MEPC, HART_MIDELEG, HART_MSTATUS, HART_MTVAL, HART_MTVEC,
  HART_PC, HART_PRIVILEGE, HART_SCAUSE, HART_SEPC, HART_STVAL, HART_STVEC, PRIVILEGE_M, PRIVILEGE_S,
  PRIVILEGE_U, PROFILE_EXCEPTIONS, PROFILE_INTERRUPTS,
} from './machine-map.ts';
import { END_CRASH, HART_INSTRUCTIONS } from './memory-map.ts';
import { tally } from './profile';
import {
  applyStatus, mppOf, MSTATUS_MIE, MSTATUS_MPIE, MSTATUS_MPP, MSTATUS_MPRV, MSTATUS_SIE, MSTATUS_SPIE,
  MSTATUS_SPP,
} from './status';
import { endGuest } from './syscon';

// Exception codes (table "Machine cause register values after trap"); those of page faults are in walk.ts.
export const ILLEGAL_INSTRUCTION: u64 = 2;
export const BREAKPOINT: u64 = 3;
export const LOAD_MISALIGNED: u64 = 4;
export const STORE_MISALIGNED: u64 = 6;
/** ecall from U; from S and M it is this plus the privilege. */
export const ECALL_FROM_U: u64 = 8;

export const INTERRUPT: u64 = 1 << 63;

/** Where a handler starts: vectored interrupts enter at four times their number. */
function handler(vector: u64, cause: u64): u64 {
  const base = vector & ~3;
  const vectored = (vector & 1) != 0 && (cause & INTERRUPT) != 0;
  return vectored ? base + 4 * (cause & ~INTERRUPT) : base;
}

function enterMachine(cause: u64, value: u64): void {
  const status = field(HART_MSTATUS) & ~(MSTATUS_MPIE | MSTATUS_MPP);
  const previous = (status & MSTATUS_MIE) << 4 | <u64>core.privilege << 11;
  setField(HART_MSTATUS, (status & ~MSTATUS_MIE) | previous);
  setField(HART_MEPC, field(HART_PC));
  setField(HART_MCAUSE, cause);
  setField(HART_MTVAL, value);
  setField(HART_PC, handler(field(HART_MTVEC), cause));
  setField(HART_PRIVILEGE, PRIVILEGE_M);
  applyStatus();
}

function enterSupervisor(cause: u64, value: u64): void {
  const status = field(HART_MSTATUS) & ~(MSTATUS_SPIE | MSTATUS_SPP);
  const previous = (status & MSTATUS_SIE) << 4 | (core.privilege == PRIVILEGE_U ? 0 : MSTATUS_SPP);
  setField(HART_MSTATUS, (status & ~MSTATUS_SIE) | previous);
  setField(HART_SEPC, field(HART_PC));
  setField(HART_SCAUSE, cause);
  setField(HART_STVAL, value);
  setField(HART_PC, handler(field(HART_STVEC), cause));
  setField(HART_PRIVILEGE, PRIVILEGE_S);
  applyStatus();
}

/**
 * Takes the exception the interpreter stopped at.
 *
 * A first instruction of the handler that itself traps to the same handler, with nothing retired since,
 * does so for ever: the hart is in a state that leads to itself. That ends the guest with the cause as
 * its code, since no count of instructions would ever end it.
 */
export function takeException(): void {
  const supervisor = core.privilege <= PRIVILEGE_S && (field(HART_MEDELEG) >> core.cause & 1) != 0;
  const mark = field(HART_INSTRUCTIONS) + 1;
  const inHandler = field(HART_PC) == (field(supervisor ? HART_STVEC : HART_MTVEC) & ~3)
    && core.privilege == (supervisor ? PRIVILEGE_S : PRIVILEGE_M);
  if (inHandler && field(HART_LAST_TRAP) == mark) {
    endGuest(END_CRASH, <u32>core.cause);
    core.outcome = DONE_LOOK_UP;
    return;
  }
  setField(HART_LAST_TRAP, mark);
  tally(PROFILE_EXCEPTIONS + <usize>core.cause);
  if (supervisor) enterSupervisor(core.cause, core.value);
  else enterMachine(core.cause, core.value);
}

/** Takes the pending interrupt of the highest priority, if interrupts are enabled. */
export function takeInterrupt(): void {
  const bits = takable();
  if (!bits) return;
  const number = firstOf(bits);
  tally(PROFILE_INTERRUPTS + <usize>number);
  if (field(HART_MIDELEG) >> number & 1) enterSupervisor(INTERRUPT | number, 0);
  else enterMachine(INTERRUPT | number, 0);
}

/** MRET: to mepc and the privilege in MPP. */
export function mret(): void {
  const status = field(HART_MSTATUS);
  const privilege = mppOf(status);
  let after = status & ~(MSTATUS_MIE | MSTATUS_MPP) | (status & MSTATUS_MPIE) >> 4 | MSTATUS_MPIE;
  if (privilege != PRIVILEGE_M) after &= ~MSTATUS_MPRV;
  setField(HART_MSTATUS, after);
  setField(HART_PRIVILEGE, privilege);
  setField(HART_PC, field(HART_MEPC));
  applyStatus();
}

/** SRET: to sepc and the privilege in SPP. */
export function sret(): void {
  const status = field(HART_MSTATUS);
  const after = status & ~(MSTATUS_SIE | MSTATUS_SPP | MSTATUS_MPRV) | (status & MSTATUS_SPIE) >> 4 | MSTATUS_SPIE;
  setField(HART_MSTATUS, after);
  setField(HART_PRIVILEGE, status & MSTATUS_SPP ? PRIVILEGE_S : PRIVILEGE_U);
  setField(HART_PC, field(HART_SEPC));
  applyStatus();
}
