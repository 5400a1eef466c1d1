/**
 * The control port against whoever knocks. Goal: no stranger ends the process or makes it hold what he
 * sends. Method: real sockets; the server's own end of each is watched until it is closed.
 */
import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { CONNECT_DEADLINE_MS, FIRST_MESSAGE_BYTES_MAX } from '@godwit/protocol';
import { WebSocket } from 'ws';
import { createMigrations } from '../src/migration/manager.ts';
import { until } from './support/agent-parts.ts';
import { startAgent } from './support/running-agent.ts';

const upgrade = (path: string, key = 'dGhlIHNhbXBsZSBub25jZQ==') =>
  `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
  `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n\r\n`;

interface Knock {
  readonly client: Socket;
  /** The server's end of the same connection. */
  readonly accepted: Socket;
}

/** Connects, says this and waits for the first bytes of the answer. */
async function knock(t: TestContext, address: string, said: string): Promise<Knock> {
  const accepted = Promise.withResolvers<Socket>();
  const onSocket = (message: unknown) => accepted.resolve((message as { socket: Socket }).socket);
  subscribe('net.server.socket', onSocket);
  t.after(() => unsubscribe('net.server.socket', onSocket));
  const { hostname, port } = new URL(`http://${address}`);
  const client = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
  client.on('error', () => {});
  t.after(() => client.destroy());
  client.write(said);
  await once(client, 'data');
  unsubscribe('net.server.socket', onSocket);
  return { client, accepted: await accepted.promise };
}

for (const [what, request] of [
  ['a path that is not there', upgrade('/v1/other')],
  ['a console without the token', upgrade('/v1/console')],
  ['a handshake without a key', upgrade('/v1/peer', '')],
] as const) {
  test(`${what} is refused, and a reset after that ends its connection alone`, async (t) => {
    const { agent } = await startAgent(t, ['--token', 'a-long-secret'], createMigrations);
    const { client, accepted } = await knock(t, agent.controlAddress, request);
    client.resetAndDestroy();
    await until('its end is closed', () => accepted.closed);
    const { status } = await fetch(`http://${agent.controlAddress}/healthz`);
    assert.equal(status, 200);
  });
}

test('who has not said who he is cannot make the agent gather a long message', async (t) => {
  const { agent } = await startAgent(t, [], createMigrations);
  const { client, accepted } = await knock(t, agent.controlAddress, upgrade('/v1/peer'));
  // One binary frame of 40 MiB, masked, of which no more than this ever comes.
  client.write(
    Buffer.concat([Buffer.from('82ff000000000280000000000000', 'hex'), Buffer.alloc(2048)]),
  );
  const openedAtMs = performance.now();
  await until('it is cut off', () => accepted.closed);
  assert.ok(performance.now() - openedAtMs < CONNECT_DEADLINE_MS, 'not by the deadline of a hello');
});

test('a first message above its limit is refused unread, by name', async (t) => {
  const { agent } = await startAgent(t, [], createMigrations);
  for (const path of ['/v1/peer', '/v1/console']) {
    const socket = new WebSocket(`ws://${agent.controlAddress}${path}`);
    await once(socket, 'open');
    socket.send(Buffer.alloc(FIRST_MESSAGE_BYTES_MAX + 1, 0x80));
    const [code, reason] = await once(socket, 'close');
    assert.deepEqual([code, String(reason)], [1008, 'wire.too_large']);
  }
});
