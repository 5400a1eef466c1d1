/**
 * The program that brings a hart into one situation after another and prints who took the trap, with
 * what.
 *
 *   for each case: write delegation, interrupts, counters, mstatus; MRET to the event
 *   the handler of M or of S: note cause, epc, tval, status
 *
 * An S handler comes back to M by a software interrupt that it raises in the CLINT, which no delegation
 * can keep from M. A line a case: a hash of what was noted, or with `full` all of it.
 */
import { Assembler, writeElf } from './assembler.ts';
import type { Detail } from './compare-cases.ts';
import * as isa from './encode.ts';
import { powerOff, printing } from './harness.ts';
import { EVENTS, type PrivilegeCase } from './privilege-cases.ts';

const PROGRAM = 0x80000000;
const CLINT_MSIP = 0x02000000;
const CSR = {
  sstatus: 0x100,
  stvec: 0x105,
  scounteren: 0x106,
  sepc: 0x141,
  scause: 0x142,
  stval: 0x143,
  medeleg: 0x302,
  mideleg: 0x303,
  mie: 0x304,
  mcounteren: 0x306,
  mcause: 0x342,
  mtval: 0x343,
  mip: 0x344,
  pmpcfg0: 0x3a0,
  pmpaddr0: 0x3b0,
} as const;
const MPP_MACHINE = 3n << 11n;
const ILLEGAL_INSTRUCTION = 2;

export const RESULT_NAMES = ['handler', 'cause', 'epc', 'tval', 'status', 'mip', 'mie'] as const;
const [BY_MACHINE, BY_SUPERVISOR] = [3, 1];
/** In the order of the CSRs below; then the event's address. */
const CASE_CSRS = [
  ['medeleg', CSR.medeleg],
  ['mideleg', CSR.mideleg],
  ['mcounteren', CSR.mcounteren],
  ['scounteren', CSR.scounteren],
  ['mie', CSR.mie],
  ['mip', CSR.mip],
  ['status', isa.CSR.mstatus],
] as const;
const CASE_WORDS = CASE_CSRS.length + 1;

// Registers. x1, x5 to x11 belong to the printing subroutines.
const T = 17;
const T2 = 18;
const WHO = 19;
const CAUSE = 20;
const EPC = 21;
const VALUE = 22;
const STATUS = 23;
const CASE = 24;
const CASES_END = 25;
const PENDING = 26;
const ENABLED = 27;
const NOTED = [WHO, CAUSE, EPC, VALUE, STATUS, PENDING, ENABLED] as const;

const ld = (rd: number, offset: number, base: number): number =>
  isa.iType(0x03, isa.LOADS.ld, rd, base, offset);
const sd = (rs2: number, offset: number, base: number): number =>
  isa.sType(isa.STORES.sd, rs2, base, offset);
const sw = (rs2: number, base: number): number => isa.sType(isa.STORES.sw, rs2, base, 0);

function start(a: Assembler): void {
  a.branch(isa.BRANCHES.beq, 10, 0, 'first');
  a.label('park');
  a.emit(isa.WFI);
  a.jump('park');
  a.label('first');
  a.loadAddress(T, 'machineTrap');
  a.emit(isa.csrrw(0, isa.CSR.mtvec, T));
  a.loadAddress(T, 'supervisorTrap');
  a.emit(isa.csrrw(0, CSR.stvec, T));
  a.emit(isa.addi(T, 0, -1), isa.csrrw(0, CSR.pmpaddr0, T));
  a.emit(isa.addi(T, 0, 0x1f), isa.csrrw(0, CSR.pmpcfg0, T));
  a.loadAddress(CASE, 'cases');
  a.loadAddress(CASES_END, 'casesEnd');
}

function oneCase(a: Assembler): void {
  a.label('case');
  for (const register of NOTED) a.emit(isa.addi(register, 0, 0));
  // SRET goes to the EBREAK, and MRET in M mode to the event again.
  a.loadAddress(T, 'afterEvent');
  a.emit(isa.csrrw(0, CSR.sepc, T));
  a.emit(ld(T, CASE_CSRS.length * 8, CASE), isa.csrrw(0, isa.CSR.mepc, T));
  for (const [i, [, csr]] of CASE_CSRS.entries()) {
    a.emit(ld(T, i * 8, CASE), isa.csrrw(0, csr, T));
  }
  a.emit(isa.MRET);
  for (const [i, { words }] of EVENTS.entries()) {
    a.align(4);
    a.label(`event ${i}`);
    a.emit(...words);
    a.align(4);
    a.jump('afterEvent');
  }
  a.align(4);
  a.label('afterEvent');
  a.emit(isa.EBREAK);
}

function handlers(a: Assembler): void {
  a.align(4);
  a.label('supervisorTrap');
  a.emit(isa.csrrs(CAUSE, CSR.scause, 0), isa.csrrs(EPC, CSR.sepc, 0));
  a.emit(isa.csrrs(VALUE, CSR.stval, 0), isa.csrrs(STATUS, CSR.sstatus, 0));
  a.emit(isa.addi(WHO, 0, BY_SUPERVISOR));
  a.emit(isa.lui(T, CLINT_MSIP >>> 12), isa.addi(T2, 0, 1), sw(T2, T));
  a.label('wait');
  a.jump('wait');

  a.align(4);
  a.label('machineTrap');
  a.emit(isa.csrrs(PENDING, CSR.mip, 0), isa.csrrs(ENABLED, CSR.mie, 0));
  a.branch(isa.BRANCHES.bne, WHO, 0, 'noted');
  a.emit(isa.csrrs(CAUSE, CSR.mcause, 0), isa.csrrs(EPC, isa.CSR.mepc, 0));
  a.emit(isa.csrrs(VALUE, CSR.mtval, 0), isa.csrrs(STATUS, isa.CSR.mstatus, 0));
  a.emit(isa.addi(WHO, 0, BY_MACHINE));
  a.label('noted');
  a.emit(isa.lui(T, CLINT_MSIP >>> 12), sw(0, T));
  // Of other exceptions tval may be zero or not.
  a.emit(isa.addi(T, 0, ILLEGAL_INSTRUCTION));
  a.branch(isa.BRANCHES.beq, CAUSE, T, 'keepsValue');
  a.emit(isa.addi(VALUE, 0, 0));
  a.label('keepsValue');
  // Not MSIP, by which an S handler ends, nor MTIP, whose timer nobody has set.
  a.emit(isa.iType(0x13, 7, PENDING, PENDING, ~0x88));
}

function report(a: Assembler, detail: Detail): void {
  a.loadAddress(10, 'results');
  for (const [i, register] of NOTED.entries()) a.emit(sd(register, i * 8, 10));
  if (detail === 'summary') {
    a.emit(isa.addi(11, 0, NOTED.length));
    a.jump('hash', 1);
    a.jump('putHex', 1);
  } else {
    for (const register of NOTED) {
      a.emit(isa.addi(10, register, 0));
      a.jump('putHex', 1);
    }
  }
  a.emit(isa.csrrw(0, CSR.mip, 0), isa.csrrw(0, CSR.mie, 0));
  a.loadAddress(T, 'machineStatus');
  a.emit(ld(T, 0, T), isa.csrrw(0, isa.CSR.mstatus, T));
  a.emit(isa.addi(CASE, CASE, CASE_WORDS * 8));
  a.branch(isa.BRANCHES.beq, CASE, CASES_END, 'end');
  a.jump('case');
  a.label('end');
  powerOff(a);
}

function tables(a: Assembler, cases: readonly PrivilegeCase[]): void {
  a.align(8);
  a.label('machineStatus');
  a.doubleword(MPP_MACHINE);
  a.label('results');
  a.space(NOTED.length * 8);
  a.label('cases');
  for (const one of cases) {
    for (const [name] of CASE_CSRS) a.doubleword(one[name]);
    a.doubleword(BigInt(a.addressOf(`event ${one.event}`)));
  }
  a.label('casesEnd');
}

export function privilegeProgram(cases: readonly PrivilegeCase[], detail: Detail): Uint8Array {
  const a = new Assembler(PROGRAM);
  start(a);
  oneCase(a);
  handlers(a);
  report(a, detail);
  printing(a);
  tables(a, cases);
  return writeElf(PROGRAM, a.bytes());
}
