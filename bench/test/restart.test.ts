/**
 * A coordinator killed in the middle of a round takes the migration up again when it is back, and the
 * migration ends completed. Nobody pauses meanwhile.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Migration, Mode, Status } from '@godwit/protocol';
import { Census } from '../census.ts';
import { Cluster } from '../cluster.ts';

const MIB = 2 ** 20;
const GUEST_BYTES = 32 * MIB;
/** Round 0 takes two seconds: it is certainly under way when the kill comes. */
const BYTES_PER_S = 16 * MIB;

let cluster: Cluster;

before(async () => {
  cluster = await Cluster.start({ agents: 2, memory: '1GiB', env: { GODWIT_TEST_POISON: '1' } });
});
after(() => cluster?.close());

async function killCoordinator(): Promise<void> {
  const child = cluster.coordinator.process;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
}

for (const mode of ['precopy', 'hybrid'] satisfies Mode[]) {
  test(`${mode}: killed in mid-round, the migration ends completed`, async () => {
    const guest = `g-${mode}`;
    await cluster.createGuest({
      name: guest,
      kind: 'workload',
      memoryBytes: GUEST_BYTES,
      host: 'a',
      workload: { pattern: 'uniform', content: 'random', rateMiBps: 2 },
    });
    const before = await cluster.get<Status>('/v1/status');
    const { id } = await cluster.post<Migration>('/v1/migrations', {
      guest,
      to: 'b',
      mode,
      maxBandwidthBytesPerS: BYTES_PER_S,
      verify: true,
    });
    await cluster.until('pages of round 0 are out', async () => {
      const { progress, rounds } = await cluster.get<Migration>(`/v1/migrations/${id}`);
      assert.equal(rounds.length, 0, 'round 0 is not over');
      return (progress?.pagesSent ?? 0) > 0;
    });
    await killCoordinator();
    const killedAtMs = performance.now();
    const census = new Census(cluster, guest);
    await cluster.until('the guest gets on without coordinator', () =>
      census.since(killedAtMs).some(({ host }) => host === 'a'),
    );
    await cluster.startCoordinator();
    const ended = await cluster.ended(id);
    assert.equal(ended.state, 'completed', ended.error?.message);
    assert.equal(ended.result?.verified, true);
    assert.equal((await cluster.get<Status>('/v1/status')).term, before.term + 1);
    const movedAtMs = performance.now();
    await cluster.until('the guest gets on at the target', () =>
      census.since(movedAtMs).some(({ host }) => host === 'b'),
    );
    await census.close();
    census.check();
    const audit = await cluster.post<{ ok: boolean }>(`/v1/guests/${guest}/audit`);
    assert.ok(audit.ok);
  });
}
