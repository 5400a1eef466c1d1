/** Where each guest of a drain stands: the table of everything that can happen to one meanwhile. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Drain, GuestState, Migration } from '@godwit/protocol';
import { predictDrain, timeLeft } from '../src/placement/drain-estimate.ts';
import { countsOf, standingOf } from '../src/placement/drain-rows.ts';
import type { GuestRecord } from '../src/records.ts';

const MIB = 1024 ** 2;
const DRAIN = { id: 'd-1', host: 'a', kind: 'drain', away: [] } as const;

function record(more: Partial<GuestRecord> = {}): GuestRecord {
  return {
    spec: { name: 'g', kind: 'workload', memoryBytes: 64 * MIB, harts: 1, clock: 'host' },
    ...{ epoch: 1, host: 'a', incarnation: 'i', state: 'running' },
    ...{ createdAtMs: 0, witnessWrites: 0 },
    ...more,
  };
}

function move(more: Partial<Migration> = {}): Migration {
  return {
    ...{ id: 'm-1', guest: 'g', kind: 'workload', source: 'a', target: 'b', mode: 'hybrid' },
    ...{ state: 'rounds', epoch: 1, channels: 2, maxBandwidthBytesPerS: 0, maxDowntimeMs: 300 },
    ...{ throttle: false, verify: false, memoryBytes: 64 * MIB, priority: 'normal', drain: 'd-1' },
    ...{ queuedAtMs: 0, startedAtMs: 0, sourcePhase: '', targetPhase: '' },
    ...{ rounds: [], decisions: [], phases: [] },
    ...more,
  } as Migration;
}

const failed = (code = 'migration.refused') =>
  move({ state: 'failed', endedAtMs: 1, error: { code, message: 'a broken disk' } });

type Row = Drain['guests'][number];

const CASES: readonly {
  what: string;
  guest: GuestRecord;
  state?: GuestState;
  moves?: readonly Migration[];
  kind?: Drain['kind'];
  row: Partial<Row>;
  isPlanned?: boolean;
}[] = [
  { what: 'is there', guest: record(), row: { state: 'blocked' }, isPlanned: true },
  { what: 'is elsewhere', guest: record({ host: 'b' }), row: { state: 'moved', target: 'b' } },
  {
    what: 'waits in line',
    guest: record({ queued: 'm-1' }),
    moves: [move({ state: 'queued', queue: { position: 1, of: 1, reason: 'host a is busy' } })],
    row: { state: 'queued', target: 'b', migration: 'm-1', why: 'host a is busy' },
  },
  {
    what: 'moves',
    guest: record({ migration: 'm-1' }),
    moves: [move()],
    row: { state: 'moving', target: 'b', migration: 'm-1' },
  },
  {
    what: 'runs at the target already, pages are missing',
    guest: record({ host: 'b', migration: 'm-1' }),
    moves: [move({ state: 'postcopy' })],
    row: { state: 'moving', target: 'b' },
  },
  {
    what: "moves because somebody else wants it, which is the drain's gain",
    guest: record({ migration: 'm-9' }),
    moves: [move({ id: 'm-9', drain: 'd-0' })],
    row: { state: 'moving', migration: 'm-9' },
  },
  {
    what: 'is in doubt',
    guest: record({ migration: 'm-1' }),
    state: 'doubt',
    moves: [move()],
    row: { state: 'blocked', code: 'doubt' },
  },
  {
    what: 'stopped meanwhile',
    guest: record({ state: 'stopped' }),
    state: 'stopped',
    row: { state: 'stays' },
  },
  {
    what: 'ended by itself',
    guest: record({ state: 'ended' }),
    state: 'ended',
    row: { state: 'stays' },
  },
  {
    what: 'was lost with its host',
    guest: record({ state: 'lost', evidence: 'the host ended' }),
    state: 'lost',
    row: { state: 'lost', why: 'the host ended' },
  },
  {
    what: 'is on a host that fell silent',
    guest: record(),
    state: 'unreachable',
    row: { state: 'blocked', code: 'unreachable' },
    isPlanned: true,
  },
  {
    what: 'failed twice: once more',
    guest: record(),
    moves: [failed(), failed()],
    row: { state: 'blocked' },
    isPlanned: true,
  },
  {
    what: 'failed three times',
    guest: record(),
    moves: [failed(), failed(), failed()],
    row: { state: 'blocked', code: 'failed', why: '3 moves failed, the last: a broken disk' },
  },
  {
    what: 'lost its target to a cordon, which is no failure',
    guest: record(),
    moves: [failed('host.cordoned'), failed('host.cordoned'), failed('host.cordoned')],
    row: { state: 'blocked' },
    isPlanned: true,
  },
  {
    what: 'was cancelled by a person',
    guest: record(),
    moves: [move({ state: 'cancelled', endedAtMs: 1 })],
    row: { state: 'blocked', code: 'cancelled' },
  },
  {
    what: 'came back',
    guest: record({ host: 'a' }),
    kind: 'restore',
    row: { state: 'moved', target: 'a' },
  },
  {
    what: 'is to come back',
    guest: record({ host: 'b' }),
    kind: 'restore',
    row: { state: 'blocked' },
    isPlanned: true,
  },
];

describe('a guest of a drain', () => {
  for (const {
    what,
    guest,
    state = 'running',
    moves = [],
    kind = 'drain',
    row,
    isPlanned,
  } of CASES) {
    it(what, () => {
      const { rows, toPlan } = standingOf({
        drain: { ...DRAIN, kind },
        guests: [{ record: guest, state }],
        migrations: moves,
      });
      assert.equal(rows.length, 1);
      for (const [key, value] of Object.entries(row)) {
        assert.deepEqual(rows[0]?.[key as keyof Row], value, JSON.stringify(rows[0]));
      }
      assert.equal(toPlan.length, isPlanned ? 1 : 0);
      if (kind === 'restore' && isPlanned) assert.equal(toPlan[0]?.only, 'a');
    });
  }

  it('counts: what is lost or left keeps a drain from being complete, what stays does not', () => {
    const { rows } = standingOf({
      drain: DRAIN,
      guests: CASES.filter(({ kind }) => kind === undefined).map(({ guest, state, what }) => ({
        record: { ...guest, spec: { ...guest.spec, name: what } },
        state: state ?? 'running',
      })),
      migrations: [],
    });
    const { underWay, moved, left } = countsOf(rows);
    assert.equal(
      underWay + moved + left + rows.filter((row) => row.state === 'stays').length,
      rows.length,
    );
  });
});

describe('the time of a drain', () => {
  const plan = (totalMs: number, verifyMs = 0) => ({
    ...{ guest: 'g', source: 'a', target: 'b', memoryBytes: MIB, mode: 'hybrid' as const },
    prediction: { totalMs, verifyMs, downtimeMs: 4, bytes: MIB, rounds: 1, basis: [] },
  });
  const limits = { perHost: 2, perCluster: 8 };

  it('predicted: between perfect overlap and one after the other, which is what a shared link gives', () => {
    const { ms, rangeMs } = predictDrain([plan(100), plan(100), plan(100), plan(100)], limits);
    assert.deepEqual([ms, rangeMs], [400, [200, 400]]);
    assert.equal(predictDrain([plan(100, 60), plan(100, 60)], limits).ms, 100);
    assert.deepEqual(predictDrain([], limits), { ms: 0, rangeMs: [0, 0] });
  });

  it('left: from what the moves so far took together; nothing before the first', () => {
    assert.equal(timeLeft([], 64 * MIB, 1_000), undefined);
    const done = [1, 2].map((i) =>
      move({
        id: `m-${i}`,
        state: 'completed',
        startedAtMs: 0,
        result: { totalMs: 500 * i } as never,
      }),
    );
    const left = timeLeft(done, 128 * MIB, 1_000);
    assert.equal(left?.ms, 1_000);
    assert.ok(left.rangeMs[0] < 1_000 && left.rangeMs[1] > 1_000);
  });
});
