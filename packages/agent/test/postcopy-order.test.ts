/** Which missing pages go when, and that each goes once, or again when it was lost. */
import assert from 'node:assert/strict';
import { availableParallelism } from 'node:os';
import { test } from 'node:test';
import { heatOf } from '@godwit/machine';
import { CHANNELS_MAX, PUSH_PAGES_MAX } from '@godwit/protocol';
import fc from 'fast-check';
import { PushJob } from '../src/source/channel-jobs.ts';
import { hottestFirst } from '../src/source/push-order.ts';
import { PushTable } from '../src/source/push-table.ts';
import { FaultHistogram } from '../src/target/fault-histogram.ts';
import { RoundGate } from '../src/target/round-gate.ts';
import { MIB, poisonedGuest } from './channel-pair.ts';

const PAGES = 512;

function pagesOf(runs: Uint32Array): number[] {
  const pages = [];
  for (let i = 0; i < runs.length; i += 2) {
    for (let k = 0; k < runs[i + 1]!; k++) pages.push(runs[i]! + k);
  }
  return pages;
}

function bitmapOf(pages: readonly number[]): Uint32Array {
  const bitmap = new Uint32Array(PAGES / 32);
  for (const page of pages) bitmap[page >>> 5]! |= 1 << (page & 31);
  return bitmap;
}

function tableOf(missing: Uint32Array): PushTable {
  const table = PushTable.make(PAGES);
  table.load(
    missing,
    Uint32Array.from({ length: PAGES / PUSH_PAGES_MAX }, (_, i) => i),
  );
  return table;
}

test('several channels together take every missing page once', () => {
  const pages = fc.uniqueArray(fc.nat(PAGES - 1), { maxLength: PAGES });
  fc.assert(
    fc.property(pages, fc.array(fc.nat(PAGES - 1), { maxLength: 20 }), (missing, hints) => {
      const table = tableOf(bitmapOf(missing));
      const places = [0, 1, 2].map(() => ({ chunk: 0, left: 0 }));
      const taken: number[] = [];
      for (let turn = 0, idle = 0; idle < 3; turn++) {
        const hint = hints[turn];
        if (hint !== undefined) table.hint(hint);
        const runs = table.next(places[turn % 3]!);
        idle = runs === null ? idle + 1 : 0;
        if (runs === null) continue;
        const chunk = pagesOf(runs);
        assert.ok(chunk.length <= PUSH_PAGES_MAX);
        taken.push(...chunk);
      }
      assert.deepEqual(
        taken.sort((a, b) => a - b),
        missing.sort((a, b) => a - b),
      );
    }),
    { numRuns: 100 },
  );
});

test('after a fault the push goes on behind the faulted page, which is not sent again', () => {
  const table = tableOf(new Uint32Array(PAGES / 32).fill(0xffffffff));
  const place = { chunk: 0, left: 0 };
  assert.deepEqual(pagesOf(table.next(place)!)[0], 0);
  table.markSent(Uint32Array.of(322, 1));
  table.hint(322);
  const around = pagesOf(table.next(place)!);
  assert.equal(around.length, PUSH_PAGES_MAX - 1);
  assert.ok(around.includes(321) && around.includes(323) && !around.includes(322));
  assert.equal(pagesOf(table.next(place)!)[0], 336);
});

test('after a fault the first channel goes on, and one too many pauses until no hart has waited lately', (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: 1_000_000 });
  const table = tableOf(bitmapOf([1, 2]));
  const [first, last] = [0, CHANNELS_MAX + availableParallelism()].map(
    (channel) => new PushJob(table, channel, 7),
  );
  assert.deepEqual([first!.pauseMs, last!.pauseMs], [0, 0]);
  table.hint(2);
  assert.equal(first!.pauseMs, 0);
  const { pauseMs } = last!;
  assert.ok(pauseMs > 0);
  t.mock.timers.tick(pauseMs);
  assert.ok(last!.pauseMs > 0, 'the last millisecond counts');
  t.mock.timers.tick(1);
  assert.equal(last!.pauseMs, 0);
});

test('pages given back go again, the others do not', () => {
  const table = tableOf(bitmapOf([1, 2, 100, 101, 102]));
  const place = { chunk: 0, left: 0 };
  while (table.next(place) !== null);
  table.giveBack(Uint32Array.of(2, 1, 101, 2));
  const again: number[] = [];
  for (let runs = table.next(place); runs !== null; runs = table.next(place)) {
    again.push(...pagesOf(runs));
  }
  assert.deepEqual(again, [2, 101, 102]);
});

test('the hottest chunk goes first, equal ones in the order of memory', () => {
  const guest = poisonedGuest(2 * MIB);
  heatOf(guest)[200] = 9;
  heatOf(guest)[37] = 255;
  heatOf(guest)[40] = 1;
  const order = [...hottestFirst(guest)];
  assert.deepEqual(order.slice(0, 4), [2, 12, 0, 1]);
  assert.deepEqual(
    order.toSorted((a, b) => a - b),
    [...order.keys()],
  );
});

test('rounds open when every channel has seen the barrier, and never again', () => {
  const gate = RoundGate.make(2);
  const refused = { code: 'wire.bad_frame' };
  gate.check(0, 0);
  assert.throws(() => gate.check(0, 1), refused);
  gate.barrier(0, 0);
  assert.throws(() => gate.check(0, 0), refused, 'after its own barrier');
  assert.throws(() => gate.check(0, 1), refused, 'before the other channel');
  assert.throws(() => gate.barrier(0, 1), refused);
  gate.barrier(0, 0);
  gate.check(1, 0);
  gate.barrier(1, 0);
  assert.equal(gate.openRound, 1);
  gate.check(0, 1);
  assert.throws(() => gate.check(1, 0), refused, 'an older round');
  assert.throws(() => gate.barrier(1, 7), refused);
});

test('percentiles are within a bucket of the truth', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(5_000_000), { minLength: 1, maxLength: 300 }), (values) => {
      const histogram = FaultHistogram.make();
      for (const us of values) histogram.record(us);
      const sorted = values.toSorted((a, b) => a - b);
      const { count, p50Us, p99Us, maxUs } = new FaultHistogram(histogram.sab).stats();
      assert.equal(count, values.length);
      assert.equal(maxUs, sorted.at(-1));
      for (const [found, share] of [
        [p50Us, 0.5],
        [p99Us, 0.99],
      ] as const) {
        const truth = sorted[Math.ceil(values.length * share) - 1]!;
        assert.ok(found >= truth && found <= truth * 1.07 + 1, `${found} for ${truth}`);
      }
    }),
  );
});
