/**
 * Pre-copy between two facades in one process: real threads, real sockets on loopback.
 */
import assert from 'node:assert/strict';
import { randomBytes, randomFillSync } from 'node:crypto';
import { after, test } from 'node:test';
import { GuestMemory, makeBitmap, setBit } from '@godwit/machine';
import { PAGE_BYTES } from '@godwit/protocol';
import { RegionTable } from '../src/channel/regions.ts';
import { endIdleThreads } from '../src/channel/thread.ts';
import { SourceChannels } from '../src/source/source-channels.ts';
import { TargetChannels } from '../src/target/target-channels.ts';

after(() => endIdleThreads());

const MIB = 1048576;

function randomGuest(ramBytes: number): GuestMemory {
  const guest = GuestMemory.create({ ramBytes, harts: 1 });
  for (let at = 0; at < ramBytes; at += MIB) randomFillSync(guest.ram().subarray(at, at + MIB));
  return guest;
}

async function openPair(ramBytes: number, channels: number) {
  const source = randomGuest(ramBytes);
  const target = GuestMemory.create({ ramBytes, harts: 1 });
  target.ram().fill(0xa5);
  const regions = new RegionTable();
  const { rkey } = regions.registerRegion({ firstPage: 0, pages: target.pages, access: 'write' });
  const failures: Error[] = [];
  const onFailed = (error: Error) => failures.push(error);
  const migration = randomBytes(8).toString('hex');
  const capability = randomBytes(32).toString('hex');
  const sending = await SourceChannels.open({
    memory: source,
    migration,
    capability,
    channels,
    listenHost: '127.0.0.1',
    ports: null,
    maxBandwidthBytes: 0,
    onFailed,
  });
  const landing = await TargetChannels.open({
    memory: target,
    regions,
    migration,
    capability,
    host: '127.0.0.1',
    pagePorts: sending.pagePorts,
    onFailed,
  });
  await sending.attached(3000);
  return { source, target, regions, rkey, sending, landing, failures };
}

test('three rounds bring the target to the same bytes', async () => {
  const { source, target, rkey, sending, landing, failures } = await openPair(16 * MIB, 2);
  const all = makeBitmap(source.pages).fill(0xffffffff);
  source.ram().fill(0, 100 * PAGE_BYTES, 300 * PAGE_BYTES);
  const first = await sending.sendRound(0, all, rkey);
  assert.equal(first.pages, source.pages);
  assert.equal(first.zeroPages, 200);
  assert.equal(first.copiedBytes, 0);
  assert.equal(landing.landed().copiedBytes, 0);
  assert.equal(landing.uncovered(), 0);
  const scattered = makeBitmap(source.pages);
  for (let page = 0; page < source.pages; page += 3) {
    setBit(scattered, page);
    source.ram()[page * PAGE_BYTES]! ^= 1;
  }
  const second = await sending.sendRound(1, scattered, rkey);
  assert.equal(second.pages, Math.ceil(source.pages / 3));
  const third = await sending.sendRound(2, makeBitmap(source.pages), rkey);
  assert.equal(third.pages, 0);
  assert.deepEqual(landing.landed().rounds, [first.pages, second.pages]);
  await Promise.all([sending.close(), landing.close()]);
  assert.deepEqual(failures, []);
  assert.ok(Buffer.from(source.ram()).equals(Buffer.from(target.ram())));
});
