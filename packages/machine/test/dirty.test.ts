/**
 * Bitmaps as sets of pages, and the dirty log: no mark is lost between a harvest and a running,
 * parked or stopped hart.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import * as map from '../assembly/memory-map.ts';
import * as bits from '../src/bitmap.ts';
import { DirtyLog } from '../src/dirty-log.ts';
import { MachineError } from '../src/errors.ts';
import { GuestMemory } from '../src/guest-memory.ts';
import { HartGate } from '../src/hart-gate.ts';

const PAGES = 256;
const pageSet = fc.uniqueArray(fc.nat(PAGES - 1));
const toBitmap = (pages: readonly number[]) => {
  const bitmap = bits.makeBitmap(PAGES);
  for (const page of pages) bits.setBit(bitmap, page);
  return bitmap;
};
const rising = (pages: readonly number[]) => [...pages].sort((a, b) => a - b);
const makeGuest = (harts = 1) => GuestMemory.create({ ramBytes: PAGES * 4096, harts });
const setState = (guest: GuestMemory, hart: number, state: number) =>
  Atomics.store(guest.i32, guest.hartWord(hart, map.HART_STATE), state);

test('a bitmap is a set of pages', () => {
  fc.assert(
    fc.property(pageSet, pageSet, fc.nat(PAGES), (a, b, from) => {
      const [left, right] = [toBitmap(a), toBitmap(b)];
      assert.equal(bits.popcount(left), a.length);
      const listed: number[] = [];
      bits.forEachPage(left, (page) => listed.push(page));
      assert.deepEqual(listed, rising(a));
      assert.equal(
        bits.intersects(left, right),
        a.some((page) => b.includes(page)),
      );
      assert.equal(bits.nextPage(left, from), rising(a).find((page) => page >= from) ?? -1);
      bits.orInto(left, right);
      for (let page = 0; page < PAGES; page++) {
        assert.equal(bits.testBit(left, page), a.includes(page) || b.includes(page));
      }
      for (const page of b) bits.clearBit(left, page);
      assert.equal(bits.popcount(left), a.filter((page) => !b.includes(page)).length);
    }),
  );
});

test('runs cover every page once, and only neighbours', () => {
  fc.assert(
    fc.property(pageSet, fc.integer({ min: 1, max: 40 }), (pages, max) => {
      const covered: number[] = [];
      let lastEnd = -1;
      bits.forEachRun(toBitmap(pages), max, (first, length) => {
        assert.ok(length >= 1 && length <= max && first >= lastEnd);
        lastEnd = first + length;
        for (let i = 0; i < length; i++) covered.push(first + i);
      });
      assert.deepEqual(covered, rising(pages));
    }),
  );
});

test('a page is touched when it was ever marked or was there before, however often the log is harvested', async () => {
  await fc.assert(
    fc.asyncProperty(
      pageSet,
      fc.array(fc.oneof(pageSet, fc.constant('harvest'))),
      async (old, steps) => {
        const log = new DirtyLog(makeGuest());
        const all = bits.makeBitmap(PAGES).fill(0xffffffff);
        assert.deepEqual(log.touched, all, 'nothing is known of it');
        const marked = [...old];
        for (const [i, step] of steps.entries()) {
          // What began as zeros may be said at any time: what was marked before it counts.
          if (i === steps.length >> 1) log.beganAsZerosBut(toBitmap(old));
          if (typeof step === 'string') await log.harvest(bits.makeBitmap(PAGES));
          else for (const page of step) log.markDirty(page);
          if (typeof step !== 'string') marked.push(...step);
        }
        const expected = steps.length === 0 ? all : toBitmap(marked);
        await log.startLog();
        assert.deepEqual(log.touched, expected);
      },
    ),
  );
});

test('a harvest takes every mark once', async () => {
  const guest = makeGuest();
  const log = new DirtyLog(guest);
  const into = bits.makeBitmap(PAGES).fill(0xffffffff);
  for (const page of [0, 31, 32, 255]) log.markDirty(page);
  assert.equal(log.countDirty(), 4);
  assert.equal(await log.harvest(into), 4);
  assert.deepEqual(into, toBitmap([0, 31, 32, 255]));
  assert.equal(await log.harvest(into), 0);
  assert.equal(bits.popcount(into), 0);
  log.markBitmap(toBitmap([5, 64]));
  assert.equal(await log.harvest(into), 2);
  log.markAll();
  assert.equal(await log.harvest(into), PAGES);
  log.markAll();
  await log.startLog();
  assert.equal(await log.harvest(into), 0);
});

test('the write entries of a parked and of a stopped hart are disarmed, its read entries stay', async () => {
  for (const state of [map.HART_PARKED, map.HART_STOPPED]) {
    const guest = makeGuest(2);
    const gate = new HartGate(guest, 1);
    guest.setControl(map.CONTROL_RUN, map.RUN_GO);
    assert.ok(gate.enter() && gate.writable(9) && gate.readable(9));
    setState(guest, 1, state);
    const log = new DirtyLog(guest);
    const into = bits.makeBitmap(PAGES);
    assert.equal(await log.harvest(into), 1);
    assert.equal(Atomics.load(guest.i32, guest.hartWord(1, map.HART_STATE)), state);
    const tlb = (map.TLB + map.TLB_SIZE) >> 2;
    const tag = 9 << map.PAGE_SHIFT;
    assert.equal(guest.i32[tlb + (map.TLB_WRITE >> 2) + 9 * 4], tag | map.TLB_DISARMED);
    assert.equal(guest.i32[tlb + (map.TLB_WRITE >> 2) + 8 * 4], -1, 'an empty one stays empty');
    assert.equal(guest.i32[tlb + (map.TLB_READ >> 2) + 9 * 4], tag);
    setState(guest, 1, map.HART_RUNNING);
    assert.ok(gate.writable(9));
    assert.equal(await harvestOf(gate, log, into), 1);
  }
});

/** A harvest that the hart on this very thread acknowledges. */
async function harvestOf(gate: HartGate, log: DirtyLog, into: Uint32Array): Promise<number> {
  const count = log.harvest(into);
  setImmediate(() => gate.safepoint());
  return count;
}

test('a hit in the write TLB marks nothing, a fill marks before the store', async () => {
  const guest = makeGuest();
  const gate = new HartGate(guest, 0);
  const log = new DirtyLog(guest);
  guest.setControl(map.CONTROL_RUN, map.RUN_GO);
  gate.enter();
  gate.writable(3);
  gate.writable(3);
  const into = bits.makeBitmap(PAGES);
  assert.equal(await harvestOf(gate, log, into), 1);
  assert.equal(log.countDirty(), 0);
  gate.writable(3);
  assert.equal(log.countDirty(), 1);
  gate.leave();
  assert.equal(Atomics.load(guest.i64, map.CONTROL_WRITE_FILLS >> 3), 2n);
  assert.equal(new Uint8Array(guest.sab)[map.HEAT + 3], 2);
});

test('a harvest is not over before a running hart has dropped its entries', async () => {
  const guest = makeGuest();
  const gate = new HartGate(guest, 0);
  const log = new DirtyLog(guest);
  guest.setControl(map.CONTROL_RUN, map.RUN_GO);
  gate.enter();
  gate.writable(9);
  let over = false;
  const harvest = log.harvest(bits.makeBitmap(PAGES)).then(() => {
    over = true;
  });
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(over, false);
  guest.page(9)[0] = 1;
  gate.safepoint();
  await harvest;
  assert.equal(over, true);
});

test('a hart that never answers is named, and no mark is lost', async () => {
  const guest = makeGuest(3);
  const log = new DirtyLog(guest, { acknowledgeLimitMs: 30 });
  setState(guest, 2, map.HART_RUNNING);
  log.markDirty(40);
  const into = bits.makeBitmap(PAGES);
  await assert.rejects(log.harvest(into), (error: unknown) => {
    assert.ok(error instanceof MachineError && error.code === 'hart.no_acknowledge');
    return (error.detail as { hart: number }).hart === 2;
  });
  assert.equal(log.countDirty(), 1);
  setState(guest, 2, map.HART_STOPPED);
  assert.equal(await log.harvest(into), 1);
});

test('harvests asked for at once follow each other', async () => {
  const log = new DirtyLog(makeGuest());
  log.markDirty(1);
  const [a, b] = [bits.makeBitmap(PAGES), bits.makeBitmap(PAGES)];
  assert.deepEqual(await Promise.all([log.harvest(a), log.harvest(b)]), [1, 0]);
  await assert.rejects(log.harvest(new Uint32Array(1)), RangeError);
});
