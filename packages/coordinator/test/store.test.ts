/** The embedded store: what is acknowledged is durable, what is compared is current. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { GodwitError } from '@godwit/protocol';
import { Collection, commit } from '../src/store/collection.ts';
import { SqliteStore } from '../src/store/sqlite-store.ts';
import { ABSENT, type Change } from '../src/store/store.ts';

const directory = mkdtempSync(join(tmpdir(), 'godwit-store-'));
after(() => rmSync(directory, { recursive: true, force: true }));

let files = 0;
const newPath = (): string => join(directory, `${files++}`, 'state.sqlite');
const isCode = (code: string) => (thrown: unknown) =>
  thrown instanceof GodwitError && thrown.code === code;

describe('sqlite store', () => {
  it('keeps its id, raises its term at each start, and its revision at each commit', async () => {
    const path = newPath();
    const first = new SqliteStore(path);
    assert.equal(first.term, 1);
    assert.equal(first.revision, 0);
    await first.transact([], [{ key: 'k', value: '1' }]);
    assert.equal(first.revision, 1);
    await first.close();
    const second = new SqliteStore(path);
    assert.deepEqual([second.id, second.term, second.revision], [first.id, 2, 1]);
    assert.deepEqual(await second.list('k'), [{ key: 'k', value: '1', revision: 1 }]);
    await second.close();
  });

  it('commits only when every comparison holds, and then all of it', async () => {
    const store = new SqliteStore(newPath());
    const absent = { key: 'a', revision: ABSENT };
    assert.equal(await store.transact([absent], [{ key: 'a', value: '1' }]), true);
    const writes = [
      { key: 'a', value: '2' },
      { key: 'b', value: '2' },
    ];
    assert.equal(await store.transact([absent], writes), false);
    assert.deepEqual(
      (await store.list('')).map((entry) => entry.value),
      ['1'],
    );
    assert.equal(await store.transact([{ key: 'a', revision: 1 }], writes), true);
    assert.equal(await store.transact([{ key: 'a', revision: 1 }], writes), false);
    await store.transact([], [{ key: 'a', value: undefined }]);
    assert.deepEqual(
      (await store.list('')).map((entry) => entry.key),
      ['b'],
    );
    await store.close();
  });

  it('lists by prefix and in order, whatever the keys are', async () => {
    const store = new SqliteStore(newPath());
    const keys = ['b/2', 'a/é', 'a/1', 'a/\u{1f600}', 'b/1', 'a'];
    await store.transact(
      [],
      keys.map((key) => ({ key, value: '0' })),
    );
    assert.deepEqual(
      (await store.list('b/')).map((entry) => entry.key),
      ['b/1', 'b/2'],
    );
    assert.equal((await store.list('a/')).length, 3);
    await store.close();
  });

  it('tells watchers of a prefix, in order, before the commit is acknowledged', async () => {
    const store = new SqliteStore(newPath());
    const seen: Change[] = [];
    const end = store.watch('a/', (change) => seen.push(change));
    await store.transact([], [{ key: 'b/1', value: '0' }]);
    const done = store.transact([], [{ key: 'a/1', value: '1' }]);
    assert.equal(seen.length, 1);
    await done;
    await store.transact([], [{ key: 'a/1', value: undefined }]);
    assert.deepEqual(
      seen.map((change) => change.entry?.value),
      ['1', undefined],
    );
    end();
    await store.transact([], [{ key: 'a/1', value: '2' }]);
    assert.equal(seen.length, 2);
    await store.close();
  });

  it('refuses a second opener in another process, and lets it in after the end', async () => {
    const path = newPath();
    const writer = startWriter(path);
    await writer.nextAcknowledged();
    assert.throws(() => new SqliteStore(path), isCode('store.locked'));
    await writer.kill();
    const store = new SqliteStore(path);
    assert.equal(store.term, 2);
    await store.close();
  });

  it('kill -9 of the writer loses nothing that was acknowledged', async () => {
    const path = newPath();
    for (let round = 0; round < 3; round++) {
      const writer = startWriter(path);
      for (let i = 0; i < 20; i++) await writer.nextAcknowledged();
      await writer.kill();
      const store = new SqliteStore(path);
      const held = new Set((await store.list('n/')).map((entry) => entry.key));
      for (const key of writer.acknowledged) assert.ok(held.has(key), `${key} is lost`);
      await store.close();
    }
  });

  it('refuses a file that is no store', () => {
    const path = join(directory, 'nonsense');
    writeFileSync(path, 'this is not a database, and it is long enough to be looked at as one');
    assert.throws(() => new SqliteStore(path), isCode('state.corrupt'));
  });
});

describe('collection', () => {
  it('updates are never lost, also when all writers start from the same record', async () => {
    const store = new SqliteStore(newPath());
    const counters = await Collection.load<{ count: number }>(store, 'counter/');
    await Promise.all(
      Array.from({ length: 20 }, () =>
        counters.update('c', (before) => ({ count: (before?.count ?? 0) + 1 })),
      ),
    );
    assert.equal(counters.get('c')?.count, 20);
    const again = await Collection.load<{ count: number }>(store, 'counter/');
    assert.equal(again.get('c')?.count, 20);
    await store.close();
  });

  it('a transaction over two collections is all or nothing', async () => {
    const store = new SqliteStore(newPath());
    const left = await Collection.load<{ n: number }>(store, 'left/');
    const right = await Collection.load<{ n: number }>(store, 'right/');
    const stale = right.put('x', { n: 1 });
    await right.update('x', () => ({ n: 7 }));
    assert.equal(await commit(store, [left.put('x', { n: 1 }), stale]), false);
    assert.equal(left.get('x'), undefined);
    assert.deepEqual(right.get('x'), { n: 7 });
    await store.close();
  });

  it('refuses records it cannot read, by their key', async () => {
    const store = new SqliteStore(newPath());
    await store.transact([], [{ key: 'x/1', value: '{"version":99}' }]);
    await assert.rejects(Collection.load(store, 'x/'), isCode('state.version'));
    await store.transact([], [{ key: 'x/1', value: '{' }]);
    await assert.rejects(Collection.load(store, 'x/'), isCode('state.corrupt'));
    await store.close();
  });
});

/** A process that writes records as fast as it can and says each key once it is acknowledged. */
function startWriter(path: string) {
  const writer = fileURLToPath(new URL('./store-writer.ts', import.meta.url));
  const child = spawn(process.execPath, [writer, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  const acknowledged: string[] = [];
  const lines = createInterface({ input: child.stdout });
  lines.on('line', (key) => acknowledged.push(key));
  return {
    acknowledged,
    nextAcknowledged: () => once(lines, 'line', { signal: AbortSignal.timeout(10_000) }),
    kill: async () => {
      const closed = once(lines, 'close');
      child.kill('SIGKILL');
      await closed;
    },
  };
}
