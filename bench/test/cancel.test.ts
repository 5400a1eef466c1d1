/**
 * Cancel at every step: before RUN the guest stays and a second migration works at once; after it the
 * cancel is refused and the migration ends well.
 *
 * The runner stands still at the step (fault points) until the source has heard of the cancel.
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { Migration, Mode } from '@godwit/protocol';
import { Census } from '../census.ts';
import { Cluster } from '../cluster.ts';

const MIB = 2 ** 20;

const BEFORE_RUN: readonly (readonly [mode: Mode, step: string])[] = [
  ['precopy', 'target:landing:sendAccept'],
  ['precopy', 'source:rounds:startRound'],
  ['precopy', 'source:rounds:reportRound'],
  ['precopy', 'source:stopping:stopHarts'],
  ['precopy', 'source:stopping:sendRest'],
  ['precopy', 'source:offered:sendHandover'],
  ['precopy', 'target:landing:checkManifest'],
  ['precopy', 'target:landed:revokeRoundsKey'],
  ['precopy', 'target:landed:sendLanded'],
  ['postcopy', 'source:offered:sendHandover'],
  ['postcopy', 'target:landed:clearMissing'],
  ['postcopy', 'target:landed:sendLanded'],
];

const AFTER_RUN: readonly (readonly [mode: Mode, step: string])[] = [
  ['precopy', 'source:released:sendRun'],
  ['precopy', 'target:running:startHarts'],
  ['precopy', 'source:freed:free'],
  ['precopy', 'source:freed:reportFreed'],
  ['postcopy', 'source:released:sendRun'],
  ['postcopy', 'source:serving:push'],
];

let cluster: Cluster;
let guests = 0;

before(async () => {
  cluster = await Cluster.start({
    agents: 2,
    memory: '1GiB',
    testFaults: true,
    env: { GODWIT_TEST_POISON: '1' },
  });
});
after(() => cluster?.close());

async function makeGuest(): Promise<string> {
  const name = `g${++guests}`;
  const workload = { pattern: 'uniform', content: 'random', rateMiBps: 8 } as const;
  await cluster.createGuest({ name, kind: 'workload', memoryBytes: 8 * MIB, host: 'a', workload });
  return name;
}

/** Starts the move and waits until the step is reached. @returns the migration, and what lets it go on */
async function holdAt(
  guest: string,
  mode: Mode,
  step: string,
): Promise<{ id: string; release: () => void }> {
  const dir = cluster.host(step.startsWith('source') ? 'a' : 'b').stateDir;
  const armed = join(dir, 'fault-point');
  const reached = join(dir, 'at-step');
  rmSync(reached, { force: true });
  writeFileSync(armed, step);
  const { id } = await cluster.post<Migration>('/v1/migrations', { guest, to: 'b', mode });
  await cluster.until(
    `${step} is reached`,
    () => existsSync(reached) && readFileSync(reached, 'utf8') === step,
  );
  return { id, release: () => rmSync(armed, { force: true }) };
}

/** Asks for the cancel and resolves when the source has heard of it; the answer comes later. */
async function askToCancel(id: string): Promise<{ answer: Promise<Migration> }> {
  const answer = cluster.post<Migration>(`/v1/migrations/${id}/cancel`);
  answer.catch(() => {});
  await cluster.until('the source is asked', () =>
    cluster
      .logTail('a', 1000)
      .split('\n')
      .some((line) => line.includes(id) && line.includes('asked to cancel')),
  );
  return { answer };
}

async function writesOn(guest: string, host: string): Promise<void> {
  const census = new Census(cluster, guest);
  const sinceMs = performance.now();
  try {
    await cluster.until(`the guest gets on at ${host}`, () =>
      census.since(sinceMs).some((advance) => advance.host === host),
    );
  } finally {
    await census.close();
  }
}

for (const [mode, step] of BEFORE_RUN) {
  test(`${mode}, cancelled at ${step}: the guest stays, the next move works`, async () => {
    const guest = await makeGuest();
    const { id, release } = await holdAt(guest, mode, step);
    const { answer } = await askToCancel(id);
    release();
    const cancelled = await answer;
    assert.equal(cancelled.state, 'cancelled');
    assert.equal((await cluster.guest(guest)).host, 'a');
    await writesOn(guest, 'a');
    const next = await cluster.migrate({ guest, to: 'b', mode, verify: true });
    assert.equal(next.state, 'completed', next.error?.message);
    await cluster.post(`/v1/guests/${guest}/stop`);
    await cluster.request('DELETE', `/v1/guests/${guest}`);
  });
}

for (const [mode, step] of AFTER_RUN) {
  test(`${mode}, cancelled at ${step}: too late, and it completes`, async () => {
    const guest = await makeGuest();
    const { id, release } = await holdAt(guest, mode, step);
    const answer = cluster.post<Migration>(`/v1/migrations/${id}/cancel`);
    const refusal = assert.rejects(answer, { code: 'migration.past_cancel' });
    release();
    await refusal;
    assert.equal((await cluster.ended(id)).state, 'completed');
    await writesOn(guest, 'b');
    await cluster.post(`/v1/guests/${guest}/stop`);
    await cluster.request('DELETE', `/v1/guests/${guest}`);
  });
}
