/** What a migration leaves here that could not begin, or that lost its guest: nothing that cannot be had again. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { test } from 'node:test';
import type { Message } from '@godwit/protocol';
import type { Agent } from '../src/agent.ts';
import { createMigrations, Migrations } from '../src/migration/manager.ts';
import { MIB, until, workloadSpec } from './support/agent-parts.ts';
import { grant } from './support/grants.ts';
import { type RunningAgent, startAgent } from './support/running-agent.ts';

const SPEC = { ...workloadSpec('g', { rateMiBps: 1 }), memoryBytes: MIB };

test('page ports are taken: the guest runs on, the reason is told, and the next move succeeds', async (t) => {
  const first = await listen(0);
  const { port } = first!.address() as AddressInfo;
  // Whoever else has one of them has it taken too.
  const others = Array.from({ length: 9 }, (_, i) => listen(port + 1 + i));
  const taken = [first, ...(await Promise.all(others))];
  t.after(() => taken.map((server) => server?.close()));
  let quiet = 0;
  const counting = (agent: Agent) =>
    new Migrations(agent, { ended() {}, begin: () => void quiet++, end() {} }, 50);
  const source = await startAgent(t, ['--page-ports', `${port}-${port + 9}`], counting);
  const { agent, coordinator } = source;
  await coordinator.ask({ type: 'createGuest', spec: SPEC, epoch: 1 });

  const refusal = await coordinator.ask({ ...grant('m1'), role: 'source', spec: SPEC });
  assert.equal((refusal as Message<'failed'>).error.code, 'listen.in_use');
  await until('the guest is kept', () => coordinator.all('kept').length > 0);
  const [kept] = coordinator.all('kept');
  assert.deepEqual([kept?.error?.code, kept?.epoch], ['listen.in_use', 1]);
  const guest = agent.guests.get('g');
  assert.deepEqual([guest?.state, guest?.lease], ['running', undefined]);
  assert.equal(quiet, 1, 'no migration is under way');
  await until('it is forgotten', () => agent.migrations.reports().length === 0);

  const target = await startAgent(t, [], createMigrations);
  for (const server of taken) server?.close();
  await move(source, target, 'm2', { mode: 'precopy' }, 'stopAndCopy');
  await until('the source is free', () => coordinator.all('freed').length > 0);
  assert.equal(agent.pool.reservedBytes, 0);
  assert.equal(target.agent.guests.get('g')?.state, 'running');
});

test('a stale image can be given up when its migration is long forgotten', async (t) => {
  const forgetful = (agent: Agent) => new Migrations(agent, undefined, 50);
  const source = await startAgent(t, [], createMigrations);
  const target = await startAgent(t, [], forgetful);
  await source.coordinator.ask({ type: 'createGuest', spec: SPEC, epoch: 1 });
  const slowly = { mode: 'postcopy', maxBandwidthBytesPerS: 65_536 } as const;
  await move(source, target, 'm', slowly, 'postcopy');
  await until('it runs', () => target.coordinator.all('running').length > 0);
  const about = { migration: 'm', guest: 'g', epoch: 2 };
  const proof = { dead: 'source', ran: false, evidence: 'a test', discarded: false } as const;
  target.coordinator.send({ type: 'proof', ...about, ...proof });
  await until('it is lost', () => target.coordinator.all('lost').length > 0);
  await until('it is forgotten', () => target.agent.migrations.reports().length === 0);

  const guest = target.agent.guests.get('g');
  await until('its channels are closed', () => guest?.lease === undefined);
  assert.equal(guest?.state, 'lost');
  const stopped = await target.coordinator.ask({ type: 'stopGuest', guest: 'g', epoch: 2 });
  assert.equal((stopped as Message<'done'>).guest?.state, 'lost', 'it is never run');
  const answer = await target.coordinator.ask({ type: 'discardGuest', guest: 'g', epoch: 2 });
  assert.equal(answer.type, 'done');
  assert.equal(target.agent.pool.reservedBytes, 0);
  assert.equal(target.agent.guests.size, 0);
});

/** Brings the guest from one agent to the other, as far as the two do that alone. */
async function move(
  source: RunningAgent,
  target: RunningAgent,
  migration: string,
  change: Partial<Message<'grant'>>,
  action: 'stopAndCopy' | 'postcopy',
): Promise<void> {
  const { address } = target.coordinator.hellos[0]!;
  const base = grant(migration);
  const leave = { ...base, ...change, spec: SPEC, target: { ...base.target, address } };
  assert.equal((await target.coordinator.ask(leave)).type, 'done');
  assert.equal((await source.coordinator.ask({ ...leave, role: 'source' })).type, 'done');
  await until('a round ends', () => source.coordinator.all('roundReport').length > 0);
  const decision = { round: 0, action, throttlePermille: 0, reason: 'a test' } as const;
  source.coordinator.send({ type: 'decision', migration, ...decision });
}

async function listen(port: number): Promise<Server | undefined> {
  const server = createServer().listen(port, '127.0.0.1');
  return once(server, 'listening').then(
    () => server,
    () => undefined,
  );
}
