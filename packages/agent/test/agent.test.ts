/**
 * One agent in this process, a pretended coordinator at its other end. Goal: it says the truth at each
 * connection, obeys only who may be obeyed, carries requests out once and leaves nothing open.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { memoryMap as map } from '@godwit/machine';
import { encodeMessage, GodwitError, type Message } from '@godwit/protocol';
import { WebSocket } from 'ws';
import { parseOptions } from '../src/options.ts';
import { Journal } from '../src/state/journal.ts';
import { image, machineSpec, stateDir, until, workloadSpec } from './support/agent-parts.ts';
import { makeAgent, startAgent } from './support/running-agent.ts';

test('a closed agent leaves no thread, socket or timer, and its room is free', async (t) => {
  const held = () => process.getActiveResourcesInfo().filter((kind) => kind !== 'Immediate').length;
  const before = held();
  const { agent, coordinator } = await startAgent(t);
  const spec = machineSpec('kv');
  await coordinator.ask({ type: 'createGuest', spec, epoch: 1, elf: image('kv') });
  await coordinator.ask(createWorkload);
  const client = new WebSocket(`ws://${agent.controlAddress}/v1/console`);
  await once(client, 'open');
  client.send(encodeMessage({ type: 'consoleAttach', guest: 'kv' }));
  await once(client, 'message');
  assert.ok(held() > before);
  await agent.close();
  await coordinator.close();
  assert.equal(agent.pool.reservedBytes, 0);
  assert.equal(agent.pool.idleBytes, 0);
  // A timer of `until` itself is one.
  await until('nothing is held', () => held() <= before + 1);
});

const createWorkload = { type: 'createGuest', spec: workloadSpec('w'), epoch: 1 } as const;

function codeOf(message: Message): string {
  return message.type === 'failed' ? message.error.code : message.type;
}

test('an agent shows what it holds in its hello, and at once when that changes', async (t) => {
  const { agent, coordinator } = await startAgent(t);
  const [hello] = coordinator.hellos;
  assert.equal(hello?.role, 'agent');
  assert.equal(hello?.host, 'a');
  assert.equal(hello?.address, agent.controlAddress);
  assert.deepEqual(hello?.guests, []);
  const done = await coordinator.ask(createWorkload);
  assert.equal(done.type, 'done');
  await until('a heartbeat with the guest', () =>
    coordinator.all('heartbeat').some(({ guests }) => guests[0]?.state === 'running'),
  );
  coordinator.cut('agent');
  await until('another hello', () => coordinator.hellos.length === 2);
  assert.equal(coordinator.hellos[1]?.guests[0]?.spec.name, 'w');
  assert.equal(coordinator.hellos[1]?.freeBytes, 56 * 1048576);
});

test('a request that comes again is carried out once', async (t) => {
  const { agent, coordinator } = await startAgent(t);
  const [first, again] = await Promise.all([
    coordinator.ask(createWorkload),
    coordinator.ask(createWorkload),
  ]);
  assert.equal(first.type, 'done');
  assert.equal(again.type, 'done');
  assert.equal(agent.pool.reservedBytes, 8 * 1048576);
  assert.equal((await coordinator.ask(createWorkload)).type, 'done');
  const other = await coordinator.ask({ ...createWorkload, epoch: 2 });
  assert.equal(codeOf(other), 'guest.exists');
});

test('the life of a guest by requests, each refused out of turn', async (t) => {
  const { agent, coordinator } = await startAgent(t);
  const about = { guest: 'w', epoch: 1 };
  assert.equal(codeOf(await coordinator.ask({ type: 'stopGuest', ...about })), 'guest.not_found');
  await coordinator.ask(createWorkload);
  const audit = await coordinator.ask({ type: 'auditGuest', ...about, witnessWrites: 0 });
  assert.equal(audit.type === 'done' && audit.audit?.wrong, 0);
  const rate = await coordinator.ask({ type: 'setRate', ...about, rateMiBps: 3 });
  assert.equal(rate.type === 'done' && rate.guest?.spec.workload?.rateMiBps, 3);
  assert.equal(codeOf(await coordinator.ask({ type: 'removeGuest', ...about })), 'guest.running');
  assert.equal(
    codeOf(await coordinator.ask({ type: 'stopGuest', guest: 'w', epoch: 7 })),
    'request.invalid',
  );
  const stopped = await coordinator.ask({ type: 'stopGuest', ...about });
  assert.equal(stopped.type === 'done' && stopped.guest?.state, 'stopped');
  assert.equal((await coordinator.ask({ type: 'removeGuest', ...about })).type, 'done');
  assert.equal(agent.guests.size, 0);
  assert.equal(agent.pool.reservedBytes, 0);
});

test('stop under a lease waits for the end of the lease', async (t) => {
  const { agent, coordinator } = await startAgent(t);
  await coordinator.ask(createWorkload);
  const guest = agent.guests.get('w')!;
  guest.leaseTo('m-1');
  const stopping = coordinator.ask({ type: 'stopGuest', guest: 'w', epoch: 1 });
  const audit = await coordinator.ask({
    type: 'auditGuest',
    guest: 'w',
    epoch: 1,
    witnessWrites: 0,
  });
  assert.equal(codeOf(audit), 'guest.busy');
  assert.equal(guest.state, 'running');
  guest.releaseLease(guest.lease ?? '');
  assert.equal((await stopping).type, 'done');
  assert.equal(guest.state, 'stopped');
});

test('an end of its own is reported, and its state says so ever after', async (t) => {
  const { agent, coordinator } = await startAgent(t);
  const spec = machineSpec('c', { clock: 'instructions', stopAt: 100_000 });
  await coordinator.ask({ type: 'createGuest', spec, epoch: 1, elf: image('churn') });
  await until('the event', () => coordinator.all('guestEvent').length === 1);
  const [event] = coordinator.all('guestEvent');
  assert.equal(event?.event, 'stopAt');
  const report = agent.guests.get('c')!.report();
  assert.equal(report.state, 'ended');
  assert.equal(report.digest, event?.digest);
  assert.equal(codeOf(await coordinator.ask({ type: 'stopGuest', guest: 'c', epoch: 1 })), 'done');
});

test('an image of an older epoch is quarantined: it stands still until a person discards it', async (t) => {
  const { agent, coordinator } = await startAgent(t);
  await coordinator.ask(createWorkload);
  coordinator.send({ type: 'quarantine', guest: 'w', epoch: 1, ownerHost: 'b', ownerEpoch: 5 });
  const guest = agent.guests.get('w')!;
  const { memory } = guest;
  const hart = () => Atomics.load(memory.i32, memory.hartWord(0, map.HART_STATE));
  await until('quarantine', () => guest.state === 'lost' && hart() === map.HART_STOPPED);
  const { writes } = guest.report();
  const early = await coordinator.ask({ type: 'discardGuest', guest: 'w', epoch: 0 });
  assert.equal(codeOf(early), 'guest.not_found');
  assert.equal(agent.guests.get('w')!.report().writes, writes);
  assert.equal(
    (await coordinator.ask({ type: 'discardGuest', guest: 'w', epoch: 1 })).type,
    'done',
  );
});

test('a guest quarantined under a lease is not started again by whoever holds it', async (t) => {
  const { agent, coordinator } = await startAgent(t);
  await coordinator.ask(createWorkload);
  const guest = agent.guests.get('w')!;
  const { memory } = guest;
  const hart = () => Atomics.load(memory.i32, memory.hartWord(0, map.HART_STATE));
  guest.leaseTo('(audit)');
  coordinator.send({ type: 'quarantine', guest: 'w', epoch: 1, ownerHost: 'b', ownerEpoch: 5 });
  await until('quarantine', () => guest.state === 'lost' && hart() === map.HART_STOPPED);
  // What an audit, a checkpoint and a round that failed do at their end.
  guest.releaseLease('(audit)');
  guest.start();
  assert.equal(guest.state, 'lost');
  assert.equal(Atomics.load(memory.i32, map.CONTROL_RUN >> 2), map.RUN_STOP);
  assert.equal(guest.takesInput, false);
});

test('a coordinator of a lower term is not obeyed, nor a store that went back', async (t) => {
  const { agent, coordinator } = await startAgent(t);
  coordinator.term = 5;
  coordinator.storeRev = 40;
  coordinator.pulse('agent');
  await until('term 5', () => agent.link.term === 5);
  for (const lie of [
    { term: 4, storeRev: 50 },
    { term: 6, storeRev: 39 },
  ]) {
    const hellos = coordinator.hellos.length;
    Object.assign(coordinator, lie);
    coordinator.cut('agent');
    await until('another hello', () => coordinator.hellos.length > hellos);
    await until('the refusal', () => !coordinator.isConnected('agent'));
    assert.equal(agent.link.connected, false);
  }
  Object.assign(coordinator, { term: 6, storeRev: 41 });
  await until('obedience', () => agent.link.connected);
  assert.deepEqual(agent.link.seen, { term: 6, storeId: 'store-1', storeRev: 41 });
});

test('the end of former lives is told until a coordinator has taken it in', async (t) => {
  const dir = stateDir(t);
  const dead = Journal.open(dir, 'life-1');
  dead.welcomed();
  dead.owned('web', 3);
  dead.close();
  const { agent, coordinator } = await makeAgent(t, dir);
  const error = { code: 'internal', detail: '{"why":"not now"}' };
  coordinator.turnsAway = { type: 'turnedAway', error };
  await agent.start();
  await until('two hellos', () => coordinator.hellos.length >= 2);
  assert.ok(existsSync(join(dir, 'journal-life-1')));
  coordinator.turnsAway = undefined;
  await until('a welcome', () => agent.link.connected);
  assert.ok(!existsSync(join(dir, 'journal-life-1')));
  const told = coordinator.hellos.map(({ deaths }) => deaths[0]?.owned);
  for (const owned of told) assert.deepEqual(owned, [{ guest: 'web', epoch: 3 }]);
});

test('a malformed message of the coordinator ends the connection and nothing else', async (t) => {
  const { agent, coordinator } = await startAgent(t);
  await coordinator.ask(createWorkload);
  const hellos = coordinator.hellos.length;
  coordinator.send({ type: 'pulse', term: 1, storeRev: 1 });
  coordinator.send({ type: 'turnedAway', error: { code: 'internal', detail: 'no JSON' } });
  await until('another hello', () => coordinator.hellos.length > hellos);
  await until('the link', () => agent.link.connected);
  assert.equal(agent.guests.get('w')?.state, 'running');
});

test('a port in use and a foreign address are refused by name', async (t) => {
  const { agent } = await startAgent(t);
  await assert.rejects(
    startAgent(t, ['--listen', agent.controlAddress]),
    (error) => error instanceof GodwitError && error.code === 'listen.in_use',
  );
  const code = (flags: string[], env = {}) => {
    try {
      parseOptions(flags, env);
      return 'none';
    } catch (error) {
      return (error as GodwitError).code;
    }
  };
  assert.equal(code(['--listen', '0.0.0.0:1']), 'auth.loopback_only');
  assert.equal(code(['--listen', '0.0.0.0:1'], { GODWIT_TOKEN: 'a-long-secret' }), 'none');
  assert.equal(code(['--listen', 'nowhere']), 'request.invalid');
  assert.equal(code(['--memory', '6 parsecs']), 'request.invalid');
  assert.equal(code(['--page-ports', '9-1']), 'request.invalid');
  assert.equal(code(['--coordinator', 'ftp://x']), 'request.invalid');
  assert.equal(code(['--name', 'No Name']), 'guest.bad_name');
  assert.equal(code(['--no-such-flag']), 'request.invalid');
});

test('with a token it is given and asked for; a browser page is turned away without one', async (t) => {
  const { agent, coordinator } = await startAgent(t, ['--token', 'a-long-secret']);
  assert.equal(coordinator.authorization, 'Bearer a-long-secret');
  const url = `ws://${agent.controlAddress}/v1/console`;
  assert.equal(await statusOf(url), 401);
  assert.equal(await statusOf(`${url}?token=wrong`), 401);
  assert.equal(await statusOf(`${url}?token=a-long-secret`), 101);
  const open = await startAgent(t);
  assert.equal(
    await statusOf(`ws://${open.agent.controlAddress}/v1/console`, { origin: 'http://x' }),
    403,
  );
  assert.equal(await statusOf(`ws://${open.agent.controlAddress}/v1/other`), 404);
});

function statusOf(url: string, headers = {}): Promise<number> {
  const socket = new WebSocket(url, { headers });
  return new Promise((resolve) => {
    socket.on('error', () => {});
    socket.on('open', () => {
      socket.terminate();
      resolve(101);
    });
    socket.on('unexpected-response', (request, response) => {
      request.destroy();
      resolve(response.statusCode ?? 0);
    });
  });
}
