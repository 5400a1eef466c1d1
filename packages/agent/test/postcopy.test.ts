/** Post-copy: faults are answered, the rest is pushed, each page lands once and is checked. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { memoryMap } from '@godwit/machine';
import { PAGE_BYTES } from '@godwit/protocol';
import { endIdleThreads } from '../src/thread.ts';
import {
  allPages,
  fault,
  gate,
  MIB,
  NO_HASHES,
  openPair,
  sameBytes,
  scribble,
} from './channel-pair.ts';
import { until } from './support/agent-parts.ts';

after(() => endIdleThreads());

test('faults are answered without any push', async (t) => {
  const pair = await openPair(t, 4 * MIB, 1);
  const { source, target, sending, landing, landKey } = pair;
  const missing = allPages(source);
  const states = gate(target, missing);
  landing.startPostcopy({ missing, key: landKey, pageHashes: NO_HASHES });
  sending.serve();
  for (const page of [5, 900, 6, source.pages - 1]) {
    assert.ok(await fault(target, 0, page), `page ${page} came`);
    assert.equal(states.get(page), memoryMap.PAGE_PRESENT);
    assert.deepEqual(target.page(page), source.page(page));
  }
  // A hart is woken by its page before the thread has counted it; closing waits for the thread.
  await pair.close();
  assert.equal(landing.remaining(), source.pages - 4);
  assert.equal(landing.faultStats().count, 4);
  assert.deepEqual([...pair.sourceFailures, ...pair.targetFailures], []);
});

test('a fault that comes before the source serves is answered when it does', async (t) => {
  const pair = await openPair(t, 1 * MIB, 1);
  const { source, target, sending, landing, landKey } = pair;
  const missing = allPages(source);
  gate(target, missing);
  landing.startPostcopy({ missing, key: landKey, pageHashes: NO_HASHES });
  const waits = fault(target, 1, 77);
  await landing.verify(new Uint32Array(0));
  sending.serve();
  assert.ok(await waits);
  await pair.close();
});

test('push and faults together bring every missing page, checked, once', async (t) => {
  const pair = await openPair(t, 16 * MIB, 2);
  const { source, target, sending, landing, writeKey, landKey } = pair;
  await sending.sendRound(0, allPages(source), writeKey);
  const missing = scribble(source, 2);
  source.ram().fill(0, 512 * PAGE_BYTES, 513 * PAGE_BYTES);
  const hashes = await sending.hashPages(missing);
  const states = gate(target, missing);
  await landing.revoke(writeKey);
  landing.startPostcopy({ missing, key: landKey, pageHashes: new Uint8Array(hashes.buffer) });
  sending.serve();
  sending.startPush({ missing, key: landKey });
  sending.startPush({ missing, key: landKey });
  for (let page = source.pages - 2; page > source.pages - 60; page -= 2) {
    assert.ok(await fault(target, page % 4 === 0 ? 0 : 1, page));
  }
  await landing.allPresent;
  assert.equal(landing.remaining(), 0);
  assert.equal(states.countAbsent(), 0);
  await pair.close();
  assert.deepEqual([...pair.sourceFailures, ...pair.targetFailures], []);
  assert.ok(sameBytes(source, target));
});

test('a present page never lands again', async (t) => {
  const pair = await openPair(t, 1 * MIB, 1);
  const { source, target, sending, landing, landKey } = pair;
  const missing = allPages(source);
  gate(target, missing);
  landing.startPostcopy({ missing, key: landKey, pageHashes: NO_HASHES });
  sending.serve();
  assert.ok(await fault(target, 0, 40));
  // The guest writes it, as it may; the push knows nothing of the fault's answer in this test.
  target.page(40).fill(0x77);
  sending.startPush({ missing, key: landKey });
  await landing.allPresent;
  assert.ok(target.page(40).every((byte) => byte === 0x77));
  await pair.close();
});

test('a page that differs from its digest is asked for once more, then fails', async (t) => {
  const pair = await openPair(t, 1 * MIB, 1);
  const { source, target, sending, landing, landKey } = pair;
  const missing = new Uint32Array(source.pages / 32);
  missing[1] = 0b100;
  const hashes = await sending.hashPages(missing);
  source.ram()[34 * PAGE_BYTES]! ^= 1;
  const states = gate(target, missing);
  landing.startPostcopy({ missing, key: landKey, pageHashes: new Uint8Array(hashes.buffer) });
  sending.serve();
  sending.startPush({ missing, key: landKey });
  await until('it failed', () => pair.targetFailures.length > 0);
  assert.equal(pair.targetFailures[0]?.code, 'migration.digest');
  assert.match(landing.trouble ?? '', /digest/);
  assert.equal(landing.remaining(), 1);
  assert.equal(states.get(34), memoryMap.PAGE_ABSENT);
  await pair.close();
});
