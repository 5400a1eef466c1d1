/**
 * The control port against whoever knocks. Goal: no stranger ends the process or makes it hold what he
 * sends. Method: real sockets; the server's own end of each is watched until it is closed.
 */
import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
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
