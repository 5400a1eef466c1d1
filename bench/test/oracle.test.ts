/**
 * The oracle of rule 3: a guest that moved has exactly the memory it would have had if it had
 * stayed.
 *
 * `churn` runs by the instruction clock and is stopped at exactly instruction N, once unmoved and
 * then under random schedules of moves in all modes; SHA-256 of RAM and machine state must be the
 * same every time. Real agents, real sockets; the target's memory is filled with 0xA5 first.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { guestImagePath } from '@godwit/machine';
import type { Mode } from '@godwit/protocol';
import { Cluster } from '../cluster.ts';
import { randomBelow } from '../random.ts';

const SCHEDULES = 50;
const STOP_AT = 100_000_000;
/** A guest may reach its end before its move does: that schedule has proved nothing and is drawn anew. */
const DRAWS_MAX = 3 * SCHEDULES;
const MODES: Mode[] = ['precopy', 'postcopy', 'hybrid'];
const SEED = Number(process.env.GODWIT_TEST_SEED ?? Date.now() % 1_000_000);

let cluster: Cluster;
const elf = readFileSync(guestImagePath('churn')).toString('base64');

before(async () => {
  cluster = await Cluster.start({ agents: 3, memory: '1GiB', env: { GODWIT_TEST_POISON: '1' } });
});
after(() => cluster?.close());

/** Runs one guest to its end, moving it whenever `moves` says so. @returns digest, moves done */
async function run(
  name: string,
  moves: number,
  next: (below: number) => number,
): Promise<{ digest: string; moved: number }> {
  await cluster.createGuest({
    name,
    kind: 'machine',
    memoryBytes: 16 * 2 ** 20,
    image: 'churn',
    elf,
    clock: 'instructions',
    stopAt: STOP_AT,
    host: 'a',
  });
  let moved = 0;
  for (let move = 0; move < moves; move++) {
    await new Promise((resolve) => setTimeout(resolve, next(60)));
    const { host, state } = await cluster.guest(name);
    if (state !== 'running') break;
    const to = [...cluster.hosts.keys()].filter((other) => other !== host)[next(2)] as string;
    const request = { guest: name, to, mode: MODES[next(3)] as Mode, channels: 1 };
    const ended = await cluster.migrate(request).catch((error) => {
      // It may end between the look and the request.
      assert.equal(error.code, 'guest.not_running', error.message);
    });
    if (ended?.state === 'completed') moved += 1;
    else if (ended !== undefined) {
      // In a round, or between the request and the first of them.
      const codes = ['guest.ended', 'guest.not_running'];
      assert.ok(codes.includes(ended.error?.code ?? ''), `${ended.id}: ${ended.error?.message}`);
    }
  }
  // The event that carries the digest may come before the heartbeat that carries count and state.
  await cluster.until(
    `${name} stops at ${STOP_AT}`,
    async () => {
      const { digest, instructions, state } = await cluster.guest(name);
      return digest !== undefined && instructions === STOP_AT && state !== 'running';
    },
    60_000,
  );
  const { digest } = await cluster.guest(name);
  await cluster.request('DELETE', `/v1/guests/${name}`);
  return { digest: digest as string, moved };
}

test(`${SCHEDULES} random schedules of moves end with the digest of the run that never moved`, async (t) => {
  t.diagnostic(`seed ${SEED}`);
  const next = randomBelow(SEED);
  const still = await run('still', 0, next);
  let [draws, moved, schedules] = [0, 0, 0];
  for (; schedules < SCHEDULES && draws < DRAWS_MAX; draws++) {
    const result = await run(`s${draws}`, 1 + next(2), next);
    assert.equal(result.digest, still.digest, `draw ${draws} of seed ${SEED}`);
    moved += result.moved;
    if (result.moved > 0) schedules += 1;
  }
  t.diagnostic(`${moved} moves in ${schedules} of ${draws} schedules`);
  assert.equal(
    schedules,
    SCHEDULES,
    'schedules in which a move came to its end before the guest did',
  );
});
