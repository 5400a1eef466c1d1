/** Regions, queue pairs, completions: what may be touched, what is sent, what is heard back. */
import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { after, test } from 'node:test';
import { GuestMemory } from '@godwit/machine';
import {
  decodeHeader,
  emptyHeader,
  FRAME_HEADER_BYTES,
  FRAME_PAGES_MAX,
  OPCODE,
  PAGE_BYTES,
  ZERO_PAGES_MAX,
} from '@godwit/protocol';
import fc from 'fast-check';
import { FrameWriter } from '../src/channel/frame-writer.ts';
import { Pacer } from '../src/channel/pacer.ts';
import { FAULTS_CHANNEL, RegionTable } from '../src/channel/regions.ts';
import { Staging } from '../src/channel/staging.ts';
import { CompletionQueue, QueuePair, type WorkRequest } from '../src/channel/verbs.ts';
import { StripeTable } from '../src/source/stripe-table.ts';
import { endIdleThreads } from '../src/thread.ts';
import { allPages, HOST, MIB, openPair, poisonedGuest, scribble } from './channel-pair.ts';

after(() => endIdleThreads());

test('a region opens to its key, for its pages, until it is revoked, in every table on the memory', () => {
  const table = new RegionTable();
  const { rkey } = table.registerRegion({ firstPage: 10, pages: 20, access: 'land' });
  const other = new RegionTable(table.sab);
  const entry = other.find(rkey);
  assert.ok(entry >= 0);
  assert.equal(other.access(entry), 'land');
  assert.ok(other.covers(entry, 10, 20));
  for (const [first, pages] of [
    [9, 1],
    [29, 2],
    [0, 100],
    [30, 1],
  ] as const) {
    assert.ok(!other.covers(entry, first, pages));
  }
  table.revoke(rkey);
  assert.ok(!other.holds(entry, rkey));
  assert.equal(other.find(rkey), -1);
  table.revoke(rkey);
});

test('a channel that places under a key is seen until it finishes, also when the key is gone', () => {
  const table = new RegionTable();
  const { rkey } = table.registerRegion({ firstPage: 0, pages: 8, access: 'write' });
  const channels = new RegionTable(table.sab);
  assert.equal(channels.begin(1, rkey), channels.find(rkey));
  assert.equal(channels.begin(FAULTS_CHANNEL, 7), -1);
  table.revoke(rkey);
  const placing = () => [0, 1, FAULTS_CHANNEL].filter((channel) => table.isPlacing(channel, rkey));
  assert.deepEqual(placing(), [1]);
  assert.equal(channels.begin(0, rkey), -1, 'it was taken away before');
  assert.deepEqual(placing(), [0, 1], 'asked for nothing, which is safe');
  for (const channel of [0, 1]) channels.finish(channel);
  assert.deepEqual(placing(), []);
});

test('key 0 opens nothing, keys differ, and a full table says so', () => {
  const table = new RegionTable();
  assert.equal(table.find(0), -1);
  const keys = new Set<number>();
  const register = () => table.registerRegion({ firstPage: 0, pages: 1, access: 'read' });
  for (let i = 0; i < 64; i++) keys.add(register().rkey);
  assert.equal(keys.size, 64);
  assert.ok(!keys.has(0));
  assert.throws(register, RangeError);
});

/** A socket that keeps what is written, by copy at the moment it is written. */
class Sink extends EventEmitter {
  chunks: Buffer[] = [];
  /** The same, not copied: what the kernel would read if it were late. */
  handed: Uint8Array[] = [];
  written: (() => void)[] = [];
  cork(): void {}
  uncork(): void {}
  write(chunk: Uint8Array, done?: () => void): boolean {
    this.chunks.push(Buffer.from(chunk));
    this.handed.push(chunk);
    if (done) this.written.push(done);
    return true;
  }
}

interface Sent {
  readonly opcode: number;
  readonly runs: number[][];
  readonly pages: number;
  readonly sequence: number;
}

function sent(sink: Sink): Sent[] {
  const bytes = Buffer.concat(sink.chunks);
  const frames: Sent[] = [];
  for (let at = 0; at < bytes.length; ) {
    const short = bytes[at + 1]!;
    const [length, start] =
      short < 126
        ? [short, at + 2]
        : short === 126
          ? [bytes.readUInt16BE(at + 2), at + 4]
          : [Number(bytes.readBigUInt64BE(at + 2)), at + 10];
    const view = new DataView(bytes.buffer, bytes.byteOffset + start, length);
    const header = decodeHeader(view, 0, 'source', 'pages', emptyHeader());
    const runs = [];
    for (let i = 0; i < header.runs; i++) {
      const word = start + FRAME_HEADER_BYTES + i * 8;
      runs.push([bytes.readUInt32LE(word), bytes.readUInt32LE(word + 4)]);
    }
    if (header.opcode === OPCODE.WRITE) runs.push([header.firstPage, header.pages]);
    frames.push({ opcode: header.opcode, runs, pages: header.pages, sequence: header.sequence });
    at = start + length;
  }
  return frames;
}

function queuePair(ramBytes = MIB) {
  const guest = poisonedGuest(ramBytes);
  const sink = new Sink();
  const writer = new FrameWriter(sink as unknown as Socket, false);
  const completions = new CompletionQueue();
  return { guest, sink, completions, queue: new QueuePair(guest, writer, completions, () => {}) };
}

const write = (id: number, sge: number[], signalled = true): WorkRequest => ({
  id,
  opcode: 'WRITE',
  key: 5,
  round: 0,
  flags: 0,
  signalled,
  sge: Uint32Array.from(sge),
});

test('a request becomes frames by what its pages hold', () => {
  const { guest, sink, queue } = queuePair();
  guest.ram().fill(0, 30 * PAGE_BYTES, 33 * PAGE_BYTES);
  queue.post(write(1, [0, 4, 10, 16, 28, 30]));
  assert.deepEqual(
    sent(sink).map(({ opcode, runs }) => [opcode, runs]),
    [
      [OPCODE.WRITE, [[10, 16]]],
      [OPCODE.WRITE, [[33, 25]]],
      [OPCODE.ZERO, [[30, 3]]],
      [
        OPCODE.WRITE_LIST,
        [
          [0, 4],
          [28, 2],
        ],
      ],
    ],
  );
  assert.equal(queue.copiedBytes, 6 * PAGE_BYTES);
});

test('pages that are known to be zero are not looked at', () => {
  const { sink, queue } = queuePair();
  queue.post({ ...write(1, [0, 4, 10, 16]), zeros: true });
  queue.sendZeros();
  const [frame, ...others] = sent(sink);
  assert.deepEqual(
    [frame!.opcode, frame!.runs],
    [
      OPCODE.ZERO,
      [
        [0, 4],
        [10, 16],
      ],
    ],
  );
  assert.deepEqual(others, []);
});

test('every page of a request is in exactly one frame, whatever is zero', () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.nat(255), { minLength: 1, maxLength: 256 }),
      fc.oneof(fc.array(fc.nat(255)), fc.constant(Array.from({ length: 256 }, (_, i) => i))),
      (wanted, zeros) => {
        const { guest, sink, completions, queue } = queuePair();
        for (const page of zeros) guest.page(page).fill(0);
        const stripes = StripeTable.make(guest.pages);
        const dirty = new Uint32Array(guest.pages / 32);
        for (const page of wanted) dirty[page >>> 5]! |= 1 << (page & 31);
        stripes.load(dirty, dirty);
        const posted: number[] = [];
        for (let id = stripes.claim(0); id >= 0; id = stripes.claim(0)) {
          queue.post({ ...write(id, []), sge: stripes.runs(id, 128) });
          posted.push(id);
        }
        queue.sendZeros();
        const frames = sent(sink);
        const covered = frames.flatMap(({ runs }) =>
          runs.flatMap(([first, count]) => Array.from({ length: count! }, (_, i) => first! + i)),
        );
        assert.deepEqual(
          covered.sort((a, b) => a - b),
          wanted.sort((a, b) => a - b),
        );
        for (const { opcode, runs } of frames) {
          const isZero = opcode === OPCODE.ZERO;
          for (const [first] of runs) assert.equal(zeros.includes(first!), isZero);
        }
        queue.acknowledgeAll();
        const completed = completions.poll().map(({ id }) => id);
        assert.deepEqual(completed, posted, 'each completes once, in the order of posting');
      },
    ),
    { numRuns: 60 },
  );
});

test('requests of zeros leave in one frame, as many as fit, and complete together', () => {
  const guest = GuestMemory.create({ ramBytes: 16 * MIB, harts: 1 });
  const sink = new Sink();
  const completions = new CompletionQueue();
  const writer = new FrameWriter(sink as unknown as Socket, false);
  const queue = new QueuePair(guest, writer, completions, () => {});
  for (let id = 0; id < 20; id++) queue.post(write(id, [id * 128, 128]));
  assert.deepEqual(
    sent(sink).map(({ opcode, pages }) => [opcode, pages]),
    [[OPCODE.ZERO, ZERO_PAGES_MAX]],
    'the first went because the next did not fit',
  );
  queue.sendZeros();
  queue.sendZeros();
  assert.deepEqual(sent(sink)[1]?.runs, [[2048, 512]]);
  queue.acknowledge(1);
  assert.equal(completions.poll().length, 16);
  queue.post(write(20, [2560, 128]));
  queue.flush();
  const flushed = completions.poll().map(({ id, status }) => `${id} ${status}`);
  assert.deepEqual(
    flushed,
    [16, 17, 18, 19, 20].map((id) => `${id} flushed`),
  );
  queue.post(write(21, [3000, 1]));
  queue.sendZeros();
  assert.deepEqual(sent(sink)[2]?.runs, [[3000, 1]], 'nothing of what was given up');
});

test('zeros that wait go before what is posted after them, and not with another key, round or order', () => {
  const { guest, sink, queue } = queuePair();
  guest.ram().fill(0, 0, 8 * PAGE_BYTES);
  queue.post(write(1, [4, 2]));
  queue.post(write(2, [20, 1]));
  queue.post(write(3, [4, 2]));
  queue.post({ ...write(4, [6, 1]), round: 1 });
  queue.post({ ...write(5, [7, 1]), round: 1, key: 6 });
  queue.post({ ...write(6, [2, 1]), round: 1, key: 6 });
  queue.sendZeros();
  const { ZERO, WRITE_LIST } = OPCODE;
  assert.deepEqual(
    sent(sink).map(({ opcode, runs: [run] }) => [opcode, run![0]]),
    [
      [ZERO, 4],
      [WRITE_LIST, 20],
      [ZERO, 4],
      [ZERO, 6],
      [ZERO, 7],
      [ZERO, 2],
    ],
  );
});

test('completions: signalled ones when all frames are acknowledged, failures always', () => {
  const { queue, completions } = queuePair();
  queue.post(write(1, [0, 20, 40, 1]));
  queue.post(write(2, [60, 1], false));
  queue.post(write(3, [70, 1], false));
  queue.acknowledge(1);
  assert.deepEqual(completions.poll(), [], 'the second frame of the request is open');
  queue.acknowledge(3);
  assert.deepEqual(completions.poll(), [{ id: 1, status: 'success', pages: 21 }]);
  assert.equal(queue.landedPages, 22);
  queue.flush();
  assert.deepEqual(completions.poll(), [{ id: 3, status: 'flushed', pages: 1 }]);
  assert.equal(queue.inFlightBytes, 0);
  assert.throws(() => queue.acknowledge(99), { code: 'wire.bad_frame' });
  assert.throws(() => queue.acknowledge(2), { code: 'wire.bad_frame' });
});

test('a request that is too large, out of order, empty or outside the guest is our own fault', () => {
  const large = queuePair(3 * MIB);
  large.queue.post(write(1, [0, FRAME_PAGES_MAX]));
  assert.throws(() => large.queue.post(write(1, [0, FRAME_PAGES_MAX + 1])), RangeError);
  const { queue } = queuePair();
  for (const sge of [[], [5, 1, 3, 1], [255, 2], [0, 257], [0, 0]]) {
    assert.throws(() => queue.post(write(1, sge)), RangeError, `[${sge}]`);
  }
});

test('staging buffers are reused only when the kernel has taken them', () => {
  const { guest, sink, queue } = queuePair();
  queue.post(write(1, [0, 1]));
  guest.page(2).fill(0x11);
  queue.post(write(2, [2, 1]));
  const [first, second] = sink.handed.filter((chunk) => chunk.length === PAGE_BYTES);
  assert.ok(first!.every((byte) => byte === 0xa5));
  assert.ok(second!.every((byte) => byte === 0x11));
  for (const done of sink.written) done();
  queue.post(write(3, [0, 1]));
});

test('a staging buffer fits what it is wanted for, and serves again', () => {
  const staging = new Staging();
  for (let pages = 1; pages <= FRAME_PAGES_MAX; pages++) {
    const buffer = staging.take(pages);
    assert.ok(buffer.length >= pages * PAGE_BYTES && buffer.length < 2 * pages * PAGE_BYTES);
    staging.giveBack(buffer);
    assert.equal(staging.take(pages), buffer);
    staging.giveBack(buffer);
  }
});

test('the pacer keeps to its rate over any 100 ms, in frames no larger than that allows', () => {
  for (const rate of [1e6, 10e6, 1e9]) {
    const pacer = new Pacer();
    pacer.setRate(rate, 0);
    let sentBytes = 0;
    let nowMs = 0;
    const history: number[] = [];
    for (; nowMs < 1000; nowMs++) {
      while (pacer.waitMs(nowMs) === 0) {
        const bytes = pacer.framePagesMax * PAGE_BYTES;
        pacer.spend(bytes);
        sentBytes += bytes;
      }
      history.push(sentBytes);
    }
    for (let i = 100; i < history.length; i++) {
      const share = (history[i]! - history[i - 100]!) / (rate / 10);
      assert.ok(share > 0.85 && share < 1.15, `${share} of ${rate} at ${i} ms`);
    }
  }
});

test('a key revoked in mid-round stops the round with a protection error at both ends', async (t) => {
  const pair = await openPair(t, 32 * MIB, 2);
  const { source, target, sending, landing, writeKey } = pair;
  // Slow enough that the round is certainly under way when the key goes.
  sending.setBandwidth(16 * MIB);
  const round = sending.sendRound(0, allPages(source), writeKey);
  const failed = assert.rejects(round, { code: 'channel.protection' });
  while (landing.landed().pages === 0) await once(new Ticker(), 'tick');
  await landing.revoke(writeKey);
  const landedThen = Buffer.from(target.ram());
  await failed;
  assert.ok(Buffer.from(target.ram()).equals(landedThen), 'nothing landed after the revocation');
  assert.ok(landing.landed().pages < source.pages);
  await assert.rejects(landing.allPresent, { code: 'channel.protection' });
});

test('after a revocation not a byte lands of a frame that was half there', async (t) => {
  const held: (() => void)[] = [];
  // Between the two ends of the page channel: lets 100 KB through, and the rest when it is told.
  const route = async (port: number) => {
    const server = createServer({ noDelay: true }, (client) => {
      const upstream = connect({ host: HOST, port, noDelay: true });
      let left = 100_000;
      client.pipe(upstream);
      upstream.on('data', (chunk: Buffer) => {
        const now = chunk.subarray(0, left);
        left -= now.length;
        client.write(now);
        if (chunk.length > now.length) held.push(() => client.write(chunk.subarray(now.length)));
      });
      for (const socket of [client, upstream]) socket.on('error', () => {});
      client.once('close', () => upstream.destroy());
    });
    server.listen(0, HOST);
    await once(server, 'listening');
    t.after(() => server.close());
    return (server.address() as AddressInfo).port;
  };
  const pair = await openPair(t, 4 * MIB, 1, { route });
  const { source, target, sending, landing, writeKey } = pair;
  // 256 KiB less a page: of a frame that owes more, the reader is told only when all of it has come.
  const dirty = allPages(source).fill(0);
  dirty.fill(0xffffffff, 0, 1);
  dirty[1] = 0x7fffffff;
  const failed = assert.rejects(sending.sendRound(0, dirty, writeKey));
  const isHalfThere = () => target.page(20).every((byte, i) => byte === source.page(20)[i]);
  while (!isHalfThere() || held.length === 0) await once(new Ticker(), 'tick');
  await landing.revoke(writeKey);
  const landedThen = Buffer.from(target.ram());
  for (const send of held) send();
  await assert.rejects(landing.allPresent, { code: 'channel.protection' });
  await failed;
  assert.ok(Buffer.from(target.ram()).equals(landedThen));
});

class Ticker extends EventEmitter {
  constructor() {
    super();
    setImmediate(() => this.emit('tick'));
  }
}

test('the wrong key, and pages outside its region, are refused by the target', async (t) => {
  for (const narrow of [false, true]) {
    const pair = await openPair(t, MIB, 1);
    const { source, regions, sending, landKey } = pair;
    const first = { firstPage: 0, pages: 10, access: 'write' } as const;
    const key = narrow ? regions.registerRegion(first).rkey : landKey;
    const dirty = scribble(source, 5);
    await assert.rejects(sending.sendRound(0, dirty, key), { code: 'channel.protection' });
    await assert.rejects(pair.landing.allPresent, { code: 'channel.protection' });
    await pair.close();
  }
});
