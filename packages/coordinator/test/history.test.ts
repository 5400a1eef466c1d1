/**
 * Migrations that are over. Goal: their number has an end whatever began them, the newest ends are kept, and
 * nobody who watches one that is forgotten brings the coordinator down.
 */
import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { type Drain, GodwitError, type Migration } from '@godwit/protocol';
import type { WebSocket } from 'ws';
import { streamMigration } from '../src/api/migration-stream.ts';
import { HISTORY_MAX } from '../src/migrations/history.ts';
import { loadRecords } from '../src/records.ts';
import { commit } from '../src/store/collection.ts';
import { SqliteStore } from '../src/store/sqlite-store.ts';
import { until } from './coordinator-process.ts';
import { a, b, coordinator, ended, finish, g, killAndRestart, migrate } from './migration-world.ts';

/** The coordinator dies, and the next one finds this many more ends, begun in this order. */
async function restartWith(count: number, prefix: string, firstPlace: number): Promise<void> {
  await Promise.all([a.closed(), b.closed(), coordinator.end('SIGKILL')]);
  const store = new SqliteStore(join(coordinator.stateDir, 'state.sqlite'));
  const records = await loadRecords(store);
  const settled = records.migrations.values().find(({ view }) => view.endedAtMs !== undefined);
  assert.ok(settled);
  const puts = Array.from({ length: count }, (_, i) => {
    const id = `${prefix}-${i}`;
    const record = { ...settled, place: firstPlace + i, view: { ...settled.view, id } };
    return records.migrations.put(id, record);
  });
  assert.ok(await commit(store, puts));
  await store.close();
  await coordinator.start();
  await a.connect();
  await b.connect();
}

async function settledNow(): Promise<string[]> {
  const { body } = await coordinator.ask<Migration[]>('GET', '/v1/migrations');
  return body.filter(({ endedAtMs }) => endedAtMs !== undefined).map(({ id }) => id);
}

async function untilSettled(isGood: (ids: readonly string[]) => boolean): Promise<void> {
  await until(settledNow, isGood, 'migrations that are over');
}

describe('the history', () => {
  it('forgets the oldest when moves of a drain end', async () => {
    const template = await migrate();
    finish(template);
    await ended(template);
    await restartWith(HISTORY_MAX - 1, 'old', 10);
    assert.equal((await settledNow()).length, HISTORY_MAX);
    // The only target refuses; the drain tries three times.
    a.onGrant = ({ request }) => ({
      type: 'failed',
      request,
      error: { code: 'migration.refused', detail: JSON.stringify({ why: 'a test' }) },
    });
    const drain = `/v1/hosts/${b.host}/drain`;
    await coordinator.ask('POST', drain, {});
    await coordinator.until<Drain>(drain, ({ state }) => state !== 'moving');
    await untilSettled(({ length }) => length === HISTORY_MAX);
    const kept = await settledNow();
    const gone = [template.id, 'old-0', 'old-1'];
    assert.deepEqual(
      gone.filter((id) => kept.includes(id)),
      [],
    );
    assert.ok(kept.includes('old-2'));
    await killAndRestart();
    assert.deepEqual(await settledNow(), kept);
  });

  it('of a store that has too many is cut at the start, and one that took long is kept at its end', async () => {
    const long = await migrate();
    await a.next('grant');
    await restartWith(HISTORY_MAX + 5, 'later', 1_000_000);
    await untilSettled(({ length }) => length === HISTORY_MAX);
    assert.ok(!(await settledNow()).includes('later-4'));
    finish(long);
    assert.equal((await ended(long)).state, 'completed');
    await untilSettled((ids) => !ids.includes('later-5'));
    const kept = await settledNow();
    assert.deepEqual([kept.length, kept.includes(long.id)], [HISTORY_MAX, true]);
    const { body } = await coordinator.ask<Migration>('GET', `/v1/migrations/${long.id}`);
    assert.equal(body.guest, g);
  });
});

describe('a watcher', () => {
  it('that slept until its migration was forgotten is closed, and nothing else happens', (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const closed: unknown[] = [];
    const socket = Object.assign(new EventEmitter(), {
      ...{ OPEN: 1, readyState: 1, bufferedAmount: 2 * 1024 * 1024 },
      send: () => assert.fail('there is nothing to send'),
      close: (...why: unknown[]) => closed.push(why),
    });
    const view = () => {
      throw new GodwitError('migration.not_found', { migration: 'm-1' });
    };
    streamMigration(socket as unknown as WebSocket, view, () => () => {});
    t.mock.timers.tick(50);
    assert.deepEqual(closed, []);
    socket.bufferedAmount = 0;
    t.mock.timers.tick(50);
    assert.deepEqual(closed, [[1008, 'migration.not_found']]);
  });
});
