/** A coordinator whose disk is full: says so, decides nothing, forgets nothing, and goes on by itself. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, describe, it } from 'node:test';
import type { Guest, Host, Status } from '@godwit/protocol';
import { CoordinatorProcess } from './coordinator-process.ts';
import { FakeAgent } from './fake-agent.ts';

const workload = { pattern: 'idle', content: 'zero' };
const guest = (name: string) => ({ name, kind: 'workload', memoryBytes: 4096, workload });

describe('a full disk under the store', () => {
  const coordinator = new CoordinatorProcess();
  const agent = new FakeAgent(coordinator, 'a');
  before(async () => {
    await coordinator.start();
    await agent.connect();
  });
  after(async () => {
    await agent.disconnect();
    await coordinator.dispose();
  });

  const limitFiles = async (bytes: string): Promise<void> => {
    const { pid } = (await coordinator.ask<Status>('GET', '/v1/status')).body;
    execFileSync('prlimit', ['--pid', `${pid}`, `--fsize=${bytes}:`]);
  };

  it('is said to who asks for a change, while questions are answered and agents stay', async () => {
    assert.equal((await coordinator.ask('POST', '/v1/guests', guest('g1'))).status, 200);
    await limitFiles('1');
    // The first change finds out; it waits for the disk, and so does what it asked for.
    const waiting = coordinator.ask<Guest>('POST', '/v1/guests', guest('g2'));
    const status = await coordinator.until<Status>(
      '/v1/status',
      ({ stall }) => stall !== undefined,
    );
    assert.match(status.stall ?? '', /cannot grow/);
    const { status: code, body } = await coordinator.ask('POST', '/v1/guests', guest('g3'));
    assert.equal(code, 500);
    assert.equal(body.error?.code, 'store.full');
    assert.match(body.error?.hint ?? '', /make room/);
    assert.equal((await coordinator.ask<Host>('GET', '/v1/hosts/a')).body.state, 'connected');
    assert.equal((await coordinator.ask('GET', '/v1/guests/g1')).status, 200);
    assert.equal(
      (await coordinator.ask('GET', '/v1/guests/g2')).status,
      404,
      'not durable: not there',
    );
    await limitFiles('unlimited');
    assert.equal((await waiting).status, 200, 'done as soon as there is space');
    assert.equal((await coordinator.ask('POST', '/v1/guests', guest('g3'))).status, 200);
  });

  it('loses nothing when the coordinator is killed meanwhile', async () => {
    await limitFiles('1');
    const refused = coordinator.ask('POST', '/v1/guests', guest('g4')).catch(() => undefined);
    await coordinator.until<Status>('/v1/status', ({ stall }) => stall !== undefined);
    await coordinator.end('SIGKILL');
    await refused;
    await coordinator.start();
    const { body } = await coordinator.ask<Guest[]>('GET', '/v1/guests');
    assert.deepEqual(body.map(({ name }) => name).sort(), ['g1', 'g2', 'g3']);
  });
});
