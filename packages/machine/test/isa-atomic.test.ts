/**
 * The A extension: AMOs of both widths, LR and SC, and that misaligned ones trap.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as own from '../assembly/machine-map.ts';
import * as e from './riscv/encode.ts';
import { DATA, HANDLER, HartBench, u64 } from './support/hart-bench.ts';

const bench = new HartBench({ harts: 2 });
const MAX = (1n << 64n) - 1n;
const MIN64 = 1n << 63n;
const address = { 10: BigInt(DATA) };

/** Operation, memory before, operand, memory after; 64 bits. The register gets the memory before. */
const CASES: readonly [keyof typeof e.AMOS, bigint, bigint, bigint][] = [
  ['amoadd', 40n, 2n, 42n],
  ['amoadd', MAX, 1n, 0n],
  ['amoswap', 1n, 2n, 2n],
  ['amoxor', 0xf0n, 0xffn, 0x0fn],
  ['amoor', 0xf0n, 0x0fn, 0xffn],
  ['amoand', 0xf0n, 0x3cn, 0x30n],
  ['amomin', 5n, MAX, MAX],
  ['amomin', 5n, 6n, 5n],
  ['amomax', MAX, 5n, 5n],
  ['amomax', MIN64, MAX, MAX],
  ['amominu', 5n, MAX, 5n],
  ['amomaxu', 5n, MAX, MAX],
];

test('AMOs on 64 bits', () => {
  for (const [name, before, operand, after] of CASES) {
    for (const ordering of [0, 1, 2, 3]) {
      const code = [e.amo(e.AMOS[name], 3, ordering, 12, 10, 11)];
      bench.reset({ code, x: { ...address, 11: operand } });
      bench.store64(DATA, before);
      bench.step();
      assert.equal(bench.x(12), before, name);
      assert.equal(bench.load64(DATA), after, name);
    }
  }
});

test('AMOs on 32 bits sign-extend what they read and leave the neighbour alone', () => {
  const cut = (value: bigint) => BigInt.asUintN(32, value);
  for (const [name, before, operand, after] of CASES) {
    if (before === MIN64) continue;
    bench.reset({
      code: [e.amo(e.AMOS[name], 2, 0, 12, 10, 11)],
      x: { ...address, 11: operand | (0xabcdn << 32n) },
    });
    bench.store64(DATA, (0x1234n << 32n) | cut(before));
    bench.step();
    assert.equal(bench.x(12), u64(BigInt.asIntN(32, before)), name);
    assert.equal(bench.load64(DATA), (0x1234n << 32n) | cut(after), name);
  }
});

const lr = (width: 2 | 3) => e.amo(e.LR, width, 0, 12, 10, 0);
const sc = (width: 2 | 3) => e.amo(e.SC, width, 0, 13, 10, 11);
const store = e.sType(e.STORES.sd, 14, 10, 0);

test('SC stores after LR, once', () => {
  for (const width of [2, 3] as const) {
    bench.reset({ code: [lr(width), sc(width), sc(width)], x: { ...address, 11: 9n } });
    bench.store64(DATA, 0x80000007n);
    bench.step(2);
    assert.equal(bench.x(12), width === 2 ? u64(-0x7ffffff9n) : 0x80000007n);
    assert.equal(bench.x(13), 0n, 'stored');
    assert.equal(bench.load64(DATA), 9n);
    bench.step();
    assert.equal(bench.x(13), 1n, 'the reservation is used up');
  }
});

test('SC fails without a reservation, elsewhere, and after another store', () => {
  bench.run({ code: [sc(3)], x: { ...address, 11: 9n } });
  assert.equal(bench.x(13), 1n);

  const elsewhere = e.amo(e.SC, 3, 0, 13, 15, 11);
  bench.run({ code: [lr(3), elsewhere, sc(3)], x: { ...address, 11: 9n, 15: BigInt(DATA + 8) } });
  assert.equal(bench.x(13), 1n, 'a failed SC ends the reservation too');

  bench.reset({ code: [lr(3), store, sc(3)], x: { ...address, 11: 9n, 14: 5n } });
  bench.store64(DATA, 4n);
  bench.step(3);
  assert.equal(bench.x(13), 1n);
  assert.equal(bench.load64(DATA), 5n);
});

test("another hart's store between LR and SC makes SC fail", () => {
  bench.reset({ code: [lr(3), sc(3)], x: { ...address, 11: 9n } });
  bench.store64(DATA, 4n);
  const other = DATA + 0x1000;
  bench.put(other, [store]);
  bench.setField(own.HART_PC, BigInt(other), 1);
  bench.setField(own.HART_X + 10 * 8, BigInt(DATA), 1);
  bench.setField(own.HART_X + 14 * 8, 5n, 1);
  bench.step(1, 0);
  bench.step(1, 1);
  bench.step(1, 0);
  assert.equal(bench.x(13), 1n);
  assert.equal(bench.load64(DATA), 5n);
});

test('misaligned atomics trap, whatever the page', () => {
  const cases = [
    [lr(3), 4, 4n],
    [lr(2), 2, 4n],
    [sc(3), 4, 6n],
    [e.amo(e.AMOS.amoadd, 2, 0, 12, 10, 11), 1, 6n],
    [e.amo(e.AMOS.amoswap, 3, 0, 12, 10, 11), -4, 6n],
  ] as const;
  for (const [code, offset, cause] of cases) {
    const value = BigInt(DATA + offset);
    assert.deepEqual(bench.trap({ code: [code], x: { 10: value } }), { cause, value });
  }
});

test('atomics outside RAM are access faults, also on a device', () => {
  for (const value of [0x4000n, 0x10000000n]) {
    assert.deepEqual(bench.trap({ code: [lr(2)], x: { 10: value } }), { cause: 5n, value });
    assert.deepEqual(bench.trap({ code: [sc(2)], x: { 10: value } }), { cause: 7n, value });
  }
});

test('other encodings of the opcode are illegal', () => {
  const illegal = [
    e.amo(5, 3, 0, 12, 10, 11),
    e.rType(0x2f, 1, 0, 12, 10, 11),
    e.amo(e.LR, 3, 0, 12, 10, 11),
  ];
  for (const code of illegal) {
    const trap = bench.trap({ code: [code], x: { ...address } });
    assert.deepEqual(trap, { cause: 2n, value: BigInt(code) });
  }
  assert.equal(bench.pc, HANDLER);
});
