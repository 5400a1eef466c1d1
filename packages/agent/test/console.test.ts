/**
 * Consoles over real sockets. Goal: every byte once and in order, whatever is sent twice, early or to a
 * guest that stands still; a client's mistake costs its own connection.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { ImageStore } from '@godwit/images';
import { ConsoleRing } from '@godwit/machine';
import { decodeMessage, encodeMessage, type Message, type MessageName } from '@godwit/protocol';
import fc from 'fast-check';
import { WebSocket } from 'ws';
import { ControlServer } from '../src/control-server.ts';
import { ConsoleServer } from '../src/guest/console-server.ts';
import { Guest } from '../src/guest/guest.ts';
import { MemoryPool } from '../src/guest/memory-pool.ts';
import { ImageServer } from '../src/images/image-server.ts';
import { image, MIB, machineSpec, silent, until } from './support/agent-parts.ts';

interface Bench {
  readonly guest: Guest;
  readonly consoles: ConsoleServer;
  readonly url: string;
}

/** A `kv` guest behind a control server. */
async function bench(t: TestContext): Promise<Bench> {
  const pool = new MemoryPool('a', 64 * MIB);
  const guest = await Guest.create({
    spec: machineSpec('kv'),
    epoch: 4,
    pool,
    log: silent,
    boot: () => ({ kind: 'elf', elf: image('kv') }),
  });
  const consoles = new ConsoleServer((name) => (name === 'kv' ? guest : undefined), silent);
  const server = await ControlServer.listen({
    listen: { host: '127.0.0.1', port: 0 },
    token: undefined,
    onPeer: (socket) => socket.terminate(),
    onConsole: (socket) => consoles.onSocket(socket),
    health: () => ({ ok: true }),
    metrics: () => '',
    pulse: () => undefined,
    images: new ImageServer(new ImageStore('/nonexistent'), async () => {}, silent),
  });
  t.after(async () => {
    consoles.close();
    await server.close();
    await guest.release();
  });
  guest.start();
  return { guest, consoles, url: `ws://127.0.0.1:${server.port}/v1/console` };
}

class Client {
  readonly messages: Message[] = [];
  readonly socket: WebSocket;
  closed: number | undefined;
  reason = '';

  private constructor(url: string) {
    this.socket = new WebSocket(url);
    this.socket.on('message', (data: Buffer) =>
      this.messages.push(decodeMessage(data, 'console', 'agent')),
    );
    this.socket.on('close', (code, reason) => {
      this.closed = code;
      this.reason = reason.toString();
    });
  }

  static async open(url: string, attach?: Omit<Message<'consoleAttach'>, 'type'>): Promise<Client> {
    const client = new Client(url);
    await once(client.socket, 'open');
    if (attach === undefined) return client;
    client.send({ type: 'consoleAttach', ...attach });
    await until('an answer', () => client.messages.length > 0 || client.closed !== undefined);
    return client;
  }

  send(message: Message): void {
    this.socket.send(encodeMessage(message));
  }

  input(offset: number, text: string): void {
    this.send({ type: 'consoleInput', offset, bytes: Buffer.from(text) });
  }

  last<N extends MessageName>(type: N): Message<N> {
    return this.messages.findLast((message) => message.type === type) as unknown as Message<N>;
  }

  /** All output, checked to be without gap or overlap. */
  get output(): string {
    let text = '';
    let next: number | undefined;
    for (const message of this.messages) {
      if (message.type !== 'consoleOutput') continue;
      if (next !== undefined) assert.equal(message.offset, next);
      next = message.offset + message.bytes.length;
      text += Buffer.from(message.bytes).toString();
    }
    return text;
  }
}

const ATTACH = { guest: 'kv' };
const TAKE = { guest: 'kv', access: 'take' } as const;
const WATCH = { guest: 'kv', access: 'watch' } as const;

test('a dialogue: input goes in once, however often it is sent, and answers come out', async (t) => {
  const { url } = await bench(t);
  const client = await Client.open(url, ATTACH);
  const { inputOffset, epoch } = client.last('consoleAttached');
  assert.equal(inputOffset, 0);
  assert.equal(epoch, 4);
  const line = '#1 set a one\n';
  client.input(0, line);
  client.input(0, line);
  client.input(3, `${line.slice(3)}#2 get a\n`);
  await until('both answers', () => client.output.includes('#2 value one'));
  assert.equal(client.output.match(/#1 ok/g)?.length, 1);
  assert.equal(client.last('consoleTaken').offset, `${line}#2 get a\n`.length);
});

test('input with a gap is dropped and answered with the offset that is expected', async (t) => {
  const { url } = await bench(t);
  const client = await Client.open(url, ATTACH);
  client.input(5, '#9 ping x\n');
  await until('taken', () => client.messages.some((m) => m.type === 'consoleTaken'));
  assert.equal(client.last('consoleTaken').offset, 0);
  client.input(0, '#1 ping y\n');
  await until('the answer', () => client.output.includes('#1 pong y'));
  assert.ok(!client.output.includes('#9'));
});

test('input to a guest that stands still waits until it runs, beyond the ring as well', async (t) => {
  const { url, guest } = await bench(t);
  const client = await Client.open(url, ATTACH);
  await guest.stopHarts();
  const lines = Array.from({ length: 9000 }, (_, i) => `#${i} ping ${i}\n`).join('');
  assert.ok(lines.length > 2 * 65_536);
  for (let at = 0; at < lines.length; at += 60_000) {
    client.input(at, lines.slice(at, at + 60_000));
  }
  await until('all is sent', () => client.socket.bufferedAmount === 0);
  assert.equal(new ConsoleRing(guest.memory).inputWritten, 0n);
  guest.start();
  await until('the last answer', () => client.output.includes('#8999 pong 8999'));
  assert.equal(client.output.match(/pong/g)?.length, 9000);
  assert.equal(client.last('consoleTaken').offset, lines.length);
});

test('output is read again from any offset the ring still holds, by any number of clients', async (t) => {
  const { url } = await bench(t);
  const first = await Client.open(url, ATTACH);
  first.input(0, 'ping one\n');
  await until('the answer', () => first.output.includes('pong one'));
  const whole = first.output;
  const second = await Client.open(url, WATCH);
  await until('the same', () => second.output === whole);
  const third = await Client.open(url, { ...WATCH, outputOffset: whole.length - 4 });
  await until('the tail', () => third.output === whole.slice(-4));
  const beyond = await Client.open(url, { ...WATCH, outputOffset: 1_000_000 });
  assert.equal(beyond.last('consoleAttached').outputOffset, whole.length);
});

test('only what every client has read is acknowledged', async (t) => {
  const { url, guest } = await bench(t);
  const ring = new ConsoleRing(guest.memory);
  const first = await Client.open(url, ATTACH);
  const second = await Client.open(url, WATCH);
  first.input(0, 'ping one\n');
  await until('the answer', () => second.output.includes('pong one'));
  first.send({ type: 'consoleAcknowledged', offset: 5 });
  first.input(9, 'ping two\n');
  await until('order', () => first.output.includes('pong two'));
  assert.equal(ring.acknowledged, 0n);
  second.send({ type: 'consoleAcknowledged', offset: 3 });
  await until('the slower one counts', () => ring.acknowledged === 3n);
});

test('one types: a second is refused, watches, or takes over; no byte of the first is lost', async (t) => {
  const { url } = await bench(t);
  const first = await Client.open(url, { ...ATTACH, client: 'first' });
  first.input(0, 'ping one\n');
  await until('the answer', () => first.output.includes('pong one'));
  const refused = await Client.open(url, { ...ATTACH, client: 'second' });
  assert.deepEqual([refused.closed, refused.reason], [1008, 'guest.console_busy']);
  const watcher = await Client.open(url, WATCH);
  watcher.input(9, 'ping no\n');
  await until('the refusal', () => watcher.closed !== undefined);
  assert.equal(watcher.reason, 'guest.console_busy');
  // A client that comes back for want of a byte may not displace one that typed.
  const late = await Client.open(url, { ...ATTACH, client: 'late', inputOffset: 0 });
  assert.equal(late.reason, 'guest.console_busy');
  first.input(9, 'ping two\n');
  await until('the answer', () => first.output.includes('pong two'));
  const taker = await Client.open(url, { ...ATTACH, client: 'taker', access: 'take' });
  await until('the end of the first', () => first.closed !== undefined);
  assert.deepEqual([first.closed, first.reason], [1008, 'guest.console_busy']);
  const { inputOffset, continues } = taker.last('consoleAttached');
  assert.deepEqual([inputOffset, continues], [18, false]);
  taker.input(18, 'ping three\n');
  await until('the answer', () => taker.output.includes('pong three'));
  assert.ok(!taker.output.includes('pong no'));
});

test('who typed comes back under its own name, before its old connection is known to be dead', async (t) => {
  const { url } = await bench(t);
  const old = await Client.open(url, { ...ATTACH, client: 'me' });
  old.input(0, 'ping one\n');
  await until('taken', () => old.last('consoleTaken')?.offset === 9);
  const again = await Client.open(url, { ...ATTACH, client: 'me', inputOffset: 9 });
  assert.equal(again.last('consoleAttached').continues, true);
  await until('the end of the old', () => old.closed !== undefined);
  // Somebody slipped in after a move, and has typed nothing: whoever has bytes on the way goes first.
  const { url: there } = await bench(t);
  const newcomer = await Client.open(there, { ...ATTACH, client: 'newcomer' });
  const returning = await Client.open(there, { ...ATTACH, client: 'me', inputOffset: 0 });
  assert.equal(returning.last('consoleAttached').continues, true);
  await until('the end of the newcomer', () => newcomer.closed !== undefined);
  assert.equal(newcomer.reason, 'guest.console_busy');
  returning.input(0, 'ping back\n');
  await until('the answer', () => returning.output.includes('pong back'));
});

test('clients of a guest that moved are told where, those that come later too', async (t) => {
  const { url, consoles, guest } = await bench(t);
  const client = await Client.open(url, ATTACH);
  guest.state = 'frozen';
  const there = { epoch: 5, host: 'b', address: '127.0.0.1:9' };
  consoles.moved('kv', there.epoch, there.host, there.address);
  await until('the end', () => client.closed === 1000);
  assert.deepEqual(client.messages.at(-1), { type: 'consoleMoved', ...there });
  const late = await Client.open(url, ATTACH);
  assert.deepEqual(late.messages[0], { type: 'consoleMoved', ...there });
});

test('a guest that ends says its last words and why', async (t) => {
  const { url, consoles, guest } = await bench(t);
  const client = await Client.open(url, ATTACH);
  client.input(0, 'ping last\n');
  await until('the answer', () => client.output.includes('pong last'));
  consoles.ended(guest, 'powerOff', 3);
  await until('the end', () => client.closed === 1000);
  assert.deepEqual(client.messages.at(-1), { type: 'consoleEnded', why: 'powerOff', code: 3 });
});

test("a client's mistake ends its own connection, with its code", async (t) => {
  const { url, guest } = await bench(t);
  const good = await Client.open(url, ATTACH);
  const cases: [string, (client: Client) => void][] = [
    ['guest.not_found', (c) => c.send({ type: 'consoleAttach', guest: 'other' })],
    ['wire.wrong_direction', (c) => c.input(0, 'x')],
    ['wire.unknown_message', (c) => c.socket.send(Buffer.from([0xc1, 0xff]))],
    ['wire.truncated', (c) => c.socket.send(Buffer.from([0x92]))],
    ['wire.bad_frame', (c) => c.socket.send('text')],
  ];
  for (const [code, mistake] of cases) {
    const client = await Client.open(url);
    mistake(client);
    await until(code, () => client.closed !== undefined);
    assert.deepEqual([client.closed, client.reason], [1008, code]);
  }
  guest.state = 'incoming';
  const early = await Client.open(url, ATTACH);
  assert.equal(early.reason, 'guest.not_running');
  good.input(0, 'ping still\n');
  await until('the answer', () => good.output.includes('pong still'));
});

test('no bytes a client can send do more than end its own connection', async (t) => {
  const { url } = await bench(t);
  const sent = encodeMessage({ type: 'consoleInput', offset: 0, bytes: Buffer.from('ping bad\n') });
  const mutated = fc
    .tuple(fc.nat(sent.length - 1), fc.integer({ min: 1, max: 255 }))
    .map(([at, flip]) => {
      const bytes = Buffer.from(sent);
      bytes[at]! ^= flip;
      return bytes;
    });
  const anything = fc.oneof(fc.uint8Array({ maxLength: 64 }).map(Buffer.from), mutated);
  await fc.assert(
    fc.asyncProperty(fc.boolean(), anything, async (isAttached, bytes) => {
      const client = await Client.open(url, isAttached ? TAKE : undefined);
      client.socket.send(bytes);
      client.socket.close();
      await until('the end', () => client.closed !== undefined);
    }),
    { numRuns: 60 },
  );
  // A line of its own, behind whatever of the garbage was good input.
  const good = await Client.open(url, TAKE);
  const { inputOffset } = good.last('consoleAttached');
  good.input(inputOffset, '\nping still\n');
  await until('the answer', () => good.output.includes('pong still'));
});
