/** Agents that are strange, old, hostile or only noisy: one answer for each, and nobody else suffers. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import {
  encodeMessage,
  type Guest,
  MESSAGES,
  type Message,
  type Migration,
  type Status,
} from '@godwit/protocol';
import fc from 'fast-check';
import { arbitraryOf } from './arbitrary-message.ts';
import { CoordinatorProcess } from './coordinator-process.ts';
import { FakeAgent } from './fake-agent.ts';

describe('hello', () => {
  const coordinator = new CoordinatorProcess();
  before(() => coordinator.start());
  after(() => coordinator.dispose());

  const refused = async (change: (agent: FakeAgent) => void) => {
    const agent = new FakeAgent(coordinator, 'a');
    change(agent);
    const said = await agent.connect();
    await agent.disconnect();
    return said.type === 'turnedAway' ? said.error.code : said.type;
  };

  it('welcomes with term, store and the address it is seen by', async () => {
    const agent = new FakeAgent(coordinator, 'w');
    const welcome = (await agent.connect()) as Message<'welcome'>;
    assert.equal(welcome.term, 1);
    assert.match(welcome.address, /^127\.0\.0\.1:/);
    const pulse = agent.storeRev;
    assert.ok(pulse >= 0);
    await agent.disconnect();
  });

  it('turns away whoever has seen a higher term: this coordinator is an old one', async () => {
    const { storeId } = (await coordinator.ask<Status>('GET', '/v1/status')).body;
    const code = await refused((agent) => Object.assign(agent, { termSeen: 99, storeId }));
    assert.equal(code, 'store.stale_term');
  });

  it('takes an empty agent of another store, but not one with guests', async () => {
    const other = { storeId: 'another', storeRev: 5, termSeen: 9 };
    assert.equal(await refused((agent) => Object.assign(agent, other)), 'welcome');
    const code = await refused((agent) => {
      Object.assign(agent, other);
      agent.migrations.set('m', {
        migration: 'm',
        guest: 'g',
        role: 'source',
        epoch: 2,
        phase: 'rounds',
        ran: false,
      });
    });
    assert.equal(code, 'store.back_in_time');
  });

  it('a name belongs to one agent at a time; the same incarnation replaces its old connection', async () => {
    const first = new FakeAgent(coordinator, 'n');
    await first.connect();
    const second = new FakeAgent(coordinator, 'n');
    const said = (await second.connect()) as Message<'turnedAway'>;
    assert.equal(said.error.code, 'host.name_taken');
    const same = new FakeAgent(coordinator, 'n');
    same.incarnation = first.incarnation;
    const replaced = first.closed();
    assert.equal((await same.connect()).type, 'welcome');
    await replaced;
    await same.disconnect();
    assert.equal((await second.connect()).type, 'welcome', 'it holds nothing and is gone');
    await second.disconnect();
  });
});

describe('hostile agents', () => {
  const coordinator = new CoordinatorProcess();
  let good: FakeAgent;
  before(async () => {
    await coordinator.start();
    good = new FakeAgent(coordinator, 'good');
    await good.connect();
  });
  after(async () => {
    await good.disconnect();
    await coordinator.dispose();
  });

  const isWell = async () => {
    const { body } = await coordinator.ask<{ state: string }>('GET', '/v1/hosts/good');
    assert.equal(body.state, 'connected');
  };

  it('bytes that are no message end the connection and nothing else', async () => {
    const hello = encodeMessage(new FakeAgent(coordinator, 'x').hello());
    const bad = fc.oneof(
      fc.uint8Array({ maxLength: 64 }),
      fc.nat(hello.length - 1).map((length) => hello.slice(0, length)),
      fc.tuple(fc.nat(hello.length - 1), fc.integer({ min: 1, max: 255 })).map(([at, mask]) => {
        const bytes = hello.slice();
        bytes[at]! ^= mask;
        return bytes;
      }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(bad, { minLength: 1, maxLength: 5 }), async (messages) => {
        const agent = new FakeAgent(coordinator, 'x');
        await agent.dial();
        for (const bytes of messages) agent.sendBytes(bytes);
        await agent.disconnect();
      }),
      { numRuns: 60 },
    );
    await isWell();
  });

  it('any legal message of the table, in any order, about anything, is survived', async () => {
    const fromAgents = Object.entries(MESSAGES).filter(
      ([name, row]) => row.on === 'agent' && row.from === 'agent' && name !== 'hello',
    );
    const message = fc.oneof(
      ...fromAgents.map(([name, row]) => arbitraryOf(name, row.fields)),
    ) as fc.Arbitrary<Message>;
    await fc.assert(
      fc.asyncProperty(fc.array(message, { minLength: 1, maxLength: 30 }), async (messages) => {
        const agent = new FakeAgent(coordinator, 'y');
        await agent.connect();
        for (const each of messages) agent.send(each);
        await agent.disconnect();
      }),
      { numRuns: 60 },
    );
    await isWell();
    assert.equal((await coordinator.ask<Status>('GET', '/v1/status')).body.term, 1, 'no restart');
  });

  it('the two ends of a migration may say anything: it settles, and the guest has one owner', async () => {
    const about = Object.entries(MESSAGES).filter(
      ([, row]) => row.on === 'agent' && row.from === 'agent' && 'migration' in row.fields,
    );
    const said = fc.oneof(...about.map(([name, row]) => arbitraryOf(name, row.fields)));
    const ends = fc.array(fc.tuple(fc.constantFrom('s', 't'), said), { maxLength: 25 });
    const workload = { pattern: 'idle', content: 'zero' };
    let round = 0;
    await fc.assert(
      fc.asyncProperty(ends, async (messages) => {
        const guest = `f${round++}`;
        const source = new FakeAgent(coordinator, `s${round}`);
        const target = new FakeAgent(coordinator, `t${round}`);
        await Promise.all([source.connect(), target.connect()]);
        const spec = {
          name: guest,
          kind: 'workload',
          memoryBytes: 4096,
          host: source.host,
          workload,
        };
        assert.equal((await coordinator.ask('POST', '/v1/guests', spec)).status, 200);
        const to = { guest, to: target.host };
        const { id } = (await coordinator.ask<Migration>('POST', '/v1/migrations', to)).body;
        await source.next('grant');
        for (const [end, message] of messages) {
          const agent = end === 's' ? source : target;
          const named = 'guest' in (message as object) ? { guest } : {};
          agent.send({ ...(message as Message<'query'>), migration: id, ...named });
        }
        // Both end: whatever was said, their successors' proofs settle it.
        const died = (agent: FakeAgent) => ({
          incarnation: agent.incarnation,
          exit: 'killed',
          ran: [],
          owned: [],
        });
        for (const agent of [source, target]) {
          await agent.disconnect();
          agent.deaths = [died(agent)];
          agent.incarnation += 'x';
          agent.guests.clear();
          agent.migrations.clear();
          await agent.connect();
        }
        await coordinator.until<Migration>(
          `/v1/migrations/${id}`,
          (now) => now.endedAtMs !== undefined,
        );
        // A migration that ended well after its target's end: the guest is lost right after.
        await coordinator.until<Guest>(`/v1/guests/${guest}`, ({ state }) =>
          ['lost', 'ended'].includes(state),
        );
        await Promise.all([source.disconnect(), target.disconnect()]);
      }),
      // Each case has hosts of its own: shrinking would come to the limit of hosts.
      { numRuns: 30, endOnFailure: true },
    );
    await isWell();
  });

  it('a message before the hello, and text instead of bytes, end the connection', async () => {
    for (const spoil of [
      (agent: FakeAgent) => agent.beat(),
      (agent: FakeAgent) => agent.sendText('{"type":"hello"}'),
    ]) {
      const agent = new FakeAgent(coordinator, 'z');
      await agent.dial();
      spoil(agent);
      assert.equal(await agent.closed(), 1008);
    }
    await isWell();
  });

  it('an agent can prove the end of its own incarnations only', async () => {
    const liar = new FakeAgent(coordinator, 'liar');
    liar.deaths = [{ incarnation: good.incarnation, exit: 'a lie', ran: [], owned: [] }];
    await liar.connect();
    await liar.disconnect();
    await isWell();
  });
});
