/**
 * F and D around the arithmetic: registers and boxing, loads and stores, fcsr, mstatus.FS, rounding modes
 * in the instruction, reserved encodings, state. What each instruction computes is compared with QEMU in
 * float-differential.test.ts and with exact arithmetic in float-exact.test.ts.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as own from '../assembly/machine-map.ts';
import { captureState, decodeState, encodeState, restoreState } from '../src/machine-state.ts';
import * as e from './riscv/encode.ts';
import {
  DYNAMIC,
  FLOAT_INSTRUCTIONS,
  fld,
  floatInstruction,
  flw,
  fsd,
  fsw,
} from './riscv/float-encode.ts';
import { FORMATS } from './riscv/float-operands.ts';
import { DATA, HANDLER, HartBench, type Setup } from './support/hart-bench.ts';

const bench = new HartBench();
const [FFLAGS, FRM, FCSR] = [1, 2, 3];
const [OFF, INITIAL, CLEAN, DIRTY] = [0n, 1n, 2n, 3n];
const FS_SHIFT = 13n;
const SD = 1n << 63n;
const BOX = 0xffffffff00000000n;
const NAN_S = BOX | 0x7fc00000n;

interface FloatSetup extends Setup {
  readonly f?: { readonly [register: number]: bigint };
  readonly fcsr?: bigint;
  readonly fs?: bigint;
}

function prepare({ f = {}, fcsr = 0n, fs = CLEAN }: FloatSetup): void {
  const status = bench.field(own.HART_MSTATUS) & ~(DIRTY << FS_SHIFT);
  bench.setField(own.HART_MSTATUS, status | (fs << FS_SHIFT));
  bench.setField(own.HART_FCSR, fcsr);
  for (let i = 0; i < 32; i++) bench.setField(own.HART_F + i * 8, f[i] ?? 0n);
}

/** Executes the code, which must not trap. */
function run(setup: FloatSetup): void {
  bench.reset(setup);
  prepare(setup);
  bench.step(setup.code.length);
  assert.notEqual(bench.pc, HANDLER, 'no trap');
}

const f = (register: number): bigint => bench.field(own.HART_F + register * 8);
const fs = (): bigint => (bench.field(own.HART_MSTATUS) >> FS_SHIFT) & 3n;
const fcsr = (): bigint => bench.field(own.HART_FCSR);

/** Whether the instruction is illegal: nothing retired, cause 2, the instruction in mtval. */
function isIllegal(setup: FloatSetup): boolean {
  bench.reset(setup);
  prepare(setup);
  bench.put(HANDLER, [0x6f]); // j .
  bench.step(1);
  if (bench.pc !== HANDLER) return false;
  assert.equal(bench.field(own.HART_MCAUSE), 2n);
  assert.equal(bench.field(own.HART_MTVAL), BigInt(setup.code[0]!));
  return true;
}

const S = (value: number): bigint => FORMATS.S.box(FORMATS.S.nearest(value));
const D = (value: number): bigint => FORMATS.D.nearest(value);
const word = (name: string, rd = 4, rm = DYNAMIC): number => floatInstruction(name).word(rd, rm);

test('FLW boxes, FSW stores the lower half whatever the upper, FLD and FSD move all bits', () => {
  const x = { 10: BigInt(DATA) };
  const stores = { code: [fsw(1, 10, -8), fsd(2, 10, 8)], x, f: { 1: 0x1122334455667788n, 2: 5n } };
  bench.reset(stores);
  bench.store64(DATA - 8, 0n);
  prepare(stores);
  bench.step(2);
  assert.deepEqual([bench.load64(DATA - 8), bench.load64(DATA + 8)], [0x55667788n, 5n]);
  assert.equal(fs(), CLEAN, 'a store changes nothing of the unit');

  const loads = { code: [flw(0, 10, 4), fld(31, 10, 0), flw(3, 10, 0)], x };
  bench.reset(loads);
  bench.store64(DATA, 0x8000000012345678n);
  prepare(loads);
  bench.step(3);
  assert.deepEqual(
    [f(0), f(31), f(3)],
    [BOX | 0x80000000n, 0x8000000012345678n, BOX | 0x12345678n],
  );
  assert.equal(bench.x(0), 0n, 'f0 is a register, x0 stays 0');
  assert.equal(fs(), DIRTY);
});

test('misaligned accesses work within a page and across two', () => {
  for (const at of [DATA + 3, DATA - 3, DATA - 4093]) {
    const setup = { code: [fsd(1, 10, 0), fld(2, 10, 0), fsw(1, 10, 1), flw(3, 10, 1)] };
    run({ ...setup, x: { 10: BigInt(at) }, f: { 1: 0x1122334455667788n } });
    assert.deepEqual([f(2), f(3)], [0x1122334455667788n, BOX | 0x55667788n]);
  }
});

test('a load that faults leaves the register, the flags and FS alone', () => {
  const setup = { code: [fld(1, 10, 0)], x: { 10: 0x06000000n }, f: { 1: 7n } };
  bench.reset(setup);
  prepare(setup);
  bench.put(HANDLER, [0x6f]);
  bench.step(1);
  assert.deepEqual([bench.field(own.HART_MCAUSE), f(1), fs()], [5n, 7n, CLEAN]);
});

test('the compressed loads and stores are those they stand for', () => {
  const x = { 2: BigInt(DATA), 9: BigInt(DATA) };
  const setup = {
    code: [e.cFloatDouble(true, 8, 9, 248), e.cFloatStoreSp(31, 504)],
    x,
    f: { 8: 11n, 31: 12n },
  };
  run(setup);
  assert.deepEqual([bench.load64(DATA + 248), bench.load64(DATA + 504)], [11n, 12n]);
  run({ code: [e.cFloatDouble(false, 15, 9, 248), e.cFloatLoadSp(0, 504)], x });
  assert.deepEqual([f(15), f(0)], [11n, 12n]);
});

test('a single that is not boxed is the canonical NaN, but for moves and stores', () => {
  const unboxed = 0x7fffffff3f800000n;
  run({ code: [word('fadd.s')], f: { 1: unboxed, 2: S(1) } });
  assert.equal(f(4), NAN_S);
  run({ code: [word('fsgnjn.s')], f: { 1: unboxed, 2: unboxed } });
  assert.equal(f(4), BOX | 0xffc00000n, 'sign injection sees the NaN too');
  run({ code: [word('fmv.x.w')], f: { 1: 0x80000000n } });
  assert.equal(bench.x(4), BOX | 0x80000000n, 'FMV.X.W takes the bits and extends their sign');
  run({ code: [word('fclass.s')], f: { 1: unboxed } });
  assert.equal(bench.x(4), 1n << 9n, 'a quiet NaN');
});

test('results of singles are boxed; a comparison writes x', () => {
  run({ code: [word('fmul.s')], f: { 1: S(3), 2: S(-0.5) } });
  assert.equal(f(4), S(-1.5));
  run({ code: [word('flt.d')], f: { 1: D(-1), 2: D(1) } });
  assert.deepEqual([bench.x(4), fs()], [1n, CLEAN], 'and leaves the unit alone');
  run({ code: [word('feq.d', 0)], f: { 1: D(1), 2: D(1) } });
  assert.equal(bench.x(0), 0n);
});

test('the instruction says how to round, or frm does', () => {
  const third = (rm: number, mode: bigint) => {
    run({ code: [word('fdiv.d', 4, rm)], f: { 1: D(1), 2: D(3) }, fcsr: mode << 5n });
    return f(4) - D(1 / 3); // 1/3 lies above its RNE value
  };
  const above = [0n, 0n, 0n, 1n, 0n];
  for (const [rm, expected] of above.entries()) {
    assert.equal(third(rm, 7n), expected, `rm ${rm}; frm is not looked at`);
    assert.equal(third(DYNAMIC, BigInt(rm)), expected, `frm ${rm}`);
  }
});

test('conversions to integers round as they say, too', () => {
  const rounded = (value: number, rm: number, mode: bigint) => {
    const fcsr = (mode << 5n) | 1n;
    run({ code: [word('fcvt.w.d', 4, rm)], f: { 1: D(value) }, fcsr, fs: DIRTY });
    return bench.x(4);
  };
  const expected = [
    [2.5, [2n, 2n, 2n, 3n, 3n]],
    [3.5, [4n, 3n, 3n, 4n, 4n]],
  ] as const;
  for (const [value, results] of expected) {
    for (const [rm, result] of results.entries()) {
      assert.equal(rounded(value, rm, 0n), result, `${value}, rm ${rm}`);
      assert.equal(rounded(value, DYNAMIC, BigInt(rm)), result, `${value}, frm ${rm}`);
    }
  }
});

test('FS is looked at by loads and stores whose page the hart has just used', () => {
  const accesses = [flw(1, 10, 0), fld(1, 10, 0), fsw(1, 10, 0), fsd(1, 10, 0)];
  for (const code of accesses) {
    const warm = { code: [code, e.csrrc(0, 0x300, 11), e.csrrs(0, 0x300, 12), code] };
    const x = { 10: BigInt(DATA), 11: DIRTY << FS_SHIFT };
    run({ ...warm, x: { ...x, 12: CLEAN << FS_SHIFT }, fs: DIRTY });
    assert.equal(fs(), code & 0x20 ? CLEAN : DIRTY, code.toString(16));
    bench.reset({ ...warm, x });
    prepare({ ...warm, fs: DIRTY });
    bench.put(HANDLER, [0x6f]);
    bench.step(4);
    assert.deepEqual([bench.pc, bench.field(own.HART_MCAUSE)], [HANDLER, 2n], code.toString(16));
  }
});

test('reserved rounding modes are illegal wherever a mode is', () => {
  for (const instruction of FLOAT_INSTRUCTIONS) {
    const hasMode = instruction.word(4, 0) !== instruction.word(4, 1);
    for (const rm of [5, 6]) {
      const code = [instruction.word(4, rm)];
      if (hasMode) assert.ok(isIllegal({ code }), `${instruction.name}, rm ${rm}`);
    }
    for (const frm of [5n, 6n, 7n]) {
      const code = [instruction.word(4, DYNAMIC)];
      assert.equal(
        isIllegal({ code, fcsr: frm << 5n }),
        hasMode,
        `${instruction.name}, frm ${frm}`,
      );
    }
  }
});

test('flags accumulate and are never cleared by arithmetic', () => {
  const divisions = [word('fdiv.d'), word('fdiv.d', 2)];
  run({ code: divisions, f: { 1: D(1), 2: D(0) }, fcsr: 1n });
  assert.equal(fcsr(), 9n, 'DZ joins NX');
  run({ code: [word('fmul.d')], f: { 1: D(1e-200), 2: D(1e-200) } });
  assert.equal(fcsr(), 3n, 'UF and NX');
});

test('a flag alone makes FS dirty', () => {
  run({ code: [word('flt.d')], f: { 1: D(Number.NaN), 2: D(1) } });
  assert.deepEqual([bench.x(4), fcsr(), fs()], [0n, 16n, DIRTY]);
});

test('with FS off every instruction and register of the unit is illegal', () => {
  const x = { 10: BigInt(DATA) };
  const memory = [flw(1, 10, 0), fld(1, 10, 0), fsw(1, 10, 0), fsd(1, 10, 0)];
  const registers = [FFLAGS, FRM, FCSR].map((csr) => e.csrrs(11, csr, 0));
  const computing = FLOAT_INSTRUCTIONS.map(({ word }) => word(4, DYNAMIC));
  for (const code of [...memory, ...registers, ...computing]) {
    assert.ok(isIllegal({ code: [code], x, fs: OFF }), code.toString(16));
    assert.ok(!isIllegal({ code: [code], x, fs: INITIAL }), code.toString(16));
  }
  assert.ok(isIllegal({ code: [e.cFloatLoadSp(1, 0)], fs: OFF }), 'c.fldsp');
});

test('encodings that are no instruction are illegal and change nothing', () => {
  const x = { 10: BigInt(DATA) };
  const half = (word('fadd.d') & ~(3 << 25)) | (2 << 25);
  const quad = word('fadd.d') | (3 << 25);
  const reserved = [
    half,
    quad,
    (word('fmadd.d') & ~(3 << 25)) | (2 << 25),
    word('fsqrt.d') | (1 << 20),
    word('fsgnj.d') | (3 << 12),
    word('fmin.d') | (2 << 12),
    word('feq.d') | (4 << 12),
    word('fcvt.w.d') | (4 << 20),
    word('fcvt.d.w') | (4 << 20),
    word('fcvt.s.d') & ~(1 << 20), // from S to S
    word('fcvt.d.s') | (1 << 20), // from D to D
    word('fclass.d') | (2 << 12),
    word('fmv.d.x') | (1 << 12),
    word('fmv.x.d') | (1 << 20),
    fld(1, 10, 0) | (4 << 12), // Q
    fld(1, 10, 0) ^ (2 << 12), // H
    fsd(1, 10, 0) | (4 << 12),
  ];
  for (const code of reserved) {
    assert.ok(isIllegal({ code: [code >>> 0], x }), (code >>> 0).toString(16));
    assert.deepEqual([f(4), fcsr(), fs()], [0n, 0n, CLEAN]);
  }
});

test('fflags and frm are views of fcsr; a write makes FS dirty, SD says so', () => {
  const x = { 10: 0xfffn };
  run({ code: [e.csrrw(0, FCSR, 10), e.csrrs(11, FCSR, 0), e.csrrs(12, 0x300, 0)], x });
  assert.equal(bench.x(11), 0xffn);
  assert.equal(bench.x(12) & (SD | (DIRTY << FS_SHIFT)), SD | (DIRTY << FS_SHIFT));
  run({
    code: [e.csrrw(11, FRM, 10), e.csrrs(12, FRM, 0), e.csrrs(13, FFLAGS, 0)],
    x,
    fcsr: 0x4an,
  });
  assert.deepEqual([bench.x(11), bench.x(12), bench.x(13)], [2n, 7n, 10n]);
  run({ code: [e.csrrw(11, FFLAGS, 10), e.csrrs(12, FCSR, 0)], x, fcsr: 0x40n });
  assert.deepEqual([bench.x(11), bench.x(12)], [0n, 0x5fn]);
  run({ code: [e.csrrs(11, FCSR, 0), e.csrrs(12, 0x300, 0)] });
  assert.deepEqual([fs(), bench.x(12) & SD], [CLEAN, 0n], 'reading leaves FS alone');
});

test('the registers and fcsr are part of machine state', () => {
  const registers = Object.fromEntries(
    Array.from({ length: 32 }, (_, i) => [i, BigInt(i + 1) << 40n]),
  );
  run({ code: [e.C_NOP], f: registers, fcsr: 0x7fn });
  const state = decodeState(encodeState(captureState(bench.guest)));
  run({ code: [e.C_NOP] });
  restoreState(bench.guest, state);
  assert.deepEqual(captureState(bench.guest).harts, state.harts);
  assert.deepEqual([f(0), f(31), fcsr()], [1n << 40n, 32n << 40n, 0x7fn]);
});
