/** Post-copy goes on whatever breaks: threads that die at either end, links that are away, a peer's bad frame. */
import assert from 'node:assert/strict';
import { after, type TestContext, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { memoryMap } from '@godwit/machine';
import { endIdleThreads } from '../src/thread.ts';
import { BreakingProxy } from './breaking-proxy.ts';
import {
  allPages,
  fault,
  gate,
  MIB,
  NO_HASHES,
  openPair,
  type Pair,
  sameBytes,
} from './channel-pair.ts';
import { until } from './support/agent-parts.ts';

after(() => endIdleThreads());

type Kind = 'landing' | 'faultsClient' | 'pageChannel' | 'faultsServer';

/** What only the one kind is opened with. */
const OPENED_WITH: Record<Kind, string> = {
  landing: 'port counters',
  faultsClient: 'histogram',
  pageChannel: 'stripes',
  faultsServer: 'row',
};

/** The threads of the test, as they are opened. */
function watchThreads(t: TestContext): (kind: Kind) => Worker[] {
  const opened: { worker: Worker; setup: object }[] = [];
  const { postMessage } = Worker.prototype;
  t.mock.method(Worker.prototype, 'postMessage', function (this: Worker, message: never) {
    const { command, args } = (message ?? {}) as { command?: string; args: object[] };
    if (command === 'open') opened.push({ worker: this, setup: args[0]! });
    postMessage.call(this, message);
  });
  return (kind) =>
    opened
      .filter(({ setup }) => OPENED_WITH[kind].split(' ').every((field) => field in setup))
      .map(({ worker }) => worker);
}

/** A thread dies of what it did not expect, at a moment when it does nothing else. */
async function kill(worker: Worker): Promise<void> {
  worker.postMessage(null);
  await new Promise((resolve) => worker.once('exit', resolve));
}

/** A post-copy in which every page is missing; pushed slowly, so that there is time to break it. */
async function startPostcopy(pair: Pair): Promise<void> {
  const { source, target, sending, landing, landKey } = pair;
  const missing = allPages(source);
  const hashes = await sending.hashPages(null);
  gate(target, missing);
  landing.startPostcopy({ missing, key: landKey, pageHashes: new Uint8Array(hashes.buffer) });
  sending.serve();
  sending.setBandwidth(16 * MIB);
  sending.startPush({ missing, key: landKey });
  await until('pages come', () => landing.remaining() < source.pages - 64);
}

/** As the runner does while pages are missing, only more often. */
async function allPresent({ landing }: Pair): Promise<void> {
  const asking = setInterval(() => landing.requestMissing(), 250);
  const late = new AbortController();
  try {
    const never = setTimeout(60_000, 'late', { signal: late.signal });
    assert.equal(await Promise.race([landing.allPresent, never]), undefined);
  } finally {
    clearInterval(asking);
    late.abort();
  }
}

for (const kind of ['landing', 'faultsClient', 'pageChannel', 'faultsServer'] as const) {
  test(`a ${kind} thread that dies is followed by another, and every page comes`, async (t) => {
    const threads = watchThreads(t);
    const pair = await openPair(t, 8 * MIB, 1);
    const { source, target, sending, landing } = pair;
    await startPostcopy(pair);
    await kill(threads(kind)[0]!);
    assert.ok(landing.remaining() > 0, 'it died before the end');
    for (let page = source.pages - 1; page > source.pages - 4; page--) {
      assert.ok(await fault(target, 0, page), 'a hart gets its page');
    }
    sending.setBandwidth(0);
    await allPresent(pair);
    assert.equal(threads(kind).length, 2);
    await pair.close();
    assert.equal([...pair.sourceFailures, ...pair.targetFailures][0]?.code, 'internal');
    assert.ok(sameBytes(source, target));
  });
}

test('a page that a dead thread left half filled is asked for again', async (t) => {
  const threads = watchThreads(t);
  // Silent from the middle of a pushed run on: nothing closes the socket.
  const route = async (port: number) => {
    const proxy = await BreakingProxy.before(port, []);
    t.after(() => proxy.cut(true));
    proxy.holdAfter = 200_000;
    return proxy.port;
  };
  const pair = await openPair(t, 1 * MIB, 1, { route });
  const { source, target, sending, landing, landKey } = pair;
  const missing = allPages(source);
  const states = gate(target, missing);
  landing.startPostcopy({ missing, key: landKey, pageHashes: NO_HASHES });
  sending.serve();
  sending.startPush({ missing, key: landKey });
  await until('the link is silent', () => landing.remaining() <= source.pages - 48);
  assert.ok(states.count(memoryMap.PAGE_LANDING) > 0);
  await kill(threads('landing')[0]!);
  await allPresent(pair);
  await pair.close();
  assert.ok(sameBytes(source, target));
});

test('links that are away for long before the push begins are waited for', {
  timeout: 60_000,
}, async (t) => {
  const proxies: BreakingProxy[] = [];
  const route = async (port: number) => {
    const proxy = await BreakingProxy.before(port, []);
    t.after(() => proxy.cut(true));
    proxies.push(proxy);
    return proxy.port;
  };
  const pair = await openPair(t, 1 * MIB, 1, { route });
  const { source, target, sending, landing, landKey } = pair;
  const missing = allPages(source);
  gate(target, missing);
  landing.startPostcopy({ missing, key: landKey, pageHashes: NO_HASHES });
  sending.serve();
  for (const proxy of proxies) proxy.away = true;
  await Promise.all(proxies.map((proxy) => proxy.cut(false)));
  await setTimeout(5_500);
  assert.deepEqual(pair.sourceFailures, []);
  sending.startPush({ missing, key: landKey });
  for (const proxy of proxies) proxy.away = false;
  await landing.allPresent;
  await pair.close();
  assert.deepEqual([...pair.sourceFailures, ...pair.targetFailures], []);
  assert.ok(sameBytes(source, target));
});

test('a peer that breaks the rules costs a connection, and what it keeps back is seen', async (t) => {
  const pair = await openPair(t, 4 * MIB, 2);
  const { source, target, sending, landing, regions, landKey } = pair;
  await startPostcopy(pair);
  // Between two pages the key is gone: a broken rule like any other.
  regions.revoke(landKey);
  await until('channels fail', () => pair.targetFailures.length > 0);
  assert.match(landing.trouble ?? '', /key/);
  regions.registerRegion({ firstPage: 0, pages: target.pages, access: 'land' }, landKey);
  sending.setBandwidth(0);
  await allPresent(pair);
  await pair.close();
  assert.ok(sameBytes(source, target));
});
