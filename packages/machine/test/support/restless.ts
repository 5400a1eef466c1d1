/**
 * A program that never rests, for tests that interrupt it: random stores (many of them misaligned and
 * across pages) and LR/SC and AMOs all over a window, console output, timer interrupts, and a WFI now and
 * then. It reads no input, so with the instruction clock its state at instruction N is one fixed thing.
 */
import { Assembler, writeElf } from '../riscv/assembler.ts';
import * as e from '../riscv/encode.ts';

const RAM_BASE = 0x80000000;
const WINDOW = RAM_BASE + 0x10000;
/** Bytes the window is wide, as a power of two. */
const WINDOW_BITS = 18;
/** RAM the program needs. */
export const RESTLESS_BYTES = 1048576;
/** Ticks between timer interrupts. */
const PERIOD = 700;

// Registers.
const T = 5;
const TIMER = 9;
const RANDOM = 10;
const AT = 11;
const SEEN = 12;
const SUM = 13;
const WORD = 14;
const VALUE = 15;
const FAILED = 16;
const UART = 18;
const FACTOR = 19;
const BASE = 20;
const MASK = 21;
const COMPARE = 28;
const INTERRUPTS = 29;

function op(name: keyof typeof e.OPS, rd: number, rs1: number, rs2: number): number {
  const [opcode, funct3, funct7] = e.OPS[name];
  return e.rType(opcode, funct3, funct7, rd, rs1, rs2);
}
const shift = (rd: number, rs1: number, amount: number) => e.iType(0x13, 5, rd, rs1, amount);
const andi = (rd: number, rs1: number, value: number) => e.iType(0x13, 7, rd, rs1, value);
const ld = (rd: number, base: number) => e.iType(0x03, e.LOADS.ld, rd, base, 0);
const sd = (rs2: number, base: number) => e.sType(e.STORES.sd, rs2, base, 0);

function start(a: Assembler): void {
  a.loadAddress(T, 'interrupt');
  a.emit(e.csrrw(0, 0x305, T));
  a.emit(e.lui(TIMER, 0x2004), e.lui(UART, 0x10000));
  a.emit(e.lui(FACTOR, 0x5851f), e.addi(FACTOR, FACTOR, 0x42d));
  a.emit(e.lui(BASE, WINDOW >>> 12), e.iType(0x13, 1, BASE, BASE, 32), shift(BASE, BASE, 32));
  a.emit(e.lui(MASK, 1 << (WINDOW_BITS - 12)), e.addi(MASK, MASK, -1));
  a.emit(e.addi(T, 0, PERIOD), sd(T, TIMER));
  a.emit(e.addi(T, 0, 0x80), e.csrrs(0, 0x304, T));
  a.emit(e.addi(T, 0, 8), e.csrrs(0, 0x300, T));
}

function loop(a: Assembler): void {
  a.label('loop');
  a.emit(op('mul', RANDOM, RANDOM, FACTOR), e.addi(RANDOM, RANDOM, 0x3d5));
  a.emit(shift(AT, RANDOM, 40), op('and', AT, AT, MASK), op('add', AT, AT, BASE));
  a.emit(sd(RANDOM, AT), ld(SEEN, AT), op('add', SUM, SUM, SEEN), e.cAddi(SUM, 1));
  a.emit(andi(WORD, AT, -8));
  a.label('retry');
  a.emit(e.amo(e.LR, 3, 0, VALUE, WORD, 0), op('add', VALUE, VALUE, SUM));
  a.emit(e.amo(e.SC, 3, 0, FAILED, WORD, VALUE));
  a.branch(e.BRANCHES.bne, FAILED, 0, 'retry');
  a.emit(e.amo(e.AMOS.amoxor, 2, 0, VALUE, WORD, SUM), op('xor', SUM, SUM, VALUE));
  a.emit(shift(T, RANDOM, 33), andi(T, T, 63));
  a.branch(e.BRANCHES.bne, T, 0, 'quiet');
  a.emit(e.sType(e.STORES.sb, SUM, UART, 0));
  a.label('quiet');
  a.emit(shift(T, RANDOM, 20), andi(T, T, 127));
  a.branch(e.BRANCHES.bne, T, 0, 'loop');
  a.emit(e.WFI);
  a.jump('loop');
}

function interrupt(a: Assembler): void {
  a.align(4);
  a.label('interrupt');
  a.emit(ld(COMPARE, TIMER), e.addi(COMPARE, COMPARE, PERIOD), sd(COMPARE, TIMER));
  a.emit(e.addi(INTERRUPTS, INTERRUPTS, 1), e.MRET);
}

export function restlessElf(): Uint8Array {
  const a = new Assembler(RAM_BASE);
  start(a);
  loop(a);
  interrupt(a);
  return writeElf(RAM_BASE, a.bytes());
}
