/**
 * The link to a coordinator that is there and says nothing. Goal: no silence holds the agent for longer
 * than the limit, whatever the link had come to. Method: the clock of the link is the test's.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { mock, type TestContext, test } from 'node:test';
import { HEARTBEAT_MS, LINK_SILENCE_MS, type Message, PROTOCOL_VERSION } from '@godwit/protocol';
import { type WebSocket, WebSocketServer } from 'ws';
import { CoordinatorLink } from '../src/coordinator-link.ts';
import { silent } from './support/agent-parts.ts';

const hello: Message<'hello'> = {
  type: 'hello',
  version: PROTOCOL_VERSION,
  role: 'supervisor',
  host: 'a',
  incarnation: 'life-1',
  address: '127.0.0.1:1',
  cores: 1,
  memoryBytes: 0,
  freeBytes: 0,
  pid: 1,
  termSeen: 0,
  storeRev: 0,
  guests: [],
  migrations: [],
  deaths: [],
};

/** Lets the link's clock and its ticker go on by whole heartbeats. */
function ownClock(t: TestContext): (ms: number) => void {
  let nowMs = performance.now();
  mock.timers.enable({ apis: ['setInterval'] });
  const clock = mock.method(performance, 'now', () => nowMs);
  t.after(() => {
    clock.mock.restore();
    mock.timers.reset();
  });
  return (ms) => {
    for (const endMs = nowMs + ms; nowMs < endMs; ) {
      nowMs += HEARTBEAT_MS;
      mock.timers.tick(HEARTBEAT_MS);
    }
  };
}

async function silentCoordinator(t: TestContext): Promise<WebSocketServer> {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  await once(server, 'listening');
  t.after(() => {
    for (const client of server.clients) client.terminate();
    server.close();
  });
  return server;
}

test('a coordinator that takes the connection and never answers the hello is dialled again', async (t) => {
  const pass = ownClock(t);
  const server = await silentCoordinator(t);
  const link = new CoordinatorLink({
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    token: undefined,
    log: silent,
    memory: { seen: { term: 0, storeId: undefined, storeRev: 0 }, remember: () => {} },
    hello: () => hello,
  });
  t.after(() => link.close());
  link.start();
  const [first] = (await once(server, 'connection')) as [WebSocket];
  await once(first, 'message');
  const lost = once(first, 'close');
  pass(LINK_SILENCE_MS);
  assert.equal(first.readyState, first.OPEN);
  pass(HEARTBEAT_MS);
  const again = once(server, 'connection');
  await lost;
  await again;
});
