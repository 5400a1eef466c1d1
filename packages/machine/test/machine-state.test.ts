/**
 * A machine taken apart and put together elsewhere, at any instruction, goes on as if nothing had been.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import * as own from '../assembly/machine-map.ts';
import * as map from '../assembly/memory-map.ts';
import { ConsoleRing } from '../src/console-ring.ts';
import { loadElf } from '../src/elf.ts';
import { MachineError } from '../src/errors.ts';
import { GuestMemory } from '../src/guest-memory.ts';
import {
  loadMachine,
  resetMachine,
  retiredInstructions,
  stopAtInstruction,
} from '../src/machine.ts';
import {
  captureState,
  decodeState,
  digest,
  encodeState,
  type MachineState,
  restoreState,
} from '../src/machine-state.ts';
import { runTimes } from '../src/run-control.ts';
import { decodeEnvelope, encodeEnvelope, type StateRecord } from '../src/state-codec.ts';
import * as e from './riscv/encode.ts';
import { HANDLER, HartBench, RAM_BASE, UNLIMITED } from './support/hart-bench.ts';
import { RESTLESS_BYTES, restlessElf } from './support/restless.ts';

function startRestless(): GuestMemory {
  const guest = GuestMemory.create({ ramBytes: RESTLESS_BYTES, harts: 1 });
  resetMachine(guest, { ...loadElf(restlessElf(), guest), clock: 'instructions' });
  guest.setControl(map.CONTROL_RUN, map.RUN_GO);
  return guest;
}

/** Runs to exactly this instruction. */
function runTo(guest: GuestMemory, instruction: bigint): void {
  stopAtInstruction(guest, instruction);
  assert.equal(loadMachine(guest.memory).run(0, UNLIMITED), 'stop-at');
  assert.equal(retiredInstructions(guest, 0), instruction);
}

/** The same guest in another memory, which held something else before. */
function move(source: GuestMemory): GuestMemory {
  const target = GuestMemory.create({ ramBytes: source.ramBytes, harts: source.harts });
  target.ram().fill(0xa5);
  target.ram().set(source.ram());
  restoreState(target, decodeState(encodeState(captureState(source))));
  target.setControl(map.CONTROL_RUN, map.RUN_GO);
  return target;
}

test('moved at random instructions, a machine is the same at instruction N', () => {
  const end = 300_000n;
  const unmoved = startRestless();
  runTo(unmoved, end);
  const expected = digest(unmoved);
  const interrupts = captureState(unmoved).harts[0]!.list('x')[29]!;
  assert.ok(interrupts > 30n, 'the program was interrupted often');
  assert.ok(captureState(unmoved).machine.word('uart.outWritten') > 100n, 'and it spoke');

  const schedule = fc.uniqueArray(fc.integer({ min: 0, max: Number(end) }), {
    minLength: 1,
    maxLength: 6,
  });
  fc.assert(
    fc.property(schedule, (points) => {
      let guest = startRestless();
      for (const point of points.sort((a, b) => a - b)) {
        runTo(guest, BigInt(point));
        guest = move(guest);
      }
      runTo(guest, end);
      assert.equal(digest(guest), expected);
    }),
    { numRuns: 50, seed: 11 },
  );
});

test('moved at each instruction of a stretch that holds LR, SC and an interrupt', () => {
  const [from, to] = [6_950n, 7_080n];
  const unmoved = startRestless();
  runTo(unmoved, to);
  const expected = digest(unmoved);
  const guest = startRestless();
  for (let at = from; at < to; at++) {
    runTo(guest, at);
    const state = captureState(guest);
    restoreState(guest, decodeState(encodeState(state)));
    assert.deepEqual(captureState(guest), state);
  }
  runTo(guest, to);
  assert.equal(digest(guest), expected);
});

test('the digest sees one bit of RAM and one register', () => {
  const guest = startRestless();
  runTo(guest, 1000n);
  const whole = digest(guest);
  guest.ram()[RESTLESS_BYTES - 1]! ^= 1;
  assert.notEqual(digest(guest), whole);
  guest.ram()[RESTLESS_BYTES - 1]! ^= 1;
  assert.equal(digest(guest), whole);
  guest.i64[(map.HARTS + own.HART_MSCRATCH) >> 3]! ^= 1n;
  assert.notEqual(digest(guest), whole);
});

/** Bytes that version 3 wrote of this program at this instruction, with input that was not read yet. */
const VERSION_3 = new Uint8Array(readFileSync(new URL('support/version-3.state', import.meta.url)));

test('a state of the version before is read, one of another is refused', () => {
  const guest = startRestless();
  runTo(guest, 20_000n);
  const bytes = stateOf(guest);
  const state = captureState(guest);
  assert.deepEqual(decodeState(bytes), state);
  const before = decodeState(VERSION_3);
  // The host's clock is in there too, whatever the guest's is.
  const ticks = state.machine.word('ticks');
  assert.deepEqual({ ...before, machine: before.machine.with({ ticks }) }, state);
  const { kind, version, fields } = decodeEnvelope(bytes);
  for (const other of [version - 2, version + 1]) {
    const bytes = encodeEnvelope({ kind, version: other, fields });
    assert.throws(() => decodeState(bytes), /version/);
  }
});

test('of the version before too, nothing may be missing, unknown or of another kind', () => {
  const { kind, version, fields } = decodeEnvelope(VERSION_3);
  const uart = fields.uart as StateRecord;
  const { ier: _ier, ...withoutIer } = uart;
  const changed: readonly [RegExp, StateRecord][] = [
    [/machine\.uart\.ier: is missing/, { ...fields, uart: withoutIer }],
    [/machine\.uart\.more: is unknown/, { ...fields, uart: { ...uart, more: 1n } }],
    [/machine\.uart\.ier: is not 1 u64/, { ...fields, uart: { ...uart, ier: 1 } }],
    [/machine\.uart\.input: is not bytes/, { ...fields, uart: { ...uart, input: 'abc' } }],
  ];
  for (const [why, other] of changed) {
    const bytes = encodeEnvelope({ kind, version, fields: other });
    assert.throws(() => decodeState(bytes), why);
  }
});

function stateOf(guest: GuestMemory): Uint8Array {
  const ring = new ConsoleRing(guest);
  ring.writeInput(Buffer.from('not read yet'));
  return encodeState(captureState(guest));
}

const isRefusal = (error: unknown) =>
  error instanceof MachineError && error.code.startsWith('state.');

test('state cut anywhere is refused', () => {
  const guest = startRestless();
  runTo(guest, 20_000n);
  const bytes = stateOf(guest);
  assert.ok(bytes.length < 5000, `${bytes.length} bytes`);
  for (let length = 0; length < bytes.length; length++) {
    assert.throws(() => decodeState(bytes.subarray(0, length)), isRefusal, `cut at ${length}`);
  }
  assert.throws(() => decodeState(Uint8Array.of(...bytes, 0)), isRefusal);
});

test('state with any bytes changed is read or refused, and a guest restored from it still runs', () => {
  const guest = startRestless();
  runTo(guest, 20_000n);
  const bytes = stateOf(guest);
  const target = startRestless();
  const machine = loadMachine(target.memory);
  const change = fc.tuple(fc.nat(bytes.length - 1), fc.integer({ min: 0, max: 255 }));
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (changes) => {
      const changed = Uint8Array.from(bytes);
      for (const [at, value] of changes) changed[at] = value;
      try {
        restoreState(target, decodeState(changed));
      } catch (error) {
        assert.ok(isRefusal(error), String(error));
        return;
      }
      stopAtInstruction(target, undefined);
      machine.run(0, 500n, false);
    }),
    { numRuns: 400, seed: 3 },
  );
});

test('states that lead outside are refused and change nothing', () => {
  const guest = startRestless();
  runTo(guest, 5000n);
  const good = captureState(guest);
  const around = (words: Record<string, bigint>) => ({
    ...good,
    machine: good.machine.with(words),
  });
  const cases: readonly [string, MachineState][] = [
    ['pages', { ...good, pages: good.pages + 256 }],
    ['harts', { ...good, harts: [...good.harts, good.harts[0]!] }],
    ['privilege', { ...good, harts: [good.harts[0]!.with({ privilege: 2n })] }],
    ['tohost outside', around({ tohost: 0x1000n })],
    ['tohost across the end', around({ tohost: 0x800ffffcn })],
    ['fromhost outside', around({ fromhost: 1n << 40n })],
    ['output length', { ...good, output: new Uint8Array(1) }],
    ['input length', { ...good, input: new Uint8Array(70_000) }],
    ['offsets', around({ 'uart.inTaken': 5n })],
    ['endless', around({ 'uart.outWritten': 1n << 63n, 'uart.outAcked': 1n << 63n })],
  ];
  for (const [name, state] of cases) {
    assert.throws(() => restoreState(guest, state), isRefusal, name);
    assert.deepEqual(captureState(guest), good, name);
  }
});

test('a running hart is neither captured nor overwritten', () => {
  const guest = startRestless();
  const state = captureState(guest);
  Atomics.store(guest.i32, guest.hartWord(0, map.HART_STATE), map.HART_RUNNING);
  const refused = { code: 'hart.bad_transition' };
  assert.throws(() => captureState(guest), refused);
  assert.throws(() => restoreState(guest, state), refused);
  assert.throws(() => loadMachine(guest.memory).run(0, 1n), refused);
});

test('a host clock stands while the guest is stopped, goes on after the move and fires its timer', () => {
  const bench = new HartBench();
  const guest = bench.guest;
  const time = e.csrrs(10, 0xc01, 0);
  bench.reset({ code: [time, time, e.csrrs(11, 0xc01, 0)], clock: 'host' });
  bench.step(1);
  const first = bench.x(10);
  // Some host time passes, which the guest must not see.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 30);
  const stopped = captureState(guest).machine.word('ticks');
  const offset = guest.i64[map.CONTROL_TIME_OFFSET >> 3]!;
  assert.equal(stopped, runTimes(guest).stoppedNs / 100n + offset, 'it stands at the stop');
  assert.ok(stopped >= first && first >= 0n);

  const target = move(guest);
  // A timer 2 ms of guest time ahead, and a hart that sleeps for it.
  bench.put(HANDLER, [e.csrrs(12, 0xc01, 0), 0x6f]);
  target.ram().set(bench.guest.ram());
  new DataView(target.sab).setUint32(map.RAM + 4, e.WFI, true);
  const block = map.HARTS >> 3;
  target.i64[own.CLINT_MTIMECMP >> 3] = stopped + 20_000n;
  target.i64[block + (own.HART_MIE >> 3)] = 0x80n;
  target.i64[block + (own.HART_MSTATUS >> 3)] = 0x1808n;
  assert.equal(loadMachine(target.memory).run(0, 2n), 'budget');
  const hart = captureState(target).harts[0]!;
  const x = hart.list('x');
  assert.equal(hart.word('pc'), BigInt(HANDLER + 4));
  assert.ok(x[12]! >= stopped + 20_000n, 'the timer did not fire early');
  const ranTicks = (process.hrtime.bigint() - runTimes(target).startedNs) / 100n;
  assert.ok(x[12]! <= stopped + ranTicks + 1n, 'and the blackout does not show');
  assert.equal(bench.pc, RAM_BASE + 4, 'the source stayed where it was');
});
