/** What people are told of the time: prediction and the estimate of what is left. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { GuestReport, Migration } from '@godwit/protocol';
import fc from 'fast-check';
import { advanceEta, startEta } from '../src/eta.ts';
import { Measurements } from '../src/measurements.ts';
import { SWITCHOVER_FIXED_MS } from '../src/policy.ts';
import { type PredictionInput, predict } from '../src/prediction.ts';

const MIB = 1024 ** 2;
const IDLE: PredictionInput = {
  mode: 'hybrid',
  maxDowntimeMs: 300,
  mayThrottle: false,
  memoryBytes: 1024 * MIB,
  dirtyBytesPerS: 0,
  workingSetBytes: 0,
  bandwidthBytesPerS: 2e9,
  reserveBytesPerS: 1e9,
  setupMs: 200,
};

describe('prediction', () => {
  it('idle: one transfer, the reservation, and the fixed downtime', () => {
    const { totalMs, downtimeMs } = predict(IDLE);
    assert.equal(downtimeMs, SWITCHOVER_FIXED_MS);
    const transferMs = ((1024 * MIB) / 2e9) * 1000;
    assert.ok(totalMs > transferMs && totalMs < transferMs + 1500, String(totalMs));
  });

  it('a slow link takes longer, more dirt takes longer, and hybrid never more than its target', () => {
    const slow = predict({ ...IDLE, bandwidthBytesPerS: 1e8 });
    assert.ok(slow.totalMs > predict(IDLE).totalMs * 4);
    const busy = predict({ ...IDLE, dirtyBytesPerS: 50 * MIB, workingSetBytes: 64 * MIB });
    assert.ok(busy.totalMs > predict(IDLE).totalMs);
    const wild = predict({ ...IDLE, dirtyBytesPerS: 4096 * MIB });
    assert.ok(wild.downtimeMs <= 300);
    assert.ok(Number.isFinite(wild.totalMs));
  });

  it('--verify stands in the downtime: digests of every page at both ends, or of what is there', () => {
    const verified = predict({ ...IDLE, hashBytesPerS: 2e9 });
    const onceMs = ((1024 * MIB) / 2e9) * 1000;
    assert.ok(Math.abs(verified.downtimeMs - SWITCHOVER_FIXED_MS - 2 * onceMs) < 1);
    assert.equal(verified.downtimeMs - predict(IDLE).downtimeMs, verified.verifyMs);
    const pulled = predict({ ...IDLE, mode: 'postcopy', hashBytesPerS: 2e9 });
    assert.ok(Math.abs(pulled.verifyMs - onceMs) < 1);
    assert.equal(predict(IDLE).verifyMs, 0);
  });

  it('post-copy stops for the fixed part only', () => {
    assert.equal(predict({ ...IDLE, mode: 'postcopy' }).downtimeMs, SWITCHOVER_FIXED_MS);
  });

  it('pre-copy that cannot converge is still predicted', () => {
    const never = predict({ ...IDLE, mode: 'precopy', dirtyBytesPerS: 8e9, maxDowntimeMs: 10 });
    assert.ok(Number.isFinite(never.totalMs) && never.downtimeMs > 10);
  });
});

const NOTHING = { nowMs: 0, course: 'rounds', dueBytes: 0, laterBytes: 0, bytesPerS: 0 } as const;

describe('what predictions rest on', () => {
  const report = (more: Partial<GuestReport> = {}): GuestReport => ({
    spec: { name: 'g', kind: 'workload', memoryBytes: 64 * MIB, harts: 1, clock: 'host' },
    ...{ epoch: 1, state: 'running', instructions: 0, writes: 0 },
    ...{ dirtyBytesPerS: 0, workingSetPages: 0, createdAtMs: 0 },
    ...more,
  });
  const moved = (more: object = {}) =>
    ({
      ...{ id: 'm-1', guest: 'g', source: 'a', target: 'b', memoryBytes: 64 * MIB, verify: true },
      ...{ maxBandwidthBytesPerS: 0, endedAtMs: Date.now() },
      rounds: [{ pages: 9, bandwidthBytesPerS: 5e8, dirtyBytesPerS: 7e6 }],
      result: {
        ...{ gbps: 0.4, verifyMs: 32, totalMs: 900, transferMs: 400, reservedMs: 100 },
        ...{ downtimeMs: 50, steps: { lastPagesMs: 10 } },
      },
      ...more,
    }) as unknown as Migration;

  it('says when nothing was measured, and where something was', () => {
    const measured = new Measurements();
    assert.match(measured.bandwidth('a', 'b').basis, /assumed: nothing was measured yet/);
    assert.match(measured.hashing().basis, /assumed: nothing was verified yet/);
    assert.match(measured.dirtying(undefined, 'a').basis, /not measured yet/);
    assert.match(measured.setup().basis, /assumed: nothing was moved yet/);
    measured.learn(moved());
    assert.equal(measured.bandwidth('b', 'a').value, 5e8);
    assert.match(measured.bandwidth('b', 'a').basis, /measured between a and b \(m-1\)/);
    assert.match(measured.bandwidth('a', 'c').basis, /not on this pair of hosts yet/);
    assert.equal(Math.round(measured.hashing().value), (64 * MIB * 1000) / 32);
    // 900 less 400 of pages, 100 of first touch and the 40 of its stop that were no pages.
    assert.equal(measured.setup().setupMs, 360);
    assert.equal(Math.round(measured.setup().reserveBytesPerS), 640 * MIB);
    measured.learn(moved({ id: 'm-2', maxBandwidthBytesPerS: 1e6 }));
    assert.equal(measured.bandwidth('a', 'b').value, 5e8, 'a cap measures the cap');
  });

  it('a guest that has just arrived writes as its move saw it', () => {
    const measured = new Measurements();
    measured.learn(moved());
    const fresh = measured.dirtying(report(), 'b');
    assert.deepEqual([fresh.dirtyBytesPerS, fresh.workingSetBytes], [7e6, 0]);
    assert.match(fresh.basis, /as m-1 saw it/);
    const known = measured.dirtying(report({ dirtyBytesPerS: 9e6, workingSetPages: 256 }), 'b');
    assert.deepEqual([known.dirtyBytesPerS, known.workingSetBytes], [9e6, MIB]);
    measured.learn(moved({ endedAtMs: 1 }));
    assert.equal(measured.dirtying(report(), 'b').dirtyBytesPerS, 0, 'sampled by now, and idle');
  });
});

describe('time left', () => {
  it('rounds that were nearly over and are given up for post-copy begin a new figure', () => {
    const rounds = advanceEta(startEta(0), {
      ...NOTHING,
      nowMs: 10,
      dueBytes: 1e6,
      bytesPerS: 1e9,
    });
    assert.equal(rounds.etaMs, 1);
    const pull = { ...NOTHING, course: 'pull', dueBytes: 5e8, bytesPerS: 1e9 } as const;
    const first = advanceEta(rounds, { ...pull, nowMs: 20 });
    assert.equal(first.etaMs, 500);
    assert.equal(advanceEta(first, { ...pull, nowMs: 30, bytesPerS: 1e8 }).etaMs, 500);
  });

  it('never grows within a course, percent never falls, the range holds the figure', () => {
    const arbitraryStep = fc.record({
      passedMs: fc.nat(500),
      course: fc.constantFrom('rounds' as const, 'pull' as const),
      dueBytes: fc.nat(2 ** 30),
      laterBytes: fc.nat(2 ** 30),
      bytesPerS: fc.nat(2 ** 31),
    });
    fc.assert(
      fc.property(fc.array(arbitraryStep, { maxLength: 40 }), (steps) => {
        let eta = startEta(1_000);
        let nowMs = 1_000;
        for (const { passedMs, ...step } of steps) {
          const before = eta;
          nowMs += passedMs;
          eta = advanceEta(eta, { nowMs, ...step });
          const isSame = eta.course === before.course;
          if (isSame) assert.ok((eta.etaMs ?? 0) <= (before.etaMs ?? Number.POSITIVE_INFINITY));
          assert.ok(eta.percent >= before.percent && eta.percent <= 99);
          if (eta.etaMs === undefined || eta.etaRangeMs === undefined) continue;
          const [low, high] = eta.etaRangeMs;
          assert.ok(low <= eta.etaMs && eta.etaMs <= high, `${low} ${eta.etaMs} ${high}`);
        }
      }),
    );
  });

  it('says nothing before anything was measured', () => {
    const eta = advanceEta(startEta(0), { ...NOTHING, nowMs: 5, dueBytes: 9 });
    assert.equal(eta.etaMs, undefined);
  });
});
