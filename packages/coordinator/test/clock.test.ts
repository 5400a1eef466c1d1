/**
 * A coordinator whose wall clock is ten years off, and is set right, or wrong, while it is down: what it
 * wrote goes on, and what it writes from then on is not taken for the oldest of all.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { Drain, Guest, Migration, MovePlan, Status } from '@godwit/protocol';
import { loadRecords } from '../src/records.ts';
import { commit } from '../src/store/collection.ts';
import { SqliteStore } from '../src/store/sqlite-store.ts';
import {
  a,
  about,
  b,
  coordinator,
  ended,
  finish,
  g,
  killAndRestart,
  migrate,
  roundReport,
} from './migration-world.ts';

const DAY_MS = 24 * 3_600_000;
const YEARS_MS = 3_653 * DAY_MS;
/** As many as the coordinator remembers (migrations.ts). */
const HISTORY = 1_000;

/** The coordinator is killed, the time of its machine is set, it is started again. */
async function setClock(shiftMs: number): Promise<void> {
  coordinator.clockShiftMs = shiftMs;
  await killAndRestart();
}

async function setClockWithAgents(shiftMs: number): Promise<void> {
  await setClock(shiftMs);
  await b.connect();
  await a.connect();
}

const migrations = async () =>
  (await coordinator.ask<Migration[]>('GET', `/v1/migrations?guest=${g}`)).body;

/** A move that the source gives up in its first round. */
async function failedMove(): Promise<Migration> {
  const migration = await migrate();
  await a.next('grant');
  a.migrations.clear();
  b.migrations.clear();
  a.send({ type: 'kept', ...about(migration, 1), reason: 'the link was lost' });
  return ended(migration);
}

describe('a clock that is ten years off', () => {
  const ways = [
    ['fast, then right', YEARS_MS, 0],
    ['right, then slow', 0, -YEARS_MS],
    ['slow, then fast', -YEARS_MS, YEARS_MS],
  ] as const;
  for (const [how, first, then] of ways) {
    it(`${how}: a move in its middle completes, and is the newest`, async () => {
      await setClockWithAgents(first);
      const before = await failedMove();
      const migration = await migrate();
      await a.next('grant');
      a.send(roundReport(migration, 0, 5_000));
      await a.next('decision');
      await setClockWithAgents(then);

      a.send(roundReport(migration, 1, 0));
      assert.equal((await a.next('decision')).action, 'stopAndCopy');
      finish(migration);
      const view = await ended(migration);
      assert.equal(view.state, 'completed');
      const { totalMs = Number.NaN, predictionError } = view.result ?? {};
      assert.ok(totalMs > 0 && totalMs < DAY_MS, `${totalMs}`);
      assert.ok(Math.abs(predictionError?.totalMs ?? Number.NaN) < DAY_MS);
      assert.deepEqual(
        (await migrations()).map(({ id }) => id),
        [before.id, migration.id],
      );
      const { body: plan } = await coordinator.ask<MovePlan>('POST', '/v1/migrations/plan', {
        guest: g,
        to: a.host,
      });
      assert.ok(plan.prediction.totalMs < DAY_MS, 'nothing was learnt from a wrong clock');
      const { body: guest } = await coordinator.ask<Guest>('GET', `/v1/guests/${g}`);
      assert.deepEqual([guest.state, guest.host], ['running', b.host]);
      assert.equal((await coordinator.ask<Status>('GET', '/v1/status')).body.openMigrations, 0);
    });
  }

  it('a doubt from before the clock was set back is one', async () => {
    await setClockWithAgents(YEARS_MS);
    const migration = await migrate();
    await a.next('grant');
    const phase = { phase: 'offered', epoch: 2, atMs: Date.now(), atNs: 1, note: '' };
    a.send({ type: 'phase', migration: migration.id, role: 'source', ...phase });
    // Anything that is written takes the phase along.
    a.send(roundReport(migration, 0, 5_000));
    await a.next('decision');
    for (const [id, known] of a.migrations) a.migrations.set(id, { ...known, phase: 'offered' });
    await setClockWithAgents(0);
    await coordinator.until<Guest>(`/v1/guests/${g}`, (guest) => guest.state === 'doubt');
    finish(migration);
    assert.equal((await ended(migration)).state, 'completed');
  });

  it('a drain goes on, and can be cancelled', async () => {
    await setClock(YEARS_MS);
    await a.connect();
    await coordinator.ask('POST', `/v1/hosts/${a.host}/drain`, {});
    await setClock(-YEARS_MS);
    const path = `/v1/hosts/${a.host}/drain`;
    const { body: drain } = await coordinator.ask<Drain>('GET', path);
    assert.deepEqual([drain.state, drain.etaMs], ['moving', undefined]);
    await a.connect();
    const { body: cancelled } = await coordinator.ask<Drain>('POST', `${path}/cancel`);
    assert.equal(cancelled.state, 'cancelled');
  });

  it('moves of the future are forgotten before the new ones', async () => {
    await setClockWithAgents(YEARS_MS);
    const { id } = await failedMove();
    await Promise.all([a.closed(), b.closed(), coordinator.end('SIGKILL')]);
    await multiply(id, HISTORY);
    coordinator.clockShiftMs = 0;
    await coordinator.start();
    await b.connect();
    await a.connect();
    const news = [await failedMove(), await failedMove(), await failedMove()];
    const known = (await migrations()).map((view) => view.id);
    assert.ok(known.length <= HISTORY + 1);
    assert.deepEqual(
      known.slice(-3),
      news.map((view) => view.id),
    );
  });
});

/** So many copies of a migration's record, under other names. */
async function multiply(id: string, copies: number): Promise<void> {
  const store = new SqliteStore(join(coordinator.stateDir, 'state.sqlite'));
  const records = await loadRecords(store);
  const { place: _place, ...record } = records.migrations.get(id)!;
  const puts = Array.from({ length: copies }, (_, i) => {
    const copy = `m-copy${i}`;
    return records.migrations.put(copy, { ...record, view: { ...record.view, id: copy } });
  });
  assert.ok(await commit(store, puts));
  await store.close();
}
