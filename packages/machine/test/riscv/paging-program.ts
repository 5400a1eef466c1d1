/**
 * The program that makes one access after another through page tables of its own, and prints what came
 * of each.
 *
 *   for each case: write the entries, satp; SFENCE.VMA
 *     for each of its steps: write mstatus; access; look at trap and register
 *     look at the entries and at memory
 *
 * Machine mode, untranslated. Data is accessed under MPRV; an instruction is fetched by MRET to it, and
 * is an ECALL. A line a case: a hash of what it left, or with `full` all of it.
 */
import { Assembler, writeElf } from './assembler.ts';
import type { Detail } from './compare-cases.ts';
import * as isa from './encode.ts';
import { powerOff, printing } from './harness.ts';
import { ACCESSES, type PagingCase, PLACES, STEPS } from './paging-cases.ts';

const PROGRAM = 0x80000000;
const CSR = { satp: 0x180, mcause: 0x342, mtval: 0x343, pmpcfg0: 0x3a0, pmpaddr0: 0x3b0 } as const;
const SFENCE_VMA = 0x12000073;
const ECALL_PAIR = 0x0000007300000073n;
const STATUS_BITS = (1n << 17n) | (1n << 18n) | (1n << 19n) | (3n << 11n);

/** What a case leaves behind, in the order `full` prints it. */
export const RESULT_NAMES = [
  ...Array.from({ length: STEPS }, (_, i) => [`mcause ${i}`, `mtval ${i}`, `register ${i}`]).flat(),
  'entry 2',
  'entry 1',
  'entry 0',
  'next entry',
  'word reached',
  'word after',
];
/** virtual, satp, reached, masks of mtval and mcause; four entries, address and value; steps, snippet and mstatus. */
const ENTRIES_AT = 5 * 8;
const STEPS_AT = ENTRIES_AT + 4 * 16;
const CASE_BYTES = STEPS_AT + STEPS * 16;
const STEP_RESULT_BYTES = 24;

// Registers. x1, x5 to x11 belong to the printing subroutines.
const ADDRESS = 12;
const DATA = 13;
const RESULT = 14;
const SNIPPET = 15;
const STATUS = 16;
const T = 17;
const T2 = 18;
const CAUSE = 20;
const VALUE = 21;
const CASE = 22;
const CASES_END = 23;
const STATUS_MASK = 24;
const STEP = 25;
const STEPS_END = 26;
const INTO = 27;
const MARK = 0x55;

const ld = (rd: number, offset: number, base: number): number =>
  isa.iType(0x03, isa.LOADS.ld, rd, base, offset);
const sd = (rs2: number, offset: number, base: number): number =>
  isa.sType(isa.STORES.sd, rs2, base, offset);
const load = (name: keyof typeof isa.LOADS): number =>
  isa.iType(0x03, isa.LOADS[name], RESULT, ADDRESS, 0);
const store = (name: keyof typeof isa.STORES): number =>
  isa.sType(isa.STORES[name], DATA, ADDRESS, 0);

const SNIPPETS: { readonly [access in (typeof ACCESSES)[number]]: readonly number[] } = {
  lb: [load('lb')],
  lhu: [load('lhu')],
  lw: [load('lw')],
  ld: [load('ld')],
  sb: [store('sb')],
  sh: [store('sh')],
  sw: [store('sw')],
  sd: [store('sd')],
  'lr.d': [isa.amo(isa.LR, 3, 0, RESULT, ADDRESS, 0)],
  'amoadd.w': [isa.amo(isa.AMOS.amoadd, 2, 0, RESULT, ADDRESS, DATA)],
  'amoswap.d': [isa.amo(isa.AMOS.amoswap, 3, 0, RESULT, ADDRESS, DATA)],
  fetch: [isa.csrrw(0, isa.CSR.mepc, ADDRESS), isa.MRET],
};

function start(a: Assembler): void {
  a.branch(isa.BRANCHES.beq, 10, 0, 'first');
  a.label('park');
  a.emit(isa.WFI);
  a.jump('park');
  a.label('first');
  a.loadAddress(T, 'trap');
  a.emit(isa.csrrw(0, isa.CSR.mtvec, T));
  // All memory for all modes, where there is memory protection.
  a.emit(isa.addi(T, 0, -1), isa.csrrw(0, CSR.pmpaddr0, T));
  a.emit(isa.addi(T, 0, 0x1f), isa.csrrw(0, CSR.pmpcfg0, T));
  a.loadAddress(STATUS_MASK, 'statusMask');
  a.emit(ld(STATUS_MASK, 0, STATUS_MASK));
  fill(a, 'code', PLACES.code, 512, 'ecalls');
  a.loadAddress(CASE, 'cases');
  a.loadAddress(CASES_END, 'casesEnd');
}

/** Fills so many doublewords with the one at `value`. */
function fill(a: Assembler, name: string, at: bigint, count: number, value: string): void {
  a.label(`place ${name}`, Number(at));
  a.loadAddress(T, `place ${name}`);
  a.loadAddress(T2, value);
  a.emit(ld(T2, 0, T2), isa.addi(RESULT, 0, count));
  a.label(`fill ${name}`);
  a.emit(sd(T2, 0, T), isa.addi(T, T, 8), isa.addi(RESULT, RESULT, -1));
  a.branch(isa.BRANCHES.bne, RESULT, 0, `fill ${name}`);
}

function oneCase(a: Assembler): void {
  a.label('case');
  for (let i = 3; i >= 0; i--) {
    a.emit(ld(T, ENTRIES_AT + 16 * i, CASE), ld(T2, ENTRIES_AT + 16 * i + 8, CASE), sd(T2, 0, T));
  }
  // The word that is reached, and the one after it, hold the address and the address again.
  a.emit(ld(T, 2 * 8, CASE), sd(T, 0, T), sd(T, 8, T));
  a.emit(ld(ADDRESS, 0, CASE), isa.addi(DATA, ADDRESS, 1));
  a.emit(ld(T, 8, CASE), isa.csrrw(0, CSR.satp, T), SFENCE_VMA);
  a.emit(isa.addi(STEP, CASE, STEPS_AT), isa.addi(STEPS_END, CASE, CASE_BYTES));
  a.loadAddress(INTO, 'results');
  a.label('step');
  a.emit(ld(SNIPPET, 0, STEP), ld(STATUS, 8, STEP));
  a.emit(isa.addi(RESULT, 0, MARK), isa.addi(CAUSE, 0, 0), isa.addi(VALUE, 0, 0));
  a.emit(isa.csrrc(0, isa.CSR.mstatus, STATUS_MASK), isa.csrrs(0, isa.CSR.mstatus, STATUS));
  a.emit(isa.jalr(0, SNIPPET, 0));
  for (const access of ACCESSES) {
    a.label(`access ${access}`);
    a.emit(...SNIPPETS[access]);
    a.jump('done');
  }
  a.align(4);
  a.label('trap');
  a.emit(isa.csrrs(CAUSE, CSR.mcause, 0), isa.csrrs(VALUE, CSR.mtval, 0));
  a.label('done');
  a.emit(isa.csrrc(0, isa.CSR.mstatus, STATUS_MASK));
  a.emit(ld(T2, 3 * 8, CASE), isa.rType(0x33, 7, 0, VALUE, VALUE, T2));
  a.emit(ld(T2, 4 * 8, CASE), isa.rType(0x33, 7, 0, CAUSE, CAUSE, T2));
  a.emit(sd(CAUSE, 0, INTO), sd(VALUE, 8, INTO), sd(RESULT, 16, INTO));
  a.emit(isa.addi(INTO, INTO, STEP_RESULT_BYTES), isa.addi(STEP, STEP, 16));
  a.branch(isa.BRANCHES.bne, STEP, STEPS_END, 'step');
  a.emit(isa.csrrw(0, CSR.satp, 0), SFENCE_VMA);
}

function report(a: Assembler, detail: Detail): void {
  for (let i = 0; i < 4; i++) {
    a.emit(ld(T2, ENTRIES_AT + 16 * i, CASE), ld(T2, 0, T2), sd(T2, i * 8, INTO));
  }
  a.emit(ld(STATUS, 2 * 8, CASE), ld(T2, 0, STATUS), sd(T2, 4 * 8, INTO));
  a.emit(ld(T2, 8, STATUS), sd(T2, 5 * 8, INTO));
  a.loadAddress(T, 'results');
  if (detail === 'summary') {
    a.emit(isa.addi(10, T, 0), isa.addi(11, 0, RESULT_NAMES.length));
    a.jump('hash', 1);
    a.jump('putHex', 1);
  } else {
    a.emit(isa.addi(SNIPPET, T, 0), isa.addi(T2, 0, RESULT_NAMES.length));
    a.label('dump');
    a.emit(ld(10, 0, SNIPPET));
    a.jump('putHex', 1);
    a.emit(isa.addi(SNIPPET, SNIPPET, 8), isa.addi(T2, T2, -1));
    a.branch(isa.BRANCHES.bne, T2, 0, 'dump');
  }
  // No entry outlives its case.
  for (let i = 0; i < 4; i++) a.emit(ld(T2, ENTRIES_AT + 16 * i, CASE), sd(0, 0, T2));
  a.emit(isa.addi(CASE, CASE, CASE_BYTES));
  a.branch(isa.BRANCHES.beq, CASE, CASES_END, 'end');
  a.jump('case');
  a.label('end');
  powerOff(a);
}

function tables(a: Assembler, cases: readonly PagingCase[]): void {
  a.align(8);
  a.label('statusMask');
  a.doubleword(STATUS_BITS);
  a.label('ecalls');
  a.doubleword(ECALL_PAIR);
  a.label('results');
  a.space(RESULT_NAMES.length * 8);
  a.label('cases');
  for (const one of cases) {
    const { virtual, satp, reached, valueMask, causeMask, entries, steps } = one;
    for (const word of [virtual, satp, reached, valueMask, causeMask]) a.doubleword(word);
    for (const { at, value } of entries) {
      a.doubleword(at);
      a.doubleword(value);
    }
    for (const { access, status } of steps) {
      a.doubleword(BigInt(a.addressOf(`access ${ACCESSES[access]}`)));
      a.doubleword(status);
    }
  }
  a.label('casesEnd');
}

export function pagingProgram(cases: readonly PagingCase[], detail: Detail): Uint8Array {
  const a = new Assembler(PROGRAM);
  start(a);
  oneCase(a);
  report(a, detail);
  printing(a);
  tables(a, cases);
  return writeElf(PROGRAM, a.bytes());
}
