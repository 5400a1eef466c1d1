/**
 * The file of the embedded store: its tables, its lock, and what SQLite's result codes mean to us.
 *
 *   SqliteStore --> [file] --> SQLite
 *
 * The lock is SQLite's own exclusive locking mode, taken before anything is read and held until the
 * process ends, however it ends: a second coordinator cannot open the file, and no stale lock
 * survives.
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { GodwitError } from '@godwit/protocol';

/** Layout of the tables below; a file of another version is refused. */
const SCHEMA_VERSION = 3;

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS meta (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    version INTEGER NOT NULL, id TEXT NOT NULL, term INTEGER NOT NULL, revision INTEGER NOT NULL,
    behind INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE IF NOT EXISTS entry (
    key TEXT PRIMARY KEY, value TEXT NOT NULL, revision INTEGER NOT NULL, lease TEXT
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS entry_of_lease ON entry (lease) WHERE lease IS NOT NULL;
  CREATE TABLE IF NOT EXISTS lease (id TEXT PRIMARY KEY, ttl_ms INTEGER NOT NULL) STRICT;
`;

/** Result codes, sqlite.org/rescode.html: the low byte is the kind, the rest says more. */
const [BUSY, LOCKED, FULL, NOTADB] = [5, 6, 13, 26];
const IOERR_WRITE = 778;

export interface Meta {
  readonly id: string;
  readonly term: number;
  readonly revision: number;
  readonly behind: 0 | 1;
}

/**
 * Opens or makes the file, takes its lock and raises the term.
 *
 * @param path its directory is made, readable by its owner only, because records hold the
 *   capabilities of open migrations
 * @throws GodwitError `store.locked` another coordinator holds it; `store.full`; `state.version`,
 *   `state.corrupt` the file is not a store this release reads
 */
export function openFile(path: string): { database: DatabaseSync; meta: Meta } {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const database = new DatabaseSync(path);
  try {
    return { database, meta: takeOver(database) };
  } catch (thrown) {
    database.close();
    throw errorOf(path, thrown);
  }
}

/** Takes the lock, checks the version and raises the term; all of it before anything is read. */
function takeOver(database: DatabaseSync): Meta {
  // Exclusive mode before the first access: the lock is then never given back between two
  // transactions, and WAL needs no shared-memory file.
  database.exec('PRAGMA locking_mode = EXCLUSIVE');
  database.exec('PRAGMA journal_mode = WAL');
  database.exec('PRAGMA synchronous = FULL');
  database.exec('BEGIN EXCLUSIVE');
  checkVersion(database);
  database.exec(SCHEMA);
  database
    .prepare('INSERT OR IGNORE INTO meta VALUES (1, ?, ?, 0, 0, 0)')
    .run(SCHEMA_VERSION, randomBytes(8).toString('hex'));
  const meta = database
    .prepare('UPDATE meta SET term = term + 1 RETURNING id, term, revision, behind')
    .get() as unknown as Meta;
  database.exec('COMMIT');
  return meta;
}

/** Before the tables are made: a file of another version keeps its own. */
function checkVersion(database: DatabaseSync): void {
  const hasMeta = database.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'meta'").get();
  if (hasMeta === undefined) return;
  const { version } = database.prepare('SELECT version FROM meta').get() as { version: number };
  if (version !== SCHEMA_VERSION) {
    throw new GodwitError('state.version', { what: 'the store', version });
  }
}

/** SQLite's result codes as errors of ours. */
export function errorOf(path: string, thrown: unknown): GodwitError {
  if (thrown instanceof GodwitError) return thrown;
  const code = (thrown as { errcode?: number }).errcode ?? 0;
  const why = thrown instanceof Error ? thrown.message : String(thrown);
  switch (code & 0xff) {
    case BUSY:
    case LOCKED:
      return new GodwitError('store.locked', { path }, { cause: thrown });
    case FULL:
      return new GodwitError('store.full', { path, why }, { cause: thrown });
    case NOTADB:
      return new GodwitError('state.corrupt', { what: path, why }, { cause: thrown });
  }
  // A limit on the size of files, or a quota: like a full disk, it may be lifted.
  const isLimit = code === IOERR_WRITE;
  if (isLimit) return new GodwitError('store.full', { path, why }, { cause: thrown });
  return new GodwitError('store.failed', { path, why }, { cause: thrown });
}
