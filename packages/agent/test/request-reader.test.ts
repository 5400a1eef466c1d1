/**
 * What a target sends to a source, on literal bytes: every split gives the same frames, and of a frame that
 * is cut off nothing is delivered.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  CAPABILITY_CHARS,
  FRAMES,
  type FrameHeader,
  OPCODE,
  opcodeName,
  READ_PAGES_MAX,
} from '@godwit/protocol';
import fc from 'fast-check';
import { RequestReader } from '../src/channel/request-reader.ts';
import {
  applyMask,
  encodeMessageHeader,
  WS_BINARY,
  WS_CLIENT_HEADER_BYTES_MAX,
  WS_CLOSE,
  WS_PING,
  WS_PONG,
} from '../src/channel/websocket-wire.ts';
import { frameBytes } from './channel-pair.ts';

type Kind = 'pages' | 'faults';

/** All four bytes differ: one that is applied out of step shows. */
const MASK = Buffer.from('37fa213d', 'hex');

function message(opcode: number, payload: Buffer): Buffer {
  const bytes = Buffer.alloc(WS_CLIENT_HEADER_BYTES_MAX + payload.length);
  const start = encodeMessageHeader(bytes, 0, opcode, payload.length, MASK);
  bytes.set(payload, start);
  applyMask(bytes, start, start + payload.length, MASK);
  return bytes.subarray(0, start + payload.length);
}

const frame = (fields: Partial<FrameHeader>, payload?: Buffer<ArrayBuffer>): Buffer =>
  message(WS_BINARY, frameBytes({ key: 7, ...fields }, payload));

/** READ of so many pages with one between each two. */
function readOf(pages: number, sequence: number): Buffer {
  const runs = Buffer.from(
    Uint32Array.from({ length: 2 * pages }, (_, i) => (i & 1 ? 1 : i)).buffer,
  );
  return frame({ opcode: OPCODE.READ, runs: pages, pages, sequence }, runs);
}

const ATTACH = frame(
  { opcode: OPCODE.ATTACH, round: 3, firstPage: 1, sequence: 40 },
  Buffer.from('0123456789abcdef'.repeat(CAPABILITY_CHARS / 16)),
);
const CREDITS = [1, 2 ** 40].map((sequence) => frame({ opcode: OPCODE.CREDIT, sequence }));
const barrier = (sequence: number): Buffer => frame({ opcode: OPCODE.BARRIER, round: 9, sequence });
const PINGS = [0, 3, 125].map((length) => message(WS_PING, Buffer.alloc(length, 'ping')));
const PONG = message(WS_PONG, Buffer.from('nobody asked'));
const GOODBYE = message(WS_CLOSE, Buffer.from([3, 232]));

/** Every kind of frame, control messages between them, goodbye at the end. */
const STREAMS: { readonly [kind in Kind]: readonly Buffer[] } = {
  pages: [ATTACH, ...CREDITS, PONG, barrier(1), ...PINGS, barrier(2), GOODBYE],
  faults: [
    ...[ATTACH, readOf(1, 1), ...CREDITS, readOf(READ_PAGES_MAX, 2), PONG, barrier(3)],
    ...[...PINGS, readOf(2, 4), GOODBYE],
  ],
};
const KINDS = ['pages', 'faults'] as const;

/** What a reader says of these chunks, one after the other; header and payload are its own to use again. */
function heardOf(kind: Kind, chunks: Iterable<Uint8Array>): string[] {
  const heard: string[] = [];
  const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
  const reader = new RequestReader(kind, {
    frame: (header, payload) => heard.push(`${JSON.stringify(header)} ${hex(payload)}`),
    ping: (payload) => heard.push(`ping ${hex(payload)}`),
    closed: (payload) => heard.push(`closed ${hex(payload)}`),
    failed: (error) => heard.push(`failed ${error.message}`),
  });
  for (const chunk of chunks) reader.feed(chunk);
  return heard;
}

/** The stream in pieces that end at these offsets, rising. */
const pieces = (stream: Buffer, cuts: readonly number[]): Buffer[] =>
  [...cuts, stream.length].map((end, i) => stream.subarray(cuts[i - 1] ?? 0, end));

for (const kind of KINDS) {
  const messages = STREAMS[kind];
  const stream = Buffer.concat(messages);
  const whole = heardOf(kind, [stream]);

  test(`every kind of frame that a target sends on a ${kind} channel is heard`, () => {
    const opcodes = whole.flatMap((said) => /^\{"opcode":(\d+)/.exec(said)?.[1] ?? []);
    const due = Object.entries(FRAMES).filter(
      ([, { from, on }]) => from !== 'source' && (on === 'both' || on === kind),
    );
    const names = opcodes.map((opcode) => opcodeName(Number(opcode)));
    assert.deepEqual(new Set(names), new Set(due.map(([name]) => name)));
    assert.equal(whole.length, messages.length - 1, 'a pong says nothing');
    assert.deepEqual(
      whole.filter((said) => said.startsWith('failed')),
      [],
    );
    assert.equal(whole.at(-1), 'closed 03e8');
  });

  test(`requests of a ${kind} channel are the same at every cut, byte by byte, and in random pieces`, () => {
    for (const cut of stream.keys()) {
      assert.deepEqual(heardOf(kind, pieces(stream, [cut])), whole, `cut at ${cut}`);
    }
    assert.deepEqual(heardOf(kind, pieces(stream, [...stream.keys()])), whole);
    fc.assert(
      fc.property(fc.array(fc.nat(stream.length), { maxLength: 40 }), (cuts) => {
        const rising = cuts.toSorted((a, b) => a - b);
        assert.deepEqual(heardOf(kind, pieces(stream, rising)), whole);
      }),
    );
  });

  test(`of a request that is cut off on a ${kind} channel nothing is delivered`, () => {
    let start = 0;
    let before: string[] = [];
    for (const [i, { length }] of messages.entries()) {
      for (let end = start; end < start + length; end++) {
        assert.deepEqual(heardOf(kind, [stream.subarray(0, end)]), before, `${end} bytes`);
      }
      start += length;
      before = heardOf(kind, messages.slice(0, i + 1));
    }
    assert.deepEqual(before, whole);
  });
}
