/**
 * The C extension: every form does what the 32-bit instruction it stands for does, and the reserved
 * encodings do nothing but trap.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { captureState } from '../src/machine-state.ts';
import * as e from './riscv/encode.ts';
import { DATA, HartBench, RAM_BASE } from './support/hart-bench.ts';

const bench = new HartBench();

function op(name: keyof typeof e.OPS, rd: number, rs1: number, rs2: number): number {
  const [opcode, funct3, funct7] = e.OPS[name];
  return e.rType(opcode, funct3, funct7, rd, rs1, rs2);
}
function imm(name: keyof typeof e.IMMEDIATE_OPS, rd: number, rs1: number, value: number): number {
  const [opcode, funct3] = e.IMMEDIATE_OPS[name];
  return e.iType(opcode, funct3, rd, rs1, value);
}
function shift(name: keyof typeof e.SHIFT_OPS, rd: number, amount: number): number {
  const [opcode, funct3, upper] = e.SHIFT_OPS[name];
  return e.iType(opcode, funct3, rd, rd, upper | amount);
}
const load = (name: keyof typeof e.LOADS, rd: number, base: number, offset: number) =>
  e.iType(0x03, e.LOADS[name], rd, base, offset);

/** Short form, long form. Immediates are chosen so that each of their bits is set in some case. */
const FORMS: readonly (readonly [string, number, number])[] = [
  ['c.nop', e.C_NOP, imm('addi', 0, 0, 0)],
  ['c.addi', e.cAddi(11, -32), imm('addi', 11, 11, -32)],
  ['c.addi', e.cAddi(31, 21), imm('addi', 31, 31, 21)],
  ['c.addiw', e.cAddiw(11, -11), imm('addiw', 11, 11, -11)],
  ['c.li', e.cLi(11, -1), imm('addi', 11, 0, -1)],
  ['c.li', e.cLi(11, 31), imm('addi', 11, 0, 31)],
  ['c.lui', e.cLui(11, 31), e.lui(11, 31)],
  ['c.lui', e.cLui(11, -32), e.lui(11, 0xfffe0)],
  ['c.addi16sp', e.cAddi16sp(-512), imm('addi', 2, 2, -512)],
  ['c.addi16sp', e.cAddi16sp(496), imm('addi', 2, 2, 496)],
  ['c.addi4spn', e.cAddi4spn(8, 1020), imm('addi', 8, 2, 1020)],
  ['c.addi4spn', e.cAddi4spn(15, 4), imm('addi', 15, 2, 4)],
  ['c.slli', e.cSlli(11, 1), shift('slli', 11, 1)],
  ['c.slli', e.cSlli(11, 63), shift('slli', 11, 63)],
  ['c.srli', e.cImmediateShort(0, 8, 33), shift('srli', 8, 33)],
  ['c.srai', e.cImmediateShort(1, 15, 62), shift('srai', 15, 62)],
  ['c.andi', e.cImmediateShort(2, 9, -20), imm('andi', 9, 9, -20)],
  ['c.sub', e.cShortOp('cSub', 8, 9), op('sub', 8, 8, 9)],
  ['c.xor', e.cShortOp('cXor', 10, 11), op('xor', 10, 10, 11)],
  ['c.or', e.cShortOp('cOr', 12, 13), op('or', 12, 12, 13)],
  ['c.and', e.cShortOp('cAnd', 14, 15), op('and', 14, 14, 15)],
  ['c.subw', e.cShortOp('cSubw', 15, 8), op('subw', 15, 15, 8)],
  ['c.addw', e.cShortOp('cAddw', 9, 12), op('addw', 9, 9, 12)],
  ['c.mv', e.cMv(31, 1), op('add', 31, 0, 1)],
  ['c.add', e.cAdd(5, 30), op('add', 5, 5, 30)],
  ['c.add with x0 (hint)', e.cAdd(0, 30), op('add', 0, 0, 30)],
  ['c.j', e.cJ(-2048), e.jal(0, -2048)],
  ['c.j', e.cJ(2046), e.jal(0, 2046)],
  ['c.j', e.cJ(0x554), e.jal(0, 0x554)],
  ['c.beqz', e.cBranch(true, 8, -256), e.bType(0, 8, 0, -256)],
  ['c.beqz', e.cBranch(true, 14, 254), e.bType(0, 14, 0, 254)],
  ['c.bnez', e.cBranch(false, 8, 0xaa), e.bType(1, 8, 0, 0xaa)],
  ['c.bnez', e.cBranch(false, 14, 0x54), e.bType(1, 14, 0, 0x54)],
  ['c.jr', e.cJr(9), e.jalr(0, 9, 0)],
  ['c.lw', e.cWord(false, 8, 9, 124), load('lw', 8, 9, 124)],
  ['c.lw', e.cWord(false, 8, 9, 4), load('lw', 8, 9, 4)],
  ['c.ld', e.cDouble(false, 15, 9, 248), load('ld', 15, 9, 248)],
  ['c.sw', e.cWord(true, 8, 9, 68), e.sType(2, 8, 9, 68)],
  ['c.sd', e.cDouble(true, 10, 9, 200), e.sType(3, 10, 9, 200)],
  ['c.lwsp', e.cLoadSp(false, 31, 252), load('lw', 31, 2, 252)],
  ['c.ldsp', e.cLoadSp(true, 1, 504), load('ld', 1, 2, 504)],
  ['c.swsp', e.cStoreSp(false, 31, 252), e.sType(2, 31, 2, 252)],
  ['c.sdsp', e.cStoreSp(true, 30, 504), e.sType(3, 30, 2, 504)],
];

/** Registers with something different in each; 2 and 9 are addresses. */
function registers(): { [register: number]: bigint } {
  const x: { [register: number]: bigint } = {};
  for (let i = 1; i < 32; i++) x[i] = BigInt.asUintN(64, 0x9e3779b97f4a7c15n * BigInt(i));
  x[14] = 0n;
  x[2] = BigInt(DATA);
  x[9] = BigInt(DATA + 0x400);
  return x;
}

/** All registers and the data pages after one instruction. */
function after(instruction: number) {
  const at = RAM_BASE + 0x2000;
  bench.reset({ at, code: [instruction], x: registers() });
  for (let i = 0; i < 0x800; i += 8)
    bench.store64(DATA + i, BigInt.asUintN(64, (~0n * BigInt(i)) << 5n));
  bench.step();
  const state = captureState(bench.guest).harts[0]!;
  const data = Buffer.from(bench.guest.ram().slice(DATA - RAM_BASE, DATA - RAM_BASE + 0x800));
  return {
    x: state.list('x'),
    jumpedTo: Number(state.word('pc')) - at,
    data,
    instructions: state.word('instructions'),
  };
}

test('each short form does what its long form does', () => {
  for (const [name, short, long] of FORMS) {
    const [a, b] = [after(short), after(long)];
    const next = b.jumpedTo === 4 ? 2 : b.jumpedTo;
    assert.equal(a.instructions, 1n, `${name} is executed`);
    assert.deepEqual({ ...a, jumpedTo: next }, { ...b, jumpedTo: next }, name);
    assert.equal(a.jumpedTo, next, name);
  }
});

test('c.jalr links to the instruction after its two bytes', () => {
  bench.run({ code: [e.cJalr(5)], x: { 5: BigInt(RAM_BASE + 0x101) } });
  assert.equal(bench.pc, RAM_BASE + 0x100);
  assert.equal(bench.x(1), BigInt(RAM_BASE + 2));
});

test('c.ebreak is a breakpoint', () => {
  const { cause, value } = bench.trap({ code: [e.C_EBREAK] });
  assert.deepEqual([cause, value], [3n, BigInt(RAM_BASE)]);
});

test('reserved encodings are illegal and report their sixteen bits', () => {
  const reserved = {
    'all zero': 0x0000,
    'c.addi4spn with 0': 0x0004,
    'quadrant 0, funct3 4': 0x8000,
    'c.addiw x0': e.cAddiw(0, 1),
    'c.lui with 0': 0x6081,
    'c.addi16sp with 0': 0x6101,
    'c.lwsp x0': 0x4002,
    'c.ldsp x0': 0x6002,
    'c.jr x0': 0x8002,
    'arithmetic 6': 0x9c41,
    'arithmetic 7': 0x9c61,
    // F and D are not there: their forms are as illegal as the long ones.
    'c.fld': 0x2000,
    'c.fsd': 0xa000,
    'c.fldsp': 0x2002,
    'c.fsdsp': 0xa002,
  };
  for (const [name, code] of Object.entries(reserved)) {
    const trap = bench.trap({ code: [code] });
    assert.equal(trap.cause, 2n, name);
    assert.equal(trap.value, BigInt(code), name);
  }
});
