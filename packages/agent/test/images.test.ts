/**
 * Images between hosts: an agent says what it holds, fetches what it lacks from whoever has it, believes
 * nobody, and keeps nothing that is not whole. The guests' side: what a guest boots is what was meant.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { createServer, request, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ImageStore, type Manifest, makeManifest, manifestText } from '@godwit/images';
import type { Message } from '@godwit/protocol';
import type { Agent } from '../src/agent.ts';
import { MIB, machineSpec, stateDir, until } from './support/agent-parts.ts';
import type { FakeCoordinator } from './support/fake-coordinator.ts';
import { startAgent } from './support/running-agent.ts';

interface Host {
  readonly agent: Agent;
  readonly coordinator: FakeCoordinator;
  readonly store: ImageStore;
}

/** The agent keeps its images where the test can look at them. */
async function start(t: TestContext, flags: string[] = []): Promise<Host> {
  const images = stateDir(t);
  const running = await startAgent(t, ['--image-dir', images, ...flags]);
  return { ...running, store: new ImageStore(images) };
}

/** A kernel that is nothing but its header and a loop: `j .` at its first instruction. */
function loopingKernel(): Buffer {
  const kernel = Buffer.alloc(3 * MIB);
  kernel.writeUInt32LE(0x0000006f, 0);
  kernel.writeBigUInt64LE(0x20_0000n, 8);
  kernel.writeBigUInt64LE(BigInt(kernel.length), 16);
  kernel.write('RISCV\0\0\0RSC\x05', 48, 'latin1');
  return kernel;
}

async function* single(bytes: Uint8Array) {
  yield bytes;
}

async function addImage(store: ImageStore, name = 'small'): Promise<Manifest> {
  const kernel = await store.addBlob(single(loopingKernel()));
  const initrd = await store.addBlob(single(Buffer.from('070701')));
  const manifest = makeManifest({ name, kernel, initrd, append: 'console=ttyS0', source: {} });
  await store.addManifest(manifest);
  await store.setName(name, manifest.digest);
  return manifest;
}

function codeOf(message: Message): string {
  return message.type === 'failed' ? message.error.code : message.type;
}

const lastSaid = ({ coordinator }: Host) => coordinator.all('images').at(-1)?.images;

test('says what it holds, after each welcome and when it changed', async (t) => {
  const host = await start(t);
  await until('the first word', () => host.coordinator.all('images').length > 0);
  assert.deepEqual(lastSaid(host), []);
  const { digest } = await addImage(host.store);
  await host.agent.images.look();
  await until('the image', () => lastSaid(host)?.length === 1);
  assert.deepEqual(lastSaid(host), [{ digest, names: ['small'] }]);
  const said = host.coordinator.all('images').length;
  host.coordinator.cut('agent');
  await until('the next word', () => host.coordinator.all('images').length > said);
  assert.deepEqual(lastSaid(host), [{ digest, names: ['small'] }]);
});

test('fetches an image from a host that has it, and boots it', async (t) => {
  const [a, b] = [await start(t), await start(t)];
  const manifest = await addImage(a.store);
  const { digest } = manifest;
  const spec = machineSpec('web1', { memoryBytes: 32 * MIB, image: 'small', imageDigest: digest });
  const create = { type: 'createGuest', spec, epoch: 1 } as const;
  // Nobody is named who has it.
  assert.equal(codeOf(await b.coordinator.ask(create)), 'image.unavailable');
  const imageFrom = ['127.0.0.1:1', a.agent.controlAddress];
  const done = await b.coordinator.ask({ ...create, imageFrom });
  assert.equal(codeOf(done), 'done');
  assert.deepEqual(await b.store.get(digest), manifest);
  assert.deepEqual((await b.store.find('small')).manifest, manifest);
  await until('the news', () => lastSaid(b)?.[0]?.digest === digest);
  const guest = b.agent.guests.get('web1')!;
  await until('instructions', () => guest.report().instructions > 0);
  const source = await b.agent.images.bootSource(spec)!();
  assert.equal(source.kind, 'linux');
  assert.equal('bootargs' in source && source.bootargs, 'console=ttyS0 godwit.hostname=web1');
});

test('a guest that is repeatable gets the same randomness each time, another does not', async (t) => {
  const { agent, store } = await start(t);
  const { digest } = await addImage(store);
  const seeds = async (clock: 'host' | 'instructions') => {
    const spec = machineSpec('g', { clock, imageDigest: digest, append: 'quiet' });
    const boots = [await agent.images.bootSource(spec)!(), await agent.images.bootSource(spec)!()];
    return boots.map((boot) => ('seed' in boot ? Buffer.from(boot.seed).toString('hex') : ''));
  };
  const [first, second] = await seeds('instructions');
  assert.equal(first, second);
  assert.equal(new Set(await seeds('host')).size, 2);
});

test('one fetch serves all who wait for it; what is here is not asked for', async (t) => {
  const [a, b] = [await start(t), await start(t)];
  const { digest } = await addImage(a.store);
  const ask = { type: 'fetchImage', digest, from: [a.agent.controlAddress] } as const;
  const answers = await Promise.all(Array.from({ length: 4 }, () => b.coordinator.ask(ask)));
  assert.deepEqual(answers.map(codeOf), ['done', 'done', 'done', 'done']);
  assert.equal(codeOf(await b.coordinator.ask({ ...ask, from: [] })), 'done');
});

test('believes no host: what is wrong, short, endless or absent is not kept', async (t) => {
  const b = await start(t);
  const honest = new ImageStore(stateDir(t));
  const manifest = await addImage(honest);
  const other = makeManifest({ ...manifest, append: 'other' });
  const text = manifestText(manifest);
  const kernel = loopingKernel();
  const spoilt = Buffer.from(kernel);
  spoilt[spoilt.length - 1] = 1;
  /** What each hostile host answers for the manifest, and for the kernel. */
  const hosts: [about: (r: ServerResponse) => void, blob: (r: ServerResponse) => void][] = [
    [(r) => r.writeHead(404).end(), (r) => r.end()],
    [(r) => r.destroy(), (r) => r.end()],
    [(r) => r.end('not json'), (r) => r.end()],
    [(r) => r.end(manifestText(other)), (r) => r.end(kernel)],
    [(r) => endless(r), (r) => r.end()],
    [(r) => r.end(text), (r) => r.end(spoilt)],
    [(r) => r.end(text), (r) => r.end(kernel.subarray(0, 100_000))],
    [(r) => r.end(text), (r) => endless(r)],
    [
      (r) => r.end(text),
      (r) => r.writeHead(200, { 'content-length': kernel.length }).write('x', () => r.destroy()),
    ],
    [(r) => r.end(text.replace(manifest.kernel.sha256, '../../../../etc/passwd')), (r) => r.end()],
  ];
  for (const [i, [about, blob]] of hosts.entries()) {
    const from = [await hostile(t, (path, r) => (path.includes('/images/') ? about(r) : blob(r)))];
    const answer = await b.coordinator.ask({ type: 'fetchImage', digest: manifest.digest, from });
    assert.equal(codeOf(answer), 'image.unavailable', `host ${i}`);
    assert.deepEqual(await b.store.list(), []);
    const tmp = join(b.store.directory, 'tmp');
    assert.deepEqual(existsSync(tmp) ? readdirSync(tmp) : [], []);
  }
});

test('takes an image from a person, exactly, and only with the token', async (t) => {
  const token = 'a-long-secret';
  const { agent, coordinator, store } = await start(t, ['--token', token]);
  const from = new ImageStore(stateDir(t));
  const manifest = await addImage(from);
  const { digest } = manifest;
  const kernel = loopingKernel();
  const blob = `/v1/blobs/${manifest.kernel.sha256}`;
  const put = (path: string, body: Buffer, as = token) => send(agent, 'PUT', path, body, as);
  assert.equal((await put(blob, kernel, 'wrong')).status, 404);
  assert.equal((await send(agent, 'GET', `/v1/images/${digest}`, undefined, 'wrong')).status, 404);
  assert.equal((await put(blob, kernel.subarray(1))).status, 400);
  assert.equal((await put(blob, Buffer.alloc(0))).status, 413);
  assert.equal((await put('/v1/blobs/..%2f..%2fetc', kernel)).status, 404);
  assert.equal(
    (await put(`/v1/images/${digest}`, Buffer.from(manifestText(manifest)))).status,
    400,
  );
  assert.equal((await put(blob, kernel)).status, 200);
  assert.equal(
    (await put(`/v1/blobs/${manifest.initrd!.sha256}`, Buffer.from('070701'))).status,
    200,
  );
  assert.equal(
    (await put(`/v1/images/${'0'.repeat(64)}`, Buffer.from(manifestText(manifest)))).status,
    400,
  );
  assert.equal(
    (await put(`/v1/images/${digest}`, Buffer.from(manifestText(manifest)))).status,
    200,
  );
  assert.deepEqual(await store.get(digest), manifest);
  assert.equal(
    (await send(agent, 'GET', `/v1/images/${digest}`, undefined, token)).body.toString(),
    manifestText(manifest),
  );
  assert.deepEqual((await send(agent, 'GET', blob, undefined, token)).body, kernel);
  assert.equal((await send(agent, 'DELETE', blob, undefined, token)).status, 405);
  await until('the news', () => coordinator.all('images').at(-1)?.images.length === 1);
});

test('an upload that breaks off leaves nothing', async (t) => {
  const { agent, store } = await start(t);
  const socket = connect(Number(agent.controlAddress.split(':')[1]), '127.0.0.1');
  const head = `PUT /v1/blobs/${'a'.repeat(64)} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n`;
  socket.write(`${head}${'x'.repeat(100_000)}`);
  const tmp = join(store.directory, 'tmp');
  await until('the upload', () => existsSync(tmp) && readdirSync(tmp).length === 1);
  socket.destroy();
  await until('nothing left', () => readdirSync(tmp).length === 0);
  assert.deepEqual(readdirSync(store.directory), ['tmp']);
});

function endless(response: ServerResponse): void {
  const more = () => {
    while (!response.destroyed && response.write(Buffer.alloc(65_536, ' ')));
  };
  response.on('drain', more);
  more();
}

async function hostile(
  t: TestContext,
  answer: (path: string, response: ServerResponse) => void,
): Promise<string> {
  const server = createServer((request, response) => answer(request.url ?? '', response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function send(
  agent: Agent,
  method: string,
  path: string,
  body: Buffer | undefined,
  token: string,
): Promise<{ status: number; body: Buffer }> {
  const [host, port] = agent.controlAddress.split(':');
  const headers = {
    authorization: `Bearer ${token}`,
    ...(body && { 'content-length': body.length }),
  };
  return new Promise((resolve, reject) => {
    const outgoing = request({ host, port, method, path, headers, agent: false }, (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      response.on('error', reject);
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(parts) }),
      );
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}
