/**
 * What was acknowledged survives: kill -9 in the middle of writes, and a disk without space.
 *
 *   GODWIT_STORE_KILLS=300   so many kills, however long they take; else as many as fit in 8 s
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { SqliteStore } from '../src/store/sqlite-store.ts';
import { withPrefix } from '../src/store/store.ts';
import { type Acknowledged, StoreWriter } from './store-writer-process.ts';

const KILLS = Number(process.env.GODWIT_STORE_KILLS ?? 0);
const BUDGET_MS = 8_000;
const KILLS_MIN = 6;
/** Stores that are written and killed at the same time. */
const AT_ONCE = 2;

const directory = mkdtempSync(join(tmpdir(), 'godwit-store-kill-'));
after(() => rmSync(directory, { recursive: true, force: true }));

describe('kill -9 of the process that writes', () => {
  it('loses nothing that was acknowledged, and tears no transaction', async (test) => {
    const endsAtMs = performance.now() + BUDGET_MS;
    let kills = 0;
    const isDue = () =>
      KILLS > 0 ? kills < KILLS : kills < KILLS_MIN || performance.now() < endsAtMs;
    const killAndLook = async (i: number): Promise<void> => {
      const path = join(directory, `${i}`, 'state.sqlite');
      const all: Acknowledged[] = [];
      while (isDue()) {
        kills += 1;
        const writer = new StoreWriter(path, { width: 1 + (kills % 8) });
        const acknowledged = 1 + Math.floor(Math.random() * 60);
        await writer.until(
          () => writer.acknowledged.length >= acknowledged,
          'the moment of its end',
        );
        await writer.kill();
        all.push(...writer.acknowledged);
        await check(path, all);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, (_, i) => killAndLook(i)));
    test.diagnostic(`${kills} kills`);
  });
});

describe('a disk without space', () => {
  // A limit on the size of files is what a full disk is to the store: it may write, but not grow.
  it('makes writers wait, loses nothing, and is over when there is space', async () => {
    const path = join(directory, 'full', 'state.sqlite');
    const writer = new StoreWriter(path, { before: ['prlimit', '--fsize=200000:'] });
    await writer.until(() => writer.stalls.length > 0, 'a stall');
    assert.deepEqual(writer.stalls, ['store.full']);
    const before = writer.acknowledged.length;
    assert.ok(before > 0);
    execFileSync('prlimit', ['--pid', `${writer.pid}`, '--fsize=unlimited:']);
    await writer.until(() => writer.acknowledged.length > before + 10, 'writing on');
    assert.deepEqual(writer.stalls, ['store.full', null]);
    await writer.kill();
    await check(path, writer.acknowledged);
  });

  it('and a kill -9 meanwhile loses nothing either', async () => {
    const path = join(directory, 'full-and-killed', 'state.sqlite');
    const writer = new StoreWriter(path, { before: ['prlimit', '--fsize=200000:'] });
    await writer.until(() => writer.stalls.length > 0, 'a stall');
    await writer.kill();
    await check(path, writer.acknowledged);
  });
});

/** Opens the store as the next coordinator would, and looks for every record. */
async function check(path: string, acknowledged: readonly Acknowledged[]): Promise<void> {
  const store = new SqliteStore(path);
  try {
    const names = async (prefix: string) =>
      new Map(
        (await store.range(withPrefix(prefix))).entries.map((entry) => [
          entry.key.slice(prefix.length),
          entry.revision,
        ]),
      );
    const left = await names('left/');
    assert.deepEqual(left, await names('right/'), 'half of a transaction is there');
    for (const { term, n, revision } of acknowledged) {
      assert.equal(left.get(`${term}-${n}`), revision, `${term}-${n} is lost`);
      assert.ok(revision <= store.revision, 'the revision went back');
      assert.ok(term < store.term, 'the term went back');
    }
  } finally {
    await store.close();
  }
}
