/** SBI as a supervisor calls it: what is there, what is not, and what bad arguments get. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import * as own from '../assembly/machine-map.ts';
import * as map from '../assembly/memory-map.ts';
import { ConsoleRing } from '../src/console-ring.ts';
import { resetMachine } from '../src/machine.ts';
import { DATA, HartBench, RAM_BASE, u64 } from './support/hart-bench.ts';

const bench = new HartBench({ harts: 3 });
const ECALL = 0x73;
const SELF_LOOP = 0x6f;

const BASE = 0x10n;
const TIME = 0x54494d45n;
const IPI = 0x735049n;
const RFENCE = 0x52464e43n;
const HSM = 0x48534dn;
const SRST = 0x53525354n;
const DBCN = 0x4442434en;
const PMU = 0x504d55n;

const NOT_SUPPORTED = -2n;
const INVALID_PARAM = -3n;
const INVALID_ADDRESS = -5n;
const ALREADY_AVAILABLE = -6n;
const ALL = u64(-1n);

function start(): void {
  resetMachine(bench.guest, {
    entry: BigInt(RAM_BASE),
    supervisor: { argument: 0n },
    clock: 'instructions',
  });
  bench.guest.setControl(map.CONTROL_RUN, map.RUN_GO);
}

/** One call of a hart: its error, signed, and its value. */
function call(extension: bigint, operation: bigint, args: readonly bigint[] = [], hart = 0) {
  bench.put(RAM_BASE, [ECALL, SELF_LOOP]);
  bench.setField(own.HART_PC, BigInt(RAM_BASE), hart);
  for (let i = 0; i < 6; i++) bench.setField(own.HART_X + (10 + i) * 8, args[i] ?? 0n, hart);
  bench.setField(own.HART_X + 16 * 8, operation, hart);
  bench.setField(own.HART_X + 17 * 8, extension, hart);
  bench.step(1, hart);
  return { error: BigInt.asIntN(64, bench.x(10, hart)), value: bench.x(11, hart) };
}

const word = (at: number) => BigInt.asUintN(64, bench.guest.i64[at / 8]!);

test('the base extension says what there is', () => {
  start();
  assert.deepEqual(call(BASE, 0n), { error: 0n, value: 2n << 24n }, 'version 2.0');
  for (const extension of [BASE, TIME, IPI, RFENCE, HSM, SRST, DBCN]) {
    assert.deepEqual(call(BASE, 3n, [extension]), { error: 0n, value: 1n });
  }
  for (const extension of [PMU, 0n, 1n, 8n, ALL]) {
    assert.deepEqual(call(BASE, 3n, [extension]), { error: 0n, value: 0n });
    assert.equal(call(extension, 0n).error, NOT_SUPPORTED);
  }
  for (const extension of [BASE, TIME, IPI, RFENCE, HSM, SRST, DBCN]) {
    assert.equal(call(extension, 99n).error, NOT_SUPPORTED);
  }
});

test('the timer interrupts a supervisor, and a time to come takes that back', () => {
  start();
  const sip = () => {
    bench.put(RAM_BASE, [0x14402673, SELF_LOOP]); // csrr x12, sip
    bench.setField(own.HART_PC, BigInt(RAM_BASE));
    bench.step(1);
    return bench.x(12);
  };
  assert.equal(sip() & 0x20n, 0n);
  assert.equal(call(TIME, 0n, [0n]).error, 0n);
  assert.equal(sip() & 0x20n, 0x20n);
  call(TIME, 0n, [ALL]);
  assert.equal(sip() & 0x20n, 0n);
  call(TIME, 0n, [1000n]);
  bench.setField(own.HART_MIE, 0x20n);
  bench.put(RAM_BASE, [0x10500073, SELF_LOOP]); // wfi
  bench.setField(own.HART_PC, BigInt(RAM_BASE));
  bench.step(2);
  assert.equal(sip() & 0x20n, 0x20n, 'a wait skips to the timer');
});

test('interprocessor interrupts reach the harts of the mask', () => {
  start();
  const raised = () => [0, 1, 2].map((hart) => word(own.DEVICES_SSIP + hart * 8));
  assert.equal(call(IPI, 0n, [0b110n, 0n]).error, 0n);
  assert.deepEqual(raised(), [0n, 1n, 1n]);
  start();
  assert.equal(call(IPI, 0n, [1n, 2n]).error, 0n);
  assert.deepEqual(raised(), [0n, 0n, 1n]);
  start();
  assert.equal(call(IPI, 0n, [0n, ALL]).error, 0n);
  assert.deepEqual(raised(), [1n, 1n, 1n]);
  start();
  for (const args of [
    [0b1000n, 0n],
    [1n, 3n],
    [1n << 63n, 0n],
    [2n, 2n],
    [1n, ALL - 1n],
  ]) {
    assert.equal(call(IPI, 0n, args).error, INVALID_PARAM);
    assert.equal(call(RFENCE, 1n, args).error, INVALID_PARAM);
  }
  assert.deepEqual(raised(), [0n, 0n, 0n]);
});

test('a remote fence is asked of every hart named and returns', () => {
  start();
  for (const operation of [0n, 1n, 2n]) {
    assert.equal(call(RFENCE, operation, [0b111n, 0n, 0x1000n, 0x1000n, 0n]).error, 0n);
  }
  assert.equal(call(RFENCE, 3n).error, NOT_SUPPORTED, 'of a hypervisor');
  assert.deepEqual(
    [0, 1, 2].map((hart) => word(own.FENCES_ASKED + hart * 8)),
    [3n, 3n, 3n],
  );
  assert.equal(
    word(own.FENCES_DONE),
    3n,
    'its own at once, the others before their next instruction',
  );
});

test('harts are started, stopped and asked for', () => {
  start();
  const status = (hart: bigint) => call(HSM, 2n, [hart]);
  assert.deepEqual([status(0n).value, status(1n).value], [0n, 1n]);
  assert.equal(status(3n).error, INVALID_PARAM);
  assert.equal(bench.step(5, 1), 'waiting', 'a stopped hart executes nothing');
  const entry = BigInt(RAM_BASE + 0x3000);
  assert.equal(call(HSM, 0n, [3n, entry, 0n]).error, INVALID_PARAM);
  assert.equal(call(HSM, 0n, [1n, 0x1000n, 0n]).error, INVALID_ADDRESS);
  assert.equal(call(HSM, 0n, [0n, entry, 0n]).error, ALREADY_AVAILABLE);
  assert.equal(call(HSM, 0n, [1n, entry, 77n]).error, 0n);
  assert.equal(call(HSM, 0n, [1n, entry, 0n]).error, ALREADY_AVAILABLE, 'it is on its way');
  bench.put(Number(entry), [SELF_LOOP]);
  assert.equal(bench.step(1, 1), 'budget');
  assert.deepEqual([bench.x(10, 1), bench.x(11, 1)], [1n, 77n]);
  assert.equal(bench.field(own.HART_PC, 1), entry);
  assert.equal(bench.field(own.HART_PRIVILEGE, 1), 1n);
  assert.equal(status(1n).value, 0n);
  call(HSM, 1n, [], 1);
  assert.equal(bench.step(5, 1), 'waiting');
  assert.equal(status(1n).value, 1n);
  assert.equal(call(HSM, 3n, [0x80000000n]).error, NOT_SUPPORTED);
  assert.equal(call(HSM, 3n, [7n]).error, INVALID_PARAM);
  assert.equal(call(HSM, 3n, [0n]).error, 0n);
  assert.equal(bench.field(own.HART_WFI), 1n, 'a retentive suspend is a wait');
});

test('system reset ends the guest', () => {
  for (const [type, reason, end] of [
    [0n, 0n, { end: 'power-off', code: 0 }],
    [0n, 1n, { end: 'power-off', code: 1 }],
    [1n, 0n, { end: 'reboot', code: 0 }],
    [2n, 0n, { end: 'reboot', code: 0 }],
  ] as const) {
    start();
    call(SRST, 0n, [type, reason]);
    assert.deepEqual(bench.end, end);
  }
  start();
  assert.equal(call(SRST, 0n, [3n, 0n]).error, INVALID_PARAM);
  assert.equal(call(SRST, 0n, [0n, 2n]).error, INVALID_PARAM);
  assert.equal(bench.end, undefined);
});

test('the debug console moves bytes, and only of RAM', () => {
  start();
  const ring = new ConsoleRing(bench.guest);
  bench.guest.ram().set(Buffer.from('said'), DATA - RAM_BASE);
  assert.deepEqual(call(DBCN, 0n, [4n, BigInt(DATA)]), { error: 0n, value: 4n });
  assert.equal(call(DBCN, 2n, [0x21n]).error, 0n);
  assert.equal(Buffer.from(ring.readOutput(0n).bytes).toString(), 'said!');
  assert.deepEqual(call(DBCN, 0n, [1n << 40n, BigInt(DATA)]), { error: 0n, value: 4096n });
  ring.writeInput(Buffer.from('heard'));
  assert.deepEqual(call(DBCN, 1n, [3n, BigInt(DATA)]), { error: 0n, value: 3n });
  assert.deepEqual(call(DBCN, 1n, [9n, BigInt(DATA + 3)]), { error: 0n, value: 2n });
  const at = DATA - RAM_BASE;
  assert.equal(Buffer.from(bench.guest.ram().slice(at, at + 5)).toString(), 'heard');
  assert.deepEqual(call(DBCN, 1n, [9n, BigInt(DATA)]), { error: 0n, value: 0n });
  const end = BigInt(RAM_BASE + bench.guest.ramBytes);
  for (const [address, high] of [
    [0n, 0n],
    [end, 0n],
    [end - 2n, 0n],
    [ALL, 0n],
    [BigInt(DATA), 1n],
    [BigInt(own.UART_BASE), 0n],
  ] as const) {
    for (const operation of [0n, 1n]) {
      assert.equal(call(DBCN, operation, [4n, address, high]).error, INVALID_PARAM);
    }
  }
});

test('any call with any arguments answers, and touches no other register', () => {
  const extension = fc.constantFrom(BASE, TIME, IPI, RFENCE, HSM, DBCN, PMU, 5n);
  const value = fc.oneof(fc.bigInt(0n, 9n), fc.bigInt(0n, ALL), fc.constant(BigInt(DATA)));
  const args = fc.array(value, { minLength: 6, maxLength: 6 });
  const property = fc.property(extension, fc.bigInt(0n, 4n), args, (which, operation, given) => {
    start();
    const { error } = call(which, operation, given);
    if (which === HSM && operation === 1n) return; // the caller is no more
    assert.ok([0n, -2n, -3n, -5n, -6n].includes(error), `${error}`);
    for (let i = 2; i < 6; i++) assert.equal(bench.x(10 + i), given[i]);
  });
  fc.assert(property, { numRuns: 1000 });
});
