/** Channels that break: dialled again, counted alike on both ends, nothing lost, nothing doubled. */
import assert from 'node:assert/strict';
import { randomFillSync } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { after, type TestContext, test } from 'node:test';
import { makeBitmap } from '@godwit/machine';
import type { GodwitError, Message } from '@godwit/protocol';
import { RegionTable } from '../src/channel/regions.ts';
import type { Guest } from '../src/guest/guest.ts';
import { Rounds } from '../src/source/rounds.ts';
import { SourceChannels } from '../src/source/source-channels.ts';
import { SourceFigures } from '../src/source/source-figures.ts';
import { checkHandover, Manifest } from '../src/target/handover-check.ts';
import { TargetChannels } from '../src/target/target-channels.ts';
import { endIdleThreads } from '../src/thread.ts';
import { BreakingProxy } from './breaking-proxy.ts';
import {
  allPages,
  fault,
  gate,
  HOST,
  MIB,
  NO_HASHES,
  openPair,
  poisonedGuest,
  randomGuest,
  sameBytes,
  sourceOptions,
} from './channel-pair.ts';

after(() => endIdleThreads());

/** Puts a proxy before each port; `cuts[i]` for the i-th (page channels first, faults last). */
async function withProxies(
  t: TestContext,
  ramBytes: number,
  channels: number,
  cuts: readonly number[][],
) {
  const proxies: BreakingProxy[] = [];
  let made = 0;
  const route = async (port: number) => {
    const index = made++;
    const proxy = await BreakingProxy.before(port, cuts[index] ?? []);
    t.after(() => proxy.cut(true));
    proxies[index] = proxy;
    return proxy.port;
  };
  const pair = await openPair(t, ramBytes, channels, { route });
  return { pair, proxies };
}

test('a page channel cut three times in a round loses nothing', async (t) => {
  const cuts = [[300_000, 1_234_567, 42], [2_000_001]];
  const { pair, proxies } = await withProxies(t, 24 * MIB, 2, cuts);
  const { source, target, sending, landing, writeKey } = pair;
  // The round lasts half a second at least: the other channel must not take all that is left meanwhile.
  sending.setBandwidth(48 * MIB);
  const first = await sending.sendRound(0, allPages(source), writeKey);
  sending.setBandwidth(0);
  assert.equal(proxies[0]!.connections, 4);
  assert.ok(first.requeuedPages > 0);
  const again = makeBitmap(source.pages);
  assert.ok(sending.takeRequeued(again) > 0);
  const second = await sending.sendRound(1, again, writeKey);
  assert.equal(second.requeuedPages, 0);
  assert.deepEqual(landing.landedIn(2), [first.pages, second.pages]);
  await pair.close();
  assert.deepEqual([...pair.sourceFailures, ...pair.targetFailures], []);
  assert.ok(sameBytes(source, target));
});

test('a channel cut in the last round, behind HANDOVER, costs one more round and HANDOVER again', async (t) => {
  const { pair, proxies } = await withProxies(t, 8 * MIB, 1, [[12 * MIB]]);
  const { source, target, sending, landing, writeKey } = pair;
  const guest = {
    memory: source,
    dirtyLog: { touched: allPages(source) },
    harvest: async (into: Uint32Array) => {
      into.set(allPages(source));
      return source.pages;
    },
    countDirty: () => source.pages,
    stopHarts: async () => {},
    captureState: () => Uint8Array.of(1, 2, 3),
  } as unknown as Guest;
  const grant = { migration: 'm', mode: 'precopy', verify: false } as Message<'grant'>;
  const rounds = new Rounds(guest, grant, sending, new SourceFigures());
  rounds.key = writeKey;
  await rounds.send();
  randomFillSync(source.ram());
  assert.equal(await rounds.stopAndSendRest(true), true, 'nothing will be missing');
  const handover = rounds.handover(2);
  assert.deepEqual(handover.manifest, [source.pages, source.pages]);
  const manifest = new Manifest([...handover.manifest]);
  let revoked = false;
  const checked = checkHandover({
    handover,
    manifest,
    complete: true,
    guest: { memory: target, adoptState() {} } as unknown as Guest,
    channels: landing,
    revoke: async () => {
      revoked = true;
    },
    verify: false,
  });
  assert.equal(await rounds.restSent(), true, 'the manifest has become another');
  assert.equal(proxies[0]!.connections, 2);
  assert.equal(revoked, false, 'the target waits for what was lost');
  const [, second, third] = rounds.handover(2).manifest;
  assert.ok(second! < source.pages && third! > 0 && second! + third! === source.pages);
  manifest.amend(rounds.handover(2).manifest);
  assert.equal((await checked).missing, undefined);
  assert.ok(sameBytes(source, target));
  await pair.close();
  assert.deepEqual([...pair.sourceFailures, ...pair.targetFailures], []);
});

test('breaks in post-copy: every page comes, by push or by fault', async (t) => {
  const cuts = [[700_000, 900_000], [100_000], [5000, 9000, 100]];
  const { pair, proxies } = await withProxies(t, 16 * MIB, 2, cuts);
  const { source, target, sending, landing, landKey } = pair;
  const missing = allPages(source);
  const states = gate(target, missing);
  const hashes = await sending.hashPages(null);
  landing.startPostcopy({ missing, key: landKey, pageHashes: new Uint8Array(hashes.buffer) });
  sending.serve();
  for (let page = 3000; page < 3008; page++) assert.ok(await fault(target, 0, page));
  sending.startPush({ missing, key: landKey });
  for (let page = 1500; page < 1508; page++) assert.ok(await fault(target, 1, page));
  await landing.allPresent;
  assert.equal(states.countAbsent(), 0);
  for (const [i, proxy] of proxies.entries()) {
    assert.equal(proxy.connections, (cuts[i]?.length ?? 0) + 1);
  }
  await pair.close();
  assert.deepEqual([...pair.sourceFailures, ...pair.targetFailures], []);
  assert.ok(sameBytes(source, target));
});

/** So much the source says before it has read anything but the request. */
const SWITCHING_BYTES = Buffer.byteLength(
  'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
    `Sec-WebSocket-Accept: ${'x'.repeat(28)}\r\n\r\n`,
);

test('a connection that breaks before its ATTACH is read takes back nothing of the one before', async (t) => {
  const cuts = [[10 * MIB, SWITCHING_BYTES, SWITCHING_BYTES]];
  const { pair, proxies } = await withProxies(t, 16 * MIB, 1, cuts);
  const { source, target, sending, landing, writeKey } = pair;
  const first = await sending.sendRound(0, allPages(source), writeKey);
  assert.equal(proxies[0]!.connections, 4);
  const again = makeBitmap(source.pages);
  assert.equal(sending.takeRequeued(again), first.requeuedPages);
  const second = await sending.sendRound(1, again, writeKey);
  assert.equal(first.pages + second.pages, source.pages);
  const landed = landing.landedIn(2);
  assert.ok(landed[0]! >= first.pages && landed[1]! === second.pages);
  await pair.close();
  assert.deepEqual([...pair.sourceFailures, ...pair.targetFailures], []);
  assert.ok(sameBytes(source, target));
});

test('the same of the faults channel, once answers were acknowledged', async (t) => {
  const cuts = [[], [40 * 4200, SWITCHING_BYTES]];
  const { pair, proxies } = await withProxies(t, 1 * MIB, 1, cuts);
  const { source, target, sending, landing, landKey } = pair;
  const missing = allPages(source);
  gate(target, missing);
  landing.startPostcopy({ missing, key: landKey, pageHashes: NO_HASHES });
  sending.serve();
  for (let page = 0; page < 80; page++) assert.ok(await fault(target, page % 2, page));
  assert.equal(proxies[1]!.connections, 3);
  await pair.close();
  assert.deepEqual([...pair.sourceFailures, ...pair.targetFailures], []);
});

test('a faults port that is closed, or silent, fails the target while its first round lands', async (t) => {
  const silent = createServer(() => {}).listen(0, HOST);
  const closed = createServer().listen(0, HOST);
  t.after(() => silent.close());
  await Promise.all([once(silent, 'listening'), once(closed, 'listening')]);
  const ports = [silent, closed].map((server) => (server.address() as AddressInfo).port);
  closed.close();
  for (const faultsPort of ports) {
    const options = sourceOptions(randomGuest(MIB), 1);
    const source = await SourceChannels.open(options);
    t.after(() => source.close());
    const failed = Promise.withResolvers<GodwitError>();
    const target = await TargetChannels.open({
      ...{ memory: poisonedGuest(MIB), fresh: false, regions: new RegionTable() },
      ...{ migration: options.migration, capability: options.capability, host: HOST },
      ...{ pagePorts: source.pagePorts, faultsPort, readKey: source.readKey },
      onFailed: failed.resolve,
    });
    t.after(() => target.close());
    assert.equal((await failed.promise).code, 'channel.refused');
  }
});

test('a source that cannot be reached again fails the target, in rounds', async (t) => {
  const { pair, proxies } = await withProxies(t, 1 * MIB, 1, []);
  await proxies[0]!.cut(true);
  await assert.rejects(pair.landing.allPresent, { code: 'channel.refused' });
  assert.equal(pair.targetFailures[0]?.code, 'channel.refused');
  await pair.close();
});
