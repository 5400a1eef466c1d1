/**
 * A drain with real processes, small: the coordinator killed in the middle, nothing lost.
 *
 * GODWIT_TEST_DRAIN_GUESTS=20 runs it at the size that `npm run bench -- drain` has.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { AuditResult, Drain, DrainPlan, Guest, Host, Migration } from '@godwit/protocol';
import { Cluster } from '../cluster.ts';
import { drainCase } from '../drain.ts';

const MIB = 2 ** 20;
const GUESTS = Number(process.env.GODWIT_TEST_DRAIN_GUESTS ?? 8);

let cluster: Cluster;

before(async () => {
  cluster = await Cluster.start({ agents: 3, memory: '256MiB', drainTimeout: '90s' });
});
after(() => cluster?.close());

test(`${GUESTS} guests leave a host and come back; a kill of the coordinator changes nothing`, async () => {
  const { plan, drain, restore, atOnce, limits, wrong } = await drainCase(cluster, {
    guests: GUESTS,
    memoryMiB: 4,
    rateMiBps: 2,
    killAt: 2,
  });
  assert.deepEqual(wrong, []);
  assert.equal(plan.moves.length, GUESTS);
  assert.deepEqual(plan.blocked, []);
  assert.equal(drain.state, 'completed', JSON.stringify(drain.guests));
  assert.equal(restore.state, 'completed', JSON.stringify(restore.guests));
  assert.ok(atOnce.host <= limits.perHost && atOnce.host > 0);
  const { cordon, guests } = await cluster.get<Host>('/v1/hosts/a');
  assert.deepEqual([cordon, guests], [undefined, GUESTS]);
});

test('what keeps a guest is named; a host that dies in the middle is replaced by another', async () => {
  // Guests are back on a; b and c have 256 MiB each.
  await cluster.createGuest({
    name: 'huge',
    kind: 'workload',
    memoryBytes: 160 * MIB,
    host: 'a',
    workload: { pattern: 'idle', content: 'zero' },
  });
  await cluster.createGuest({
    name: 'filler',
    kind: 'workload',
    memoryBytes: 100 * MIB,
    host: 'b',
    workload: { pattern: 'idle', content: 'zero' },
  });
  await cluster.post('/v1/hosts/c/cordon', { reason: 'a fan' });
  const { moves, blocked } = await cluster.post<DrainPlan>('/v1/hosts/a/drain/plan', {});
  assert.equal(moves.length, GUESTS);
  const [only] = blocked;
  assert.deepEqual([blocked.length, only?.guest, only?.code], [1, 'huge', 'no_room']);
  assert.match(only?.why ?? '', /needs 160 MiB, \d+ MiB are left on host b.*c is cordoned/);
  await cluster.post('/v1/hosts/c/uncordon');

  await cluster.post<Drain>('/v1/hosts/a/drain', { maxBandwidthBytesPerS: 8 * MIB });
  await cluster.until('moves to c are under way', async () => {
    const open = await cluster.get<Migration[]>('/v1/migrations?open=true');
    return open.some(({ target, state }) => target === 'c' && state === 'rounds');
  });
  process.kill(cluster.daemonPid('c'), 'SIGKILL');
  let last: Drain | undefined;
  await cluster.until(
    () => `the drain ends: ${JSON.stringify(last)}`,
    async () => {
      last = await cluster.get<Drain>('/v1/hosts/a/drain');
      return last.endedAtMs !== undefined;
    },
    120_000,
  );
  const guests = await cluster.get<Guest[]>('/v1/guests');
  const small = guests.filter(({ name }) => name.startsWith('g'));
  const lost = small.filter(({ state }) => state === 'lost').map(({ name }) => name);
  // Guests that ran on c already went with it; no other is anywhere but off host a.
  for (const { name, host, state } of small) {
    assert.ok(lost.includes(name) || (host !== 'a' && state === 'running'), `${name} ${host}`);
  }
  assert.equal(last?.state === 'completed', lost.length === 0);
});

test('an agent that gets SIGTERM moves its guests first, and its successor takes guests again', async () => {
  await cluster.post('/v1/hosts/a/uncordon');
  await cluster.request('DELETE', '/v1/guests/filler').catch(() => {});
  const isRunning = ({ state }: Guest) => state === 'running' || state === 'migrating';
  const before = (await cluster.get<Guest[]>('/v1/guests')).filter(isRunning);
  const there = before.filter(({ host, name }) => host === 'b' && name.startsWith('g'));
  assert.ok(there.length > 0);
  const child = cluster.host('b').process;
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  await cluster.until('it is leaving', async () => {
    const { cordon } = await cluster.get<Host>('/v1/hosts/b');
    return cordon?.by === 'agent';
  });
  assert.equal(await ended, 0);
  const after = await cluster.get<Guest[]>('/v1/guests');
  for (const { name } of there) {
    const guest = after.find((each) => each.name === name);
    assert.ok(guest?.state === 'running' && guest.host !== 'b', `${name}: ${guest?.state}`);
    assert.ok((await cluster.post<AuditResult>(`/v1/guests/${name}/audit`)).ok, name);
  }
  await cluster.startAgent('b');
  await cluster.until('it takes guests again', async () => {
    const { cordon, state } = await cluster.get<Host>('/v1/hosts/b');
    return cordon === undefined && state === 'connected';
  });
});
