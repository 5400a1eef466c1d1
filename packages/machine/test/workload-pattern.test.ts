/** Write patterns against a replay of every write, and the pacer that keeps their rate. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Pacer } from '../src/workload/pacer.ts';
import { WritePattern } from '../src/workload/pattern.ts';
import { makeSpec, PATTERNS, UNLIMITED } from '../src/workload/spec.ts';

const setting = fc
  .record({
    pattern: fc.constantFrom(...PATTERNS.filter((pattern) => pattern !== 'idle')),
    pages: fc.integer({ min: 16, max: 90 }),
    harts: fc.integer({ min: 1, max: 8 }),
    seed: fc.nat(),
    hot: fc.integer({ min: 8, max: 90 }),
    count: fc.nat(700),
  })
  .map(({ pattern, pages, harts, seed, hot, count }) => {
    const hotPages = pattern !== 'hotset' && hot % 2 === 0 ? 0 : Math.min(hot, pages);
    const spec = makeSpec({ pages, harts }, { pattern, seed, hotPages });
    return { spec, pages, harts, count };
  });

test('the last write to every page is what replaying all writes finds', () => {
  fc.assert(
    fc.property(setting, ({ spec, pages, harts, count }) => {
      const owner = new Map<number, number>();
      for (let hart = 0; hart < harts; hart++) {
        const pattern = new WritePattern(spec, pages, harts, hart);
        const cursor = pattern.cursor(0);
        const last = new Array<number>(pages).fill(-1);
        for (let n = 0; n < count; n++) {
          const page = cursor.next();
          assert.ok(page >= 0 && page < pages);
          assert.equal(page, pattern.page(n));
          assert.equal(owner.get(page) ?? hart, hart, 'a page has one writer');
          owner.set(page, hart);
          last[page] = n;
        }
        last.forEach((n, page) => {
          assert.equal(pattern.lastWrite(page, count), n);
        });
      }
    }),
    { numRuns: 150 },
  );
});

test('a cursor taken up in the middle goes on as if it had never stopped', () => {
  fc.assert(
    fc.property(setting, ({ spec, pages, harts, count }) => {
      const pattern = new WritePattern(spec, pages, harts, harts - 1);
      const cursor = pattern.cursor(count);
      for (let n = count; n < count + 100; n++) assert.equal(cursor.next(), pattern.page(n));
    }),
    { numRuns: 100 },
  );
});

test('every pattern but the hot set writes each page once a pass', () => {
  for (const pattern of ['uniform', 'sequential', 'write-burst'] as const) {
    const walk = new WritePattern(makeSpec({ pages: 256, harts: 2 }, { pattern }), 256, 2, 1);
    for (let pass = 0; pass < 3; pass++) {
      const seen = new Set(Array.from({ length: 128 }, (_, i) => walk.page(pass * 128 + i)));
      assert.equal(seen.size, 128);
    }
  }
});

test('a pattern that is given a region stays inside it', () => {
  const spec = makeSpec({ pages: 1024, harts: 1 }, { pattern: 'uniform', hotPages: 60, seed: 3 });
  const cursor = new WritePattern(spec, 1024, 1, 0).cursor(0);
  assert.equal(new Set(Array.from({ length: 6000 }, () => cursor.next())).size, 60);
  const refused = [
    { pattern: 'idle', hotPages: 60 },
    { pattern: 'hotset', hotPages: 0 },
    { pattern: 'uniform', hotPages: 1025 },
  ] as const;
  for (const given of refused) {
    assert.throws(() => makeSpec({ pages: 1024, harts: 1 }, given), { code: 'workload.bad_spec' });
  }
});

test('the hot set takes 15 of 16 writes and is as large as it was told', () => {
  const spec = makeSpec({ pages: 1024, harts: 1 }, { pattern: 'hotset', hotPages: 60, seed: 3 });
  const pattern = new WritePattern(spec, 1024, 1, 0);
  const writes = new Map<number, number>();
  for (let n = 0; n < 60 * 160; n++) {
    writes.set(pattern.page(n), (writes.get(pattern.page(n)) ?? 0) + 1);
  }
  const hot = [...writes.values()].filter((count) => count >= 150);
  assert.equal(hot.length, 60);
  assert.equal(
    hot.reduce((a, b) => a + b),
    60 * 150,
  );
});

test('large guests stay exact', () => {
  const pages = 983040;
  const pattern = new WritePattern(
    makeSpec({ pages, harts: 1 }, { pattern: 'uniform' }),
    pages,
    1,
    0,
  );
  for (const n of [0, pages - 1, pages, 2 ** 33 + 12345, 2 ** 45 + 1]) {
    const page = pattern.page(n);
    assert.ok(Number.isInteger(page) && page >= 0 && page < pages);
    assert.equal(pattern.lastWrite(page, n + 1), n);
    assert.equal(pattern.cursor(n).next(), page);
  }
});

test('a paced hart does as many writes as its rate, whatever its wake-ups', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 90 }), { maxLength: 100 }), (steps) => {
      const pacer = new Pacer('uniform', 2, 0);
      let now = 0;
      let done = 0;
      pacer.due(now, 12800, 0);
      for (const stepMs of steps) {
        now += stepMs;
        const due = pacer.due(now, 12800, 0);
        done += due;
        pacer.did(due);
      }
      assert.equal(done, Math.floor(now * 6.4));
    }),
  );
});

test('a hart that was stopped does not race to catch up', () => {
  const pacer = new Pacer('uniform', 1, 0);
  pacer.due(0, 1000, 0);
  assert.equal(pacer.due(60_000, 1000, 0), 100);
});

test('idle, rate 0, throttle and bursts', () => {
  assert.equal(new Pacer('idle', 1, 0).due(5, UNLIMITED, 0), 0);
  assert.equal(new Pacer('uniform', 1, 0).due(5, 0, 0), 0);
  assert.equal(new Pacer('uniform', 1, 0).due(5, UNLIMITED, 0), Number.POSITIVE_INFINITY);

  const throttled = new Pacer('uniform', 1, 0);
  throttled.due(0, 1000, 900);
  assert.equal(throttled.due(50, 1000, 900), 5);

  const bursts = new Pacer('write-burst', 1, 0);
  assert.equal(bursts.due(0, 1000, 0), 1000);
  bursts.did(1000);
  assert.equal(bursts.due(300, 1000, 0), 0);
  assert.equal(bursts.waitMs(), 700);
  assert.equal(bursts.due(1000, 1000, 0), 1000);

  const flatOut = new Pacer('write-burst', 1, 0);
  assert.equal(flatOut.due(99, UNLIMITED, 0), Number.POSITIVE_INFINITY);
  assert.equal(flatOut.due(150, UNLIMITED, 0), 0);
  assert.equal(flatOut.waitMs(), 50);
});
