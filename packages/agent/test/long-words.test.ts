/**
 * What this agent has to say is longer than the wire takes. Goal: it is said shorter, or not at all, and
 * nothing else happens. Method: a hostile target, many guests, and messages that break their own limits.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import {
  decodeMessage,
  encodeMessage,
  GodwitError,
  type Message,
  PROTOCOL_VERSION,
  TEXT_CHARS_MAX,
  wireError,
} from '@godwit/protocol';
import { type WebSocket, WebSocketServer } from 'ws';
import type { Guest } from '../src/guest/guest.ts';
import { GuestTable } from '../src/guest/guest-table.ts';
import { ClockOffset } from '../src/migration/clock.ts';
import { createMigrations } from '../src/migration/manager.ts';
import { dialPeer, PeerLink } from '../src/migration/peer-link.ts';
import { until } from './support/agent-parts.ts';
import { grant } from './support/grants.ts';
import { startAgent } from './support/running-agent.ts';

/** A message that nobody could take: its phase is too long. */
const TOO_LONG: Message = { type: 'peerAnswer', epoch: 1, phase: 'x'.repeat(33) };

/** Somebody at a target's address. */
async function peer(t: TestContext): Promise<{ server: WebSocketServer; address: string }> {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  await once(server, 'listening');
  t.after(() => {
    for (const client of server.clients) client.terminate();
    server.close();
  });
  return { server, address: `127.0.0.1:${(server.address() as AddressInfo).port}` };
}

test('a target that refuses with the longest words costs the source nothing but the migration', async (t) => {
  const { agent, coordinator } = await startAgent(t, [], createMigrations);
  const { server, address } = await peer(t);
  server.on('connection', (socket: WebSocket) => {
    const say = (message: Message) => socket.send(encodeMessage(message));
    socket.once('message', () => {
      const who = { host: 'b', incarnation: 'life-1', phase: 'preparing' };
      say({ type: 'peerWelcome', version: PROTOCOL_VERSION, ...who });
      const error = { code: 'x', detail: '\\'.repeat(TEXT_CHARS_MAX) };
      say({ type: 'peerRefused', epoch: 2, error });
    });
  });
  const { spec, target, ...rest } = grant('g');
  await coordinator.ask({ type: 'createGuest', spec, epoch: 1 });
  const source = { ...rest, role: 'source', spec, target: { ...target, host: 'b', address } };
  await coordinator.ask({ ...source, migration: 'm' } as Message<'grant'>);
  await until('the guest is kept', () => coordinator.all('kept').length > 0);
  assert.equal(coordinator.all('kept')[0]?.error?.code, 'internal');
  assert.equal(agent.guests.get('g')?.state, 'running');
});

test('a guest that is not here is answered with a few of the many that are', () => {
  const nothing = () => {};
  const events = { entered: nothing, endedInMigration: nothing, ended: nothing, rebooted: nothing };
  const table = new GuestTable(events);
  for (let i = 0; i < 300; i++) {
    Map.prototype.set.call(table, `guest-with-a-rather-long-name-${i}`, {} as Guest);
  }
  const error = new GodwitError('guest.not_found', { guest: 'nope', known: table.known });
  assert.match(error.message, /guest-with-a-rather-long-name-0, .* and 292 more\)$/);
  assert.ok(error.message.length < 500);
  const failed: Message = { type: 'failed', request: 1, error: wireError(error) };
  assert.deepEqual(decodeMessage(encodeMessage(failed), 'agent', 'agent'), failed);
});

test('a message to the coordinator that breaks its own limits is not said; the link stays', async (t) => {
  const { agent, coordinator } = await startAgent(t);
  assert.equal(agent.link.send(TOO_LONG), false);
  assert.ok(agent.link.connected);
  assert.equal(coordinator.hellos.length, 1);
});

test('one to the peer ends the link, as if it had been lost', async (t) => {
  const { address } = await peer(t);
  const link = new PeerLink(await dialPeer(address), 'source', new ClockOffset());
  const lost: string[] = [];
  link.listen({ message: () => {}, lost: (why) => lost.push(why) });
  assert.equal(link.send(TOO_LONG), false);
  assert.match(lost.join(), /^peerAnswer cannot be said: peerAnswer.phase/);
  assert.equal(link.open, false);
});
