/**
 * The program that runs every floating-point instruction over tables of operands.
 *
 *   for each instruction, for each value of fcsr, for each triple of operands:
 *     set fcsr, load the operands, execute, store {result, fflags}
 *
 * It ends as a Linux process, writing all results to its standard output, or as a bare-metal program,
 * leaving them in RAM and switching the machine off. What it stores is the same in both.
 */
import { Assembler, writeElf } from './assembler.ts';
import * as isa from './encode.ts';
import {
  DYNAMIC,
  FLOAT_INSTRUCTIONS,
  type FloatInstruction,
  fld,
  fsd,
  type Place,
} from './float-encode.ts';
import type { Triple } from './float-operands.ts';

const PROGRAM = 0x80000000;
const SYSCON = 0x00100000;
const POWER_OFF = 0x5555;
/** mstatus.FS = Initial. */
const FS_INITIAL = 0x2000;
const CSR_FFLAGS = 0x001;
const CSR_FCSR = 0x003;
const TRIPLE_BYTES = 24;
const RESULT_BYTES = 16;

/** Values of fcsr each case is run with: the five modes, and RNE with every flag but NV raised before. */
export const FCSRS: readonly number[] = [0 << 5, 1 << 5, 2 << 5, 3 << 5, 4 << 5, 0x0f];

export type Operands = { readonly [place in Place]: readonly Triple[] };

export interface FloatProgram {
  readonly elf: Uint8Array;
  /** Address and length of the results. */
  readonly results: number;
  readonly bytes: number;
}

// Registers. 1 to 3 hold integer operands.
const RESULT = 4;
const T = 5;
const AT = 6;
const END = 7;
const FCSRS_AT = 8;
const FCSRS_END = 9;
const INTO = 10;

const ld = (rd: number, offset: number, base: number): number =>
  isa.iType(0x03, isa.LOADS.ld, rd, base, offset);
const sd = (rs2: number, offset: number, base: number): number =>
  isa.sType(isa.STORES.sd, rs2, base, offset);

/** Where the operands of an instruction come from. */
export const tableOf = ({ operands }: FloatInstruction): Place => operands[0]!;

function runInstruction(a: Assembler, instruction: FloatInstruction): void {
  const { name, operands, result } = instruction;
  a.loadAddress(FCSRS_AT, 'fcsrs');
  a.loadAddress(FCSRS_END, 'fcsrsEnd');
  a.label(`${name} fcsr`);
  a.loadAddress(AT, `table ${tableOf(instruction)}`);
  a.loadAddress(END, `end ${tableOf(instruction)}`);
  a.emit(ld(T, 0, FCSRS_AT));
  a.label(`${name} case`);
  for (const [i, place] of operands.entries()) {
    a.emit(place === 'X' ? ld(i + 1, i * 8, AT) : fld(i + 1, AT, i * 8));
  }
  a.emit(isa.csrrw(0, CSR_FCSR, T), instruction.word(RESULT, DYNAMIC));
  a.emit(result === 'X' ? sd(RESULT, 0, INTO) : fsd(RESULT, INTO, 0));
  a.emit(isa.csrrs(RESULT, CSR_FFLAGS, 0), sd(RESULT, 8, INTO));
  a.emit(isa.addi(INTO, INTO, RESULT_BYTES), isa.addi(AT, AT, TRIPLE_BYTES));
  a.branch(isa.BRANCHES.bne, AT, END, `${name} case`);
  a.emit(isa.addi(FCSRS_AT, FCSRS_AT, 8));
  a.branch(isa.BRANCHES.bne, FCSRS_AT, FCSRS_END, `${name} fcsr`);
}

/** write(1, results, bytes) until all is out, then exit(0). */
function endAsProcess(a: Assembler): void {
  const [SYSCALL_WRITE, SYSCALL_EXIT] = [64, 93];
  const [A0, A1, A2, A7] = [10, 11, 12, 17];
  a.loadAddress(A1, 'results');
  a.label('write');
  a.loadAddress(T, 'resultsEnd');
  a.emit(isa.rType(0x33, 0, 0x20, A2, T, A1), isa.addi(A0, 0, 1), isa.addi(A7, 0, SYSCALL_WRITE));
  a.emit(isa.ECALL, isa.rType(0x33, 0, 0, A1, A1, A0));
  a.branch(isa.BRANCHES.bne, A1, T, 'write');
  a.emit(isa.addi(A0, 0, 0), isa.addi(A7, 0, SYSCALL_EXIT), isa.ECALL);
}

function powerOff(a: Assembler): void {
  a.emit(isa.lui(T, SYSCON >>> 12), isa.lui(AT, POWER_OFF >>> 12));
  a.emit(isa.addi(AT, AT, POWER_OFF & 0xfff), isa.sType(isa.STORES.sw, AT, T, 0));
  a.label('rest');
  a.jump('rest');
}

function tables(a: Assembler, operands: Operands): void {
  a.align(8);
  a.label('fcsrs');
  for (const value of FCSRS) a.doubleword(BigInt(value));
  a.label('fcsrsEnd');
  for (const place of ['S', 'D', 'X'] as const) {
    a.label(`table ${place}`);
    for (const triple of operands[place]) for (const value of triple) a.doubleword(value);
    a.label(`end ${place}`);
  }
}

export function floatProgram(operands: Operands, end: 'process' | 'power-off'): FloatProgram {
  const a = new Assembler(PROGRAM);
  if (end === 'power-off') a.emit(isa.lui(T, FS_INITIAL >>> 12), isa.csrrs(0, isa.CSR.mstatus, T));
  a.loadAddress(INTO, 'results');
  for (const instruction of FLOAT_INSTRUCTIONS) runInstruction(a, instruction);
  if (end === 'process') endAsProcess(a);
  else powerOff(a);
  tables(a, operands);
  const results = a.here;
  let cases = 0;
  for (const instruction of FLOAT_INSTRUCTIONS) cases += operands[tableOf(instruction)].length;
  const bytes = cases * FCSRS.length * RESULT_BYTES;
  a.label('results');
  a.label('resultsEnd', results + bytes);
  const contents = a.bytes();
  return { elf: writeElf(PROGRAM, contents, contents.length + bytes), results, bytes };
}
