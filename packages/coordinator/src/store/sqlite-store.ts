/**
 * The embedded store: one SQLite file that this process holds alone.
 *
 *   transact --queue--> [group of this turn] --one commit, one sync--> watchers told --> promises kept
 *
 * What is durable when: WAL with synchronous=FULL, so a commit is in the log and the log is synced
 * before the promise of `transact` resolves; neither kill -9 nor a power failure takes back what
 * was acknowledged. What is asked for in one turn of the event loop is committed as one group, with
 * one sync: a thousand agents that register at once do not cost a thousand. Each transaction of a
 * group keeps its own revision and sees the writes of those before it. Commits leave the loop at
 * least half of its time: on a slow disk groups grow, and heartbeats are heard all the same.
 *
 * A disk that is full stalls the store: the group is rolled back whole, stays in the queue and is
 * tried again, so its writers wait, nothing they would say is said, and readers go on with what is
 * committed. Any other failure ends it: after a sync that failed nobody knows what is on the disk.
 *
 * Main thread only. A commit blocks it for about a millisecond; a migration needs a dozen.
 */
import { randomBytes } from 'node:crypto';
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { assert, GodwitError } from '@godwit/protocol';
import { History } from './history.ts';
import { Leases } from './leases.ts';
import { errorOf, openFile } from './sqlite-file.ts';
import {
  ABSENT,
  type Change,
  type Compare,
  type Entry,
  type Outcome,
  type Range,
  type Snapshot,
  type Store,
  type Write,
} from './store.ts';

/** Of one commit: it blocks the loop for as long as it takes to write them, about 10 us each. */
const GROUP_MAX = 1_000;
/** A store that is stalled tries again; space that was made is noticed within this. */
const RETRY_MS = 500;

export interface SqliteStoreEvents {
  /** Commits begin to wait, with the reason, or (undefined) go on. */
  stalled?(stall: GodwitError | undefined): void;
  /** Nothing can be written any more. */
  failed?(error: GodwitError): void;
}

/** One thing to be done within a commit. */
interface Job<T = unknown> {
  /** Runs inside the commit, and again if that had to be rolled back. An error is this job's own. */
  run(group: Group): T | GodwitError;
  resolve(result: T): void;
  reject(error: GodwitError): void;
}

/** What one commit has done so far. */
interface Group {
  revision: number;
  readonly changes: Change[];
  /** Something beside entries was written. */
  isTouched: boolean;
}

export class SqliteStore implements Store {
  readonly id: string;
  readonly term: number;
  readonly #path: string;
  readonly #events: SqliteStoreEvents;
  readonly #database: DatabaseSync;
  readonly #sql: ReturnType<typeof prepare>;
  readonly #history: History;
  readonly #leases: Leases;
  #revision: number;
  #isBehind: boolean;
  #queue: Job[] = [];
  #due: NodeJS.Immediate | undefined;
  /** Monotonic time before which there is no next commit, unless it is the end. */
  #restUntilMs = 0;
  #later: NodeJS.Timeout | undefined;
  #stall: GodwitError | undefined;
  /** It failed or was closed: nothing is written any more. */
  #end: GodwitError | undefined;

  /** @throws GodwitError `store.locked`, `store.full`, `state.version`, `state.corrupt` */
  constructor(path: string, events: SqliteStoreEvents = {}) {
    const { database, meta } = openFile(path);
    this.#path = path;
    this.#events = events;
    this.#database = database;
    this.#sql = prepare(database);
    this.id = meta.id;
    this.term = meta.term;
    this.#revision = meta.revision;
    this.#isBehind = meta.behind === 1;
    this.#history = new History(meta.revision);
    this.#leases = new Leases((lease) => void this.revokeLease(lease).catch(() => {}));
    for (const { id, ttl_ms } of this.#sql.leases.all() as { id: string; ttl_ms: number }[]) {
      this.#leases.hold(id, ttl_ms);
    }
  }

  get revision(): number {
    return this.#revision;
  }

  get compactedRevision(): number {
    return this.#history.compactedRevision;
  }

  get isBehind(): boolean {
    return this.#isBehind;
  }

  get stall(): GodwitError | undefined {
    return this.#stall;
  }

  async range({ from, to }: Range, limit = Number.MAX_SAFE_INTEGER - 1): Promise<Snapshot> {
    const rows = this.#sql.range.all(from, to, limit + 1) as unknown as Entry[];
    const entries = rows.slice(0, limit).map((row) => ({ ...row }));
    return { entries, revision: this.#revision, isWhole: rows.length <= limit };
  }

  async transact(compares: readonly Compare[], writes: readonly Write[]): Promise<Outcome> {
    const keys = new Set(writes.map((write) => write.key));
    assert(keys.size === writes.length, 'a transaction writes a key at most once');
    return this.#enqueue((group) => this.#transact(group, compares, writes));
  }

  watch(range: Range, after: number, listener: (change: Change) => void): () => void {
    return this.#history.watch(range, after, listener);
  }

  compact(revision: number): void {
    this.#history.compact(Math.min(revision, this.#revision));
  }

  async grantLease(ttlMs: number): Promise<string> {
    const lease = randomBytes(8).toString('hex');
    await this.#enqueue((group) => {
      group.isTouched = true;
      this.#sql.grant.run(lease, ttlMs);
    });
    this.#leases.hold(lease, ttlMs);
    return lease;
  }

  async keepAlive(lease: string): Promise<void> {
    if (!this.#leases.keepAlive(lease)) throw new GodwitError('store.lease_gone', { lease });
  }

  async revokeLease(lease: string): Promise<void> {
    if (!this.#leases.has(lease)) return;
    this.#leases.drop(lease);
    await this.#enqueue((group) => {
      group.isTouched = true;
      const keys = this.#sql.keysOf.all(lease) as { key: string }[];
      this.#write(
        group,
        keys.map(({ key }) => ({ key, value: undefined })),
      );
      this.#sql.revoke.run(lease);
    });
  }

  async markBehind(): Promise<void> {
    this.#isBehind = true;
    await this.#enqueue((group) => {
      group.isTouched = true;
      this.#sql.setBehind.run();
    });
  }

  async catchUp({ term, revision }: { term: number; revision: number }): Promise<void> {
    await this.#enqueue((group) => {
      group.isTouched = true;
      group.revision = Math.max(group.revision, revision);
      this.#sql.catchUp.run(term, group.revision);
    });
    this.#isBehind = false;
  }

  async close(): Promise<void> {
    if (this.#end !== undefined) return;
    this.#flush();
    this.#finish(new GodwitError('store.failed', { path: this.#path, why: 'it was closed' }));
    this.#database.close();
  }

  // ------------------------------------------------------------------------------- the queue

  #enqueue<T>(run: (group: Group) => T | GodwitError): Promise<T> {
    if (this.#end !== undefined) return Promise.reject(this.#end);
    return new Promise<T>((resolve, reject) => {
      this.#queue.push({ run, resolve: resolve as (result: unknown) => void, reject });
      if (this.#stall === undefined) this.#schedule();
    });
  }

  #schedule(): void {
    if (this.#due !== undefined || this.#later !== undefined) return;
    const restMs = this.#restUntilMs - performance.now();
    if (restMs > 0) this.#later = setTimeout(() => this.#flush(), restMs);
    else this.#due = setImmediate(() => this.#flush());
  }

  /** Commits what waits, as one. */
  #flush(): void {
    clearImmediate(this.#due);
    clearTimeout(this.#later);
    this.#due = undefined;
    this.#later = undefined;
    const startMs = performance.now();
    const jobs = this.#queue.splice(0, GROUP_MAX);
    if (jobs.length === 0) return;
    const group: Group = { revision: this.#revision, changes: [], isTouched: false };
    let results: unknown[];
    try {
      results = this.#commit(jobs, group);
    } catch (thrown) {
      this.#queue = [...jobs, ...this.#queue];
      this.#failed(errorOf(this.#path, thrown));
      return;
    }
    if (this.#stall !== undefined) this.#setStall(undefined);
    this.#revision = group.revision;
    const nowMs = performance.now();
    this.#restUntilMs = nowMs + (nowMs - startMs);
    if (this.#queue.length > 0) this.#schedule();
    this.#history.add(group.changes);
    for (const [i, job] of jobs.entries()) settle(job, results[i]);
  }

  /** @returns what each job came to */
  #commit(jobs: readonly Job[], group: Group): unknown[] {
    this.#database.exec('BEGIN IMMEDIATE');
    try {
      const results = jobs.map((job) => job.run(group));
      if (group.changes.length > 0) this.#sql.setRevision.run(group.revision);
      const isWorthIt = group.isTouched || group.changes.length > 0;
      this.#database.exec(isWorthIt ? 'COMMIT' : 'ROLLBACK');
      return results;
    } catch (thrown) {
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
      throw thrown;
    }
  }

  #failed(error: GodwitError): void {
    if (error.code === 'store.full') {
      if (this.#stall === undefined) this.#setStall(error);
      this.#later = setTimeout(() => this.#flush(), RETRY_MS);
      return;
    }
    this.#finish(error);
    this.#events.failed?.(error);
  }

  #setStall(stall: GodwitError | undefined): void {
    this.#stall = stall;
    this.#events.stalled?.(stall);
  }

  #finish(error: GodwitError): void {
    this.#end = error;
    clearTimeout(this.#later);
    this.#leases.clear();
    this.#history.clear();
    for (const { reject } of this.#queue.splice(0)) reject(this.#stall ?? error);
  }

  // --------------------------------------------------------------------------- inside a commit

  #transact(
    group: Group,
    compares: readonly Compare[],
    writes: readonly Write[],
  ): Outcome | GodwitError {
    const gone = writes.find(({ lease }) => lease !== undefined && !this.#leases.has(lease));
    if (gone?.lease !== undefined)
      return new GodwitError('store.lease_gone', { lease: gone.lease });
    const isCommitted = compares.every((compare) => this.#isCurrent(compare));
    if (isCommitted) this.#write(group, writes);
    return { isCommitted, revision: group.revision };
  }

  #isCurrent({ key, revision }: Compare): boolean {
    const row = this.#sql.select.get(key) as { revision: number } | undefined;
    return (row?.revision ?? ABSENT) === revision;
  }

  #write(group: Group, writes: readonly Write[]): void {
    const revision = group.revision + 1;
    for (const { key, value, lease } of writes) {
      if (value === undefined) {
        const { changes } = this.#sql.remove.run(key);
        if (changes > 0) group.changes.push({ key, revision, entry: undefined });
      } else {
        this.#sql.upsert.run(key, value, revision, lease ?? null);
        group.changes.push({ key, revision, entry: { key, value, revision } });
      }
    }
    if (group.changes.at(-1)?.revision === revision) group.revision = revision;
  }
}

function settle(job: Job, result: unknown): void {
  if (result instanceof GodwitError) job.reject(result);
  else job.resolve(result);
}

function prepare(database: DatabaseSync) {
  const sql = (text: string): StatementSync => database.prepare(text);
  return {
    select: sql('SELECT revision FROM entry WHERE key = ?'),
    range: sql(
      'SELECT key, value, revision FROM entry WHERE key >= ? AND key < ? ORDER BY key LIMIT ?',
    ),
    upsert: sql(
      'INSERT INTO entry (key, value, revision, lease) VALUES (?, ?, ?, ?) ' +
        'ON CONFLICT (key) DO UPDATE SET value = excluded.value, revision = excluded.revision, ' +
        'lease = excluded.lease',
    ),
    remove: sql('DELETE FROM entry WHERE key = ?'),
    setRevision: sql('UPDATE meta SET revision = ?'),
    setBehind: sql('UPDATE meta SET behind = 1'),
    catchUp: sql('UPDATE meta SET behind = 0, term = max(term, ?), revision = ?'),
    leases: sql('SELECT id, ttl_ms FROM lease'),
    grant: sql('INSERT INTO lease (id, ttl_ms) VALUES (?, ?)'),
    keysOf: sql('SELECT key FROM entry WHERE lease = ? ORDER BY key'),
    revoke: sql('DELETE FROM lease WHERE id = ?'),
  };
}
