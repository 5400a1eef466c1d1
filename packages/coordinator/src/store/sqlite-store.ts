/**
 * The embedded store: one SQLite file that this process holds alone.
 *
 * WAL with synchronous=FULL: a commit is in the log and the log is synced before `transact`
 * resolves, so neither kill -9 nor a power failure takes back what was acknowledged. The lock is
 * SQLite's own exclusive locking mode, taken before anything is read and held until the process
 * ends, however it ends: a second coordinator cannot open the file, and no stale lock survives.
 *
 * Main thread only. A commit blocks it for about a millisecond; a migration needs a dozen.
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { GodwitError } from '@godwit/protocol';
import { ABSENT, type Change, type Compare, type Entry, type Store, type Write } from './store.ts';

/** Layout of the tables below; a file of another version is refused. */
const SCHEMA_VERSION = 1;

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS entry (
    key TEXT PRIMARY KEY, value TEXT NOT NULL, revision INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS meta (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    version INTEGER NOT NULL, id TEXT NOT NULL, term INTEGER NOT NULL, revision INTEGER NOT NULL
  ) STRICT;
`;

interface Watcher {
  readonly prefix: string;
  readonly listener: (change: Change) => void;
}

export class SqliteStore implements Store {
  readonly id: string;
  readonly term: number;
  #revision: number;
  readonly #database: DatabaseSync;
  readonly #watchers = new Set<Watcher>();
  readonly #select: StatementSync;
  readonly #range: StatementSync;
  readonly #upsert: StatementSync;
  readonly #remove: StatementSync;
  readonly #setRevision: StatementSync;

  /**
   * Opens or makes the store, takes its lock and raises the term.
   *
   * @param path file of the store; its directory is made, readable by its owner only, because
   *   records hold the capabilities of open migrations
   * @throws GodwitError `store.locked` another coordinator holds it; `state.version`,
   *   `state.corrupt` the file is not a store this release reads
   */
  constructor(path: string) {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    this.#database = new DatabaseSync(path);
    try {
      const meta = takeOver(this.#database);
      this.id = meta.id;
      this.term = meta.term;
      this.#revision = meta.revision;
    } catch (thrown) {
      this.#database.close();
      throw openError(path, thrown);
    }
    this.#select = this.#database.prepare('SELECT revision FROM entry WHERE key = ?');
    this.#range = this.#database.prepare(
      'SELECT key, value, revision FROM entry WHERE key >= ? AND key < ? ORDER BY key',
    );
    this.#upsert = this.#database.prepare(
      'INSERT INTO entry (key, value, revision) VALUES (?, ?, ?) ' +
        'ON CONFLICT (key) DO UPDATE SET value = excluded.value, revision = excluded.revision',
    );
    this.#remove = this.#database.prepare('DELETE FROM entry WHERE key = ?');
    this.#setRevision = this.#database.prepare('UPDATE meta SET revision = ?');
  }

  get revision(): number {
    return this.#revision;
  }

  async list(prefix: string): Promise<Entry[]> {
    const rows = this.#range.all(prefix, `${prefix}\u{10ffff}`) as unknown as Entry[];
    return rows.map(({ key, value, revision }) => ({ key, value, revision }));
  }

  async transact(compares: readonly Compare[], writes: readonly Write[]): Promise<boolean> {
    const revision = this.#revision + 1;
    this.#database.exec('BEGIN IMMEDIATE');
    try {
      if (!compares.every((compare) => this.#isCurrent(compare))) {
        this.#database.exec('ROLLBACK');
        return false;
      }
      for (const { key, value } of writes) {
        if (value === undefined) this.#remove.run(key);
        else this.#upsert.run(key, value, revision);
      }
      this.#setRevision.run(revision);
      this.#database.exec('COMMIT');
    } catch (thrown) {
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
      throw thrown;
    }
    this.#revision = revision;
    for (const { key, value } of writes) {
      this.#announce({ key, entry: value === undefined ? undefined : { key, value, revision } });
    }
    return true;
  }

  watch(prefix: string, listener: (change: Change) => void): () => void {
    const watcher = { prefix, listener };
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  async close(): Promise<void> {
    this.#watchers.clear();
    this.#database.close();
  }

  #isCurrent({ key, revision }: Compare): boolean {
    const row = this.#select.get(key) as { revision: number } | undefined;
    return (row?.revision ?? ABSENT) === revision;
  }

  #announce(change: Change): void {
    for (const { prefix, listener } of this.#watchers) {
      if (change.key.startsWith(prefix)) listener(change);
    }
  }
}

/** Takes the lock, checks the version and raises the term; all of it before anything is read. */
function takeOver(database: DatabaseSync): { id: string; term: number; revision: number } {
  // Exclusive mode before the first access: the lock is then never given back between two
  // transactions, and WAL needs no shared-memory file.
  database.exec('PRAGMA locking_mode = EXCLUSIVE');
  database.exec('PRAGMA journal_mode = WAL');
  database.exec('PRAGMA synchronous = FULL');
  database.exec('BEGIN EXCLUSIVE');
  database.exec(SCHEMA);
  database
    .prepare('INSERT OR IGNORE INTO meta VALUES (1, ?, ?, 0, 0)')
    .run(SCHEMA_VERSION, randomBytes(8).toString('hex'));
  const meta = database
    .prepare('UPDATE meta SET term = term + 1 RETURNING version, id, term, revision')
    .get() as { version: number; id: string; term: number; revision: number };
  if (meta.version !== SCHEMA_VERSION) {
    throw new GodwitError('state.version', { what: 'the store', version: meta.version });
  }
  database.exec('COMMIT');
  return meta;
}

/** SQLite's result codes (sqlite.org/rescode.html) as errors of ours. */
function openError(path: string, thrown: unknown): GodwitError {
  const code = (thrown as { errcode?: number }).errcode ?? 0;
  const primary = code & 0xff;
  const [SQLITE_BUSY, SQLITE_LOCKED] = [5, 6];
  if (primary === SQLITE_BUSY || primary === SQLITE_LOCKED) {
    return new GodwitError('store.locked', { path }, { cause: thrown });
  }
  if (thrown instanceof GodwitError) return thrown;
  const why = thrown instanceof Error ? thrown.message : String(thrown);
  return new GodwitError('state.corrupt', { what: path, why }, { cause: thrown });
}
