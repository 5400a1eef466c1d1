/**
 * The program that runs many instruction sequences and prints what each left behind.
 *
 *   for each sequence, for each of its inputs:
 *     fill the window, load x1 to x30, run, save registers, checksum the window
 *
 * In summary each run prints one line, a hash over its registers, window and traps; with `full` it
 * prints all of them, for a report of what differs. The output ends with `end`, then the
 * machine is powered off. Machine mode, hart 0, UART polled; QEMU's `virt` addresses.
 */
import { Assembler, writeElf } from './assembler.ts';
import type { Detail } from './compare-cases.ts';
import * as isa from './encode.ts';
import { WINDOW_BASE, WINDOW_HALF_BYTES } from './group.ts';
import type { Sequence } from './sequence.ts';

const PROGRAM = 0x80000000;
/** A page border beyond the program, in RAM of 8 MiB and more. */
const WINDOW_MIDDLE = 0x80601000;
const UART = 0x10000000;
const SYSCON = 0x00100000;
const POWER_OFF = 0x5555;
const MSTATUS_MPP_MACHINE = 0x1800;
const HASH_FACTOR = 0x9e3779b97f4a7c15n;

/** x1 to x30 and the window's seed. */
const INPUT_WORDS = 31;
/** What a sequence leaves behind, in the order `full` prints it. */
export const RESULT_NAMES: readonly string[] = [
  ...Array.from({ length: 31 }, (_, i) => `x${i + 1}`),
  'checksum of the window',
  'hash of the traps',
];
const RESULT_WORDS = RESULT_NAMES.length;

export function harness(sequences: readonly Sequence[], detail: Detail): Uint8Array {
  const a = new Assembler(PROGRAM);
  a.label('windowMiddle', WINDOW_MIDDLE);
  start(a);
  epilogue(a, detail);
  fillWindow(a);
  printing(a);
  trapHandler(a);
  for (const [index, sequence] of sequences.entries()) body(a, index, sequence);
  tables(a, sequences);
  return writeElf(PROGRAM, a.bytes());
}

/** Small positive and negative constants. */
const li = (rd: number, value: number): number => isa.addi(rd, 0, value);
const ld = (rd: number, offset: number, base: number): number =>
  isa.iType(0x03, isa.LOADS.ld, rd, base, offset);
const sd = (rs2: number, offset: number, base: number): number =>
  isa.sType(isa.STORES.sd, rs2, base, offset);
const op = (name: keyof typeof isa.OPS, rd: number, rs1: number, rs2: number): number => {
  const [opcode, funct3, funct7] = isa.OPS[name];
  return isa.rType(opcode, funct3, funct7, rd, rs1, rs2);
};
const slli = (rd: number, rs1: number, amount: number): number =>
  isa.iType(0x13, 1, rd, rs1, amount);
const srli = (rd: number, rs1: number, amount: number): number =>
  isa.iType(0x13, 5, rd, rs1, amount);

function start(a: Assembler): void {
  a.branch(isa.BRANCHES.beq, 10, 0, 'first');
  a.label('park');
  a.emit(isa.WFI);
  a.jump('park');

  a.label('first');
  a.loadAddress(5, 'trap');
  a.emit(isa.csrrw(0, isa.CSR.mtvec, 5));

  a.label('next');
  a.loadAddress(5, 'count');
  a.emit(ld(7, 0, 5));
  a.loadAddress(5, 'index');
  a.emit(ld(6, 0, 5));
  a.branch(isa.BRANCHES.bltu, 6, 7, 'run');
  powerOff(a);

  // x31 walks the inputs; the body is entered by mret, which needs no register.
  a.label('run');
  a.loadAddress(5, 'bodies');
  a.emit(slli(7, 6, 3), op('add', 5, 5, 7), ld(5, 0, 5), isa.csrrw(0, isa.CSR.mepc, 5));
  a.emit(isa.lui(5, 2), isa.addi(5, 5, MSTATUS_MPP_MACHINE - 0x2000));
  a.emit(isa.csrrs(0, isa.CSR.mstatus, 5));
  a.loadAddress(WINDOW_BASE, 'inputs');
  a.emit(li(5, INPUT_WORDS * 8), op('mul', 5, 5, 6));
  a.emit(op('add', WINDOW_BASE, WINDOW_BASE, 5));
  a.emit(ld(10, 30 * 8, WINDOW_BASE));
  a.jump('fillWindow', 1);
  a.loadAddress(5, 'trapHash');
  a.emit(sd(0, 0, 5));
  for (let x = 1; x <= 30; x++) a.emit(ld(x, (x - 1) * 8, WINDOW_BASE));
  a.loadAddress(WINDOW_BASE, 'windowMiddle');
  a.emit(isa.MRET);
}

/** Prints `end` and switches the machine off; `park` is where the hart waits for that. */
export function powerOff(a: Assembler): void {
  a.loadAddress(10, 'endText');
  a.jump('putText', 1);
  a.emit(isa.lui(5, SYSCON >>> 12), isa.lui(6, POWER_OFF >>> 12));
  a.emit(isa.addi(6, 6, POWER_OFF & 0xfff), isa.sType(isa.STORES.sw, 6, 5, 0));
  a.jump('park');
}

/** Entered by a jump from the end of a body, every register holding a result. */
function epilogue(a: Assembler, detail: Detail): void {
  a.label('epilogue');
  a.emit(isa.csrrw(0, isa.CSR.mscratch, 31));
  a.loadAddress(31, 'results');
  for (let x = 1; x <= 30; x++) a.emit(sd(x, (x - 1) * 8, 31));
  a.emit(isa.csrrs(5, isa.CSR.mscratch, 0), sd(5, 30 * 8, 31));
  a.loadAddress(10, 'windowMiddle');
  a.emit(isa.addi(10, 10, -WINDOW_HALF_BYTES), li(11, 512));
  a.jump('hash', 1);
  a.emit(sd(10, 31 * 8, 31));
  a.loadAddress(5, 'trapHash');
  a.emit(ld(5, 0, 5), sd(5, 32 * 8, 31));
  if (detail === 'summary') {
    a.emit(isa.addi(10, 31, 0), li(11, RESULT_WORDS));
    a.jump('hash', 1);
    a.jump('putHex', 1);
  } else {
    a.emit(li(20, RESULT_WORDS));
    a.label('dump');
    a.emit(ld(10, 0, 31));
    a.jump('putHex', 1);
    a.emit(isa.addi(31, 31, 8), isa.addi(20, 20, -1));
    a.branch(isa.BRANCHES.bne, 20, 0, 'dump');
  }
  a.loadAddress(5, 'index');
  a.emit(ld(6, 0, 5), isa.addi(6, 6, 1), sd(6, 0, 5));
  a.jump('next');
}

function fillWindow(a: Assembler): void {
  // fillWindow(x10 = seed): xorshift64 into 512 doublewords.
  a.label('fillWindow');
  a.loadAddress(8, 'windowMiddle');
  a.emit(isa.addi(8, 8, -WINDOW_HALF_BYTES), li(9, 512));
  a.label('fillNext');
  a.emit(slli(11, 10, 13), op('xor', 10, 10, 11), srli(11, 10, 7), op('xor', 10, 10, 11));
  a.emit(slli(11, 10, 17), op('xor', 10, 10, 11), sd(10, 0, 8));
  a.emit(isa.addi(8, 8, 8), isa.addi(9, 9, -1));
  a.branch(isa.BRANCHES.bne, 9, 0, 'fillNext');
  a.emit(isa.jalr(0, 1, 0));
}

/** Subroutines called with `jump(label, 1)`, and their data; they change x5 to x11. */
export function printing(a: Assembler): void {
  // x10 = hash(x10 = address, x11 = doublewords)
  a.label('hash');
  a.loadAddress(7, 'factor');
  a.emit(ld(7, 0, 7), li(6, 0));
  a.label('hashNext');
  a.emit(ld(5, 0, 10), op('xor', 6, 6, 5), op('mul', 6, 6, 7));
  a.emit(srli(5, 6, 32), op('xor', 6, 6, 5), isa.addi(10, 10, 8), isa.addi(11, 11, -1));
  a.branch(isa.BRANCHES.bne, 11, 0, 'hashNext');
  a.emit(isa.addi(10, 6, 0), isa.jalr(0, 1, 0));

  // putHex(x10): 16 digits and a newline, through putText.
  a.label('putHex');
  a.loadAddress(5, 'line');
  a.emit(li(6, 16), li(8, 10));
  a.label('putHexNext');
  a.emit(srli(7, 10, 60), slli(10, 10, 4), isa.addi(9, 7, 0x30));
  a.branch(isa.BRANCHES.bltu, 7, 8, 'putHexDigit');
  a.emit(isa.addi(9, 7, 0x61 - 10));
  a.label('putHexDigit');
  a.emit(isa.sType(isa.STORES.sb, 9, 5, 0), isa.addi(5, 5, 1), isa.addi(6, 6, -1));
  a.branch(isa.BRANCHES.bne, 6, 0, 'putHexNext');
  a.loadAddress(10, 'line');

  // putText(x10): up to the zero byte.
  a.label('putText');
  a.emit(isa.lui(5, UART >>> 12));
  a.label('putTextNext');
  a.emit(isa.iType(0x03, isa.LOADS.lbu, 6, 10, 0), isa.addi(10, 10, 1));
  a.branch(isa.BRANCHES.beq, 6, 0, 'putTextEnd');
  a.label('putTextWait');
  a.emit(isa.iType(0x03, isa.LOADS.lbu, 7, 5, 5), isa.iType(0x13, 7, 7, 7, 0x20));
  a.branch(isa.BRANCHES.beq, 7, 0, 'putTextWait');
  a.emit(isa.sType(isa.STORES.sb, 6, 5, 0));
  a.jump('putTextNext');
  a.label('putTextEnd');
  a.emit(isa.jalr(0, 1, 0));

  a.align(8);
  a.label('factor');
  a.doubleword(HASH_FACTOR);
  a.label('line');
  a.space(16);
  a.doubleword(0x0an);
  a.label('endText');
  a.doubleword(0x0a646e65n);
}

/** Folds mcause, mepc and, for access faults, mtval into trapHash; then skips the instruction. */
function trapHandler(a: Assembler): void {
  const fold = [op('xor', 30, 30, 29), ld(29, 16, 31), op('mul', 30, 30, 29)];
  const [mcause, mtval] = [0x342, 0x343];
  a.align(4);
  a.label('trap');
  a.emit(isa.csrrw(0, isa.CSR.mscratch, 30));
  a.loadAddress(31, 'trapHash');
  a.emit(sd(29, 8, 31), ld(30, 0, 31));
  a.emit(isa.csrrs(29, mcause, 0), ...fold, isa.csrrs(29, isa.CSR.mepc, 0), ...fold);
  // Load and store access fault are 5 and 7; for other causes mtval may be zero or not.
  a.emit(isa.csrrs(29, mcause, 0), isa.iType(0x13, 7, 29, 29, -3), isa.addi(29, 29, -5));
  a.branch(isa.BRANCHES.bne, 29, 0, 'trapSkip');
  a.emit(isa.csrrs(29, mtval, 0), ...fold);
  a.label('trapSkip');
  a.emit(sd(30, 0, 31), isa.csrrs(30, isa.CSR.mepc, 0));
  a.emit(isa.iType(0x03, isa.LOADS.lhu, 29, 30, 0), isa.iType(0x13, 7, 29, 29, 3));
  a.emit(isa.addi(29, 29, -3), isa.addi(30, 30, 2));
  a.branch(isa.BRANCHES.bne, 29, 0, 'trapReturn');
  a.emit(isa.addi(30, 30, 2));
  a.label('trapReturn');
  a.emit(isa.csrrw(0, isa.CSR.mepc, 30), ld(29, 8, 31), isa.csrrs(30, isa.CSR.mscratch, 0));
  a.loadAddress(31, 'windowMiddle');
  a.emit(isa.MRET);
}

function body(a: Assembler, index: number, sequence: Sequence): void {
  const label = (group: number): string =>
    `${index}.${Math.min(group, sequence.groups.length).toString()}`;
  a.align(2);
  for (const [at, group] of sequence.groups.entries()) {
    a.label(label(at));
    group.emit(a, (places) => label(at + places));
  }
  a.label(label(sequence.groups.length));
  a.jump('epilogue');
}

function tables(a: Assembler, sequences: readonly Sequence[]): void {
  const runs = sequences.flatMap(({ inputs }, index) => inputs.map((input) => ({ index, input })));
  a.align(8);
  // trapHash, a register saved by the handler, and the factor where the handler reaches it.
  a.label('trapHash');
  a.space(16);
  a.doubleword(HASH_FACTOR);
  a.label('index');
  a.space(8);
  a.label('count');
  a.doubleword(BigInt(runs.length));
  a.label('results');
  a.space(RESULT_WORDS * 8);
  a.label('bodies');
  for (const { index } of runs) a.doubleword(BigInt(a.addressOf(`${index}.0`)));
  a.label('inputs');
  for (const { input } of runs) {
    for (const value of input.registers) a.doubleword(value);
    a.doubleword(input.windowSeed);
  }
}
