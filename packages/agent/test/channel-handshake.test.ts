/**
 * Opening a channel, from both sides: splits of the 101 response, foreign clients, hostile ones, ports.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { after, type TestContext, test } from 'node:test';
import {
  decodeHeader,
  emptyHeader,
  FRAME_HEADER_BYTES,
  OPCODE,
  PAGE_BYTES,
} from '@godwit/protocol';
import { dialChannel, feed, type SocketReader } from '../src/channel/handshake.ts';
import { SourceChannels } from '../src/source/source-channels.ts';
import { endIdleThreads } from '../src/thread.ts';
import {
  allPages,
  frameBytes,
  HOST,
  MIB,
  poisonedGuest,
  randomGuest,
  sourceOptions,
} from './channel-pair.ts';

after(() => endIdleThreads());

/** Collects what a dialled socket reads, in views of a few bytes. */
class Collector implements SocketReader {
  readonly #view = new Uint8Array(7);
  bytes: number[] = [];
  onBytes: () => void = () => {};

  view(): Uint8Array {
    return this.#view;
  }

  received(count: number): void {
    this.bytes.push(...this.#view.subarray(0, count));
    this.onBytes();
  }
}

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

function acceptance(request: string): string {
  const key = /sec-websocket-key: (.*)\r\n/i.exec(request)?.[1] ?? '';
  const accept = createHash('sha1')
    .update(key + GUID)
    .digest('base64');
  return `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`;
}

const RESPONSE_BYTES = acceptance('').length;

/** What comes with the 101, and what comes after the client's first word. */
interface Said {
  readonly early: Buffer;
  readonly late: Buffer;
}

/** A source whose answer comes in two segments, cut where told for each connection. */
async function splittingSource(t: TestContext, { early, late }: Said, cut: () => number) {
  const server = createServer({ noDelay: true }, async (socket) => {
    socket.on('error', () => {});
    const [request] = (await once(socket, 'data')) as [Buffer];
    const answer = Buffer.concat([Buffer.from(acceptance(request.toString('latin1'))), early]);
    const at = cut();
    socket.once('data', () => socket.write(late));
    socket.write(answer.subarray(0, at), () => {
      setImmediate(() => socket.write(answer.subarray(at)));
    });
  });
  t.after(() => server.close());
  server.listen(0, HOST);
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

const DATA = Buffer.from('8203010203', 'hex');
const NOTHING = Buffer.alloc(0);

test('data that comes with the 101 closes the channel, wherever the segments part', async (t) => {
  let cut = 1;
  const port = await splittingSource(t, { early: DATA, late: NOTHING }, () => cut);
  const takeOver = () => new Collector();
  for (; cut < RESPONSE_BYTES + DATA.length; cut++) {
    // Cut there, it may be read after the channel was taken over: it is not early then.
    if (cut === RESPONSE_BYTES) continue;
    const dialled = dialChannel({ host: HOST, port, path: '/x', takeOver });
    await assert.rejects(dialled, { code: 'channel.early_data' }, `cut at ${cut}`);
  }
});

test('data that waits for the first word of the client arrives whole, wherever the 101 parts', async (t) => {
  let cut = 1;
  const port = await splittingSource(t, { early: NOTHING, late: DATA }, () => cut);
  for (; cut <= RESPONSE_BYTES; cut++) {
    const collector = new Collector();
    const arrived = new Promise<void>((resolve) => {
      collector.onBytes = () => collector.bytes.length === DATA.length && resolve();
    });
    const socket = await dialChannel({ host: HOST, port, path: '/x', takeOver: () => collector });
    socket.write('hello');
    await arrived;
    assert.deepEqual(collector.bytes, [...DATA], `cut at ${cut}`);
    socket.destroy();
  }
});

test('bytes read into the handshake buffer reach the reader in the order they came', () => {
  const collector = new Collector();
  const bytes = Uint8Array.from({ length: 100 }, (_, i) => i);
  feed(collector, bytes);
  assert.deepEqual(collector.bytes, [...bytes]);
});

test('a port where nobody listens, and a server that is none, are refused with the reason', async () => {
  const takeOver = () => new Collector();
  const silent = createServer((socket) => socket.resume().end('SSH-2.0-nothing\r\n')).listen(
    0,
    HOST,
  );
  await once(silent, 'listening');
  const { port } = silent.address() as AddressInfo;
  const options = { host: HOST, port, path: '/x', takeOver };
  await assert.rejects(dialChannel(options), { code: 'channel.refused' });
  silent.close();
  await once(silent, 'close');
  await assert.rejects(dialChannel(options), { code: 'channel.refused', message: /ECONNREFUSED/ });
});

// ------------------------------------------------------------------------------ the source's side

async function openSource(t: TestContext, ramBytes = MIB, channels = 1) {
  const memory = randomGuest(ramBytes);
  const options = sourceOptions(memory, channels);
  const failures: string[] = [];
  const onFailed = (error: { code: string }) => failures.push(error.code);
  const source = await SourceChannels.open({ ...options, onFailed });
  t.after(() => source.close());
  const url = (kind: string, port: number) =>
    `ws://${HOST}:${port}/v1/${kind}/${options.migration}`;
  return { memory, options, source, failures, url };
}

const attach = (capability: string, generation = 1, channel = 0) =>
  frameBytes(
    { opcode: OPCODE.ATTACH, round: generation, firstPage: channel },
    Buffer.from(capability),
  );

test('a foreign WebSocket client reads a page channel', async (t) => {
  const { memory, options, source, url } = await openSource(t);
  const faults = new WebSocket(url('faults', source.faultsPort));
  const pages = new WebSocket(url('pages', source.pagePorts[0]!));
  for (const socket of [faults, pages]) {
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => socket.send(attach(options.capability));
  }
  const copy = poisonedGuest(memory.ramBytes);
  memory.ram().fill(0, 3 * PAGE_BYTES, 4 * PAGE_BYTES);
  pages.onmessage = ({ data }) => {
    const bytes = Buffer.from(data as ArrayBuffer);
    const view = new DataView(data as ArrayBuffer);
    const header = decodeHeader(view, 0, 'source', 'pages', emptyHeader());
    if (header.opcode === OPCODE.BARRIER) {
      pages.send(frameBytes({ opcode: OPCODE.BARRIER, round: header.round, sequence: 1 }));
      return;
    }
    const body = bytes.subarray(FRAME_HEADER_BYTES);
    let from = header.runs * 8;
    const place = (first: number, count: number) => {
      const length = count * PAGE_BYTES;
      if (header.opcode === OPCODE.ZERO)
        copy.ram().fill(0, first * PAGE_BYTES, first * PAGE_BYTES + length);
      else copy.ram().set(body.subarray(from, from + length), first * PAGE_BYTES);
      from += length;
    };
    if (header.runs === 0) place(header.firstPage, header.pages);
    for (let i = 0; i < header.runs; i++)
      place(body.readUInt32LE(i * 8), body.readUInt32LE(i * 8 + 4));
    pages.send(frameBytes({ opcode: OPCODE.CREDIT, sequence: header.sequence }));
  };
  await source.attached('pages');
  const result = await source.sendRound(0, allPages(memory), 1);
  assert.equal(result.pages, memory.pages);
  assert.ok(Buffer.from(copy.ram()).equals(memory.ram()));
  const closed = [once(pages, 'close'), once(faults, 'close')];
  await source.close();
  for (const [event] of await Promise.all(closed)) assert.equal((event as CloseEvent).code, 1000);
});

/** Speaks raw bytes after a proper handshake and reports how the source ended the connection. */
async function speak(port: number, path: string, ...frames: Buffer[]): Promise<string> {
  const socket = connect({ host: HOST, port, noDelay: true });
  let answer = '';
  socket.on('data', (chunk: Buffer) => {
    answer += chunk.toString('latin1');
    // A close message (0x88) is the source's last word; it waits for this end to hang up.
    if (answer.includes('\r\n\r\n\x88')) socket.end();
  });
  socket.on('error', () => {});
  socket.write(
    `GET ${path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n`,
  );
  for (const frame of frames) socket.write(frame);
  await once(socket, 'close');
  return answer;
}

/** A masked message with an all-zero mask, which the RFC allows and is easy to read. */
function masked(opcode: number, payload: Buffer): Buffer {
  const length =
    payload.length <= 125
      ? [payload.length | 0x80]
      : [0xfe, payload.length >> 8, payload.length & 255];
  return Buffer.concat([Buffer.from([0x80 | opcode, ...length, 0, 0, 0, 0]), payload]);
}

test('whoever is not the target is turned away, and the target is still let in', async (t) => {
  const { options, source, failures, url } = await openSource(t);
  const port = source.pagePorts[0]!;
  const path = `/v1/pages/${options.migration}`;
  const right = attach(options.capability);
  const cases: [string, string, RegExp][] = [
    ['another path', await speak(port, '/v1/pages/other'), /^HTTP\/1.1 404/],
    ['the faults path', await speak(port, `/v1/faults/${options.migration}`), /^HTTP\/1.1 404/],
    [
      'a wrong capability',
      await speak(port, path, masked(2, attach('0'.repeat(64)))),
      /capability/,
    ],
    [
      'another channel',
      await speak(port, path, masked(2, attach(options.capability, 1, 1))),
      /capability/,
    ],
    [
      'generation 0',
      await speak(port, path, masked(2, attach(options.capability, 0))),
      /generation/,
    ],
    [
      'CREDIT first',
      await speak(port, path, masked(2, frameBytes({ opcode: OPCODE.CREDIT }))),
      /ATTACH/,
    ],
    [
      'READ on a page channel',
      await speak(
        port,
        path,
        masked(2, frameBytes({ opcode: OPCODE.READ, runs: 1, pages: 1 }, Buffer.alloc(8))),
      ),
      /READ/,
    ],
    ['text', await speak(port, path, masked(1, Buffer.from('hi'))), /opcode 1/],
    ['no mask', await speak(port, path, Buffer.from('8203616263', 'hex')), /unmasked/],
    [
      'a huge length',
      await speak(port, path, Buffer.from('82ff7fffffffffffffff', 'hex')),
      /at most/,
    ],
    ['a short frame', await speak(port, path, masked(2, Buffer.alloc(5))), /header/],
    ['64 zero bytes', await speak(port, path, masked(2, Buffer.alloc(64))), /opcode 0/],
    ['a goodbye', await speak(port, path, masked(8, Buffer.from([3, 232]))), /^HTTP\/1.1 101/],
  ];
  for (const [what, answer, expected] of cases) assert.match(answer, expected, what);
  const plain = await fetch(`http://${HOST}:${port}${path}`);
  assert.equal(plain.status, 426);
  assert.deepEqual(failures, []);
  const target = new WebSocket(url('pages', port));
  target.onopen = () => target.send(right);
  const faults = new WebSocket(url('faults', source.faultsPort));
  faults.onopen = () => faults.send(right);
  await source.attached('pages');
  await source.close();
});

test('an attached target that breaks a rule fails the channel with the reason', async (t) => {
  const { options, source, failures } = await openSource(t);
  const path = `/v1/pages/${options.migration}`;
  const hello = masked(2, attach(options.capability));
  const lie = masked(2, frameBytes({ opcode: OPCODE.CREDIT, sequence: 5 }));
  assert.match(await speak(source.pagePorts[0]!, path, hello, lie), /credit for frame 5 of 0/);
  await assert.rejects(source.sendRound(0, new Uint32Array(8), 1), { code: 'wire.bad_frame' });
  assert.deepEqual(failures, ['wire.bad_frame']);
  await source.close();
});

test('a port in use is passed over; none free is an error that leaves nothing open', async () => {
  const blocker = createServer().listen(0, HOST);
  await once(blocker, 'listening');
  const taken = (blocker.address() as AddressInfo).port;
  const memory = randomGuest(MIB);
  const options = sourceOptions(memory, 1);
  await assert.rejects(SourceChannels.open({ ...options, ports: { from: taken, to: taken } }), {
    code: 'listen.in_use',
  });
  const source = await SourceChannels.open({ ...options, ports: { from: taken, to: taken + 40 } });
  const ports = [...source.pagePorts, source.faultsPort];
  assert.equal(new Set([taken, ...ports]).size, 3);
  for (const port of ports) assert.ok(port > taken && port <= taken + 40);
  await source.close();
  blocker.close();
});

test('attached ends when its deadline has passed', async (t) => {
  const { source } = await openSource(t);
  await assert.rejects(source.attached('pages', 20), { code: 'request.timed_out' });
  await source.close();
});

test('close cuts a connection that never said anything', async (t) => {
  const { source } = await openSource(t);
  const socket = connect({ host: HOST, port: source.pagePorts[0]! });
  socket.on('error', () => {});
  await once(socket, 'connect');
  // Cut before it was accepted, it ends with a reset instead: `once` would take that for a failure.
  const closed = new Promise((resolve) => socket.resume().once('close', resolve));
  await source.close();
  await closed;
});
