/**
 * The console's two streams over moves, breaks and a coordinator that is away: every byte once, in order.
 */
import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { afterEach, beforeEach, describe, it } from 'node:test';
import fc from 'fast-check';
import { ApiClient } from '../src/api-client.ts';
import { ConsoleClient } from '../src/console-client.ts';
import type { CommandError } from '../src/errors.ts';
import { InputQueue } from '../src/input-queue.ts';
import { call } from './call.ts';
import { FakeAgent, FakeGuest } from './fake-agent.ts';
import { aHost, errorOf, FakeCoordinator } from './fake-coordinator.ts';

let coordinator: FakeCoordinator;
let a: FakeAgent;
let b: FakeAgent;
let guest: FakeGuest;
const clients: ConsoleClient[] = [];

beforeEach(async () => {
  guest = new FakeGuest();
  coordinator = await FakeCoordinator.start();
  a = await FakeAgent.start(guest);
  b = await FakeAgent.start();
  coordinator.on('GET /v1/hosts', () =>
    [a, b].map((agent, i) => aHost('ab'[i]!, { address: agent.address })),
  );
  pointAt(a);
});

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
  await Promise.all([coordinator.stop(), a.stop(), b.stop()]);
});

function pointAt(agent: FakeAgent): void {
  coordinator.on('GET /v1/guests/kv/console', () => ({
    guest: 'kv',
    host: agent === a ? 'a' : 'b',
    url: agent.url,
    epoch: guest.epoch,
  }));
}

/** A client and what it has read; `reads` waits until that much was read. */
async function open(more: { outputOffset?: number; patienceMs?: number } = {}) {
  const client = new ConsoleClient({
    api: new ApiClient({ url: coordinator.url }),
    guest: 'kv',
    ...more,
  });
  clients.push(client);
  let text = '';
  const progress = new EventEmitter();
  client.on('output', (bytes) => {
    text += Buffer.from(bytes).toString('latin1');
    progress.emit('read');
  });
  await client.open();
  return {
    client,
    progress,
    write: (input: string) => client.write(Buffer.from(input, 'latin1')),
    async reads(expected: string) {
      while (text.length < expected.length) await once(progress, 'read');
      assert.equal(text, expected);
    },
  };
}

describe('console client', () => {
  it('reads what the ring still holds, writes, and hears that it was taken', async () => {
    guest.output = 'kv ready\n';
    const console = await open();
    console.write('one\n');
    await console.client.taken();
    await console.reads('kv ready\nONE\n');
    assert.equal(guest.taken, 'one\n');
  });

  it('takes output that comes in the same packet as the attachment', async () => {
    guest.output = 'x'.repeat(10_000);
    const console = await open({ outputOffset: 0 });
    await console.reads('x'.repeat(10_000));
  });

  for (const how of ['told', 'broken'] as const) {
    it(`follows a guest that moved (${how}), with input on its way`, async () => {
      const console = await open();
      console.write('before ');
      await console.client.taken();
      a.takesUpTo = 'before mi'.length;
      console.write('middle ');
      while (guest.taken.length < a.takesUpTo) await once(console.progress, 'read');
      pointAt(b);
      a.moveTo(b, how);
      console.write('after');
      await console.client.taken();
      await console.reads('BEFORE MIDDLE AFTER');
      assert.equal(guest.taken, 'before middle after');
      assert.equal(console.client.epoch, 2);
    });
  }

  it('sends nothing twice that was taken but not acknowledged', async () => {
    const console = await open();
    a.isSilent = true;
    console.write('once');
    while (guest.taken !== 'once') await new Promise(setImmediate);
    pointAt(b);
    a.moveTo(b, 'broken');
    await console.client.taken();
    await console.reads('ONCE');
    assert.equal(guest.taken, 'once');
  });

  it('finds the new owner without a coordinator', async () => {
    const console = await open();
    await coordinator.stop();
    a.moveTo(b, 'broken');
    console.write('hello');
    await console.client.taken();
    await console.reads('HELLO');
    coordinator = await FakeCoordinator.start();
  });

  it('drops output of an older epoch', async () => {
    guest.epoch = 5;
    const console = await open();
    a.say('new ');
    a.say('stale ', 4);
    const gap = once(console.client, 'gap');
    a.say('newer');
    assert.deepEqual(await gap, ['stale '.length]);
    await console.reads('new newer');
  });

  it('says how much output was overwritten', async () => {
    guest.output = '0123456789';
    guest.oldest = 6;
    const gaps: number[] = [];
    const client = new ConsoleClient({
      api: new ApiClient({ url: coordinator.url }),
      guest: 'kv',
      outputOffset: 2,
    });
    clients.push(client);
    client.on('gap', (bytes) => gaps.push(bytes));
    const output = once(client, 'output');
    await client.open();
    assert.equal(Buffer.from((await output)[0]).toString(), '6789');
    assert.deepEqual(gaps, [4]);
  });

  it('acknowledges what it read', async () => {
    const console = await open();
    a.say('y'.repeat(9_000));
    await console.reads('y'.repeat(9_000));
    while (a.acknowledged.at(-1) !== 9_000) await new Promise(setImmediate);
  });

  it('passes the end on', async () => {
    const console = await open();
    const ended = once(console.client, 'ended');
    a.end('powerOff', 3);
    assert.deepEqual(await ended, ['powerOff', 3]);
  });

  it('gives up after its patience, with what to do', async () => {
    const console = await open({ patienceMs: 50 });
    const failed = once(console.client, 'failed');
    const { url } = a;
    coordinator.on('GET /v1/guests/kv/console', () => ({ guest: 'kv', host: 'a', url, epoch: 1 }));
    await Promise.all([a.stop(), b.stop()]);
    const [error] = (await failed) as [CommandError];
    assert.equal(error.exit, 5);
    assert.equal(error.hint, 'godwit guest show kv');
    [a, b] = await Promise.all([FakeAgent.start(), FakeAgent.start()]);
  });

  it('is told when another console has the guest, and when one takes it over', async () => {
    a.refusal = 'guest.console_busy';
    await assert.rejects(open(), /console of guest kv is in use/);
    a.refusal = undefined;
    const { client } = await open();
    const failed = once(client, 'failed');
    a.cut('guest.console_busy');
    const [error] = (await failed) as [CommandError];
    assert.match(error.message, /was taken over by another one/);
    assert.equal(error.exit, 4);
  });

  it('says how much input another console made void', async () => {
    const { client, write } = await open();
    a.takesUpTo = 0;
    write('lost');
    const dropped = once(client, 'dropped');
    a.continues = false;
    a.cut('');
    assert.deepEqual(await dropped, [4]);
  });

  it('can be closed while it looks for the owner', async () => {
    const console = await open();
    pointAt(b);
    const away = once(console.client, 'away');
    a.moveTo(b, 'told');
    await away;
    await console.client.close();
    await assert.rejects(async () => {
      console.write('too late');
      await console.client.taken();
    }, /closed/);
  });

  it('refuses at once what has no console', async () => {
    a.refusal = 'guest.bad_spec';
    await assert.rejects(open(), { message: 'guest kv has no console', exit: 2 });
    coordinator.fails(
      'GET /v1/guests/kv/console',
      errorOf('guest.not_found', { guest: 'kv', known: '' }),
    );
    await assert.rejects(open(), { code: 'guest.not_found', exit: 3 });
  });

  it('survives any moves at any byte', async () => {
    const step = fc.oneof(
      fc.record({ say: fc.stringMatching(/^[a-z]{1,40}$/) }),
      fc.record({ move: fc.constantFrom('told' as const, 'broken' as const), cut: fc.nat(30) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
        await Promise.all(clients.splice(0).map((client) => client.close()));
        guest = new FakeGuest();
        [a.guest, b.guest] = [guest, undefined];
        [a.takesUpTo, b.takesUpTo] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
        pointAt(a);
        const console = await open();
        let written = '';
        let [here, there] = [a, b];
        for (const next of steps) {
          if ('say' in next) {
            written += next.say;
            console.write(next.say);
            continue;
          }
          here.takesUpTo = guest.taken.length + next.cut;
          await new Promise(setImmediate);
          there.takesUpTo = Number.POSITIVE_INFINITY;
          pointAt(there);
          here.moveTo(there, next.move);
          [here, there] = [there, here];
        }
        await console.client.taken();
        await console.reads(written.toUpperCase());
        assert.equal(guest.taken, written);
      }),
      { numRuns: 25, timeout: 20_000 },
    );
  });
});

describe('guest console', () => {
  it('sends the pipe, prints the answers, leaves when the guest is silent', async () => {
    const said = await call(
      ['guest', 'console', 'kv', '--silence', '20ms', '--coordinator', coordinator.url],
      {
        stdin: 'set a 1\nget a\n',
      },
    );
    assert.deepEqual(said, { exit: 0, out: 'SET A 1\nGET A\n', err: '' });
  });

  it('offers what it takes: the default of --silence, and no --json, for it prints bytes', async () => {
    const { out } = await call(['guest', 'console', '--help']);
    const shown = /--silence <time>.*\(default: (\w+)\)/.exec(out)?.[1];
    assert.ok(shown, out);
    assert.doesNotMatch(out, /--json/);
    const said = await call(
      ['guest', 'console', 'kv', '--silence', shown, '--coordinator', coordinator.url],
      { stdin: 'get a\n' },
    );
    assert.equal(said.exit, 0, said.err);
    const refused = await call(['guest', 'console', 'kv', '--json']);
    assert.equal(refused.exit, 2);
    assert.match(refused.err, /unknown option '--json'/);
  });

  it('ends with an interrupt', async () => {
    guest.output = 'hello';
    const said = await call(
      ['guest', 'console', 'kv', '--silence', '1m', '--coordinator', coordinator.url],
      {
        onOut: (_, signal) => signal(),
      },
    );
    assert.equal(said.exit, 130);
  });
});

describe('input queue', () => {
  it('forgets what was taken and sends the rest, whatever the pieces', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 20 }), { maxLength: 10 }),
        fc.array(fc.nat(40), { maxLength: 10 }),
        fc.integer({ min: 1, max: 7 }),
        (chunks, takes, bytesMax) => {
          const queue = new InputQueue();
          queue.anchor(1000);
          for (const chunk of chunks) queue.push(chunk);
          const all = Buffer.concat(chunks);
          for (const take of takes) {
            queue.anchor(Math.min(queue.end, queue.start + take));
            queue.rewind();
            const pieces = [...queue.takeUnsent(bytesMax)];
            assert.equal(pieces[0]?.offset ?? queue.end, queue.start);
            assert.deepEqual(
              Buffer.concat(pieces.map((piece) => piece.bytes)),
              all.subarray(queue.start - 1000),
            );
            assert.deepEqual([...queue.takeUnsent(bytesMax)], []);
          }
        },
      ),
      { numRuns: 200 },
    );
  });

  it('goes on behind the bytes of somebody else', () => {
    const queue = new InputQueue();
    queue.anchor(0);
    queue.push(Buffer.from('abc'));
    queue.anchor(10);
    queue.push(Buffer.from('d'));
    assert.deepEqual([...queue.takeUnsent(8)], [{ offset: 10, bytes: new Uint8Array([100]) }]);
  });
});
