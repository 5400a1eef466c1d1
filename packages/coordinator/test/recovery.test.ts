/**
 * A store that was restored from a backup: refused, then recovered from what the hosts hold. Real
 * coordinator and sockets; the backup is a copy of the file, as an operator would make it.
 */
import assert from 'node:assert/strict';
import { copyFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { Guest, GuestDetail, Message, Recovery, Status } from '@godwit/protocol';
import { CoordinatorProcess, until } from './coordinator-process.ts';
import { FakeAgent, report } from './fake-agent.ts';

const workload = { pattern: 'idle', content: 'zero' };
const guest = (name: string, host: string) => ({
  ...{ name, host, kind: 'workload', memoryBytes: 4096, workload },
});

describe('a store that was restored from a backup', () => {
  const coordinator = new CoordinatorProcess();
  const [a, b] = [new FakeAgent(coordinator, 'a'), new FakeAgent(coordinator, 'b')];
  const store = join(coordinator.stateDir, 'state.sqlite');
  after(() => coordinator.dispose());

  const restart = async (between: () => void) => {
    await coordinator.end('SIGTERM');
    between();
    await coordinator.start();
  };
  const codeOf = (said: Message) => (said.type === 'turnedAway' ? said.error.code : said.type);
  const recovery = async () => (await coordinator.ask<Recovery>('GET', '/v1/recovery')).body;

  /** Between the coordinator and its recovery nobody answers for a moment. */
  const comesTo = (state: Recovery['state']) =>
    until(
      () => recovery().catch(() => undefined),
      (view) => view?.state === state,
      `recovery ${state}`,
    );

  it('is found out by the first agent that has seen more, and then refused', async () => {
    await coordinator.start();
    await a.connect();
    await b.connect();
    for (const [name, host] of [
      ['old', 'a'],
      ['moved', 'a'],
      ['gone', 'b'],
    ] as const) {
      assert.equal((await coordinator.ask('POST', '/v1/guests', guest(name, host))).status, 200);
    }
    await restart(() => copyFileSync(store, `${store}.backup`));
    await a.connect();
    await b.connect();
    assert.equal((await coordinator.ask('POST', '/v1/guests', guest('new', 'b'))).status, 200);
    const { storeRev } = (await coordinator.ask<Status>('GET', '/v1/status')).body;
    await coordinator.until('/v1/status', () => a.storeRev >= storeRev && b.storeRev >= storeRev);
    // What happened after the backup: a guest went to b, one was removed.
    b.guests.set('moved', report(a.guests.get('moved')!.spec, 2));
    a.guests.delete('moved');
    b.guests.delete('gone');
    await restart(() => {
      rmSync(`${store}-wal`, { force: true });
      copyFileSync(`${store}.backup`, store);
    });
    assert.equal(codeOf(await a.connect()), 'store.back_in_time');
    await comesTo('refused');
    const { status, body } = await coordinator.ask('POST', '/v1/guests', guest('late', 'a'));
    assert.equal(status, 409);
    assert.equal(body.error?.code, 'store.back_in_time');
    assert.match(body.error?.hint ?? '', /coordinator recover/);
  });

  it('stays refused over a restart, however far the revision gets', async () => {
    await restart(() => {});
    assert.equal((await recovery()).state, 'refused');
    assert.equal(codeOf(await b.connect()), 'store.back_in_time');
    assert.deepEqual((await recovery()).reported, [], 'nobody has asked to recover it');
  });

  it('waits for every registered host, and says for which', async () => {
    const { body } = await coordinator.ask<Recovery>('POST', '/v1/recovery');
    assert.deepEqual([body.state, body.waitingFor], ['collecting', ['a', 'b']]);
    assert.equal(codeOf(await a.connect()), 'store.recovering');
    const { reported, waitingFor } = await recovery();
    assert.deepEqual([reported, waitingFor], [['a'], ['b']]);
    const fence = { confirm: true, discardTarget: false };
    const refused = await coordinator.ask('POST', '/v1/hosts/a/fence', fence);
    assert.equal(refused.body.error?.code, 'host.not_fenceable');
  });

  it('then has what the hosts hold, and a word that agents obey', async () => {
    const seen = { term: a.termSeen, revision: Math.max(a.storeRev, b.storeRev) };
    assert.equal(codeOf(await b.connect()), 'store.recovering');
    await comesTo('none');
    const welcome = (await b.connect()) as Message<'welcome'>;
    assert.equal(codeOf(await a.connect()), 'welcome');
    assert.ok(welcome.term > seen.term);
    assert.ok(welcome.storeRev > seen.revision);
    const { body } = await coordinator.ask<Guest[]>('GET', '/v1/guests');
    const found = body.map(({ name, host, state, epoch }) => [name, host, state, epoch]);
    assert.deepEqual(found.sort(), [
      ['gone', 'b', 'lost', 1],
      ['moved', 'b', 'running', 2],
      ['new', 'b', 'running', 1],
      ['old', 'a', 'running', 1],
    ]);
    const lost = (await coordinator.ask<GuestDetail>('GET', '/v1/guests/gone')).body;
    assert.match(lost.evidence ?? '', /restored from a backup/);
    await a.disconnect();
    await b.disconnect();
  });
});
