/**
 * The landing reader on literal bytes: every split gives the same pages, garbled input a typed error.
 */
import assert from 'node:assert/strict';
import { randomFillSync } from 'node:crypto';
import { test } from 'node:test';
import {
  emptyHeader,
  encodeHeader,
  FRAME_HEADER_BYTES,
  FRAMES,
  type FrameHeader,
  GodwitError,
  OPCODE,
  PAGE_BYTES,
} from '@godwit/protocol';
import fc from 'fast-check';
import { encodeMessageHeader, WS_BINARY, WS_PING } from '../src/channel/websocket-wire.ts';
import { type LandingPlace, LandingReader } from '../src/target/landing-reader.ts';

const PAGES = 64;

/** Everything the reader did, to be compared between splits. */
class Recorder implements LandingPlace {
  readonly ram = new Uint8Array(PAGES * PAGE_BYTES).fill(0xa5);
  readonly log: string[] = [];
  readonly claimed = new Set<number>();
  readonly written = new Set<number>();
  lost: (page: number) => boolean = () => false;
  isZero: (page: number) => boolean = () => false;
  error: GodwitError | null = null;
  copiedBytes = 0;
  /** As in the rounds: nobody asks for a page before it is filled. */
  allTaken = false;
  dueBytes = 0;

  /** From `admit` to `finish`: only then may bytes land. */
  isPlacing = false;

  admit(header: FrameHeader): void {
    assert.ok(!this.isPlacing, 'one frame at a time');
    this.isPlacing = true;
    this.log.push(`admit ${header.opcode}`);
  }
  admitRun(_header: FrameHeader, first: number, pages: number): void {
    if (first + pages > PAGES) {
      throw new GodwitError('channel.protection', { channel: 0, key: 1, why: 'outside' });
    }
  }
  stillAdmitted(): boolean {
    return true;
  }
  writes(first: number, pages: number): void {
    for (let page = first; page < first + pages; page++) this.written.add(page);
  }
  zeros(first: number, pages: number): void {
    for (let page = first; page < first + pages; page++) {
      if (!this.claim(page)) continue;
      if (!this.isZero(page)) this.ram.fill(0, page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
      this.landed(page);
    }
  }
  takesAll(): boolean {
    return this.allTaken;
  }
  claim(page: number): boolean {
    assert.ok(this.isPlacing);
    if (this.lost(page)) return false;
    this.claimed.add(page);
    return true;
  }
  landed(page: number): void {
    assert.ok(this.claimed.delete(page));
    this.log.push(`landed ${page}`);
  }
  unclaim(page: number): void {
    assert.ok(this.claimed.delete(page));
    this.log.push(`unclaim ${page}`);
  }
  finish(): void {
    this.isPlacing = false;
  }
  frameLanded(header: FrameHeader): void {
    assert.ok(!this.isPlacing);
    this.log.push(`frame ${header.sequence}`);
  }
  due(bytes: number): void {
    this.dueBytes = bytes;
  }
  copied(bytes: number): void {
    this.copiedBytes += bytes;
  }
  barrier(header: FrameHeader): void {
    this.log.push(`barrier ${header.round}`);
  }
  ping(payload: Uint8Array): void {
    this.log.push(`ping ${Buffer.from(payload).toString('hex')}`);
  }
  closed(payload: Uint8Array): void {
    this.log.push(`closed ${payload.length}`);
  }
  failed(error: GodwitError): void {
    assert.equal(this.error, null, 'one error');
    this.error = error;
  }
}

const pageBytes = randomFillSync(Buffer.alloc(PAGES * PAGE_BYTES));

function message(opcode: number, payload: Uint8Array): Buffer {
  const bytes = Buffer.alloc(10 + payload.length);
  const start = encodeMessageHeader(bytes, 0, opcode, payload.length);
  bytes.set(payload, start);
  return bytes.subarray(0, start + payload.length);
}

function frame(sequence: number, fields: Partial<FrameHeader>, ...parts: Uint8Array[]): Buffer {
  const header = Buffer.alloc(FRAME_HEADER_BYTES);
  const view = new DataView(header.buffer, header.byteOffset);
  encodeHeader(view, 0, { ...emptyHeader(), sequence, key: 1, ...fields });
  return message(WS_BINARY, Buffer.concat([header, ...parts]));
}

function runs(...words: number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(words).buffer);
}

const page = (index: number, pages = 1) =>
  pageBytes.subarray(index * PAGE_BYTES, (index + pages) * PAGE_BYTES);

/** A ping, a long run, scattered pages, zeros, a barrier, a short run: every kind and its neighbours. */
const MESSAGES = [
  message(WS_PING, Buffer.from('abc')),
  frame(1, { opcode: OPCODE.WRITE, firstPage: 2, pages: 16 }, page(2, 16)),
  frame(
    2,
    { opcode: OPCODE.WRITE_LIST, runs: 2, pages: 3 },
    runs(20, 1, 30, 2),
    page(20),
    page(30, 2),
  ),
  frame(3, { opcode: OPCODE.ZERO, runs: 2, pages: 3 }, runs(0, 1, 40, 2)),
  frame(4, { opcode: OPCODE.BARRIER, round: 9 }),
  message(WS_PING, Buffer.alloc(125, 7)),
  frame(5, { opcode: OPCODE.WRITE, firstPage: 50, pages: 1 }, page(50)),
  message(WS_PING, Buffer.alloc(0)),
];
const STREAM = Buffer.concat(MESSAGES);

const FAULTS_MESSAGES = [
  frame(1, { opcode: OPCODE.READ_RESPONSE, runs: 1, pages: 1 }, runs(5, 1), page(5)),
  frame(2, { opcode: OPCODE.READ_RESPONSE, runs: 1, pages: 2 }, runs(8, 2), page(8, 2)),
  message(WS_PING, Buffer.from('x')),
  frame(3, { opcode: OPCODE.READ_RESPONSE, runs: 1, pages: 1 }, runs(1, 1), page(1)),
];

/** Reads the stream in pieces that end at the given offsets, as a socket would fill the views. */
function read(
  stream: Buffer,
  ends: readonly number[],
  kind: 'pages' | 'faults' = 'pages',
): Recorder {
  const place = new Recorder();
  readInto(place, stream, ends, kind);
  return place;
}

function readInto(
  place: Recorder,
  stream: Buffer,
  ends: readonly number[],
  kind: 'pages' | 'faults' = 'pages',
): LandingReader {
  return readOn(new LandingReader(kind, place), stream, ends);
}

/** @param after called with the offset after each read */
function readOn(
  reader: LandingReader,
  stream: Buffer,
  ends: readonly number[],
  after: (at: number) => void = () => {},
): LandingReader {
  let at = 0;
  for (const end of [...ends, stream.length]) {
    while (at < end) {
      const view = reader.view();
      assert.ok(view.length > 0, 'a view is never empty');
      const count = Math.min(view.length, end - at);
      view.set(stream.subarray(at, at + count));
      at += count;
      reader.received(count);
      after(at);
    }
  }
  return reader;
}

/** Every offset in the headers and descriptors, both sides of every page's end, some in between. */
function* splits(messages: readonly Buffer[]): Generator<number> {
  let start = 0;
  for (const { length } of messages) {
    for (let at = 1; at <= length; at++) {
      if (at < 80 || length - at < 3 || at % 1021 === 0 || (length - at) % PAGE_BYTES < 2) {
        yield start + at;
      }
    }
    start += length;
  }
}

function landsTheSame(stream: Buffer, kind: 'pages' | 'faults', cuts: Iterable<number>): void {
  const whole = read(stream, [], kind);
  assert.equal(whole.error, null);
  for (const cut of cuts) {
    const parts = read(stream, [cut], kind);
    assert.equal(parts.error, null);
    assert.equal(parts.log.join(), whole.log.join(), `split at ${cut}`);
    assert.ok(Buffer.from(parts.ram.buffer).equals(whole.ram), `split at ${cut}`);
  }
}

test('a stream lands the same however it is split in two', () => {
  landsTheSame(STREAM, 'pages', splits(MESSAGES));
  landsTheSame(Buffer.concat(FAULTS_MESSAGES), 'faults', splits(FAULTS_MESSAGES));
});

/** A small frame of each kind that a source sends. */
const SMALL: { readonly [name: string]: Buffer } = {
  WRITE: frame(1, { opcode: OPCODE.WRITE, firstPage: 2, pages: 1 }, page(2)),
  WRITE_LIST: frame(
    1,
    { opcode: OPCODE.WRITE_LIST, runs: 2, pages: 2 },
    runs(20, 1, 30, 1),
    page(20),
    page(30),
  ),
  ZERO: frame(1, { opcode: OPCODE.ZERO, runs: 2, pages: 3 }, runs(0, 1, 40, 2)),
  READ_RESPONSE: frame(1, { opcode: OPCODE.READ_RESPONSE, runs: 1, pages: 1 }, runs(5, 1), page(5)),
  BARRIER: frame(1, { opcode: OPCODE.BARRIER, round: 9 }),
};

for (const [name, { from, on }] of Object.entries(FRAMES)) {
  if (from === 'target') continue;
  for (const kind of on === 'both' ? (['pages', 'faults'] as const) : [on]) {
    test(`every cut of a ${name} on a ${kind} channel and of its neighbours`, () => {
      const after = frame(2, { opcode: OPCODE.BARRIER, round: 1 });
      const stream = Buffer.concat([message(WS_PING, Buffer.from('abc')), SMALL[name]!, after]);
      landsTheSame(stream, kind, stream.keys());
    });
  }
}

test('pages are said to be written before their bytes come; zero pages are not written where they are zero', () => {
  const zeros = frame(1, { opcode: OPCODE.ZERO, runs: 1, pages: 2 }, runs(4, 2));
  const place = new Recorder();
  place.isZero = (page) => page === 5;
  const run = frame(2, { opcode: OPCODE.WRITE, firstPage: 10, pages: 20 }, page(10, 20));
  readInto(place, Buffer.concat([zeros, run.subarray(0, 60)]), []);
  assert.deepEqual(
    [4, 5].map((page) => place.ram[page * PAGE_BYTES]),
    [0, 0xa5],
    'page 5 was left as it was',
  );
  const expected = Array.from({ length: 20 }, (_, i) => 10 + i);
  assert.deepEqual([...place.written], expected);
});

test('what is said to be due never reaches past the end of the frame under way', () => {
  const ends: number[] = [];
  for (const { length } of MESSAGES) ends.push((ends.at(-1) ?? 0) + length);
  const dueAt = new Map<number, number>();
  const place = new Recorder();
  const everyByte = Array.from({ length: STREAM.length }, (_, i) => i);
  readOn(new LandingReader('pages', place), STREAM, everyByte, (at) => {
    dueAt.set(at, place.dueBytes);
  });
  for (const [at, due] of dueAt) {
    const left = ends.find((end) => end > at)! - at;
    assert.ok(due <= (ends.includes(at) ? 0 : left), `${due} due at ${at}, ${left} to come`);
  }
  // Of the long run all is due as soon as its header is there, and to the last byte.
  const run = ends[0]!;
  assert.equal(dueAt.get(ends[1]! - 16 * PAGE_BYTES), 16 * PAGE_BYTES);
  assert.equal(dueAt.get(ends[1]! - 1), 1);
  assert.equal(dueAt.get(run), 0);
});

test('nothing is due of a channel that failed', () => {
  const place = new Recorder();
  const half = MESSAGES[1]!.subarray(0, 5000);
  const reader = readOn(new LandingReader('pages', place), half, []);
  assert.ok(place.dueBytes > 0);
  reader.fail(new GodwitError('internal', { why: 'a test' }));
  assert.equal(place.dueBytes, 0);
});

test('scattered pages land however the frames grow and shrink', () => {
  const place = new Recorder();
  const frames = [1, 3, 2, 20, 7, 64].map((pages, i) =>
    frame(i + 1, { opcode: OPCODE.WRITE_LIST, runs: 1, pages }, runs(0, pages), page(0, pages)),
  );
  readInto(place, Buffer.concat(frames), [100, 9_000, 50_000, 150_000]);
  assert.equal(place.error, null);
  assert.ok(pageBytes.equals(place.ram));
});

test('where all pages are its own, none is asked for and the same bytes land', () => {
  const whole = read(STREAM, []);
  for (const cut of [0, 100, 4143, 30_000]) {
    const place = new Recorder();
    place.allTaken = true;
    const long = readOn(new LandingReader('pages', place), STREAM, [cut]);
    assert.ok(Buffer.from(place.ram).equals(whole.ram));
    assert.ok(!place.log.includes('landed 2'), 'no page of the long run');
    long.end();
    assert.equal(place.error, null);
  }
});

test('byte by byte, and in random pieces', () => {
  const whole = read(STREAM, []);
  const single = read(
    STREAM,
    Array.from({ length: STREAM.length }, (_, i) => i),
  );
  assert.deepEqual(single.log, whole.log);
  fc.assert(
    fc.property(fc.array(fc.nat(STREAM.length), { maxLength: 40 }), (cuts) => {
      const parts = read(
        STREAM,
        cuts.sort((a, b) => a - b),
      );
      assert.deepEqual(parts.log, whole.log);
      assert.ok(Buffer.from(parts.ram).equals(whole.ram));
    }),
    { numRuns: 50 },
  );
});

test('the pages are where they belong and nothing else is touched', () => {
  const { ram, copiedBytes } = read(STREAM, []);
  const expected = Buffer.alloc(ram.length, 0xa5);
  for (const [first, count] of [
    [2, 16],
    [20, 1],
    [30, 2],
    [50, 1],
  ] as const) {
    expected.set(page(first, count), first * PAGE_BYTES);
  }
  for (const [first, count] of [
    [0, 1],
    [40, 2],
  ] as const) {
    expected.fill(0, first * PAGE_BYTES, (first + count) * PAGE_BYTES);
  }
  assert.ok(expected.equals(ram));
  // Scattered pages are copied once; of the short run the six bytes that came with its header.
  assert.equal(copiedBytes, 3 * PAGE_BYTES + 6);
});

test('a long run is not copied, whatever is in front of it', () => {
  const long = (sequence: number) =>
    frame(sequence, { opcode: OPCODE.WRITE, firstPage: 0, pages: 16 }, page(0, 16));
  const zero = frame(1, { opcode: OPCODE.ZERO, runs: 1, pages: 1 }, runs(63, 1));
  const barrier = frame(1, { opcode: OPCODE.BARRIER });
  for (const before of [zero, barrier, message(WS_PING, Buffer.alloc(3))]) {
    const sequence = before === zero || before === barrier ? 2 : 1;
    assert.equal(read(Buffer.concat([before, long(sequence)]), []).copiedBytes, 0);
  }
});

test('a page that is lost to another channel goes to the trash, its neighbours land', () => {
  const place = new Recorder();
  place.lost = (index) => index === 2 || index === 9 || index === 20;
  readInto(place, STREAM, []);
  assert.equal(place.error, null);
  for (const index of [2, 9, 20]) {
    assert.ok(
      place.ram.subarray(index * PAGE_BYTES, (index + 1) * PAGE_BYTES).every((b) => b === 0xa5),
    );
  }
  assert.ok(Buffer.from(place.ram.subarray(3 * PAGE_BYTES, 9 * PAGE_BYTES)).equals(page(3, 6)));
  assert.equal(place.claimed.size, 0);
});

test('pages that were being filled are given back when the socket has closed', () => {
  const place = new Recorder();
  const cut = Buffer.from(STREAM.subarray(0, 5 + 42 + 3 * PAGE_BYTES + 100));
  const reader = readInto(place, cut, []);
  assert.deepEqual([...place.claimed].length, 13);
  reader.fail(new GodwitError('wire.bad_frame', { why: 'test' }));
  assert.equal(place.claimed.size, 13, 'not before: the kernel may hold the view');
  assert.ok(place.isPlacing, 'nor does the key count as unused');
  reader.end();
  assert.equal(place.claimed.size, 0);
  assert.ok(!place.isPlacing);
  reader.end();
});

const bad: readonly [string, Buffer, string][] = [
  ['64 zero bytes', Buffer.alloc(64), 'wire.bad_frame'],
  ['a text message', Buffer.from('810548656c6c6f', 'hex'), 'wire.bad_frame'],
  ['a fragment', Buffer.from('0205', 'hex'), 'wire.bad_frame'],
  ['a reserved bit', Buffer.from('c205', 'hex'), 'wire.bad_frame'],
  ['a masked message', Buffer.from('82a0', 'hex'), 'wire.bad_frame'],
  ['a length that is not minimal', Buffer.from('827e0020', 'hex'), 'wire.bad_frame'],
  ['2^60 bytes', Buffer.from('827f1000000000000000', 'hex'), 'wire.too_large'],
  ['a frame without a header', Buffer.from('821f', 'hex'), 'wire.truncated'],
  ['a ping of 126 bytes', Buffer.from('897e007e', 'hex'), 'wire.bad_frame'],
  ['opcode 0', frame(1, { opcode: 0 }), 'wire.bad_frame'],
  ['ATTACH from a source', frame(1, { opcode: OPCODE.ATTACH }, Buffer.alloc(64)), 'wire.bad_frame'],
  ['a sequence that jumps', frame(2, { opcode: OPCODE.BARRIER }), 'wire.bad_frame'],
  [
    'payload beyond the frame',
    Buffer.concat([
      Buffer.from([0x82, 33]),
      frame(1, { opcode: OPCODE.BARRIER }).subarray(2),
      Buffer.alloc(1),
    ]),
    'wire.bad_frame',
  ],
  [
    'a run outside',
    frame(1, { opcode: OPCODE.WRITE, firstPage: 60, pages: 16 }, page(0, 16)),
    'channel.protection',
  ],
  [
    'runs that do not add up',
    frame(1, { opcode: OPCODE.ZERO, runs: 1, pages: 2 }, runs(0, 1)),
    'wire.bad_frame',
  ],
  [
    'runs that overlap',
    frame(1, { opcode: OPCODE.ZERO, runs: 2, pages: 4 }, runs(3, 2, 4, 2)),
    'wire.bad_frame',
  ],
  [
    'a scattered page outside',
    frame(1, { opcode: OPCODE.WRITE_LIST, runs: 1, pages: 1 }, runs(64, 1), page(0)),
    'wire.bad_frame',
  ],
];

test('broken rules are typed errors and place nothing', () => {
  for (const [what, bytes, code] of bad) {
    const place = read(bytes, []);
    assert.equal(place.error?.code, code, what);
    assert.ok(
      place.ram.every((byte) => byte === 0xa5),
      what,
    );
  }
});

test('garbled and truncated streams: an error or silence, never a byte out of place, never a throw', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(STREAM.length - 1), fc.integer({ min: 1, max: 255 })), {
        maxLength: 4,
      }),
      fc.nat(STREAM.length),
      (flips, length) => {
        const stream = Buffer.from(STREAM.subarray(0, length));
        for (const [at, bits] of flips) if (at < length) stream[at]! ^= bits;
        const place = new Recorder();
        readInto(place, stream, []).end();
        assert.equal(place.claimed.size, 0);
      },
    ),
    { numRuns: 300 },
  );
});
