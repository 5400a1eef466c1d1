/** Opening and closing leaves nothing behind: no socket, no thread, no port. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { after, test } from 'node:test';
import { endIdleThreads } from '../src/thread.ts';
import { allPages, gate, MIB, NO_HASHES, openPair } from './channel-pair.ts';

after(() => endIdleThreads());

const skip = process.platform !== 'linux' && 'needs Linux';

function counts(): { descriptors: number; threads: number } {
  const descriptors = readdirSync('/proc/self/fd').length;
  return { descriptors, threads: readdirSync('/proc/self/task').length };
}

test('twenty migrations: descriptors and threads are as many as before', {
  skip,
}, async (t) => {
  const figures = [];
  for (let i = 0; i < 20; i++) {
    const pair = await openPair(t, MIB, 2);
    const { source, target, sending, landing, writeKey, landKey } = pair;
    await sending.sendRound(0, allPages(source), writeKey);
    const missing = allPages(source);
    gate(target, missing);
    landing.startPostcopy({ missing, key: landKey, pageHashes: NO_HASHES });
    sending.serve();
    sending.startPush({ missing, key: landKey });
    // Every other time everything is torn down while the push is under way.
    if (i % 2 === 0) await landing.allPresent;
    await pair.close();
    figures.push(counts());
  }
  const [first, last] = [figures[2]!, figures.at(-1)!];
  assert.deepEqual(last, first);
});

test('threads end when they are told to', { skip }, async (t) => {
  await endIdleThreads();
  const before = counts();
  const pair = await openPair(t, MIB, 1);
  assert.ok(counts().threads > before.threads);
  await pair.close();
  await endIdleThreads();
  assert.deepEqual(counts(), before);
});

test('the ports are free again at once', async (t) => {
  for (let i = 0; i < 3; i++) {
    const pair = await openPair(t, MIB, 2);
    const ports = [...pair.sending.pagePorts, pair.sending.faultsPort];
    await pair.close();
    await Promise.all(ports.map(assertFree));
  }
});

async function assertFree(port: number): Promise<void> {
  const server = createServer().listen(port, '127.0.0.1');
  await once(server, 'listening');
  server.close();
  await once(server, 'close');
}
