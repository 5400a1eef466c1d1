/** The gate between real threads: parking on a page, waking, stopping, and harvests in between. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as map from '../assembly/memory-map.ts';
import { makeBitmap, testBit } from '../src/bitmap.ts';
import { DirtyLog } from '../src/dirty-log.ts';
import { MachineError } from '../src/errors.ts';
import { GuestMemory } from '../src/guest-memory.ts';
import { type Fault, PageStates } from '../src/page-states.ts';
import {
  runTimes,
  setThrottle,
  startHarts,
  stopHarts,
  takeLongestStallUs,
  whenRunning,
} from '../src/run-control.ts';
import { waitForWord } from '../src/word-wait.ts';
import { startGateThread } from './support/threads.ts';

const LIMIT_MS = 20_000;
const limit = { timeout: LIMIT_MS };

function makeTarget(harts = 1) {
  const guest = GuestMemory.create({ ramBytes: 1048576, harts });
  const states = new PageStates(guest);
  guest.ram().fill(0xa5);
  states.clearAll(map.PAGE_ABSENT);
  states.setGated(true);
  return { guest, states };
}

function land(guest: GuestMemory, states: PageStates, page: number, value: number): void {
  assert.ok(states.tryLand(page));
  guest.page(page).fill(value);
  states.makePresent(page);
}

async function waitForFaults(guest: GuestMemory, states: PageStates, count: number) {
  let faults: Fault[] = [];
  const done = () => {
    faults = states.faults();
    return faults.length === count;
  };
  assert.ok(await waitForWord(guest.i32, map.CONTROL_BELL_FAULT >> 2, done, LIMIT_MS));
  return faults;
}

const waitForState = async (guest: GuestMemory, hart: number, state: number) => {
  const word = guest.hartWord(hart, map.HART_STATE);
  const done = () => Atomics.load(guest.i32, word) === state;
  assert.ok(await waitForWord(guest.i32, map.CONTROL_BELL_ACK >> 2, done, LIMIT_MS));
};

test('a hart that reads an absent page parks, and sees the page that landed', limit, async () => {
  const { guest, states } = makeTarget();
  const thread = startGateThread(guest, 0, [{ do: 'read', page: 5 }]);
  startHarts(guest);
  const [fault] = await waitForFaults(guest, states, 1);
  assert.equal(fault!.page, 5);
  assert.equal(Atomics.load(guest.i32, guest.hartWord(0, map.HART_STATE)), map.HART_PARKED);
  land(guest, states, 6, 1);
  assert.equal(states.faults().length, 1);
  land(guest, states, 5, 42);
  assert.deepEqual(await thread.done, { stepsDone: 1, bytes: [42] });
  assert.equal(Atomics.load(guest.i64, map.CONTROL_FAULTS >> 3), 1n);
  assert.ok(takeLongestStallUs(guest) > 0);
  assert.equal(takeLongestStallUs(guest), 0);
});

test(
  'a hart waits out a landing page, and asks again when it goes back to absent',
  limit,
  async () => {
    const { guest, states } = makeTarget();
    assert.ok(states.tryLand(5));
    const thread = startGateThread(guest, 0, [{ do: 'read', page: 5 }]);
    startHarts(guest);
    const [before] = await waitForFaults(guest, states, 1);
    states.backToAbsent(5);
    const again = () => (states.faults()[0]?.sequence ?? 0) > before!.sequence;
    assert.ok(await waitForWord(guest.i32, map.CONTROL_BELL_FAULT >> 2, again, LIMIT_MS));
    land(guest, states, 5, 9);
    assert.deepEqual(await thread.done, { stepsDone: 1, bytes: [9] });
  },
);

test(
  'a hart that waits for a page can be stopped, and faults again when started',
  limit,
  async () => {
    const { guest, states } = makeTarget();
    const step = { do: 'write', page: 5, value: 1 } as const;
    const first = startGateThread(guest, 0, [step]);
    startHarts(guest);
    await waitForFaults(guest, states, 1);
    await stopHarts(guest);
    assert.deepEqual(await first.done, { stepsDone: 0, bytes: [] });
    assert.equal(states.faults().length, 0);
    assert.equal(guest.page(5)[0], 0xa5);
    assert.equal(new DirtyLog(guest).countDirty(), 0);

    const second = startGateThread(guest, 0, [step]);
    startHarts(guest);
    await waitForFaults(guest, states, 1);
    land(guest, states, 5, 0);
    assert.deepEqual(await second.done, { stepsDone: 1, bytes: [] });
    assert.equal(guest.page(5)[0], 1);
  },
);

test('several harts wait for one page, and it wakes them all', limit, async () => {
  const { guest, states } = makeTarget(4);
  const threads = [0, 1, 2, 3].map((hart) =>
    startGateThread(guest, hart, [{ do: 'read', page: 8 }]),
  );
  startHarts(guest);
  await waitForFaults(guest, states, 4);
  land(guest, states, 8, 3);
  for (const thread of threads) assert.deepEqual((await thread.done).bytes, [3]);
});

test('a hart that was parked over a harvest marks its page again', limit, async () => {
  const { guest, states } = makeTarget();
  land(guest, states, 1, 0);
  const thread = startGateThread(guest, 0, [
    { do: 'write', page: 1, value: 1 },
    { do: 'read', page: 2 },
    { do: 'write', page: 1, value: 2 },
  ]);
  startHarts(guest);
  await waitForFaults(guest, states, 1);
  const log = new DirtyLog(guest);
  const into = makeBitmap(guest.pages);
  assert.equal(await log.harvest(into), 1);
  assert.ok(testBit(into, 1));
  assert.equal(guest.page(1)[0], 1);
  land(guest, states, 2, 0);
  await thread.done;
  assert.equal(await log.harvest(into), 1);
  assert.ok(testBit(into, 1));
  assert.equal(guest.page(1)[0], 2);
});

test('a hart that is held does not leave before it is let go', limit, async () => {
  const { guest, states } = makeTarget();
  const thread = startGateThread(guest, 0, [{ do: 'read', page: 5 }]);
  startHarts(guest);
  await waitForFaults(guest, states, 1);
  const state = guest.hartWord(0, map.HART_STATE);
  const was = Atomics.compareExchange(guest.i32, state, map.HART_PARKED, map.HART_HELD);
  assert.equal(was, map.HART_PARKED);
  land(guest, states, 5, 7);
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(Atomics.load(guest.i32, state), map.HART_HELD);
  Atomics.store(guest.i32, state, map.HART_PARKED);
  Atomics.notify(guest.i32, state);
  assert.deepEqual(await thread.done, { stepsDone: 1, bytes: [7] });
});

test('a hart that does not stop, or never starts, is named', async () => {
  const guest = GuestMemory.create({ ramBytes: 1048576, harts: 2 });
  const silent = (hart: number) => (error: unknown) =>
    error instanceof MachineError &&
    error.code === 'hart.no_acknowledge' &&
    (error as MachineError<'hart.no_acknowledge'>).detail.hart === hart;
  startHarts(guest);
  await assert.rejects(whenRunning(guest, 20), silent(0));
  Atomics.store(guest.i32, guest.hartWord(1, map.HART_STATE), map.HART_RUNNING);
  await assert.rejects(stopHarts(guest, 20), silent(1));
});

test('a sleeping hart wakes for a stop and not for a harvest', limit, async () => {
  const guest = GuestMemory.create({ ramBytes: 1048576, harts: 1 });
  const thread = startGateThread(guest, 0, [
    { do: 'write', page: 1, value: 1 },
    { do: 'sleep', limitMs: 10 * LIMIT_MS },
  ]);
  startHarts(guest);
  const firstNs = await whenRunning(guest);
  await waitForState(guest, 0, map.HART_PARKED);
  const log = new DirtyLog(guest);
  assert.equal(await log.harvest(makeBitmap(guest.pages)), 1);
  assert.equal(Atomics.load(guest.i32, guest.hartWord(0, map.HART_STATE)), map.HART_PARKED);
  await stopHarts(guest);
  assert.equal((await thread.done).stepsDone, 1);
  const { startedNs, stoppedNs } = runTimes(guest);
  assert.ok(startedNs === firstNs && stoppedNs > startedNs);
});

test('running harts acknowledge harvest after harvest, throttled or not', limit, async () => {
  const guest = GuestMemory.create({ ramBytes: 1048576, harts: 2 });
  const threads = [0, 1].map((hart) =>
    startGateThread(guest, hart, [{ do: 'write', page: hart, value: 1 }, { do: 'spin' }]),
  );
  startHarts(guest);
  const log = new DirtyLog(guest);
  const into = makeBitmap(guest.pages);
  const marked = () => log.countDirty() === 2;
  assert.ok(await waitForWord(guest.i32, map.CONTROL_BELL_ACK >> 2, marked, LIMIT_MS));
  assert.equal(await log.harvest(into), 2);
  for (let i = 0; i < 20; i++) {
    if (i === 10) setThrottle(guest, 990);
    assert.equal(await log.harvest(into), 0);
  }
  await stopHarts(guest);
  for (const thread of threads) assert.equal((await thread.done).stepsDone, 1);
});
