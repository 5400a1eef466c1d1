/** A coordinator whose disk is full: says so, decides nothing, forgets nothing, and goes on by itself. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
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

/** A file system of this size that is mounted over a directory; false: this user may not. */
function mountSmall(directory: string): boolean {
  const options = ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', directory];
  return spawnSync('mount', options).status === 0;
}

/** Writes into a file until there is no space left, to the last page. */
function fill(path: string): void {
  const file = openSync(path, 'a');
  const page = Buffer.alloc(4096, 1);
  try {
    for (;;) writeSync(file, page);
  } catch (thrown) {
    assert.equal((thrown as NodeJS.ErrnoException).code, 'ENOSPC');
  } finally {
    closeSync(file);
  }
}

/** The log lies there too: nothing that the coordinator writes goes through. */
describe('a file system that is full to the last page', () => {
  const coordinator = new CoordinatorProcess();
  const filler = join(coordinator.stateDir, 'filler');
  const isMounted = mountSmall(coordinator.stateDir);
  const skip = !isMounted && 'file systems may not be mounted';
  const names = async () =>
    (await coordinator.ask<Guest[]>('GET', '/v1/guests')).body.map(({ name }) => name).sort();
  let agent: FakeAgent;
  before(async () => {
    if (!isMounted) return;
    await coordinator.start();
    agent = new FakeAgent(coordinator, 'a');
    await agent.connect();
  });
  after(async () => {
    await agent?.disconnect();
    await coordinator.end('SIGKILL');
    if (isMounted) execFileSync('umount', [coordinator.stateDir]);
    await coordinator.dispose();
  });

  it('stalls it, and what was asked for is done when there is room', { skip }, async () => {
    assert.equal((await coordinator.ask('POST', '/v1/guests', guest('g1'))).status, 200);
    fill(filler);
    // Until the log of the store has no room left either: some changes may still go through.
    const asked: Promise<unknown>[] = [];
    for (let i = 0; ; i++) {
      const { body } = await coordinator.ask<Status>('GET', '/v1/status');
      if (body.stall !== undefined) break;
      asked.push(coordinator.ask('POST', '/v1/guests', guest(`more${i}`)));
    }
    const { body } = await coordinator.ask('POST', '/v1/guests', guest('late'));
    assert.equal(body.error?.code, 'store.full');
    assert.match(body.error?.hint ?? '', /make room/);
    assert.ok((await names()).includes('g1'));
    rmSync(filler);
    await coordinator.until<Status>('/v1/status', ({ stall }) => stall === undefined);
    await Promise.all(asked);
    assert.equal((await coordinator.ask('POST', '/v1/guests', guest('late'))).status, 200);
  });

  it('is said in one line to who starts a coordinator on it', { skip }, async () => {
    const known = await names();
    await Promise.all([agent.closed(), coordinator.end('SIGKILL')]);
    fill(filler);
    const { status, stderr } = coordinator.tryStart();
    assert.equal(status, 1, stderr);
    assert.match(stderr, /^error: .*state\.sqlite cannot grow: .*\nhint: make room/m);
    rmSync(filler);
    await coordinator.start();
    assert.deepEqual(await names(), known, 'nothing is lost');
    await agent.connect();
    assert.equal((await coordinator.ask('POST', '/v1/guests', guest('after'))).status, 200);
  });
});
