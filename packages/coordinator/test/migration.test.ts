/** Whole migrations: a real coordinator process, two agents that speak the protocol over sockets. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Guest, type Message, type Migration, TEXT_CHARS_MAX } from '@godwit/protocol';
import { WebSocket } from 'ws';
import type { FakeAgent } from './fake-agent.ts';
import {
  a,
  about,
  allPresent,
  b,
  coordinator,
  ended,
  finish,
  freed,
  g,
  killAndRestart,
  MIB,
  migrate,
  roundReport,
} from './migration-world.ts';

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

  for (const transferMs of [0, Number.MIN_VALUE]) {
    it(`has no rate when its source says that the bytes took ${transferMs} ms`, async () => {
      const migration = await migrate();
      await a.next('grant');
      finish(migration, { transferMs });
      const { state, result } = await ended(migration);
      assert.deepEqual([state, result?.gbps], ['completed', 0]);
    });
  }

  it('has lasted until FREED was heard, however long the figures of the target are waited for', async () => {
    const migration = await migrate();
    await a.next('grant');
    const figures = allPresent(migration);
    a.migrations.clear();
    b.send({ type: 'running', ...about(migration), missingPages: 0, atMs: 1 });
    await b.next('verdict');
    a.send(freed(migration));
    await new Promise((resolve) => setTimeout(resolve, 400));
    b.send(figures);
    finish(migration);
    const { startedAtMs, endedAtMs, result } = await ended(migration);
    assert.ok(endedAtMs! - startedAtMs - result!.totalMs >= 350, `${result?.totalMs} ms`);
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

  it('a target may say as much of its reason as a message takes', async () => {
    const why = 'x'.repeat(TEXT_CHARS_MAX - 10);
    b.onGrant = ({ request }) => {
      const error = { code: 'migration.refused', detail: JSON.stringify({ why }) };
      return { type: 'failed', request, error };
    };
    const first = await migrate();
    assert.match((await b.next('cancelMigration')).reason, /^the target refused: x+…$/);
    assert.match((await ended(first)).error?.message ?? '', /x…?$/);

    b.onGrant = ({ request }) => ({ type: 'done', request });
    const second = await migrate();
    await a.next('grant');
    b.send({ type: 'refused', ...about(second), reason: 'x'.repeat(TEXT_CHARS_MAX) });
    assert.match((await a.next('answer')).evidence, /^the target renounced it: x+…$/);
    a.send({ type: 'kept', ...about(second, 1), reason: 'refused' });
    assert.equal((await ended(second)).state, 'failed');
  });

  it('a target whose reason is none fails it, and nobody waits for more', async () => {
    b.onGrant = ({ request }) => {
      return { type: 'failed', request, error: { code: 'host.no_room', detail: 'null' } };
    };
    const { state, error } = await ended(await migrate());
    assert.deepEqual([state, error?.code], ['failed', 'internal']);
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
