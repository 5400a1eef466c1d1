/** Deaths, doubt and restarts in the middle of whole migrations, with real sockets and a real coordinator. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Guest, GuestDetail, Message, Migration } from '@godwit/protocol';
import { until } from './coordinator-process.ts';
import { FakeAgent, report } from './fake-agent.ts';
import {
  a,
  about,
  b,
  coordinator,
  ended,
  finish,
  g,
  killAndRestart,
  MIB,
  migrate,
  WORKLOAD,
} from './migration-world.ts';

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

  /** The target ran the guest, missed pages and died. */
  async function lostAtTarget() {
    const migration = await migrate({ mode: 'postcopy' });
    await a.next('grant');
    b.send({ type: 'running', ...about(migration), missingPages: 9, atMs: 1 });
    await a.next('answer');
    const supervisor = await supervisorOf(b);
    await b.disconnect();
    supervisor.send(died(b, [{ guest: g, epoch: 2 }]));
    assert.equal((await a.next('proof')).ran, true);
    return { migration, view: await ended(migration), supervisor };
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
    const { migration, view, supervisor } = await lostAtTarget();
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

  it('a guest that was lost and made anew is not given away by what is said of the lost one', async () => {
    const { migration, supervisor } = await lostAtTarget();
    assert.equal((await coordinator.ask('DELETE', `/v1/guests/${g}`)).status, 200);
    const again = { name: g, kind: 'workload', memoryBytes: 64 * MIB, host: a.host };
    await coordinator.ask('POST', '/v1/guests', { ...again, workload: WORKLOAD });

    const body = { confirm: true, discardTarget: true };
    assert.equal((await coordinator.ask('POST', `/v1/hosts/${b.host}/fence`, body)).status, 200);
    a.send({ type: 'kept', ...about(migration, 3), reason: 'a person chose it' });
    a.send({ type: 'query', ...about(migration) });
    const answer = await a.next('proof', 'answer');
    assert.deepEqual([answer.type, (answer as Message<'proof'>).discarded], ['proof', false]);
    const { body: guest } = await coordinator.ask<GuestDetail>('GET', `/v1/guests/${g}`);
    assert.deepEqual([guest.host, guest.epoch, guest.state], [a.host, 1, 'running']);
    const { body: view } = await coordinator.ask<Migration>(
      'GET',
      `/v1/migrations/${migration.id}`,
    );
    assert.equal(view.state, 'lost');
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
        atNs: 1,
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

  it('a stop that is latched is answered when it is durable', async () => {
    await migrate();
    await a.next('grant');
    coordinator.arm('coordinator:granted:latchRequest');
    let isAnswered = false;
    const stop = coordinator.ask('POST', `/v1/guests/${g}/stop`).finally(() => {
      isAnswered = true;
    });
    await coordinator.reached('coordinator:granted:latchRequest');
    await coordinator.ask('GET', `/v1/guests/${g}`);
    assert.equal(isAnswered, false);
    coordinator.disarm();
    assert.equal((await stop).status, 200);
  });

  it('a latched stop is carried out though the coordinator ended when the move did', async () => {
    const migration = await migrate();
    await a.next('grant');
    assert.equal((await coordinator.ask('POST', `/v1/guests/${g}/stop`)).status, 200);
    coordinator.arm('coordinator:moved:carryOutLatched');
    finish(migration);
    await coordinator.reached('coordinator:moved:carryOutLatched');
    await killAndRestart();
    await b.connect();
    assert.equal((await b.next('stopGuest')).epoch, 2);
    await coordinator.until<Guest>(`/v1/guests/${g}`, (guest) => guest.state === 'stopped');
  });

  it('a latched stop is carried out by an owner that was away when the move ended', async () => {
    const migration = await migrate();
    await a.next('grant');
    assert.equal((await coordinator.ask('POST', `/v1/guests/${g}/stop`)).status, 200);
    coordinator.arm('coordinator:moved:carryOutLatched');
    finish(migration);
    await coordinator.reached('coordinator:moved:carryOutLatched');
    await b.disconnect();
    coordinator.disarm();
    await ended(migration);
    await b.connect();
    assert.equal((await b.next('stopGuest')).epoch, 2);
    await coordinator.until<Guest>(`/v1/guests/${g}`, (guest) => guest.state === 'stopped');
  });

  it('a stop that comes as the migration ends finds the guest where it is then', async () => {
    const migration = await migrate();
    await a.next('grant');
    coordinator.arm('coordinator:kept:record');
    a.send({ type: 'kept', ...about(migration, 1), reason: 'stays' });
    await coordinator.reached('coordinator:kept:record');
    const stop = coordinator.ask<Guest>('POST', `/v1/guests/${g}/stop`);
    const isHeard = () =>
      coordinator.log
        .split('\n')
        .some((line) => line.includes(migration.id) && line.includes('asked to stop the guest'));
    await until(isHeard, (isTrue) => isTrue, 'the stop is heard');
    coordinator.disarm();
    assert.equal((await a.next('stopGuest')).epoch, 1);
    assert.equal((await stop).body.state, 'stopped');
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
