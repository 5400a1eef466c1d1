/**
 * RV64I and M, instruction by instruction: operands in, result out, from the text of the manual. The
 * random sequences against another implementation are in differential.test.ts; these tables need no
 * other and say what is wrong by name.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { captureState } from '../src/machine-state.ts';
import * as e from './riscv/encode.ts';
import { DATA, HANDLER, HartBench, RAM_BASE, u64 } from './support/hart-bench.ts';

const bench = new HartBench();
const MIN64 = 1n << 63n;
const MAX = (1n << 64n) - 1n;

/** Operation, operands, result; the operands are sign-extended where written as negative. */
const REGISTER_CASES: readonly [keyof typeof e.OPS, bigint, bigint, bigint][] = [
  ['add', 2n, 3n, 5n],
  ['add', MAX, 1n, 0n],
  ['sub', 0n, 1n, -1n],
  ['sll', 1n, 63n, MIN64],
  ['sll', 1n, 64n, 1n],
  ['slt', -1n, 0n, 1n],
  ['slt', 0n, -1n, 0n],
  ['sltu', -1n, 0n, 0n],
  ['sltu', 0n, -1n, 1n],
  ['xor', 0xff00n, 0x0ff0n, 0xf0f0n],
  ['srl', -1n, 60n, 15n],
  ['sra', -16n, 2n, -4n],
  ['or', 0xf0n, 0x0fn, 0xffn],
  ['and', 0xf0n, 0x3cn, 0x30n],
  ['addw', 0x7fffffffn, 1n, -0x80000000n],
  ['subw', 0n, 1n, -1n],
  ['sllw', 1n, 31n, -0x80000000n],
  ['sllw', 1n, 32n, 1n],
  ['srlw', 0xffffffff80000000n, 31n, 1n],
  ['sraw', 0x80000000n, 31n, -1n],
  ['mul', -3n, 5n, -15n],
  ['mul', MAX, MAX, 1n],
  ['mulh', -1n, -1n, 0n],
  ['mulh', MIN64, MIN64, 1n << 62n],
  ['mulh', MIN64, 2n, -1n],
  ['mulhsu', -1n, MAX, -1n],
  ['mulhsu', 1n, MAX, 0n],
  ['mulhu', MAX, MAX, MAX - 1n],
  ['mulhu', 0x123456789abcdef0n, 0xfedcba9876543210n, 0x121fa00ad77d7422n],
  ['div', -7n, 2n, -3n],
  ['div', 7n, 0n, -1n],
  ['div', MIN64, -1n, MIN64],
  ['divu', 7n, 0n, MAX],
  ['divu', MAX, 2n, MAX >> 1n],
  ['rem', -7n, 2n, -1n],
  ['rem', -7n, 0n, -7n],
  ['rem', MIN64, -1n, 0n],
  ['remu', 7n, 0n, 7n],
  ['remu', MAX, 10n, 5n],
  ['mulw', 0x7fffffffn, 2n, -2n],
  ['divw', -0x80000000n, -1n, -0x80000000n],
  ['divw', 5n, 0x100000000n, -1n],
  ['divuw', 0xffffffffn, 1n, -1n],
  ['divuw', 5n, 0n, -1n],
  ['remw', -0x80000000n, -1n, 0n],
  ['remw', -5n, 0n, -5n],
  ['remuw', 0xffffffffn, 0x80000000n, 0x7fffffffn],
  ['remuw', -5n, 0n, -5n],
];

test('register-register instructions compute what the manual says', () => {
  for (const [name, a, b, result] of REGISTER_CASES) {
    const [opcode, funct3, funct7] = e.OPS[name];
    bench.run({ code: [e.rType(opcode, funct3, funct7, 12, 10, 11)], x: { 10: a, 11: b } });
    assert.equal(bench.x(12), u64(result), `${name} ${a}, ${b}`);
  }
});

const IMMEDIATE_CASES: readonly [keyof typeof e.IMMEDIATE_OPS, bigint, number, bigint][] = [
  ['addi', 5n, -6, -1n],
  ['addi', 0x7fffffffffffffffn, 1, MIN64],
  ['slti', -5n, -4, 1n],
  ['sltiu', 5n, -1, 1n],
  ['xori', 0n, -1, -1n],
  ['ori', 0x100n, 0x7f, 0x17fn],
  ['andi', -1n, -256, -256n],
  ['addiw', 0x7fffffffn, 1, -0x80000000n],
  ['addiw', 0x1_0000_0000n, 0, 0n],
];

const SHIFT_CASES: readonly [keyof typeof e.SHIFT_OPS, bigint, number, bigint][] = [
  ['slli', 1n, 63, MIN64],
  ['srli', MIN64, 63, 1n],
  ['srai', MIN64, 63, -1n],
  ['slliw', 1n, 31, -0x80000000n],
  ['srliw', 0x80000000n, 31, 1n],
  ['sraiw', 0x80000000n, 31, -1n],
];

test('register-immediate instructions compute what the manual says', () => {
  for (const [name, a, immediate, result] of IMMEDIATE_CASES) {
    const [opcode, funct3] = e.IMMEDIATE_OPS[name];
    bench.run({ code: [e.iType(opcode, funct3, 12, 10, immediate)], x: { 10: a } });
    assert.equal(bench.x(12), u64(result), `${name} ${a}, ${immediate}`);
  }
  for (const [name, a, amount, result] of SHIFT_CASES) {
    const [opcode, funct3, upper] = e.SHIFT_OPS[name];
    bench.run({ code: [e.iType(opcode, funct3, 12, 10, upper | amount)], x: { 10: a } });
    assert.equal(bench.x(12), u64(result), `${name} ${a}, ${amount}`);
  }
});

test('x0 stays zero, whatever is written to it', () => {
  bench.run({ code: [e.addi(0, 10, 1), e.addi(11, 0, 2)], x: { 10: 7n } });
  assert.equal(bench.x(0), 0n);
  assert.equal(bench.x(11), 2n);
});

test('lui and auipc build addresses, sign-extended', () => {
  bench.run({ code: [e.lui(10, 0x80000), e.auipc(11, 0x80000), e.auipc(12, 1)] });
  assert.equal(bench.x(10), u64(-0x80000000n));
  assert.equal(bench.x(11), u64(BigInt(RAM_BASE) + 4n - 0x80000000n));
  assert.equal(bench.x(12), BigInt(RAM_BASE + 8 + 0x1000));
});

test('branches go where their condition says', () => {
  const cases: readonly [keyof typeof e.BRANCHES, bigint, bigint, boolean][] = [
    ['beq', 1n, 1n, true],
    ['beq', 1n, 2n, false],
    ['bne', 1n, 2n, true],
    ['bne', 1n, 1n, false],
    ['blt', -1n, 0n, true],
    ['blt', 0n, 0n, false],
    ['bge', 0n, 0n, true],
    ['bge', -1n, 0n, false],
    ['bltu', 0n, -1n, true],
    ['bltu', -1n, 0n, false],
    ['bgeu', -1n, 0n, true],
    ['bgeu', 0n, 1n, false],
  ];
  for (const [name, a, b, taken] of cases) {
    const at = RAM_BASE + 0x2000;
    for (const offset of [-4096, 4094, -2, 8]) {
      bench.run({ at, code: [e.bType(e.BRANCHES[name], 10, 11, offset)], x: { 10: a, 11: b } });
      assert.equal(bench.pc, taken ? at + offset : at + 4, `${name} ${a}, ${b}, ${offset}`);
    }
  }
});

test('jumps link and land', () => {
  const at = RAM_BASE + 0x2000;
  bench.run({ at, code: [e.jal(1, -0x1ffe)] });
  assert.equal(bench.pc, at - 0x1ffe);
  assert.equal(bench.x(1), BigInt(at + 4));
  // The low bit of the sum is dropped; the link register may be the base.
  bench.run({ at, code: [e.jalr(10, 10, -3)], x: { 10: BigInt(at + 0x100) } });
  assert.equal(bench.pc, at + 0xfc);
  assert.equal(bench.x(10), BigInt(at + 4));
});

test('loads extend and stores cut', () => {
  const value = 0x8182838485868788n;
  const loads: readonly [keyof typeof e.LOADS, bigint][] = [
    ['lb', -0x78n],
    ['lh', 0x8788n - 0x10000n],
    ['lw', 0x85868788n - 0x1_0000_0000n],
    ['ld', value],
    ['lbu', 0x88n],
    ['lhu', 0x8788n],
    ['lwu', 0x85868788n],
  ];
  for (const [name, result] of loads) {
    bench.reset({ code: [e.iType(0x03, e.LOADS[name], 12, 10, -8)], x: { 10: BigInt(DATA) } });
    bench.store64(DATA - 8, value);
    bench.step();
    assert.equal(bench.x(12), u64(result), name);
  }
  for (const [name, funct3] of Object.entries(e.STORES)) {
    bench.reset({ code: [e.sType(funct3, 11, 10, 8)], x: { 10: BigInt(DATA), 11: value } });
    bench.store64(DATA + 8, -1n);
    bench.step();
    const mask = (1n << BigInt(8 << funct3)) - 1n;
    assert.equal(bench.load64(DATA + 8), (MAX & ~mask) | (value & mask), name);
  }
});

test('misaligned loads and stores work, within a page and across two', () => {
  for (const address of [DATA + 1, DATA + 13, DATA - 1, DATA - 3, DATA - 7]) {
    for (const [width, store, load] of [
      [16, e.STORES.sh, e.LOADS.lhu],
      [32, e.STORES.sw, e.LOADS.lwu],
      [64, e.STORES.sd, e.LOADS.ld],
    ] as const) {
      const code = [e.sType(store, 11, 10, 0), e.iType(0x03, load, 12, 10, 0)];
      bench.run({ code, x: { 10: BigInt(address), 11: 0xf1f2f3f4f5f6f7f8n } });
      const expected = BigInt.asUintN(width, 0xf1f2f3f4f5f6f7f8n);
      assert.equal(bench.x(12), expected, `${width} bits at ${address.toString(16)}`);
    }
  }
  bench.store64(DATA - 8, 0x80ffn << 48n);
  bench.store64(DATA, 0xffn);
  bench.run({ code: [e.iType(0x03, e.LOADS.lw, 12, 10, 0)], x: { 10: BigInt(DATA - 2) } });
  assert.equal(bench.x(12), 0x00ff80ffn);
});

test('accesses outside RAM and devices fault and change nothing', () => {
  const outside = { 10: 0x4000n, 11: BigInt(RAM_BASE + 1048576 - 4), 12: 5n };
  const load = e.iType(0x03, e.LOADS.ld, 12, 10, 0);
  assert.deepEqual(bench.trap({ code: [load], x: outside }), { cause: 5n, value: 0x4000n });
  const store = e.sType(e.STORES.sd, 12, 10, 0);
  assert.deepEqual(bench.trap({ code: [store], x: outside }), { cause: 7n, value: 0x4000n });
  // The second page of a crossing access is missing: its address is the one reported.
  const end = BigInt(RAM_BASE + 1048576);
  const tail = e.iType(0x03, e.LOADS.ld, 12, 11, 0);
  assert.deepEqual(bench.trap({ code: [tail], x: outside }), { cause: 5n, value: end });
  const before = bench.load64(RAM_BASE + 1048576 - 8);
  const over = e.sType(e.STORES.sd, 12, 11, 0);
  assert.deepEqual(bench.trap({ code: [over], x: outside }), { cause: 7n, value: end });
  assert.equal(bench.load64(RAM_BASE + 1048576 - 8), before);
});

test('a fetch outside RAM faults at the place jumped to', () => {
  bench.reset({ code: [e.jalr(0, 10, 0)], x: { 10: 0x1000n } });
  bench.put(HANDLER, [0x6f]);
  bench.step(2);
  assert.equal(bench.pc, HANDLER);
  const hart = captureState(bench.guest).harts[0]!;
  const trap = ['mcause', 'mtval', 'mepc'].map((name) => hart.word(name));
  assert.deepEqual(trap, [1n, 0x1000n, 0x1000n]);
});

test('an instruction may lie across two pages', () => {
  const at = RAM_BASE + 0x3ffe;
  bench.run({ at, code: [e.addi(10, 0, 77), e.addi(11, 10, 1)] });
  assert.deepEqual([bench.x(10), bench.x(11)], [77n, 78n]);
  // Its second half is outside RAM: the fault is there, the instruction is not executed.
  const last = RAM_BASE + 1048576 - 2;
  bench.guest.ram().set([0x13, 0x05], 1048574);
  assert.deepEqual(bench.trap({ at: last, code: [] }), { cause: 1n, value: BigInt(last + 2) });
});

test('a store to code is executed at once, with fence.i and without a jump', () => {
  const code = [e.sType(e.STORES.sw, 11, 10, 0), e.FENCE_I, e.FENCE, e.addi(12, 0, 1)];
  const x = { 10: BigInt(RAM_BASE + 12), 11: BigInt(e.addi(12, 0, 2)) };
  bench.run({ code, x });
  assert.equal(bench.x(12), 2n);
});
