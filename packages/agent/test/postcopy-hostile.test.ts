/** A target that breaks the rules of the faults channel, and a source that lies about a page. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { memoryMap, type PageStates } from '@godwit/machine';
import { OPCODE, PAGE_BYTES } from '@godwit/protocol';
import { SourceChannels } from '../src/source/source-channels.ts';
import { endIdleThreads } from '../src/thread.ts';
import { BreakingProxy } from './breaking-proxy.ts';
import {
  frameBytes,
  gate,
  HOST,
  MIB,
  openPair,
  type Pair,
  randomGuest,
  sourceOptions,
} from './channel-pair.ts';
import { until } from './support/agent-parts.ts';

after(() => endIdleThreads());

function readFrame(sequence: number, key: number, first: number, pages: number): Buffer {
  const run = Buffer.from(Uint32Array.of(first, pages).buffer);
  return frameBytes({ opcode: OPCODE.READ, runs: 1, pages, key, sequence }, run);
}

test('READ: a wrong key, pages outside, and too many at once close the channel', async (t) => {
  const flood = (key: number) => Array.from({ length: 300 }, (_, i) => readFrame(i + 1, key, 0, 1));
  const cases: [string, (key: number) => Buffer[], boolean, RegExp][] = [
    ['wrong key', (key) => [readFrame(1, key ^ 1, 0, 1)], true, /no such key/],
    ['outside', (key) => [readFrame(1, key, 255, 2)], true, /outside/],
    ['never acknowledged', flood, true, /acknowledged/],
    ['before the guest is stopped', flood, false, /too early/],
    ['a sequence that jumps', (key) => [readFrame(2, key, 0, 1)], true, /sequence/],
  ];
  for (const [what, reads, serving, expected] of cases) {
    const options = sourceOptions(randomGuest(MIB), 1);
    const failed = Promise.withResolvers<Error>();
    const source = await SourceChannels.open({ ...options, onFailed: failed.resolve });
    t.after(() => source.close());
    if (serving) source.serve();
    const socket = new WebSocket(
      `ws://${HOST}:${source.faultsPort}/v1/faults/${options.migration}`,
    );
    const attach = { opcode: OPCODE.ATTACH, round: 1 };
    socket.onopen = () => {
      socket.send(frameBytes(attach, Buffer.from(options.capability)));
      for (const read of reads(source.readKey)) socket.send(read);
    };
    assert.match((await failed.promise).message, expected, what);
    socket.close();
    await source.close();
  }
});

const WRONG_PAGE = 70;

/** Asked for again it is wrong again; it never becomes present, and the others do. */
async function failsByDigest({ landing, targetFailures }: Pair): Promise<void> {
  await until('it failed', () => targetFailures.length > 0);
  assert.equal(targetFailures[0]?.code, 'migration.digest');
  assert.equal(landing.remaining(), 1);
}

/** Sixteen pages are missing, and what the source will push for one of them is not what it hashed. */
async function pushWithOneWrongPage(pair: Pair): Promise<PageStates> {
  const { source, target, sending, landing, landKey } = pair;
  const missing = new Uint32Array(source.pages / 32);
  missing[2] = 0x0000ffff;
  const hashes = await sending.hashPages(missing);
  source.ram()[WRONG_PAGE * PAGE_BYTES + 5]! ^= 1;
  const states = gate(target, missing);
  landing.startPostcopy({ missing, key: landKey, pageHashes: new Uint8Array(hashes.buffer) });
  sending.serve();
  sending.startPush({ missing, key: landKey });
  return states;
}

test('a wrong page in the middle of a pushed run is refused, the others of the run are kept', async (t) => {
  const pair = await openPair(t, MIB, 1);
  const states = await pushWithOneWrongPage(pair);
  await failsByDigest(pair);
  await pair.close();
  assert.equal(states.get(WRONG_PAGE), memoryMap.PAGE_ABSENT);
  for (let page = 64; page < 70; page++) assert.equal(states.get(page), memoryMap.PAGE_PRESENT);
});

test('a wrong page that comes before the faults channel is open is asked for when it is', async (t) => {
  const opened = Promise.withResolvers<void>();
  const faultsRoute = async (port: number) => {
    const proxy = await BreakingProxy.before(port, [], opened.promise);
    t.after(() => proxy.cut(true));
    return proxy.port;
  };
  const pair = await openPair(t, MIB, 1, { faultsRoute });
  await pushWithOneWrongPage(pair);
  while (pair.landing.remaining() > 1) await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(pair.targetFailures, []);
  opened.resolve();
  await failsByDigest(pair);
});
