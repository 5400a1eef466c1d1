/** Whole migrations: a real coordinator process, two agents that speak the protocol over sockets. */
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import type { Guest, GuestDetail, Message, Migration } from '@godwit/protocol';
import { WebSocket } from 'ws';
import { CoordinatorProcess, until } from './coordinator-process.ts';
import { FakeAgent, report } from './fake-agent.ts';

const MIB = 1024 ** 2;
const WORKLOAD = { pattern: 'hotset', content: 'random', rateMiBps: 1, hotBytes: MIB } as const;

// One coordinator for all; every test has hosts and a guest of its own.
const coordinator = new CoordinatorProcess('--test-faults');
let tests = 0;
let g: string;
let a: FakeAgent;
let b: FakeAgent;

before(() => coordinator.start());
after(() => coordinator.dispose());

beforeEach(async () => {
  tests += 1;
  g = `g${tests}`;
  a = new FakeAgent(coordinator, `a${tests}`);
  b = new FakeAgent(coordinator, `b${tests}`);
  await a.connect();
  await b.connect();
  const guest = { name: g, kind: 'workload', memoryBytes: 64 * MIB, host: a.host };
  const made = await coordinator.ask('POST', '/v1/guests', { ...guest, workload: WORKLOAD });
  assert.equal(made.status, 200, JSON.stringify(made.body));
});

afterEach(async () => {
  await a.disconnect();
  await b.disconnect();
});

/** The coordinator dies without a word; a new one takes its place. */
async function killAndRestart(): Promise<void> {
  await Promise.all([a.closed(), b.closed(), coordinator.end('SIGKILL')]);
  coordinator.disarm();
  await coordinator.start();
}

async function migrate(more: object = {}): Promise<Migration> {
  const body = { guest: g, to: b.host, ...more };
  const { status, body: migration } = await coordinator.ask<Migration>(
    'POST',
    '/v1/migrations',
    body,
  );
  assert.equal(status, 200, JSON.stringify(migration));
  return migration;
}

function about(migration: Migration, epoch = 2) {
  return { migration: migration.id, guest: g, epoch };
}

function roundReport(migration: Migration, round: number, remainingPages: number): Message {
  return {
    type: 'roundReport',
    migration: migration.id,
    round,
    pages: round === 0 ? 16_384 : 1_000,
    zeroPages: 0,
    bytes: (round === 0 ? 16_384 : 1_000) * 4128,
    copiedBytes: 0,
    durationMs: 50,
    remainingPages,
    dirtyBytesPerS: 1e6,
    bandwidthBytesPerS: 1e9,
  };
}

function allPresent(migration: Migration): Message {
  return {
    type: 'allPresent',
    ...about(migration),
    verified: true,
    faults: 3,
    faultP50Us: 90,
    faultP99Us: 300,
    longestStallMs: 1,
    atMs: 1,
  };
}

function freed(migration: Migration): Message {
  const steps = { stopMs: 1, lastPagesMs: 1, stateMs: 0, landedMs: 1, runMs: 0 };
  return {
    type: 'freed',
    ...about(migration),
    rounds: 2,
    pages: 17_384,
    zeroPages: 0,
    bytes: 71e6,
    copiedBytes: 0,
    transferMs: 71,
    totalMs: 99,
    downtimeMs: 3,
    steps,
    clockOffsetMs: 0,
    verifyMs: 0,
  };
}

/** The target runs it, has all pages, and the source gives its memory back. */
function finish(migration: Migration): void {
  const guest = a.guests.get(g)!;
  b.guests.set(g, { ...guest, epoch: 2 });
  a.guests.delete(g);
  a.migrations.clear();
  b.migrations.clear();
  b.send({ type: 'running', ...about(migration), missingPages: 0, atMs: 1 });
  b.send(allPresent(migration));
  a.send(freed(migration));
  b.beat();
  a.beat();
}

function ended(migration: Migration): Promise<Migration> {
  return coordinator.until<Migration>(
    `/v1/migrations/${migration.id}`,
    (view) => view.endedAtMs !== undefined,
  );
}

describe('a migration', () => {
  it('grants, decides, hears RUNNING and completes; the record tells it all', async () => {
    const migration = await migrate();
    assert.equal(migration.state, 'granting');
    assert.ok(migration.prediction && migration.prediction.totalMs > 0);
    const toTarget = await b.next('grant');
    const toSource = await a.next('grant');
    assert.equal(toTarget.capability, toSource.capability);
    assert.equal(toSource.target.address, `127.0.0.1:${7500 + 'b'.charCodeAt(0)}`);
    assert.equal(toSource.epoch, 1);

    a.send(roundReport(migration, 0, 5_000));
    const again = await a.next('decision');
    assert.deepEqual([again.round, again.action], [0, 'again']);
    a.send(roundReport(migration, 1, 0));
    const stop = await a.next('decision');
    assert.deepEqual([stop.round, stop.action], [1, 'stopAndCopy']);
    // FREED overtakes ALL_PRESENT: the figures of the target must be in the result all the same.
    a.send(freed(migration));
    b.send({ type: 'running', ...about(migration), missingPages: 0, atMs: 1 });
    b.send(allPresent(migration));
    const acknowledged = await b.next('verdict');
    assert.equal(acknowledged.owner, 'target');

    const view = await ended(migration);
    assert.equal(view.state, 'completed');
    assert.equal(view.result?.verified, true);
    assert.equal(view.result?.reservedMs, 7);
    assert.equal(view.result?.gbps, 1);
    assert.deepEqual(
      view.decisions.map((each) => each.action),
      ['again', 'stopAndCopy'],
    );
    assert.ok(view.decisions.every((each) => each.reason.length > 10));
    assert.equal(JSON.stringify(view).includes(toSource.capability), false);
    const { body: guest } = await coordinator.ask<Guest>('GET', `/v1/guests/${g}`);
    assert.deepEqual([guest.host, guest.epoch, guest.migration], [b.host, 2, undefined]);
  });

  it('streams its view to a watcher and closes after the last', async () => {
    const migration = await migrate();
    const states: string[] = [];
    const url = `${coordinator.url.replace('http', 'ws')}/v1/migrations/${migration.id}/watch`;
    const socket = new WebSocket(url);
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.on('message', (data: Buffer) => states.push(JSON.parse(data.toString()).state));
    await new Promise((resolve) => socket.once('message', resolve));
    await a.next('grant');
    finish(migration);
    assert.equal(await closed, 1000);
    assert.equal(states.at(-1), 'completed');
    const progressed = states.filter((state, i) => states[i - 1] !== state);
    assert.deepEqual(progressed.filter((state) => state === 'completed').length, 1);
  });

  it('killed in mid-round and started again, it ends completed', async () => {
    const migration = await migrate();
    await a.next('grant');
    a.send(roundReport(migration, 0, 5_000));
    const first = await a.next('decision');
    await killAndRestart();

    await b.connect();
    await a.connect();
    // The decision may have been lost with the connection: the source reports the round again.
    a.send(roundReport(migration, 0, 5_000));
    const same = await a.next('decision');
    assert.deepEqual([same.round, same.action, same.reason], [0, first.action, first.reason]);
    a.send(roundReport(migration, 1, 0));
    assert.equal((await a.next('decision')).action, 'stopAndCopy');
    finish(migration);
    const view = await ended(migration);
    assert.equal(view.state, 'completed');
    assert.equal(view.decisions.length, 2);
  });

  it('killed after the target was granted, it grants the source when it is back', async () => {
    coordinator.arm('coordinator:granted:open');
    a.onGrant = undefined;
    const asked = coordinator.ask('POST', '/v1/migrations', { guest: g, to: b.host });
    await coordinator.reached('coordinator:granted:open');
    coordinator.disarm();
    const { body: migration } = (await asked) as unknown as { body: Migration };
    await a.next('grant');
    await killAndRestart();
    a.onGrant = ({ request }) => ({ type: 'done', request });
    await a.connect();
    await b.connect();
    const again = await a.next('grant');
    assert.equal(again.migration, migration.id);
    finish(migration);
    assert.equal((await ended(migration)).state, 'completed');
  });

  it('a target without room fails it and harms nothing; the next attempt works', async () => {
    b.onGrant = ({ request }) => {
      const detail = JSON.stringify({ host: b.host, neededBytes: 64 * MIB, freeBytes: 0 });
      return { type: 'failed', request, error: { code: 'host.no_room', detail } };
    };
    const view = await ended(await migrate());
    assert.equal(view.state, 'failed');
    assert.equal(view.error?.code, 'host.no_room');
    b.onGrant = ({ request }) => ({ type: 'done', request });
    const second = await migrate();
    await a.next('grant');
    finish(second);
    assert.equal((await ended(second)).state, 'completed');
  });

  it('a source that will not start it lets the target drop what it reserved', async () => {
    a.onGrant = ({ request }) => {
      const detail = JSON.stringify({ guest: g, state: 'ended' });
      return { type: 'failed', request, error: { code: 'guest.not_running', detail } };
    };
    const view = await ended(await migrate());
    assert.equal(view.error?.code, 'guest.not_running');
    assert.equal((await b.next('cancelMigration')).migration, view.id);
  });

  it('post-copy: the guest is at the target from its first instruction', async () => {
    const migration = await migrate({ mode: 'postcopy' });
    await a.next('grant');
    const empty = roundReport(migration, 0, 16_384) as Message<'roundReport'>;
    a.send({ ...empty, pages: 0, bytes: 0 });
    assert.equal((await a.next('decision')).action, 'postcopy');
    b.send({ type: 'running', ...about(migration), missingPages: 16_384, atMs: 1 });
    const heard = await a.next('answer');
    assert.equal(heard.runningSeen, true);
    const { body: guest } = await coordinator.ask<Guest>('GET', `/v1/guests/${g}`);
    assert.deepEqual([guest.host, guest.epoch], [b.host, 2]);
    const { body: view } = await coordinator.ask<Migration>(
      'GET',
      `/v1/migrations/${migration.id}`,
    );
    assert.equal(view.state, 'postcopy');
    finish(migration);
    assert.equal((await ended(migration)).state, 'completed');
  });
});

describe('cancel', () => {
  it('is forwarded, and the source says how it ended', async () => {
    const migration = await migrate();
    await a.next('grant');
    a.send(roundReport(migration, 0, 5_000));
    await a.next('decision');
    const cancelled = coordinator.ask<Migration>('POST', `/v1/migrations/${migration.id}/cancel`);
    await a.next('cancelMigration');
    a.send({ type: 'kept', ...about(migration, 1), reason: 'cancelled' });
    const { status, body } = await cancelled;
    assert.equal(status, 200);
    assert.equal(body.state, 'cancelled');
    const { body: guest } = await coordinator.ask<Guest>('GET', `/v1/guests/${g}`);
    assert.deepEqual([guest.host, guest.epoch, guest.state], [a.host, 1, 'running']);
  });

  it('while memory is being reserved needs no word of the source', async () => {
    let release: (() => void) | undefined;
    b.onGrant = ({ request }) => {
      release = () => b.send({ type: 'done', request });
      return undefined;
    };
    const migration = await migrate();
    await b.next('grant');
    const cancelled = coordinator.ask<Migration>('POST', `/v1/migrations/${migration.id}/cancel`);
    await b.next('cancelMigration');
    release?.();
    assert.equal((await cancelled).body.state, 'cancelled');
    assert.equal(
      a.received.some((message) => message.type === 'grant'),
      false,
    );
  });

  it('comes too late once the target runs', async () => {
    const migration = await migrate();
    await a.next('grant');
    b.send({ type: 'running', ...about(migration), missingPages: 5, atMs: 1 });
    await a.next('answer');
    const late = await coordinator.ask('POST', `/v1/migrations/${migration.id}/cancel`);
    assert.equal(late.body.error?.code, 'migration.past_cancel');
    assert.equal(late.status, 409);
  });
});

describe('the verdict', () => {
  it('goes to the first who asks, for ever, also after a kill', async () => {
    const migration = await migrate();
    await a.next('grant');
    const ask = (agent: FakeAgent, wants: 'source' | 'target') => {
      agent.send({ type: 'decide', ...about(migration), wants, complete: true });
      return agent.next('verdict');
    };
    assert.equal((await ask(b, 'target')).owner, 'target');
    assert.equal((await ask(a, 'source')).owner, 'target');
    await killAndRestart();
    await a.connect();
    await b.connect();
    assert.equal((await ask(a, 'source')).owner, 'target');
    finish(migration);
    assert.equal((await ended(migration)).state, 'completed');
    a.received.length = 0;
    a.send({ type: 'decide', ...about(migration), wants: 'source', complete: false });
    const known = await a.next('answer');
    assert.deepEqual([known.verdict, known.allPresentSeen], ['target', true]);
  });

  it('asked by both at once, it is one and the same', async () => {
    const migration = await migrate();
    await a.next('grant');
    a.send({ type: 'decide', ...about(migration), wants: 'source', complete: true });
    b.send({ type: 'decide', ...about(migration), wants: 'target', complete: true });
    const [toSource, toTarget] = [await a.next('verdict'), await b.next('verdict')];
    assert.equal(toSource.owner, toTarget.owner);
  });

  it('killed after the commit and before the answer, it stands', async () => {
    const migration = await migrate();
    await a.next('grant');
    // Stands after the commit and before the answer.
    coordinator.arm('coordinator:answerTarget');
    b.send({ type: 'decide', ...about(migration), wants: 'target', complete: true });
    await coordinator.reached('coordinator:answerTarget');
    await killAndRestart();
    await a.connect();
    await b.connect();
    a.send({ type: 'decide', ...about(migration), wants: 'source', complete: false });
    assert.equal((await a.next('verdict')).owner, 'target');
  });

  it('killed before the commit, the other end may still win', async () => {
    const migration = await migrate();
    await a.next('grant');
    coordinator.arm('coordinator:verdictTarget:record');
    b.send({ type: 'decide', ...about(migration), wants: 'target', complete: true });
    await coordinator.reached('coordinator:verdictTarget:record');
    await killAndRestart();
    await a.connect();
    await b.connect();
    a.send({ type: 'decide', ...about(migration), wants: 'source', complete: false });
    assert.equal((await a.next('verdict')).owner, 'source');
    b.send({ type: 'decide', ...about(migration), wants: 'target', complete: true });
    assert.equal((await b.next('verdict')).owner, 'source');
    a.send({ type: 'kept', ...about(migration, 3), reason: 'verdict source' });
    assert.equal((await ended(migration)).state, 'failed');
    const { body: guest } = await coordinator.ask<Guest>('GET', `/v1/guests/${g}`);
    assert.deepEqual([guest.host, guest.epoch], [a.host, 3]);
  });

  it('a source cannot give the guest to the target, nor the target keep it at the source', async () => {
    const migration = await migrate();
    await a.next('grant');
    a.send({ type: 'decide', ...about(migration), wants: 'target', complete: true });
    b.send({ type: 'kept', ...about(migration, 1), reason: 'not its word to say' });
    a.send({ type: 'query', ...about(migration) });
    const answer = await a.next('answer');
    assert.deepEqual([answer.verdict, answer.runningSeen], ['none', false]);
  });
});

describe('deaths', () => {
  const died = (agent: FakeAgent, ran: { guest: string; epoch: number }[]): Message => ({
    type: 'died',
    death: { incarnation: agent.incarnation, exit: 'killed by SIGKILL', ran, owned: [] },
  });

  async function supervisorOf(agent: FakeAgent): Promise<FakeAgent> {
    const supervisor = new FakeAgent(coordinator, agent.host);
    supervisor.role = 'supervisor';
    await supervisor.connect();
    return supervisor;
  }

  it('a target that never ran it: the source hears the proof and keeps the guest', async () => {
    const migration = await migrate();
    await a.next('grant');
    const supervisor = await supervisorOf(b);
    await b.disconnect();
    supervisor.send(died(b, []));
    const proof = await a.next('proof');
    assert.deepEqual([proof.dead, proof.ran, proof.discarded], ['target', false, false]);
    a.send({ type: 'kept', ...about(migration, 3), reason: 'the target died' });
    const view = await ended(migration);
    assert.equal(view.state, 'failed');
    await supervisor.disconnect();
  });

  it('a source without a reason of its own: the target had one, or the link was lost', async () => {
    const cancelled = { code: 'migration.cancelled', detail: '{"migration":"m"}' };
    const first = await migrate();
    await a.next('grant');
    b.send({ type: 'refused', ...about(first), reason: 'its disk is on fire' });
    await a.next('answer');
    a.send({ type: 'kept', ...about(first, 1), reason: 'refused', error: cancelled });
    const refused = await ended(first);
    assert.deepEqual([refused.state, refused.error?.code], ['failed', 'migration.refused']);
    assert.match(refused.error?.message ?? '', /its disk is on fire/);
    const second = await migrate();
    await a.next('grant');
    a.send({ type: 'kept', ...about(second, 1), reason: 'link lost', error: cancelled });
    const lost = await ended(second);
    assert.deepEqual([lost.state, lost.error?.code], ['failed', 'peer.unreachable']);
  });

  it('a target that had run it: lost, with the evidence; the image at the source can be taken', async () => {
    const migration = await migrate({ mode: 'postcopy' });
    await a.next('grant');
    b.send({ type: 'running', ...about(migration), missingPages: 9, atMs: 1 });
    await a.next('answer');
    const supervisor = await supervisorOf(b);
    await b.disconnect();
    supervisor.send(died(b, [{ guest: g, epoch: 2 }]));
    assert.equal((await a.next('proof')).ran, true);
    const view = await ended(migration);
    assert.equal(view.state, 'lost');
    const { body: guest } = await coordinator.ask<GuestDetail>('GET', `/v1/guests/${g}`);
    assert.equal(guest.state, 'lost');
    assert.match(guest.evidence ?? '', /host b.*SIGKILL.*supervisor/);
    assert.ok(guest.resolve?.some((line) => line.includes('--discard-target')));

    const body = { confirm: true, discardTarget: true };
    assert.equal((await coordinator.ask('POST', `/v1/hosts/${b.host}/fence`, body)).status, 200);
    assert.equal((await a.next('proof')).discarded, true);
    a.send({ type: 'kept', ...about(migration, 3), reason: 'a person chose it' });
    await coordinator.until<Guest>(`/v1/guests/${g}`, (now) => now.state === 'running');
    await supervisor.disconnect();
  });

  it('an owner that dies while the migration is being settled is not overlooked', async () => {
    const migration = await migrate();
    await a.next('grant');
    const supervisor = await supervisorOf(b);
    coordinator.arm('coordinator:moved:record');
    finish(migration);
    await coordinator.reached('coordinator:moved:record');
    supervisor.send(died(b, [{ guest: g, epoch: 2 }]));
    await b.closed();
    coordinator.disarm();
    await ended(migration);
    await coordinator.until<Guest>(`/v1/guests/${g}`, (guest) => guest.state === 'lost');
    await supervisor.disconnect();
  });

  it('the owner of a guest that is not moving: lost with incarnation and exit, rm forgets it', async () => {
    const supervisor = await supervisorOf(a);
    const { incarnation } = a;
    supervisor.send(died(a, []));
    const lost = await coordinator.until<Guest>(
      `/v1/guests/${g}`,
      (guest) => guest.state === 'lost',
    );
    assert.match(lost.evidence ?? '', new RegExp(`${incarnation}.*SIGKILL`));
    assert.equal((await coordinator.ask('DELETE', `/v1/guests/${g}`)).status, 200);
    assert.equal((await coordinator.ask('GET', `/v1/guests/${g}`)).status, 404);
    await supervisor.disconnect();
  });

  it('silence proves nothing: after a restart the guest is unreachable until its host speaks', async () => {
    await killAndRestart();
    const { body: guest } = await coordinator.ask<Guest>('GET', `/v1/guests/${g}`);
    assert.equal(guest.state, 'unreachable');
    await a.connect();
    await coordinator.until<Guest>(`/v1/guests/${g}`, (now) => now.state === 'running');
  });

  it('a new incarnation proves the end of the old one; an old image is quarantined', async () => {
    const old = a.incarnation;
    await a.disconnect();
    const stranger = new FakeAgent(coordinator, a.host);
    const turned = (await stranger.connect()) as Message<'turnedAway'>;
    assert.equal(turned.error.code, 'host.name_taken', 'without a proof the name is taken');
    stranger.deaths = [{ incarnation: old, exit: 'exit status 9', ran: [], owned: [] }];
    assert.equal((await stranger.connect()).type, 'welcome');
    const guest = await coordinator.until<Guest>(`/v1/guests/${g}`, (now) => now.state === 'lost');
    assert.match(guest.evidence ?? '', /exit status 9.*successor/);
    await stranger.disconnect();
  });

  it('fence is refused while the agent is connected, and is a proof when it is not', async () => {
    const body = { confirm: true };
    const refused = await coordinator.ask('POST', `/v1/hosts/${a.host}/fence`, body);
    assert.equal(refused.body.error?.code, 'host.not_fenceable');
    await a.disconnect();
    // Refused until the coordinator has seen the connection break.
    const { body: answer } = await until(
      () => coordinator.ask<{ lost: string[] }>('POST', `/v1/hosts/${a.host}/fence`, body),
      (said) => said.status === 200,
      'the fence',
    );
    assert.deepEqual(answer.lost, [g]);
    // It was alive after all: it may come back, and is told to leave the guest alone.
    await a.connect();
    assert.equal((await a.next('quarantine')).guest, g);
    const { body: guest } = await coordinator.ask<Guest>('GET', `/v1/guests/${g}`);
    assert.equal(guest.state, 'lost');
  });
});

describe('doubt', () => {
  it('says who holds what and which command would settle it', async () => {
    const migration = await migrate();
    await a.next('grant');
    const phase = (agent: FakeAgent, role: 'source' | 'target', to: string) =>
      agent.send({
        type: 'phase',
        migration: migration.id,
        role,
        phase: to,
        epoch: 2,
        atMs: Date.now(),
        note: '',
      });
    phase(b, 'target', 'landed');
    phase(a, 'source', 'released');
    b.beat();
    await coordinator.until<Migration>(
      `/v1/migrations/${migration.id}`,
      (view) => view.sourcePhase === 'released' && view.targetPhase === 'landed',
    );
    await b.disconnect();
    const isDoubt = (guest: GuestDetail) => guest.state === 'doubt' && !guest.holders[1]?.reachable;
    const guest = await coordinator.until<GuestDetail>(`/v1/guests/${g}`, isDoubt);
    const [source, target] = guest.holders;
    assert.equal(
      source?.says,
      `released epoch 2 to ${b.host}, stopped, waits to hear that it runs there`,
    );
    assert.match(target?.says ?? '', /^not reachable since \d+ s, last said: landed epoch 2/);
    assert.deepEqual(guest.verdict, { epoch: 2, owner: 'none' });
    assert.ok(guest.resolve?.includes(`godwit host fence ${b.host} --confirm`));
    // It was there all the time: its word ends the doubt.
    await b.connect();
    finish(migration);
    assert.equal((await ended(migration)).state, 'completed');
  });
});

describe('inventory', () => {
  it('a guest that was being made when the coordinator died is there, or is not', async () => {
    const body = { name: `${g}-made`, kind: 'workload', memoryBytes: 64 * MIB, workload: WORKLOAD };
    const lost = { ...body, name: `${g}-lost` };
    a.answersCreate = false;
    const asks = [body, lost].map((each) =>
      coordinator.ask('POST', '/v1/guests', { ...each, host: a.host }).catch(() => undefined),
    );
    const { spec, epoch } = await a.next('createGuest').then(() => a.next('createGuest'));
    await a.next('createGuest');
    await killAndRestart();
    await Promise.all(asks);
    a.guests.set(body.name, { ...report(spec, epoch), spec: { ...spec, name: body.name } });
    await a.connect();
    await coordinator.until<Guest>(`/v1/guests/${body.name}`, (guest) => guest.state === 'running');
    assert.equal((await coordinator.ask('GET', `/v1/guests/${lost.name}`)).status, 404);
  });

  it('an agent that shows an older epoch is told to quarantine, and never owns it', async () => {
    const migration = await migrate();
    await a.next('grant');
    const image = a.guests.get(g)!;
    finish(migration);
    await ended(migration);
    await a.disconnect();
    a.guests.set(g, image);
    await a.connect();
    const told = await a.next('quarantine');
    assert.deepEqual([told.epoch, told.ownerHost, told.ownerEpoch], [1, b.host, 2]);
    const { body: guest } = await coordinator.ask<Guest>('GET', `/v1/guests/${g}`);
    assert.equal(guest.host, b.host);
  });

  it('both ends have forgotten the migration: what they hold decides', async () => {
    const migration = await migrate();
    await a.next('grant');
    await Promise.all([a.disconnect(), b.disconnect()]);
    a.migrations.clear();
    b.migrations.clear();
    await b.connect();
    await a.connect();
    const view = await ended(migration);
    assert.equal(view.state, 'failed');
    const { body: guest } = await coordinator.ask<Guest>('GET', `/v1/guests/${g}`);
    assert.deepEqual([guest.host, guest.state], [a.host, 'running']);
  });

  it('both ends have forgotten it, and the guest is at the target', async () => {
    const migration = await migrate();
    await a.next('grant');
    await Promise.all([a.disconnect(), b.disconnect()]);
    a.migrations.clear();
    b.migrations.clear();
    b.guests.set(g, { ...a.guests.get(g)!, epoch: 2 });
    a.guests.clear();
    await b.connect();
    await a.connect();
    assert.equal((await ended(migration)).state, 'completed');
    const { body: guest } = await coordinator.ask<Guest>('GET', `/v1/guests/${g}`);
    assert.deepEqual([guest.host, guest.epoch], [b.host, 2]);
  });

  it('a stop in mid-migration is latched and carried out by the new owner', async () => {
    const migration = await migrate();
    await a.next('grant');
    assert.equal((await coordinator.ask('POST', `/v1/guests/${g}/stop`)).status, 200);
    finish(migration);
    await ended(migration);
    assert.equal((await b.next('stopGuest')).epoch, 2);
    await coordinator.until<Guest>(`/v1/guests/${g}`, (guest) => guest.state === 'stopped');
  });

  it('a guest that ends in a round ends the migration with guest.ended', async () => {
    const migration = await migrate();
    await a.next('grant');
    a.send({
      type: 'kept',
      ...about(migration, 1),
      reason: 'powered off',
      error: { code: 'guest.ended', detail: JSON.stringify({ guest: g }) },
    });
    const view = await ended(migration);
    assert.equal(view.error?.code, 'guest.ended');
    const { body: guest } = await coordinator.ask<Guest>('GET', `/v1/guests/${g}`);
    assert.equal(guest.state, 'ended');
  });
});
