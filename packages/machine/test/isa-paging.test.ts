/**
 * Sv39: what a page table allows, what it makes a hart do to itself (A and D), and when the TLB must
 * forget. One hart in supervisor or user mode, its code at a virtual address.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import * as own from '../assembly/machine-map.ts';
import * as map from '../assembly/memory-map.ts';
import { testBit } from '../src/bitmap.ts';
import * as e from './riscv/encode.ts';
import { HANDLER, HartBench, RAM_BASE } from './support/hart-bench.ts';
import { A, ALL, D, PageTables, R, U, V, W, X } from './support/page-tables.ts';

const bench = new HartBench({ ramBytes: 4 * 1048576 });

const TABLES = RAM_BASE + 0x100000;
/** Where code and data lie, and where they are mapped. */
const CODE = RAM_BASE + 0x20000;
const PAGES = RAM_BASE + 0x30000;
const CODE_AT = 0x40000000n;
const DATA_AT = 0x7fff_f000n;
const SUM = 1n << 18n;
const MXR = 1n << 19n;
const SUPERVISOR = BigInt(own.PRIVILEGE_S);
const USER = BigInt(own.PRIVILEGE_U);

const ld = (rd: number, base: number, offset = 0) => e.iType(0x03, e.LOADS.ld, rd, base, offset);
const sd = (rs2: number, base: number, offset = 0) => e.sType(e.STORES.sd, rs2, base, offset);

interface Paged {
  readonly code: readonly number[];
  readonly x?: { readonly [register: number]: bigint };
  readonly privilege?: bigint;
  readonly status?: bigint;
  readonly codeBits?: bigint;
  readonly clock?: 'host';
}

/** A hart in the given mode at CODE_AT, paging on; the caller maps data before it steps. */
function start(setup: Paged): PageTables {
  const { code, x = {}, clock = 'instructions' } = setup;
  bench.reset({ code, at: CODE, x, clock });
  bench.put(HANDLER, [0x6f]);
  const tables = new PageTables(bench, TABLES);
  const user = setup.privilege === USER ? U : 0n;
  tables.map(CODE_AT, BigInt(CODE), setup.codeBits ?? ALL | user);
  bench.setField(own.HART_PC, CODE_AT);
  bench.setField(own.HART_PRIVILEGE, setup.privilege ?? SUPERVISOR);
  bench.setField(own.HART_MSTATUS, BigInt(own.MSTATUS_RESET) | (setup.status ?? 0n));
  bench.setField(own.HART_SATP, tables.satp);
  return tables;
}

/** Cause of the trap that the next instruction ends in, with mtval; undefined: it does not trap. */
function trapOf(): { cause: number; value: bigint } | undefined {
  bench.step(1);
  if (bench.pc !== HANDLER) return undefined;
  return {
    cause: Number(bench.field(own.HART_MCAUSE)),
    value: bench.field(own.HART_MTVAL),
  };
}

const LOAD = 13;
const STORE = 15;
const FETCH = 12;

test('loads, stores and fetches go where the table says', () => {
  const tables = start({
    code: [ld(5, 10), sd(5, 11, 8), ld(6, 11, 8)],
    x: { 10: DATA_AT, 11: DATA_AT },
  });
  tables.map(DATA_AT, BigInt(PAGES), ALL);
  bench.store64(PAGES, 0x1234n);
  bench.step(3);
  assert.equal(bench.pc, Number(CODE_AT) + 12);
  assert.deepEqual([bench.x(5), bench.x(6), bench.load64(PAGES + 8)], [0x1234n, 0x1234n, 0x1234n]);
});

/** Bits of a leaf, mode and status; whether a load, a store and a fetch are allowed. */
const RIGHTS: readonly (readonly [bigint, bigint, bigint, string])[] = [
  [ALL, SUPERVISOR, 0n, 'rwx'],
  [V | R | A | D, SUPERVISOR, 0n, 'r'],
  [V | R | W | A | D, SUPERVISOR, 0n, 'rw'],
  [V | X | A | D, SUPERVISOR, 0n, 'x'],
  [V | X | A | D, SUPERVISOR, MXR, 'rx'],
  [V | W | A | D, SUPERVISOR, 0n, ''],
  [V | W | X | A | D, SUPERVISOR, 0n, ''],
  [ALL & ~V, SUPERVISOR, 0n, ''],
  [ALL | U, SUPERVISOR, 0n, ''],
  [ALL | U, SUPERVISOR, SUM, 'rw'],
  [ALL, USER, 0n, ''],
  [ALL, USER, SUM, ''],
  [ALL | U, USER, 0n, 'rwx'],
  [V | X | U | A | D, USER, MXR, 'rx'],
  [ALL | (1n << 54n), SUPERVISOR, 0n, ''],
  [ALL | (1n << 62n), SUPERVISOR, 0n, ''],
  [ALL | (1n << 63n), SUPERVISOR, 0n, ''],
  [V, SUPERVISOR, 0n, ''],
];

test('a leaf allows what its bits, the mode, SUM and MXR say', () => {
  const kinds = [
    ['r', LOAD, ld(5, 10)],
    ['w', STORE, sd(5, 10)],
    ['w', STORE, e.amo(e.AMOS.amoadd, 3, 0, 5, 10, 6)],
    ['r', LOAD, e.amo(e.LR, 3, 0, 5, 10, 0)],
    ['x', FETCH, e.jalr(0, 10, 0)],
  ] as const;
  for (const [bits, privilege, status, allowed] of RIGHTS) {
    for (const [right, cause, code] of kinds) {
      const tables = start({ code: [code], x: { 10: DATA_AT }, privilege, status });
      tables.map(DATA_AT, BigInt(PAGES), bits);
      bench.put(PAGES, [0x6f]);
      if (cause === FETCH) bench.step(1);
      const expected = allowed.includes(right) ? undefined : { cause, value: DATA_AT };
      const message = `bits ${bits.toString(16)} mode ${privilege} status ${status.toString(16)} ${right}`;
      assert.deepEqual(trapOf(), expected, message);
    }
  }
});

test('addresses that are not sign-extended, and tables that are none, fault', () => {
  for (const address of [1n << 38n, 1n << 39n, (1n << 64n) - (1n << 39n), 1n << 63n]) {
    start({ code: [ld(5, 10)], x: { 10: address } });
    assert.deepEqual(trapOf(), { cause: LOAD, value: address });
  }
  const tables = start({ code: [ld(5, 10)], x: { 10: DATA_AT } });
  tables.map(DATA_AT, BigInt(PAGES), ALL);
  const pointer = tables.entryAt(DATA_AT, 1);
  for (const bit of [A, D, U]) {
    bench.setField(own.HART_PC, CODE_AT);
    bench.setField(own.HART_PRIVILEGE, SUPERVISOR);
    const good = bench.load64(pointer);
    bench.store64(pointer, good | bit);
    assert.deepEqual(
      trapOf(),
      { cause: LOAD, value: DATA_AT },
      'A, D, U are reserved in a pointer',
    );
    bench.store64(pointer, good);
  }
  // A table outside RAM: an access fault of the kind the access was.
  start({ code: [sd(5, 10)], x: { 10: DATA_AT } }).entryAt(DATA_AT, 0);
  bench.store64(pointer, (0x1000n >> 2n) | V);
  assert.deepEqual(trapOf(), { cause: 7, value: DATA_AT });
});

test('superpages map their whole range and must be aligned', () => {
  for (const level of [1, 2]) {
    const at = 0x1_4000_0000n + 0x1f_f008n;
    const tables = start({ code: [ld(5, 10), e.sfenceVma(10, 0), ld(6, 10)], x: { 10: at } });
    tables.map(at, 0x8000_0000n, ALL, level);
    bench.store64(RAM_BASE + 0x1ff008, 77n);
    bench.step(3);
    assert.deepEqual([bench.x(5), bench.x(6)], [77n, 77n]);
    start({ code: [ld(5, 10)], x: { 10: at } }).map(at, 0x8000_1000n, ALL, level);
    assert.deepEqual(trapOf(), { cause: LOAD, value: at });
  }
  // A fence for one address of a superpage reaches all the pages made from it.
  const [first, second] = [0x1_4000_0000n, 0x1_4000_1000n];
  const tables = start({
    code: [ld(5, 10), ld(5, 11), sd(13, 12), e.sfenceVma(10, 0), ld(5, 11)],
    x: { 10: first, 11: second, 12: DATA_AT, 13: 0n },
  });
  tables.map(first, 0x8000_0000n, ALL, 1);
  const entry = tables.entryAt(first, 1);
  tables.map(DATA_AT, BigInt(entry - (entry % 4096)), ALL);
  bench.setField(own.HART_X + 12 * 8, DATA_AT + BigInt(entry % 4096));
  bench.step(4);
  assert.deepEqual(trapOf(), { cause: LOAD, value: second });
});

test('A and D are set as the page is used, and the table counts as written', () => {
  const tables = start({ code: [ld(5, 10), sd(5, 10)], x: { 10: DATA_AT }, codeBits: V | X });
  tables.map(DATA_AT, BigInt(PAGES), V | R | W);
  const bits = (at: bigint) => bench.load64(tables.entryAt(at)) & 0xffn;
  const marked = () =>
    testBit(
      new Uint32Array(bench.guest.sab, map.DIRTY, 64),
      (tables.entryAt(DATA_AT) - RAM_BASE) >> 12,
    );
  bench.step(1);
  assert.equal(bits(CODE_AT), V | X | A);
  assert.equal(bits(DATA_AT), V | R | W | A);
  assert.ok(marked());
  bench.guest.i32.fill(0, map.DIRTY >> 2, (map.DIRTY >> 2) + 64);
  bench.step(1);
  assert.equal(bits(DATA_AT), V | R | W | A | D, 'a store after a load');
  assert.ok(marked());
});

test('an access over two pages touches both or neither', () => {
  const at = DATA_AT + 0x1000n - 3n;
  for (const second of [0n, V | R | A, V | R | W]) {
    const tables = start({ code: [sd(5, 10), ld(6, 10)], x: { 5: 0x1122334455667788n, 10: at } });
    tables.map(DATA_AT, BigInt(PAGES), ALL).map(DATA_AT + 0x1000n, BigInt(PAGES + 0x5000), second);
    bench.store64(PAGES + 0xff8, 0n);
    bench.store64(PAGES + 0x5000, 0n);
    if (second & W) {
      bench.step(2);
      assert.equal(bench.x(6), 0x1122334455667788n);
      assert.equal(bench.load64(PAGES + 0x5000) & 0xffffffffffn, 0x1122334455n);
      continue;
    }
    assert.deepEqual(trapOf(), { cause: STORE, value: DATA_AT + 0x1000n });
    assert.equal(bench.load64(PAGES + 0xff8), 0n, 'nothing was written');
  }
  // An instruction of which only the first half is mapped.
  start({ code: [e.jalr(0, 10, 0)], x: { 10: DATA_AT + 0xffen } }).map(DATA_AT, BigInt(PAGES), ALL);
  bench.put(PAGES + 0xffe, [0x13]);
  bench.step(1);
  assert.deepEqual(trapOf(), { cause: FETCH, value: DATA_AT + 0x1000n });
  assert.equal(bench.field(own.HART_MEPC), DATA_AT + 0xffen);
});

test('SUM and MPRV end when they are switched off', () => {
  const tables = start({
    code: [e.csrrs(0, 0x100, 12), ld(5, 10), sd(5, 10), e.csrrc(0, 0x100, 12), ld(5, 10)],
    x: { 10: DATA_AT, 12: SUM },
  });
  tables.map(DATA_AT, BigInt(PAGES), ALL | U);
  bench.step(4);
  assert.deepEqual(trapOf(), { cause: LOAD, value: DATA_AT });

  const MPRV = 1n << 17n;
  bench.reset({
    code: [ld(5, 10), e.csrrs(0, 0x300, 12), ld(6, 11), e.csrrc(0, 0x300, 12), ld(7, 10)],
    x: { 10: BigInt(PAGES), 11: DATA_AT, 12: MPRV | (1n << 11n) },
  });
  const machine = new PageTables(bench, TABLES).map(DATA_AT, BigInt(PAGES), ALL);
  bench.setField(own.HART_SATP, machine.satp);
  bench.store64(PAGES, 99n);
  bench.step(5);
  assert.deepEqual(
    [5, 6, 7].map((x) => bench.x(x)),
    [99n, 99n, 99n],
  );
});

test('a change of the table is seen after SFENCE.VMA and after a write of satp', () => {
  for (const fence of [
    [e.sfenceVma(0, 0)],
    [e.sfenceVma(10, 0)],
    [e.csrrw(0, 0x180, 0), e.csrrw(0, 0x180, 14)],
  ]) {
    // The entry is changed through a mapping of its own table.
    const tables = start({
      code: [ld(5, 10), sd(13, 12), ...fence, ld(6, 10)],
      x: { 10: DATA_AT },
    });
    tables.map(DATA_AT, BigInt(PAGES), ALL).map(BigInt(CODE), BigInt(CODE), ALL);
    const entry = tables.entryAt(DATA_AT);
    const window = 0x5000_0000n;
    tables.map(window, BigInt(entry - (entry % 4096)), ALL);
    bench.setField(own.HART_X + 12 * 8, window + BigInt(entry % 4096));
    bench.setField(own.HART_X + 13 * 8, (BigInt(PAGES + 0x2000) >> 2n) | ALL);
    bench.setField(own.HART_X + 14 * 8, tables.satp);
    bench.setField(own.HART_PC, BigInt(CODE)); // the same address with paging off
    bench.store64(PAGES, 1n);
    bench.store64(PAGES + 0x2000, 2n);
    bench.step(3 + fence.length);
    assert.deepEqual([bench.x(5), bench.x(6)], [1n, 2n]);
  }
});

/** Where the page of the entry of DATA_AT is mapped, so that the hart can take it away. */
const WINDOW = 0x5000_0000n;
const UART_AT = 0x6000_0000n;

/**
 * A supervisor that stores to DATA_AT with SUM, takes its entry out of the table, has a harvest between two
 * instructions, then does the rest. A hart looks for a harvest, then at the host's clock, at which one is asked
 * for, and again after a store to a device.
 */
function harvested(t: TestContext, rest: readonly number[], bits: bigint): PageTables {
  t.mock.method(process.hrtime, 'bigint', () => {
    Atomics.add(bench.guest.i32, map.CONTROL_FLUSH >> 2, 1);
    return 0n;
  });
  const takeAway = sd(0, 12);
  const tables = start({
    code: [sd(5, 10), takeAway, e.sType(e.STORES.sb, 0, 11, 0), ...rest],
    x: { 5: 55n, 6: 66n, 10: DATA_AT, 11: UART_AT, 15: SUM },
    status: SUM,
    clock: 'host',
  });
  tables.map(DATA_AT, BigInt(PAGES), bits).map(UART_AT, 0x1000_0000n, ALL);
  const entry = tables.entryAt(DATA_AT);
  tables.map(WINDOW, BigInt(entry - (entry % 4096)), ALL);
  bench.setField(own.HART_X + 12 * 8, WINDOW + BigInt(entry % 4096));
  bench.store64(PAGES, 0n);
  return tables;
}

test('after a harvest a store marks its page again and is not translated again', (t) => {
  const fills = () => Atomics.load(bench.guest.i64, map.CONTROL_WRITE_FILLS >> 3);
  const tables = harvested(t, [sd(6, 10), sd(6, 10)], ALL);
  const before = fills();
  bench.step(3);
  assert.equal(fills() - before, 2n, 'the page of data, and that of the table');
  harvested(t, [sd(6, 10), sd(6, 10)], ALL);
  const again = fills();
  bench.step(5);
  assert.equal(fills() - again, 3n, 'the page of data once more');
  assert.equal(bench.load64(tables.entryAt(DATA_AT)), 0n, 'it is in no table');
  assert.equal(bench.load64(PAGES), 66n);
});

test('what a harvest left of an entry is gone after a fence and without SUM', (t) => {
  const cases = [
    [[e.sfenceVma(0, 0)], ALL],
    [[e.sfenceVma(10, 0)], ALL],
    [[e.csrrc(0, 0x100, 15)], ALL | U],
  ] as const;
  for (const [rest, bits] of cases) {
    harvested(t, [...rest, sd(6, 10)], bits);
    bench.step(4 + rest.length); // in one go, as a hart that starts has no entries
    assert.equal(bench.pc, HANDLER);
    assert.equal(bench.field(own.HART_MCAUSE), BigInt(STORE));
    assert.equal(bench.field(own.HART_MTVAL), DATA_AT);
    assert.equal(bench.load64(PAGES), 55n);
  }
});

test('TVM, TW and TSR take from the supervisor what they name', () => {
  const cases = [
    [1n << 20n, e.csrrs(5, 0x180, 0)],
    [1n << 20n, e.sfenceVma(0, 0)],
    [1n << 21n, e.WFI],
    [1n << 22n, e.SRET],
  ] as const;
  for (const [bit, code] of cases) {
    start({ code: [code], status: bit });
    assert.deepEqual(trapOf(), { cause: 2, value: BigInt(code) });
    start({ code: [code], privilege: USER });
    assert.deepEqual(trapOf(), { cause: 2, value: BigInt(code) }, 'never for user mode');
  }
  for (const code of [e.MRET, e.csrrs(5, 0x300, 0), e.csrrs(5, 0xc01, 0)]) {
    start({ code: [code] });
    assert.deepEqual(trapOf(), { cause: 2, value: BigInt(code) });
  }
});

test('delegated traps enter the supervisor, and sret returns to user mode', () => {
  const tables = start({ code: [e.ECALL, e.C_NOP], privilege: USER });
  tables.map(BigInt(HANDLER), BigInt(HANDLER), ALL);
  bench.put(HANDLER, [e.csrrs(5, 0x141, 0), e.addi(5, 5, 4), e.csrrw(0, 0x141, 5), e.SRET]);
  bench.setField(own.HART_STVEC, BigInt(HANDLER));
  bench.setField(own.HART_MEDELEG, BigInt(own.MEDELEG_SUPERVISOR));
  bench.step(4);
  assert.equal(bench.field(own.HART_SCAUSE), 8n);
  assert.equal(bench.pc, Number(CODE_AT) + 4);
  assert.equal(bench.field(own.HART_PRIVILEGE), USER);
  bench.step(1);
  assert.equal(bench.pc, Number(CODE_AT) + 6, 'and runs on');
});

test('interrupts: machine before supervisor, external before software before timer', () => {
  start({ code: [e.C_NOP], status: 2n });
  const enter = (field: number) => Number(bench.field(field) & 0xffn);
  bench.setField(own.HART_STVEC, BigInt(HANDLER));
  bench.setField(own.HART_MIE, 0xaaan);
  bench.setField(own.HART_MIDELEG, 0x222n);
  for (const [pending, software, cause] of [
    [0x220n, 1n, 9],
    [0x20n, 1n, 1],
    [0x20n, 0n, 5],
  ] as const) {
    bench.setField(own.HART_PC, CODE_AT);
    bench.setField(own.HART_PRIVILEGE, SUPERVISOR);
    bench.setField(own.HART_MSTATUS, 2n);
    bench.setField(own.HART_MIP, pending);
    bench.guest.i64[own.DEVICES_SSIP >> 3] = software;
    bench.setField(own.HART_LAST_TRAP, 0n);
    bench.step(1);
    assert.equal(enter(own.HART_SCAUSE), cause);
    assert.equal(bench.field(own.HART_SEPC), CODE_AT);
  }
  // A machine-level one comes first, whatever SIE says.
  bench.setField(own.HART_PC, CODE_AT);
  bench.setField(own.HART_PRIVILEGE, SUPERVISOR);
  bench.guest.i64[own.CLINT_MSIP >> 3] = 1n;
  bench.step(1);
  assert.equal(enter(own.HART_MCAUSE), 3);
});

test('with the host as firmware an ecall comes back, and the SBI timer interrupts', () => {
  bench.reset({ code: [e.ECALL, e.addi(5, 10, 0), 0x6f], at: CODE, x: { 10: 5n, 17: 0x99n } });
  bench.setField(own.HART_PRIVILEGE, SUPERVISOR);
  bench.guest.i64[own.DEVICES_SUPERVISOR >> 3] = 1n;
  bench.setField(own.HART_MIDELEG, 0x222n);
  bench.setField(own.HART_MIE, 0x20n);
  bench.setField(own.HART_MSTATUS, 2n);
  bench.setField(own.HART_STVEC, BigInt(HANDLER));
  bench.guest.i64[own.SBI_TIMECMP >> 3] = 50n;
  bench.put(HANDLER, [0x6f]);
  const due = 50n * BigInt(own.INSTRUCTIONS_PER_TICK);
  bench.step(Number(due));
  assert.equal(bench.x(5), (1n << 64n) - 2n, 'an extension nobody knows: not supported');
  assert.equal(bench.pc, CODE + 8, 'still in the loop');
  bench.step(1);
  assert.equal(bench.pc, HANDLER);
  assert.equal(bench.field(own.HART_SCAUSE), (1n << 63n) | 5n);
});
