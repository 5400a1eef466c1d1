/**
 * Pre-copy, post-copy and hybrid without a network: real vCPU threads, two memories, one process. What is
 * tested is the memory contract; the target starts full of 0xA5, so a page that was forgotten shows.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as map from '../assembly/memory-map.ts';
import { forEachPage, makeBitmap, testBit } from '../src/bitmap.ts';
import { DirtyLog } from '../src/dirty-log.ts';
import { GuestMemory, RAM_BYTES_MAX } from '../src/guest-memory.ts';
import { PageStates } from '../src/page-states.ts';
import { startHarts, stopHarts } from '../src/run-control.ts';
import { waitForWord } from '../src/word-wait.ts';
import { audit } from '../src/workload/auditor.ts';
import { PAGE_WORDS, ramWords, readStamp } from '../src/workload/content.ts';
import {
  CONTENTS,
  makeSpec,
  PATTERNS,
  readSpec,
  setRate,
  UNLIMITED,
  type WorkloadSpec,
  writeSpec,
} from '../src/workload/spec.ts';
import { captureWorkload, restoreWorkload } from '../src/workload/state.ts';
import { Witness } from '../src/workload/witness.ts';
import { fillWorkload, writesDone, wrongReads } from '../src/workload/workload.ts';
import { landPages, startWorkloadThreads } from './support/threads.ts';

const RAM_BYTES = 8 * 1048576;
const limit = { timeout: 30_000 };

type Given = Partial<WorkloadSpec> & Pick<WorkloadSpec, 'pattern'>;

function makeSource(given: Given, harts: number) {
  const guest = GuestMemory.create({ ramBytes: RAM_BYTES, harts });
  writeSpec(guest, makeSpec(guest, given));
  fillWorkload(guest, readSpec(guest), 0, guest.pages);
  return { guest, threads: startWorkloadThreads(guest) };
}

function makeTarget(harts: number): GuestMemory {
  const guest = GuestMemory.create({ ramBytes: RAM_BYTES, harts });
  guest.ram().fill(0xa5);
  return guest;
}

/** Waits until the guest has done so many more writes: progress, not time. */
async function moreWrites(guest: GuestMemory, writes: number): Promise<void> {
  const total = () => captureWorkload(guest).writes.reduce((sum, count) => sum + count, 0);
  const goal = total() + writes;
  const reached = () => total() >= goal;
  assert.ok(await waitForWord(guest.i32, map.CONTROL_BELL_ACK >> 2, reached, 20_000));
}

function copyPages(from: GuestMemory, to: GuestMemory, pages: Uint32Array): void {
  forEachPage(pages, (page) => to.page(page).set(from.page(page)));
}

/** Round 0 and two more, with the guest running; leaves it stopped and `dirty` holding the rest. */
async function copyRounds(source: GuestMemory, target: GuestMemory, idle: boolean) {
  const log = new DirtyLog(source);
  const dirty = makeBitmap(source.pages);
  await log.startLog();
  target.ram().set(source.ram());
  for (let round = 1; round <= 3; round++) {
    if (!idle) await moreWrites(source, 3000);
    const count = await log.harvest(dirty);
    assert.equal(count > 0, !idle);
    copyPages(source, target, dirty);
  }
  if (!idle) await moreWrites(source, 1000);
  await stopHarts(source);
  await log.harvest(dirty);
  return dirty;
}

function assertSound(guest: GuestMemory, what: string): void {
  const { writes } = captureWorkload(guest);
  const result = audit(guest, readSpec(guest), writes);
  assert.deepEqual(result, { pagesChecked: guest.pages, wrongCount: 0, wrong: [] }, what);
  assert.equal(wrongReads(guest), 0, what);
}

test('pre-copy of every pattern loses no write, and the copy runs on', limit, async () => {
  for (const [i, pattern] of PATTERNS.entries()) {
    const harts = 1 + (i % 2);
    const content = CONTENTS[i % 3]!;
    const source = makeSource({ pattern, content, hotPages: pattern === 'hotset' ? 64 : 0 }, harts);
    const target = makeTarget(harts);
    startHarts(source.guest);
    const rest = await copyRounds(source.guest, target, pattern === 'idle');
    copyPages(source.guest, target, rest);
    restoreWorkload(target, captureWorkload(source.guest));
    assert.ok(Buffer.from(target.ram()).equals(Buffer.from(source.guest.ram())), pattern);
    assertSound(target, pattern);

    const threads = startWorkloadThreads(target);
    startHarts(target);
    if (pattern !== 'idle') await moreWrites(target, 5000);
    await threads.quit();
    await source.threads.quit();
    assertSound(target, `${pattern} after the move`);
  }
});

test('the last harvest matters: without one of its pages the audit fails', limit, async () => {
  const source = makeSource({ pattern: 'uniform' }, 1);
  const target = makeTarget(1);
  startHarts(source.guest);
  const rest = await copyRounds(source.guest, target, false);
  const state = captureWorkload(source.guest);
  await source.threads.quit();
  const witness = new Witness();
  witness.hear('g', state.writes);
  restoreWorkload(target, state);

  let dropped = -1;
  forEachPage(rest, (page) => {
    if (dropped < 0) dropped = page;
    else target.page(page).set(source.guest.page(page));
  });
  const result = audit(target, readSpec(target), state.writes);
  assert.equal(result.wrongCount, 1);
  assert.equal(result.wrong[0]!.page, dropped);
  assert.throws(() =>
    witness.check(
      'g',
      state.writes.map((count) => count - 1),
    ),
  );
});

test('post-copy: harts start on absent pages and pull them', limit, async () => {
  for (const pushPages of [0, 4]) {
    const source = makeSource({ pattern: 'uniform' }, 2);
    startHarts(source.guest);
    await moreWrites(source.guest, 3000);
    await stopHarts(source.guest);
    const target = makeTarget(2);
    restoreWorkload(target, captureWorkload(source.guest));
    const states = new PageStates(target);
    states.clearAll(map.PAGE_ABSENT);
    states.setGated(true);
    const threads = startWorkloadThreads(target);
    startHarts(target);
    const { faults } = await landPages({ target, source: source.guest, pushPages });
    // Pulling alone, every page is asked for by some write; the pusher may be faster than the harts.
    if (pushPages === 0) assert.equal(faults, target.pages);
    await moreWrites(target, 3000);
    await threads.quit();
    await source.threads.quit();
    assert.equal(states.count(map.PAGE_PRESENT), target.pages);
    assertSound(target, `${pushPages} pushed`);
  }
});

test(
  'hybrid: what the last harvest found is missing at the target, and nothing else',
  limit,
  async () => {
    const source = makeSource({ pattern: 'hotset', hotPages: 128, content: 'compressible' }, 2);
    const target = makeTarget(2);
    startHarts(source.guest);
    const missing = await copyRounds(source.guest, target, false);
    forEachPage(missing, (page) => target.page(page).fill(0xa5));
    restoreWorkload(target, captureWorkload(source.guest));
    const states = new PageStates(target);
    states.setAbsentFrom(missing);
    states.setGated(true);
    const threads = startWorkloadThreads(target);
    startHarts(target);
    await landPages({ target, source: source.guest, pushPages: 1 });
    await moreWrites(target, 3000);
    await threads.quit();
    await source.threads.quit();
    assertSound(target, 'hybrid');
  },
);

test(
  'post-copy stopped in the middle: parked harts stop, and go on where they were',
  limit,
  async () => {
    const source = makeSource({ pattern: 'sequential' }, 2);
    const target = makeTarget(2);
    restoreWorkload(target, captureWorkload(source.guest));
    const states = new PageStates(target);
    states.clearAll(map.PAGE_ABSENT);
    states.setGated(true);
    const threads = startWorkloadThreads(target);
    startHarts(target);
    const parked = () => states.faults().length === 2;
    assert.ok(await waitForWord(target.i32, map.CONTROL_BELL_FAULT >> 2, parked, 20_000));
    await stopHarts(target);
    assert.deepEqual([writesDone(target, 0), writesDone(target, 1)], [0, 0]);
    startHarts(target);
    await landPages({ target, source: source.guest, pushPages: 0 });
    await moreWrites(target, 3000);
    await threads.quit();
    await source.threads.quit();
    assertSound(target, 'stopped and started');
  },
);

test('a running guest notices by itself that its writes are gone', limit, async () => {
  const { guest, threads } = makeSource({ pattern: 'uniform' }, 1);
  startHarts(guest);
  await moreWrites(guest, 3000);
  await stopHarts(guest);
  assert.equal(wrongReads(guest), 0);
  guest.ram().fill(0);
  startHarts(guest);
  await moreWrites(guest, 3000);
  await threads.quit();
  assert.ok(wrongReads(guest) > 0);
});

test('a rate set while the guest sleeps takes effect at once', limit, async () => {
  const { guest, threads } = makeSource({ pattern: 'uniform', pagesPerSecond: 0 }, 2);
  startHarts(guest);
  setRate(guest, UNLIMITED);
  await moreWrites(guest, 3000);
  setRate(guest, 0);
  await stopHarts(guest);
  assertSound(guest, 'after two changes of rate');
  await threads.quit();
});

test('the last pages of the largest guest are written like any other', limit, async () => {
  const guest = GuestMemory.create({ ramBytes: RAM_BYTES_MAX, harts: 1 });
  writeSpec(guest, makeSpec(guest, { pattern: 'sequential', pagesPerSecond: 1000 }));
  const state = captureWorkload(guest);
  restoreWorkload(guest, { ...state, writes: [guest.pages - 2] });
  const threads = startWorkloadThreads(guest);
  startHarts(guest);
  await moreWrites(guest, 4);
  await threads.quit();
  const stamped = (page: number) => readStamp(ramWords(guest), page * PAGE_WORDS, page);
  assert.equal(stamped(guest.pages - 1), guest.pages);
  assert.equal(stamped(0), guest.pages + 1);
  const dirty = makeBitmap(guest.pages);
  await new DirtyLog(guest).harvest(dirty);
  assert.ok(testBit(dirty, guest.pages - 1) && testBit(dirty, 0));
});
