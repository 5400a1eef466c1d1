/**
 * A guest into a file and out of one, through real processes: what goes on from it is the guest, there
 * are never two of one name, and a guest that was lost may be had again with a higher epoch.
 */
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, readdirSync, truncateSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { AuditResult, CheckpointResult, Guest, GuestDetail } from '@godwit/protocol';
import { call, type Said } from './call.ts';
import { Up } from './up.ts';

const WAIT_MS = 60_000;
let up: Up;

const godwit = (...argv: string[]): Promise<Said> =>
  call(argv, { env: { GODWIT_COORDINATOR: up.ready.url } });

async function json<T>(...argv: string[]): Promise<T> {
  const said = await godwit(...argv, '--json');
  assert.ok(said.out.startsWith('{') || said.out.startsWith('['), said.err || said.out);
  return JSON.parse(said.out) as T;
}

async function until<T>(look: () => Promise<T | undefined>): Promise<T> {
  const deadline = performance.now() + WAIT_MS;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    assert.ok(performance.now() < deadline, 'it did not come');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const checkpointsOf = (written: CheckpointResult) => dirname(written.path);

describe('a checkpoint', () => {
  before(async () => {
    up = await Up.start(['--json', '--agents', '2', '--memory', '256MiB']);
  });
  after(async () => {
    await up.stop();
    up.remove();
  });

  let written: CheckpointResult;

  it('is of a guest that runs on, and says how long it stood', async () => {
    const workload = ['--workload', 'uniform', '--memory', '16MiB', '--rate', '20MiB/s'];
    await json('guest', 'create', 'w', ...workload, '--host', 'a');
    written = await json<CheckpointResult>('guest', 'checkpoint', 'w', '--to', 'first');
    assert.match(written.digest, /^[0-9a-f]{64}$/);
    assert.deepEqual([written.host, written.epoch, written.checkpoint], ['a', 1, 'first']);
    assert.ok(written.fileBytes > 0 && written.pausedMs > 0);
    assert.equal((await json<Guest>('guest', 'show', 'w')).state, 'running');
    assert.equal((await json<AuditResult>('guest', 'audit', 'w')).ok, true);
    assert.deepEqual(readdirSync(checkpointsOf(written)), ['first.checkpoint']);
  });

  it('is never replaced, and never written through another name of the file system', async () => {
    const again = await godwit('guest', 'checkpoint', 'w', '--to', 'first');
    assert.deepEqual([again.exit, /^error: checkpoint first exists/.test(again.err)], [4, true]);
    assert.equal((await godwit('guest', 'checkpoint', 'w', '--to', '../first')).exit, 2);
    assert.equal((await godwit('guest', 'checkpoint', 'nobody', '--to', 'x')).exit, 3);
  });

  it('does not become a second guest of the name, but another guest', async () => {
    const refused = await godwit('guest', 'restore', '--from', 'first', '--host', 'a');
    assert.deepEqual([refused.exit, /guest w exists/.test(refused.err)], [4, true]);
    const other = await json<Guest>('guest', 'restore', 'v', '--from', 'first', '--host', 'a');
    assert.deepEqual([other.name, other.host, other.state], ['v', 'a', 'running']);
    assert.ok(other.epoch > written.epoch);
    assert.equal((await json<AuditResult>('guest', 'audit', 'v')).ok, true);
    assert.equal((await json<AuditResult>('guest', 'audit', 'w')).ok, true);
  });

  it('is had from the host that has the file, and a damaged one starts nothing', async () => {
    const from = ['--from', 'first', '--host', 'b'];
    const missing = await godwit('guest', 'restore', 'u', ...from);
    assert.deepEqual([missing.exit, /no checkpoint first on host b/.test(missing.err)], [3, true]);
    const there = checkpointsOf(written).replace(/([/-])a\/checkpoints$/, '$1b/checkpoints');
    assert.notEqual(there, checkpointsOf(written));
    mkdirSync(there);
    const copy = join(there, 'first.checkpoint');
    copyFileSync(written.path, copy);
    truncateSync(copy, written.fileBytes - 5000);
    const damaged = await godwit('guest', 'restore', 'u', ...from);
    assert.deepEqual([damaged.exit, /is of no use: .*\nhint: /.test(damaged.err)], [1, true]);
    assert.equal((await godwit('guest', 'show', 'u')).exit, 3);
    copyFileSync(written.path, copy);
    const whole = await json<Guest>('guest', 'restore', 'u', ...from);
    assert.deepEqual([whole.name, whole.host], ['u', 'b']);
    assert.equal((await json<AuditResult>('guest', 'audit', 'u')).ok, true);
  });

  it('brings a guest back that was lost, above every epoch it can have had', async () => {
    const { daemonPid } = up.ready.hosts.find(({ name }) => name === 'a')!;
    process.kill(daemonPid, 'SIGKILL');
    await until(async () => {
      const { state } = await json<Guest>('guest', 'show', 'w');
      return state === 'lost' || undefined;
    });
    const again = await until(async () => {
      const said = await godwit('guest', 'restore', '--from', 'first', '--host', 'a', '--json');
      return said.exit === 0 ? (JSON.parse(said.out) as Guest) : undefined;
    });
    assert.ok(again.epoch >= 3);
    const shown = await json<GuestDetail>('guest', 'show', 'w');
    assert.deepEqual([shown.state, shown.host], ['running', 'a']);
    assert.equal((await json<AuditResult>('guest', 'audit', 'w')).ok, true);
  });
});
