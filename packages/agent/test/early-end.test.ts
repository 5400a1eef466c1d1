/** Page channels as a migration opens them: as many as it needs, and none is left open when it ends meanwhile. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { encodeMessage, type Message, PAGE_BYTES, PROTOCOL_VERSION } from '@godwit/protocol';
import { stateVersion } from '../src/guest/guest-state.ts';
import { createMigrations } from '../src/migration/manager.ts';
import { dialPeer } from '../src/migration/peer-link.ts';
import { MIB, until } from './support/agent-parts.ts';
import { CAPABILITY, grant } from './support/grants.ts';
import { startAgent } from './support/running-agent.ts';

test('at the source: its ports are free for the next migration', async (t) => {
  const port = await freePort();
  const flags = ['--page-ports', `${port}-${port + 9}`];
  const { coordinator } = await startAgent(t, flags, createMigrations);
  const { spec } = grant('g');
  await coordinator.ask({ type: 'createGuest', spec, epoch: 1 });
  // The agent hears both in one turn: no thread has been asked to listen for longer than that.
  const granted = coordinator.ask({ ...grant('m'), role: 'source', spec });
  coordinator.send({ type: 'cancelMigration', migration: 'm', reason: 'a test' });
  await granted;
  await until('the guest is kept', () => coordinator.all('kept').length > 0);
  await untilFree(port);
});

test('one page port is enough for one channel, unless pages may be asked for', async (t) => {
  const port = await freePort();
  const flags = ['--page-ports', `${port}-${port}`];
  const { coordinator } = await startAgent(t, flags, createMigrations);
  const { spec } = grant('g');
  await coordinator.ask({ type: 'createGuest', spec, epoch: 1 });
  const endOf = async (mode: Message<'grant'>['mode']) => {
    await coordinator.ask({ ...grant(mode), role: 'source', spec, mode });
    const kept = () => coordinator.all('kept').find(({ migration }) => migration === mode);
    await until('the guest is kept', () => kept() !== undefined);
    return kept()?.error?.code;
  };
  // Nobody is at the target's address.
  assert.equal(await endOf('precopy'), 'peer.unreachable');
  for (const mode of ['postcopy', 'hybrid'] as const) {
    assert.equal(await endOf(mode), 'listen.in_use');
  }
});

test('at the target: memory is given back behind the sockets that could write it', async (t) => {
  const { agent, coordinator } = await startAgent(t, [], createMigrations);
  const silent = await listen(t);
  await coordinator.ask(grant('m'));
  const peer = await dialPeer(coordinator.hellos[0]!.address);
  t.after(() => peer.terminate());
  const hello = { migration: 'm', capability: CAPABILITY, host: 'b', incarnation: 'life-1' };
  peer.send(
    encodeMessage({ type: 'peerHello', version: PROTOCOL_VERSION, ...hello, resume: false }),
  );
  await once(peer, 'message');
  const offer = encodeMessage({
    type: 'offer',
    pages: MIB / PAGE_BYTES,
    harts: 1,
    stateVersion: stateVersion('workload'),
    pageHost: '127.0.0.1',
    pagePorts: [silent.port],
    faultsPort: silent.port,
    readKey: 1,
  });
  peer.send(offer);
  peer.send(offer);
  await until('a page channel dials', () => silent.sockets.length > 0);
  coordinator.send({ type: 'cancelMigration', migration: 'm', reason: 'a test' });
  await until('the target refuses', () => coordinator.all('refused').length > 0);
  assert.equal(agent.pool.reservedBytes, MIB, 'given back while a channel is being opened');
  for (const socket of silent.sockets) socket.destroy();
  await until('memory is given back', () => agent.pool.reservedBytes === 0);
  assert.equal(silent.sockets.length, 1, 'an offer said twice is taken once');
});

/** A server that takes connections and says nothing. */
async function listen(t: TestContext): Promise<{ port: number; sockets: Socket[] }> {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    socket.on('error', () => {});
    sockets.push(socket);
  });
  t.after(() => server.close());
  return { port: await portOf(server, 0), sockets };
}

async function portOf(server: Server, port: number): Promise<number> {
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as { port: number }).port;
}

async function freePort(): Promise<number> {
  const server = createServer();
  const port = await portOf(server, 0);
  server.close();
  await once(server, 'close');
  return port;
}

/** Listens there as soon as nobody else does. */
async function untilFree(port: number): Promise<void> {
  let isFree = false;
  const look = async () => {
    const server = createServer();
    const got = await portOf(server, port).catch(() => undefined);
    isFree = got !== undefined;
    if (isFree) server.close();
    else setTimeout(look, 5);
  };
  void look();
  await until(`port ${port} is free`, () => isFree);
}
