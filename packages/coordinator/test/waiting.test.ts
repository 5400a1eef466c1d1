/**
 * Moves that wait, and drains, through the API of a real coordinator with agents that hold nothing:
 * limits, promises, cordons, cancels, restarts, targets that refuse.
 */
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import type { Drain, DrainPlan, Guest, Host, Message, Migration } from '@godwit/protocol';
import { CoordinatorProcess, until } from './coordinator-process.ts';
import { FakeAgent } from './fake-agent.ts';

const MIB = 1024 ** 2;
const WORKLOAD = { pattern: 'uniform', content: 'random', rateMiBps: 1 } as const;

const coordinator = new CoordinatorProcess();
let round = 0;
let agents: { a: FakeAgent; b: FakeAgent; c: FakeAgent };

// Every test has hosts of its own; what an earlier one left under way must not hold slots.
before(async () => {
  await coordinator.start();
  await coordinator.ask('POST', '/v1/limits', { perCluster: 1_000 });
});
after(() => coordinator.dispose());

beforeEach(async () => {
  round += 1;
  const [a, b, c] = ['a', 'b', 'c'].map((name) => new FakeAgent(coordinator, `${name}${round}`));
  agents = { a: a!, b: b!, c: c! };
  for (const agent of Object.values(agents)) await agent.connect();
});

afterEach(async () => {
  for (const agent of Object.values(agents)) await agent.disconnect();
});

const nameOf = (i: number) => `g${round}-${i}`;

async function guests(count: number, memoryMiB = 64): Promise<void> {
  for (let i = 0; i < count; i++) {
    const guest = { name: nameOf(i), kind: 'workload', host: agents.a.host, workload: WORKLOAD };
    const made = await coordinator.ask('POST', '/v1/guests', {
      ...guest,
      memoryBytes: memoryMiB * MIB,
    });
    assert.equal(made.status, 200, JSON.stringify(made.body));
  }
}

function migrate(i: number, to: FakeAgent, more: object = {}) {
  const body = { guest: nameOf(i), to: to.host, ...more };
  return coordinator.ask<Migration>('POST', '/v1/migrations', body);
}

/** Moves of this test under way or in line. */
async function open(): Promise<Migration[]> {
  const { body } = await coordinator.ask<Migration[]>('GET', '/v1/migrations?open=true');
  return body.filter(({ guest }) => guest.startsWith(`g${round}-`));
}

function untilOpen(isGood: (moves: Migration[]) => boolean): Promise<Migration[]> {
  return until(open, isGood, 'open migrations');
}

const begun = (moves: readonly Migration[]) => moves.filter(({ state }) => state === 'rounds');

function untilMove(id: string, isGood: (view: Migration) => boolean): Promise<Migration> {
  return coordinator.until<Migration>(`/v1/migrations/${id}`, isGood);
}

/** Source and target do their parts, and the guest is at the target. */
function finish({ id, guest: name, target, epoch }: Migration): void {
  const from = agents.a;
  const to = Object.values(agents).find((agent) => agent.host === target)!;
  to.guests.set(name, { ...from.guests.get(name)!, epoch: epoch + 1 });
  from.guests.delete(name);
  for (const agent of [from, to]) agent.migrations.delete(id);
  const about = { migration: id, guest: name, epoch: epoch + 1 };
  to.send({ type: 'running', ...about, missingPages: 0, atMs: 1 });
  const faults = { faults: 0, faultP50Us: 0, faultP99Us: 0, longestStallMs: 0 };
  to.send({ type: 'allPresent', ...about, verified: false, ...faults, atMs: 1 });
  from.send({
    type: 'freed',
    ...about,
    ...{ rounds: 1, pages: 1, zeroPages: 0, bytes: 4096, copiedBytes: 0 },
    ...{ transferMs: 1, totalMs: 1, downtimeMs: 1, clockOffsetMs: 0, clockErrorMs: 0, verifyMs: 0 },
    steps: { stopMs: 0, lastPagesMs: 0, stateMs: 0, landedMs: 0, runMs: 0 },
  });
  to.beat();
  from.beat();
}

describe('moves in line', () => {
  it('the third of a host waits, says why, and begins when one has ended', async () => {
    await guests(3);
    const { a, b, c } = agents;
    const first = (await migrate(0, b)).body;
    await migrate(1, c);
    const { body: third } = await migrate(2, b);
    assert.equal(third.state, 'queued');
    assert.deepEqual(third.queue, {
      position: 1,
      of: 1,
      reason: `host ${a.host} has 2 of 2 moves under way`,
    });
    const { body: guest } = await coordinator.ask<Guest>('GET', `/v1/guests/${nameOf(2)}`);
    assert.deepEqual(
      [guest.state, guest.queued, guest.migration],
      ['running', third.id, undefined],
    );
    const again = await migrate(2, c);
    assert.deepEqual([again.status, again.body.error?.code], [409, 'guest.busy']);
    const { body: host } = await coordinator.ask<Host>('GET', `/v1/hosts/${a.host}`);
    assert.deepEqual([host.moves, host.movesQueued], [2, 1]);

    await untilMove(first.id, ({ state }) => state === 'rounds');
    finish(first);
    const later = await untilMove(third.id, ({ state }) => state === 'rounds');
    assert.ok(later.queue === undefined && later.startedAtMs >= later.queuedAtMs);
  });

  it('one that waits is cancelled at once; its guest is free, and was never touched', async () => {
    await guests(3);
    await migrate(0, agents.b);
    await migrate(1, agents.b);
    const { body: third } = await migrate(2, agents.c);
    const cancelled = await coordinator.ask<Migration>('POST', `/v1/migrations/${third.id}/cancel`);
    assert.deepEqual([cancelled.status, cancelled.body.state], [200, 'cancelled']);
    assert.equal(cancelled.body.error?.code, 'migration.cancelled');
    const { body: guest } = await coordinator.ask<Guest>('GET', `/v1/guests/${nameOf(2)}`);
    assert.deepEqual([guest.queued, guest.epoch, guest.state], [undefined, 1, 'running']);
    const grants = agents.c.received.filter(({ type }) => type === 'grant');
    assert.deepEqual(grants, []);
  });

  it('promises of memory add up over moves that wait and moves that begin', async () => {
    agents.c.freeBytes = 160 * MIB;
    agents.c.beat();
    await coordinator.until<Host>(`/v1/hosts/${agents.c.host}`, (h) => h.freeBytes === 160 * MIB);
    await guests(3);
    assert.equal((await migrate(0, agents.c)).status, 200);
    assert.equal((await migrate(1, agents.c)).status, 200);
    const third = await migrate(2, agents.c);
    assert.deepEqual([third.status, third.body.error?.code], [409, 'host.no_room']);
    assert.match(third.body.error?.message ?? '', /has 32 MiB free.*64 MiB are needed/);
    const { body: host } = await coordinator.ask<Host>('GET', `/v1/hosts/${agents.c.host}`);
    assert.equal(host.promisedBytes, 128 * MIB);
  });

  it('a guest just made is counted before its host has shown it, and once', async () => {
    const path = `/v1/hosts/${agents.a.host}`;
    agents.a.beatsWhenAsked = false;
    await guests(1);
    const { body: before } = await coordinator.ask<Host>('GET', path);
    assert.equal(before.promisedBytes, 64 * MIB);
    agents.a.beat();
    await coordinator.until<Host>(path, ({ promisedBytes }) => promisedBytes === 0);
  });

  it('a cordon of its target and a stop of its guest end the wait, with the reason', async () => {
    await guests(4);
    await migrate(0, agents.b);
    await migrate(1, agents.b);
    const { body: third } = await migrate(2, agents.c);
    const { body: fourth } = await migrate(3, agents.b);
    await coordinator.ask('POST', `/v1/guests/${nameOf(3)}/stop`);
    await coordinator.ask('POST', `/v1/hosts/${agents.c.host}/cordon`, { reason: 'a fan' });
    const refused = await migrate(2, agents.c);
    assert.equal(refused.status, 409);
    const ended = await untilMove(third.id, ({ endedAtMs }) => endedAtMs !== undefined);
    assert.deepEqual([ended.state, ended.error?.code], ['failed', 'host.cordoned']);
    assert.match(ended.error?.message ?? '', /it is cordoned \(a fan\)/);
    const stopped = await untilMove(fourth.id, ({ endedAtMs }) => endedAtMs !== undefined);
    assert.equal(stopped.error?.code, 'guest.not_running');
    const elsewhere = await coordinator.ask('POST', '/v1/guests', {
      ...{ name: nameOf(9), kind: 'workload', memoryBytes: MIB, workload: WORKLOAD },
      host: agents.c.host,
    });
    assert.equal(elsewhere.body.error?.code, 'host.cordoned');
  });

  it('the line is the same after a kill of the coordinator', async () => {
    await guests(4);
    await migrate(0, agents.b);
    await migrate(1, agents.b);
    const waiting = [(await migrate(2, agents.c)).body.id];
    waiting.unshift((await migrate(3, agents.c, { priority: 'high' })).body.id);
    const closed = Object.values(agents).map((agent) => agent.closed());
    await Promise.all([...closed, coordinator.end('SIGKILL')]);
    await coordinator.start();
    for (const agent of Object.values(agents)) await agent.connect();
    const line = await untilOpen((moves) => begun(moves).length === 2);
    const queued = line.filter(({ state }) => state === 'queued');
    assert.deepEqual(
      queued.map(({ id }) => id),
      waiting,
    );
  });

  it('a plan moves nothing and says what it rests on', async () => {
    await guests(1);
    const body = { guest: nameOf(0), to: agents.b.host, verify: true };
    const { body: plan } = await coordinator.ask<{ prediction: Migration['prediction'] & {} }>(
      'POST',
      '/v1/migrations/plan',
      body,
    );
    const { downtimeMs, verifyMs, basis } = plan.prediction;
    assert.ok(verifyMs > 0 && downtimeMs > verifyMs);
    assert.match(basis.join('\n'), /measured at|not measured yet/);
    assert.deepEqual(await open(), []);
  });
});

describe('drains', () => {
  const drainOf = () => `/v1/hosts/${agents.a.host}/drain`;

  it('a dry run names targets and constraints and changes nothing', async () => {
    for (const agent of [agents.b, agents.c]) {
      agent.freeBytes = 96 * MIB;
      agent.beat();
      await coordinator.until<Host>(`/v1/hosts/${agent.host}`, (h) => h.freeBytes === 96 * MIB);
    }
    await guests(3);
    // Hosts of earlier rounds are away, which the reason counts.
    const { body: plan } = await coordinator.ask<DrainPlan>('POST', `${drainOf()}/plan`, {});
    assert.deepEqual(plan.moves.map(({ target }) => target).toSorted(), [
      agents.b.host,
      agents.c.host,
    ]);
    assert.deepEqual(
      plan.blocked.map(({ code }) => code),
      ['no_room'],
    );
    assert.match(plan.blocked[0]?.why ?? '', /needs 64 MiB, 32 MiB are left/);
    assert.ok(plan.predictedMs > 0 && plan.bytes >= 128 * MIB);
    const { body: host } = await coordinator.ask<Host>('GET', `/v1/hosts/${agents.a.host}`);
    assert.equal(host.cordon, undefined);
    assert.deepEqual(await open(), []);
    assert.equal((await coordinator.ask('GET', drainOf())).body.error?.code, 'drain.not_found');
  });

  it('a target that refuses is replaced by another; a person cancels one, and it is left', async () => {
    agents.b.onGrant = ({ request }: Message<'grant'>) => ({
      type: 'failed',
      request,
      error: { code: 'migration.refused', detail: JSON.stringify({ why: 'a broken disk' }) },
    });
    agents.b.freeBytes = 8 * 1024 * MIB;
    agents.b.beat();
    await coordinator.until<Host>(`/v1/hosts/${agents.b.host}`, (h) => h.freeBytes > 5e9);
    await guests(2);
    await coordinator.ask('POST', drainOf(), {});
    // The most room is at b, again and again; a guest is given up after three attempts.
    const { guests: rows } = await coordinator.until<Drain>(drainOf(), ({ guests: each }) =>
      each.some(({ code }) => code === 'failed'),
    );
    assert.match(
      rows.find(({ code }) => code === 'failed')?.why ?? '',
      /3 moves failed.*broken disk/,
    );
    const ended = await coordinator.until<Drain>(drainOf(), ({ state }) => state !== 'moving');
    assert.equal(ended.state, 'incomplete');
    const over = await coordinator.ask('POST', `${drainOf()}/cancel`);
    assert.equal(over.body.error?.code, 'drain.over');
  });

  it('cancelled: those that wait stay, those under way end; again, it goes on', async () => {
    await guests(4);
    const { body: drain } = await coordinator.ask<Drain>('POST', drainOf(), {});
    assert.deepEqual([drain.state, drain.guests.length], ['moving', 4]);
    const moves = await untilOpen((each) => begun(each).length === 2);
    const busy = await coordinator.ask('POST', `/v1/hosts/${agents.a.host}/uncordon`);
    assert.equal(busy.body.error?.code, 'host.draining');
    const { body: cancelled } = await coordinator.ask<Drain>('POST', `${drainOf()}/cancel`);
    assert.equal(cancelled.state, 'cancelled');
    assert.equal((await open()).length, 2);
    for (const move of begun(moves)) finish(move);
    await untilOpen(({ length }) => length === 0);
    const { body: host } = await coordinator.ask<Host>('GET', `/v1/hosts/${agents.a.host}`);
    assert.deepEqual([host.cordon?.by, host.guests], ['drain', 2]);
    const { body: again } = await coordinator.ask<Drain>('POST', drainOf(), {});
    assert.equal(again.guests.filter(({ state }) => state !== 'moved').length, 2);
    await coordinator.ask('POST', `${drainOf()}/cancel`);
  });
});
