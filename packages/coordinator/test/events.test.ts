/** The event stream: whole at first, then changes, and nothing missed over a break. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Drain } from '@godwit/protocol';
import { type EventData, eventData } from '@godwit/protocol/http-api';
import { CoordinatorProcess, DEADLINE_MS } from './coordinator-process.ts';
import { FakeAgent } from './fake-agent.ts';

const MIB = 1024 ** 2;
const WORKLOAD = { pattern: 'uniform', content: 'random', rateMiBps: 1 } as const;

interface Told {
  readonly event: string;
  readonly id: string;
  readonly data: EventData;
}

/** A reader of the stream; every event is held against its schema. */
class Reader {
  readonly #stop = new AbortController();
  readonly #events: AsyncGenerator<Told>;

  constructor(url: string, headers: Record<string, string> = {}) {
    this.#events = read(url, headers, this.#stop.signal);
  }

  async next(): Promise<Told> {
    const { value } = await this.#events.next();
    assert.ok(value, 'the stream ended');
    return value;
  }

  /** The first event that is as wished; those before it are of no interest. */
  async until(isWanted: (data: EventData) => boolean): Promise<Told> {
    for (;;) {
      const told = await this.next();
      if (isWanted(told.data)) return told;
    }
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#events.return(undefined).catch(() => {});
  }
}

async function* read(
  url: string,
  headers: Record<string, string>,
  stop: AbortSignal,
): AsyncGenerator<Told> {
  const signal = AbortSignal.any([stop, AbortSignal.timeout(DEADLINE_MS)]);
  const response = await fetch(url, { headers, signal });
  assert.match(response.headers.get('content-type') ?? '', /^text\/event-stream/);
  let text = '';
  for await (const piece of response.body!.pipeThrough(new TextDecoderStream())) {
    const blocks = (text + piece).split('\n\n');
    text = blocks.pop()!;
    for (const block of blocks) {
      const [, event, id, data] = /^event: (.*)\nid: (.*)\ndata: (.*)$/.exec(block) ?? [];
      if (data !== undefined) {
        yield { event: event!, id: id!, data: eventData.parse(JSON.parse(data)) };
      }
    }
  }
}

describe('the event stream', () => {
  const coordinator = new CoordinatorProcess();
  let a: FakeAgent;
  const create = (name: string) =>
    coordinator.ask('POST', '/v1/guests', {
      name,
      kind: 'workload',
      memoryBytes: 64 * MIB,
      workload: WORKLOAD,
    });
  const has = (name: string) => (data: EventData) => data.guests.some((g) => g.name === name);

  before(async () => {
    await coordinator.start();
    a = new FakeAgent(coordinator, 'a');
    await a.connect();
  });
  after(() => coordinator.dispose());

  it('begins with everything, then tells what changes', async () => {
    await create('g1');
    const reader = new Reader(`${coordinator.url}/v1/events`);
    const first = await reader.next();
    assert.equal(first.event, 'snapshot');
    assert.deepEqual(
      [first.data.hosts.map((host) => host.name), first.data.guests.map((guest) => guest.name)],
      [['a'], ['g1']],
    );
    await create('g2');
    const { event, data } = await reader.until(has('g2'));
    assert.equal(event, 'change');
    assert.equal(has('g1')(data), false, 'what did not change is not told again');
    await reader.close();
  });

  it('goes on from the last event seen: what changed and what is gone meanwhile', async () => {
    const before = new Reader(`${coordinator.url}/v1/events?kinds=guest`);
    const { id } = await before.next();
    await before.close();
    await create('g3');
    await coordinator.ask('POST', '/v1/guests/g1/stop');
    await coordinator.ask('DELETE', '/v1/guests/g1');
    for (const [query, headers] of [
      [`&since=${id}`, {}],
      ['', { 'last-event-id': id }],
    ] as const) {
      const reader = new Reader(`${coordinator.url}/v1/events?kinds=guest${query}`, headers);
      const { event, data } = await reader.next();
      assert.equal(event, 'change');
      assert.ok(has('g3')(data) && !has('g2')(data));
      assert.deepEqual(data.gone.guests, ['g1']);
      assert.deepEqual(data.hosts, []);
      await reader.close();
    }
  });

  it('tells what agents say by heartbeat, of the kinds asked for', async () => {
    const reader = new Reader(`${coordinator.url}/v1/events?kinds=host`);
    await reader.next();
    a.freeBytes = 123 * MIB;
    a.beat();
    const { data } = await reader.until((each) => each.hosts[0]?.freeBytes === 123 * MIB);
    assert.deepEqual(data.guests, []);
    await reader.close();
  });

  it('tells a drain: that it began, what keeps each guest, how it ended', async () => {
    const reader = new Reader(`${coordinator.url}/v1/events?kinds=drain`);
    assert.deepEqual((await reader.next()).data.drains, []);
    const { body } = await coordinator.ask<Drain>('POST', '/v1/hosts/a/drain', {});
    const standing = (guest: string) => (data: EventData) =>
      data.drains[0]?.guests.find((row) => row.guest === guest);
    const { event, data } = await reader.until((each) => standing('g2')(each)?.why !== undefined);
    assert.deepEqual(
      [event, data.drains[0]?.id, data.drains[0]?.state],
      ['change', body.id, 'moving'],
    );
    assert.equal(standing('g2')(data)?.state, 'blocked', 'there is no other host');
    assert.deepEqual([data.hosts, data.guests], [[], []], 'of the kinds asked for');
    await coordinator.ask('POST', '/v1/guests/g2/stop');
    await reader.until((each) => standing('g2')(each)?.state === 'stays');
    await coordinator.ask('POST', '/v1/hosts/a/drain/cancel');
    await reader.until(({ drains }) => drains[0]?.state === 'cancelled');
    await reader.close();
    const late = new Reader(`${coordinator.url}/v1/events`);
    const [known] = (await late.next()).data.drains;
    assert.deepEqual([known?.host, known?.state], ['a', 'cancelled']);
    await late.close();
  });

  it('starts anew behind an id of another term', async () => {
    const reader = new Reader(`${coordinator.url}/v1/events`);
    const { id } = await reader.next();
    await reader.close();
    await Promise.all([a.closed(), coordinator.end('SIGKILL')]);
    await coordinator.start();
    const again = new Reader(`${coordinator.url}/v1/events?since=${id}`);
    const { event, data } = await again.next();
    assert.equal(event, 'snapshot');
    assert.ok(has('g2')(data) && has('g3')(data) && !has('g1')(data));
    assert.equal(data.drains[0]?.state, 'cancelled');
    await again.close();
  });

  it('refuses an id that is none, and a kind there is not', async () => {
    for (const query of ['since=yesterday', 'kinds=guest,color']) {
      const { status, body } = await coordinator.ask('GET', `/v1/events?${query}`);
      assert.deepEqual([status, body.error?.code], [400, 'request.invalid']);
    }
  });
});
