/**
 * The embedded store: the suite of every store, its lock, files it refuses; and the collections of
 * records that stand on it. What happens when its process is killed: store-kill.test.ts.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, describe, it } from 'node:test';
import { GodwitError } from '@godwit/protocol';
import { Collection, commit } from '../src/store/collection.ts';
import { SqliteStore } from '../src/store/sqlite-store.ts';
import { storeCompliance } from './store-compliance.ts';
import { StoreWriter } from './store-writer-process.ts';

const directory = mkdtempSync(join(tmpdir(), 'godwit-store-'));
after(() => rmSync(directory, { recursive: true, force: true }));

let files = 0;
const newPath = (): string => join(directory, `${files++}`, 'state.sqlite');
const isCode = (code: string) => (thrown: unknown) =>
  thrown instanceof GodwitError && thrown.code === code;

storeCompliance('sqlite store', async () => {
  const path = newPath();
  let open = new SqliteStore(path);
  return {
    store: open,
    reopen: async () => {
      await open.close();
      open = new SqliteStore(path);
      return open;
    },
    dispose: () => open.close(),
  };
});

describe('the file of the sqlite store', () => {
  it('is locked: a second opener in another process is refused, and let in after the end', async () => {
    const path = newPath();
    const writer = new StoreWriter(path);
    await writer.acknowledgedMore();
    assert.throws(() => new SqliteStore(path), isCode('store.locked'));
    await writer.kill();
    const store = new SqliteStore(path);
    assert.equal(store.term, 2);
    await store.close();
  });

  it('is refused when it is no store', () => {
    const path = join(directory, 'nonsense');
    writeFileSync(path, 'this is not a database, and it is long enough to be looked at as one');
    assert.throws(() => new SqliteStore(path), isCode('state.corrupt'));
  });

  it('is refused, and left as it is, when another release made it', async () => {
    const path = newPath();
    await new SqliteStore(path).close();
    const database = new DatabaseSync(path);
    database.exec('UPDATE meta SET version = 99');
    database.close();
    assert.throws(() => new SqliteStore(path), isCode('state.version'));
    const again = new DatabaseSync(path);
    assert.deepEqual(
      { ...again.prepare('SELECT version, term FROM meta').get() },
      { version: 99, term: 1 },
    );
    again.close();
  });

  it('one that is closed takes no more, and says so', async () => {
    const store = new SqliteStore(newPath());
    await store.close();
    await assert.rejects(store.transact([], [{ key: 'a', value: '1' }]), isCode('store.failed'));
    await store.close();
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
