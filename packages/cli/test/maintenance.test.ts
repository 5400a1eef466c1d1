/** Maintenance from the command line: plans, drains, limits and the line, in words and as JSON. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import type { Drain, DrainPlan } from '@godwit/protocol';
import { EXIT } from '../src/errors.ts';
import { call } from './call.ts';
import { aHost, aMigration, aPrediction, errorOf, FakeCoordinator } from './fake-coordinator.ts';

const MIB = 1024 ** 2;

let fake: FakeCoordinator;

before(async () => {
  fake = await FakeCoordinator.start();
});
after(() => fake.stop());
beforeEach(() => {
  fake.asked.length = 0;
});

const godwit = (...argv: string[]) => call([...argv, '--coordinator', fake.url]);

const MOVE = {
  ...{ guest: 'web1', source: 'b', target: 'c', memoryBytes: 64 * MIB, mode: 'hybrid' as const },
  prediction: aPrediction({ totalMs: 210, downtimeMs: 4.2, bytes: 70 * MIB }),
};

function aPlan(more: Partial<DrainPlan> = {}): DrainPlan {
  return {
    ...{ host: 'b', kind: 'drain', moves: [MOVE], bytes: 70 * MIB },
    blocked: [{ guest: 'big', memoryBytes: 900 * MIB, code: 'no_room', why: 'needs 900 MiB' }],
    stays: [{ guest: 'old', why: 'it is stopped' }],
    ...{ predictedMs: 210, predictedRangeMs: [105, 210] },
    ...more,
  };
}

function aDrain(more: Partial<Drain> = {}): Drain {
  return {
    ...{ id: 'd-7q3f', host: 'b', kind: 'drain', by: 'person', state: 'moving' },
    startedAtMs: Date.UTC(2026, 10, 22, 12, 0, 0),
    guests: [
      { guest: 'web1', memoryBytes: 64 * MIB, state: 'moving', target: 'c' },
      {
        guest: 'big',
        memoryBytes: 900 * MIB,
        state: 'blocked',
        code: 'no_room',
        why: 'needs 900 MiB',
      },
    ],
    ...{
      movedBytes: 0,
      totalBytes: 964 * MIB,
      percent: 0,
      etaMs: 4_000,
      etaRangeMs: [3_000, 9_000],
    },
    ...more,
  };
}

/** The drain as it is asked for again and again; the last one stays. */
function drains(...views: Drain[]): void {
  fake.on('POST /v1/hosts/b/drain/plan', () => aPlan());
  fake.on('POST /v1/hosts/b/drain', () => views[0]);
  fake.on('GET /v1/hosts/b/drain', () => (views.length > 1 ? views.shift() : views[0]));
}

const ENDED = { endedAtMs: Date.UTC(2026, 10, 22, 12, 0, 9) };

describe('host drain', () => {
  it('--dry-run prints where each guest goes, what it costs and what keeps the rest', async () => {
    drains(aDrain());
    const said = await godwit('host', 'drain', 'b', '--dry-run', '--mode', 'precopy');
    assert.equal(said.exit, EXIT.ok, said.err);
    assert.match(said.out, /^GUEST +MOVE +MEMORY +TIME +DOWNTIME +WHY$/m);
    assert.match(said.out, /^web1 +b -> c +64 MiB +0\.21 s +4\.2 ms$/m);
    assert.match(said.out, /^big +blocked +900 MiB .*no_room: needs 900 MiB$/m);
    assert.match(said.out, /^old +stays .*it is stopped$/m);
    assert.match(said.out, /empty host b: 1 move, 70 MiB, about 0\.21 s .*; 1 guest blocked$/m);
    assert.deepEqual(
      fake.asked.map(({ path }) => path),
      ['/v1/hosts/b/drain/plan'],
    );
    assert.deepEqual(fake.asked[0]?.body, { mode: 'precopy', throttle: false, verify: false });
  });

  it('follows it to the end; what was left is named, and the exit code says so', async () => {
    const moved = { guest: 'web1', memoryBytes: 64 * MIB, state: 'moved', target: 'c' } as const;
    drains(
      aDrain(),
      aDrain({
        ...ENDED,
        state: 'incomplete',
        guests: [moved, aDrain().guests[1]!],
        movedBytes: 64 * MIB,
      }),
    );
    const said = await godwit('host', 'drain', 'b', '--priority', 'high');
    assert.equal(said.exit, EXIT.failed);
    assert.match(
      said.out,
      /0 moved +1 moving +0 waiting +1 blocked +about 4 s left \(3 s\.\.9 s\)/,
    );
    assert.match(said.out, /^ {2}big {2}no_room: needs 900 MiB$/m);
    assert.match(said.out, /^drain of host b incomplete: 1 guest moved, 64 MiB, in 9 s$/m);
    assert.match(said.err, /^error: drain of host b is incomplete, 1 guest left\nhint: /m);
    assert.deepEqual(fake.asked[1]?.body, { throttle: false, verify: false, priority: 'high' });
  });

  it('--json is a stream of objects; 0 when it completed', async () => {
    drains(aDrain(), aDrain({ ...ENDED, state: 'completed', guests: [], percent: 100 }));
    const said = await godwit('host', 'drain', 'b', '--json');
    assert.equal(said.exit, EXIT.ok, said.err);
    const states = said.out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).state);
    assert.deepEqual(states, ['moving', 'completed']);
  });

  it('--detach does not wait; --cancel cancels; both ways of being wrong are said', async () => {
    drains(aDrain());
    const detached = await godwit('host', 'drain', 'b', '--detach');
    assert.deepEqual([detached.exit, fake.asked.length], [EXIT.ok, 2]);
    assert.match(detached.err, /follow it: godwit host drain b/);
    fake.on('POST /v1/hosts/b/drain/cancel', () => aDrain({ ...ENDED, state: 'cancelled' }));
    const cancelled = await godwit('host', 'drain', 'b', '--cancel');
    assert.match(cancelled.out, /drain of host b cancelled/);
    const wrong = await godwit('host', 'drain', 'b', '--cancel', '--dry-run');
    assert.equal(wrong.exit, EXIT.usage);
    fake.fails('POST /v1/hosts/b/restore/plan', errorOf('drain.not_found', { host: 'b' }));
    const never = await godwit('host', 'restore', 'b');
    assert.equal(never.exit, EXIT.notFound);
    assert.match(never.err, /host b was not drained\nhint: godwit host drain/);
  });

  it('all of them in one list, and again at every change', async () => {
    const {
      etaMs: _etaMs,
      etaRangeMs: _etaRangeMs,
      ...over
    } = aDrain({
      ...ENDED,
      percent: 100,
      state: 'completed',
      guests: [],
    });
    fake.on('GET /v1/drains', () => [aDrain(), { ...over, host: 'a', kind: 'restore' }]);
    const listed = await godwit('host', 'drains');
    assert.match(listed.out, /^a +restore +completed +100 % +0 +0 +0 +- +d-7q3f$/m);
    assert.match(listed.out, /^b +drain +moving +0 % +0 +1 +1 +4 s +d-7q3f$/m);
    fake.events([
      { event: 'snapshot', data: { drains: [aDrain()] } },
      { event: 'change', data: { drains: [over] } },
    ]);
    const said = await call(['host', 'drains', '--watch', '--json', '--coordinator', fake.url], {
      onOut: (soFar, signal) => {
        if (soFar.split('\n').length > 2) signal();
      },
    });
    assert.equal(said.exit, EXIT.interrupted);
    const states = said.out.trim().split('\n');
    assert.deepEqual(
      states.map((line) => JSON.parse(line)[0].state),
      ['moving', 'completed'],
    );
    assert.equal(fake.asked.at(-1)?.path, '/v1/events?kinds=drain');
  });

  it('Ctrl-C stops watching, not the drain or the restore, and says how to go on watching', async () => {
    drains(aDrain());
    fake.on('POST /v1/hosts/b/restore/plan', () => aPlan({ kind: 'restore' }));
    fake.on('POST /v1/hosts/b/restore', () => aDrain({ kind: 'restore' }));
    for (const kind of ['drain', 'restore'] as const) {
      fake.on('GET /v1/hosts/b/drain', () => aDrain({ kind }));
      const said = await call(['host', kind, 'b', '--coordinator', fake.url], {
        onOut: (soFar, signal) => {
          if (soFar.includes('1 moving')) signal();
        },
      });
      assert.equal(said.exit, EXIT.interrupted);
      const again = new RegExp(`it goes on by itself\\. Again: godwit host ${kind} b\\n`);
      assert.match(said.err, again);
    }
  });
});

describe('cordons, limits and the line', () => {
  it('cordon and uncordon', async () => {
    fake.on('POST /v1/hosts/b/cordon', () => aHost('b', { guests: 3 }));
    fake.on('POST /v1/hosts/b/uncordon', () => aHost('b'));
    const said = await godwit('host', 'cordon', 'b', '--reason', 'a fan');
    assert.equal(said.out, 'host b takes no more guests; its 3 stay\n');
    assert.deepEqual(fake.asked[0]?.body, { reason: 'a fan' });
    assert.equal((await godwit('host', 'uncordon', 'b')).out, 'host b takes guests\n');
    const cordon = { by: 'drain', reason: 'd-7q3f', atMs: Date.now() } as const;
    fake.on('GET /v1/hosts', () => [aHost('b', { cordon, moves: 2, movesQueued: 5 })]);
    assert.match((await godwit('host', 'ls')).out, /^b +connected,drained .* 2\+5 /m);
  });

  it('limits are shown and set', async () => {
    fake.on('GET /v1/limits', () => ({ perHost: 2, perCluster: 8 }));
    fake.on('POST /v1/limits', () => ({ perHost: 4, perCluster: 8 }));
    const said = await godwit('migration', 'limits');
    assert.equal(said.out, 'at once: 2 moves a host, 8 in the cluster\n');
    await godwit('migration', 'limits', '--per-host', '4');
    assert.deepEqual(fake.asked[1]?.body, { perHost: 4 });
    assert.equal((await godwit('migration', 'limits', '--per-host', '0')).exit, EXIT.usage);
  });

  it('migration ls shows who waits, in which order and for what', async () => {
    const queue = { position: 1, of: 2, reason: 'host a has 2 of 2 moves under way' };
    fake.on('GET /v1/migrations', () => [aMigration({ state: 'queued', queue, drain: 'd-7q3f' })]);
    const { out } = await godwit('migration', 'ls');
    assert.match(out, /1 of 2 +m-7q3f +mem1 +normal +d-7q3f +host a has 2 of 2 moves under way/);
  });

  it('guest migrate --dry-run says what it rests on and moves nothing', async () => {
    fake.on('POST /v1/migrations/plan', () => ({
      ...MOVE,
      prediction: aPrediction({ verifyMs: 60, downtimeMs: 64 }),
      waits: 'host b has 2 of 2 moves under way',
    }));
    const said = await godwit('guest', 'migrate', 'web1', '--to', 'c', '--dry-run', '--verify');
    assert.equal(said.exit, EXIT.ok, said.err);
    assert.match(said.out, /downtime 64 ms \(of it 60 ms for --verify\)/);
    assert.match(said.out, /from {2}dirty 50 MB\/s.*measured at b/);
    assert.match(said.out, /waits host b has 2 of 2.*\nnothing was moved\n$/);
  });
});
