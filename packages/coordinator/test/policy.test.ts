/** The policy on recorded reports: scenario tables, then properties. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Mode, PAGE_BYTES, ROUNDS_LIMIT_DEFAULT, type RoundReport } from '@godwit/protocol';
import fc from 'fast-check';
import {
  decide,
  SWITCHOVER_FIXED_MS,
  smoothedBandwidth,
  THROTTLE_PERMILLE_MAX,
} from '../src/policy.ts';

const MIB = 1024 ** 2;

/** One round as a row: MiB sent, milliseconds, MiB that remain, dirty MiB/s; how much of it was zeros. */
type Row = readonly [
  sentMiB: number,
  durationMs: number,
  remainingMiB: number,
  dirtyMiBps: number,
  zeroMiB?: number,
];

function reportsOf(rows: readonly Row[]): RoundReport[] {
  return rows.map(([sentMiB, durationMs, remainingMiB, dirtyMiBps, zeroMiB = 0], round) => ({
    migration: 'm',
    round,
    pages: (sentMiB * MIB) / PAGE_BYTES,
    zeroPages: (zeroMiB * MIB) / PAGE_BYTES,
    bytes: (sentMiB - zeroMiB) * MIB,
    copiedBytes: 0,
    durationMs,
    remainingPages: Math.round((remainingMiB * MIB) / PAGE_BYTES),
    dirtyBytesPerS: dirtyMiBps * MIB,
    bandwidthBytesPerS: durationMs > 0 ? ((sentMiB - zeroMiB) * MIB) / (durationMs / 1000) : 0,
  }));
}

/** Decides after each round, as the coordinator does; stops at the first that is not `again`. */
function play(mode: Mode, rows: readonly Row[], mayThrottle = false, maxDowntimeMs = 300) {
  const reports = reportsOf(rows);
  let throttlePermille = 0;
  const actions: string[] = [];
  let last = { action: 'again', throttlePermille: 0, reason: '' };
  for (let round = 0; round < reports.length && last.action === 'again'; round++) {
    const upTo = reports.slice(0, round + 1);
    last = decide({ mode, maxDowntimeMs, mayThrottle, reports: upTo, throttlePermille });
    throttlePermille = last.throttlePermille;
    actions.push(last.action);
  }
  return { actions, last };
}

const repeat = (row: Row, times: number): Row[] => Array.from({ length: times }, () => row);

const SCENARIOS: readonly {
  name: string;
  mode: Mode;
  rows: readonly Row[];
  mayThrottle?: boolean;
  maxDowntimeMs?: number;
  actions: readonly string[];
  why: RegExp;
}[] = [
  {
    name: 'idle: one round, then the switch',
    mode: 'hybrid',
    rows: [[1024, 400, 0, 0]],
    actions: ['stopAndCopy'],
    why: /^switch: 0.0 MiB fits the 300 ms target.*lowest so far/,
  },
  {
    name: '50 MiB/s on a fast link: two rounds more although the first fits, for a short downtime',
    mode: 'hybrid',
    rows: [
      [1024, 400, 20, 50],
      [20, 8, 0.5, 50],
    ],
    actions: ['again', 'stopAndCopy'],
    why: /lowest so far/,
  },
  {
    name: 'a guest of zeros that writes: the link is measured before the guest is stopped over it',
    mode: 'hybrid',
    rows: [
      [1024, 40, 5, 50, 1024],
      [5, 5, 0.3, 50],
    ],
    actions: ['again', 'stopAndCopy'],
    why: /fits/,
  },
  {
    name: 'the same over a link that turns out to be slow',
    mode: 'hybrid',
    rows: [
      [1024, 40, 5, 50, 1024],
      [5, 5000, 100, 50],
    ],
    actions: ['again', 'postcopy'],
    why: /another round would not make it clearly less/,
  },
  {
    name: 'it writes nothing but zeros: a second round says no more, and is the last',
    mode: 'precopy',
    rows: [
      [1024, 40, 5, 50, 1024],
      [5, 1, 2, 50, 5],
    ],
    actions: ['again', 'stopAndCopy'],
    why: /fits/,
  },
  {
    name: 'an idle guest of zeros: what is left is too little to ask for',
    mode: 'hybrid',
    rows: [[1024, 40, 0.0625, 1, 1023.9375]],
    actions: ['stopAndCopy'],
    why: /fits/,
  },
  {
    name: 'a guest of zeros but for what it writes as fast as it can: that much the link is known to carry',
    mode: 'precopy',
    rows: [[1024, 50, 64, 2000, 960]],
    actions: ['stopAndCopy'],
    why: /fits/,
  },
  {
    name: 'a quarter of the guest is written at 50 MiB/s: what went says what the rest would take',
    mode: 'hybrid',
    rows: [
      [1024, 100, 5, 50, 768],
      [5, 6, 0.4, 50],
    ],
    actions: ['again', 'stopAndCopy'],
    why: /lowest so far/,
  },
  {
    name: 'unlimited writer, hybrid: one round, then post-copy',
    mode: 'hybrid',
    rows: [[1024, 500, 1000, 4000]],
    actions: ['postcopy'],
    why: /would not make it clearly less/,
  },
  {
    name: 'unlimited writer, pre-copy: gives up at the stall and says what is missing',
    mode: 'precopy',
    rows: [[1024, 500, 1000, 4000], ...repeat([1000, 490, 1000, 4000], 8)],
    actions: [...repeat([0, 0, 0, 0], 5).map(() => 'again'), 'giveUp'],
    why: /no less for 5 rounds: 300 ms allowed, 4\d\d ms needed/,
  },
  {
    name: 'unlimited writer, pre-copy, small downtime allowed but it fits anyway',
    mode: 'precopy',
    maxDowntimeMs: 1000,
    rows: [[1024, 500, 1000, 4000]],
    actions: ['stopAndCopy'],
    why: /fits the 1000 ms target/,
  },
  {
    name: 'sawtooth: a peak inside the target waits for the trough that was seen',
    mode: 'precopy',
    rows: [
      [1024, 500, 100, 200],
      [100, 50, 10, 200],
      [10, 5, 60, 2000],
      [60, 30, 8, 1200],
    ],
    actions: ['again', 'again', 'again', 'stopAndCopy'],
    why: /lowest so far/,
  },
  {
    name: 'sawtooth whose trough does not come back: takes what fits after three rounds',
    mode: 'precopy',
    rows: [[1024, 500, 100, 200], [100, 50, 10, 200], ...repeat([60, 30, 60, 2000], 6)],
    actions: ['again', 'again', 'again', 'again', 'again', 'stopAndCopy'],
    why: /^switch/,
  },
  {
    name: 'slow link, small working set: rounds pay until the set is all that remains',
    mode: 'hybrid',
    rows: [
      [1024, 100_000, 64, 5],
      [64, 6_400, 32, 5],
      [32, 3_200, 16, 5],
      [16, 1_600, 8, 5],
      [8, 800, 2, 8],
    ],
    actions: ['again', 'again', 'again', 'again', 'stopAndCopy'],
    why: /fits/,
  },
  {
    name: 'slow link, writer as fast as the link: post-copy',
    mode: 'hybrid',
    rows: [[1024, 100_000, 1000, 12]],
    actions: ['postcopy'],
    why: /remain/,
  },
  {
    name: 'promises to fall but does not: hybrid waits two rounds',
    mode: 'hybrid',
    rows: repeat([500, 1000, 500, 100], 6),
    actions: ['again', 'again', 'postcopy'],
    why: /no less for 2 rounds/,
  },
  {
    name: 'post-copy asked for: at once, after round 0 of 0 pages',
    mode: 'postcopy',
    rows: [[0, 0, 1024, 0]],
    actions: ['postcopy'],
    why: /was asked for/,
  },
  {
    name: 'zero bandwidth: nothing was sent, nothing is known, nothing is decided on it',
    mode: 'hybrid',
    rows: [[0, 1000, 0, 0]],
    actions: ['stopAndCopy'],
    why: /fits/,
  },
];

describe('policy on recorded reports', () => {
  for (const scenario of SCENARIOS) {
    it(scenario.name, () => {
      const { mode, rows, mayThrottle, maxDowntimeMs } = scenario;
      const { actions, last } = play(mode, rows, mayThrottle, maxDowntimeMs);
      assert.deepEqual(actions, scenario.actions, last.reason);
      assert.match(last.reason, scenario.why);
    });
  }

  it('throttles only when asked to, a step a round, and gives up at the limit', () => {
    const rows = [[1024, 500, 1000, 4000] as const, ...repeat([1000, 490, 1000, 4000], 40)];
    const reports = reportsOf(rows);
    const steps: number[] = [];
    let throttlePermille = 0;
    for (let round = 0; round < reports.length; round++) {
      const decision = decide({
        mode: 'precopy',
        maxDowntimeMs: 100,
        mayThrottle: true,
        reports: reports.slice(0, round + 1),
        throttlePermille,
      });
      if (decision.action !== 'again') {
        assert.equal(decision.action, 'giveUp');
        break;
      }
      assert.match(decision.reason, /slowed down|falling/);
      throttlePermille = decision.throttlePermille;
      steps.push(throttlePermille);
    }
    assert.deepEqual(steps.slice(0, 4), [200, 300, 400, 500]);
    assert.equal(steps.at(-1), THROTTLE_PERMILLE_MAX);
  });

  it('keeps the throttle that works', () => {
    const reports = reportsOf([
      [1024, 500, 1000, 4000],
      [1000, 490, 400, 800],
    ]);
    const input = { mode: 'precopy', maxDowntimeMs: 50, mayThrottle: true, reports } as const;
    const decision = decide({ ...input, throttlePermille: 500 });
    assert.deepEqual([decision.action, decision.throttlePermille], ['again', 500]);
  });
});

describe('smoothed bandwidth', () => {
  it('does not believe a round of zero pages or of none', () => {
    const [zeros] = reportsOf([[1024, 100, 10, 0]]);
    const scan = { ...zeros!, bytes: 70_000, bandwidthBytesPerS: 700_000 };
    assert.equal(smoothedBandwidth([scan]), Number.POSITIVE_INFINITY);
    const real = reportsOf([[1024, 100, 10, 0]]);
    assert.equal(smoothedBandwidth([scan, ...real]), smoothedBandwidth(real));
  });

  it('follows a link that became slow', () => {
    const fast: Row = [64, 32, 10, 0];
    const slow: Row = [64, 640, 10, 0];
    const bytesPerS = smoothedBandwidth(reportsOf([fast, slow, slow, slow]));
    assert.ok(bytesPerS < 0.4e9 && bytesPerS > 0.1e9, String(bytesPerS));
  });

  it('is hardly moved by a tiny round', () => {
    const bulk: Row = [1024, 500, 1, 0];
    const tiny: Row = [0.25, 5, 0.25, 0];
    const bytesPerS = smoothedBandwidth(reportsOf([bulk, tiny]));
    assert.ok(bytesPerS > 1.8 * 1024 * MIB, String(bytesPerS));
  });
});

describe('policy, properties', () => {
  const amount = fc.double({ min: 0, max: 1e12, noNaN: true });
  const arbitraryReport = fc.record({
    migration: fc.constant('m'),
    round: fc.nat(),
    pages: fc.nat(983_040),
    zeroPages: fc.nat(983_040),
    bytes: fc.nat(),
    copiedBytes: fc.nat(),
    durationMs: amount,
    remainingPages: fc.nat(983_040),
    dirtyBytesPerS: amount,
    bandwidthBytesPerS: amount,
  });
  const arbitraryInput = fc.record({
    mode: fc.constantFrom('precopy', 'postcopy', 'hybrid'),
    maxDowntimeMs: fc.double({ min: 0.1, max: 1e5, noNaN: true }),
    mayThrottle: fc.boolean(),
    reports: fc.array(arbitraryReport, { minLength: 1, maxLength: 35 }),
    throttlePermille: fc.nat(THROTTLE_PERMILLE_MAX),
  });

  it('always decides, says why, and stays in its bounds', () => {
    fc.assert(
      fc.property(arbitraryInput, (input) => {
        const typed = input as Parameters<typeof decide>[0];
        const decision = decide(typed);
        assert.ok(decision.reason.length > 10 && decision.reason.length < 300);
        assert.ok(!decision.reason.includes('NaN'), decision.reason);
        assert.ok(decision.throttlePermille <= THROTTLE_PERMILLE_MAX);
        assert.ok(input.mayThrottle || decision.throttlePermille === input.throttlePermille);
        assert.ok(decision.action !== 'giveUp' || input.mode === 'precopy');
        assert.ok(decision.action !== 'postcopy' || input.mode !== 'precopy');
        if (input.reports.length >= ROUNDS_LIMIT_DEFAULT) assert.notEqual(decision.action, 'again');
        assert.deepEqual(decide(typed), decision, 'no state, no clock');
      }),
      { numRuns: 500 },
    );
  });

  it('stops the guest only when the expected downtime is allowed', () => {
    fc.assert(
      fc.property(arbitraryInput, (input) => {
        const typed = input as Parameters<typeof decide>[0];
        if (decide(typed).action !== 'stopAndCopy') return;
        const remaining = input.reports.at(-1)!.remainingPages * PAGE_BYTES;
        const ms = remaining === 0 ? 0 : (remaining / smoothedBandwidth(input.reports)) * 1000;
        assert.ok(ms + SWITCHOVER_FIXED_MS <= input.maxDowntimeMs);
      }),
      { numRuns: 500 },
    );
  });
});
