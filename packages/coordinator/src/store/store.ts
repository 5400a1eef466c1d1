/**
 * What the coordinator needs of a store: ordered keys, ranges, compare-and-set transactions, watches
 * from a revision, leases, compaction.
 *
 *   records (collection.ts) --transact, watch--> [store] <-- sqlite-store.ts, or one on other machines
 *
 * Everything durable goes through `transact`: it commits when every compared key still has the
 * revision its writer has seen, and its promise resolves only when the commit is on disk. Whoever
 * says something about a record waits for that promise first, so no agent and no person is ever
 * told what a restart could forget.
 *
 * Revisions count committed transactions. A reader takes a range, remembers the revision it shows
 * and watches from there: nothing is missed and nothing is told twice. History is kept for a while
 * only; who asks for more is told so and reads the range anew.
 *
 * Every implementation passes the suite in packages/coordinator/test/store-compliance.ts.
 */
import type { GodwitError } from '@godwit/protocol';

/** Revision of a key that does not exist. */
export const ABSENT = 0;

export interface Entry {
  readonly key: string;
  /** JSON text. */
  readonly value: string;
  /** The store's revision when this key was last written. */
  readonly revision: number;
}

/** Keys from `from` up to and without `to`, in the order of their UTF-8 bytes. */
export interface Range {
  readonly from: string;
  readonly to: string;
}

/** What a range held at one revision. */
export interface Snapshot {
  readonly entries: Entry[];
  readonly revision: number;
  /** False: there are more entries after the last one. */
  readonly isWhole: boolean;
}

/** The transaction commits only if `key` is at exactly this revision (or ABSENT). */
export interface Compare {
  readonly key: string;
  readonly revision: number;
}

/** `value: undefined` deletes the key. A transaction writes a key at most once. */
export interface Write {
  readonly key: string;
  readonly value: string | undefined;
  /** The key goes when this lease ends. */
  readonly lease?: string;
}

export interface Outcome {
  /** False: a comparison failed and nothing was written. */
  readonly isCommitted: boolean;
  /** The transaction's own revision; when it failed, or wrote nothing, that of the last commit. */
  readonly revision: number;
}

export interface Change {
  readonly key: string;
  readonly revision: number;
  /** Undefined: deleted. */
  readonly entry: Entry | undefined;
}

export interface Store {
  /** Random name of this store, made with it; agents recognise it. */
  readonly id: string;
  /** Number of this start; rises durably at each one. Agents obey only the highest. */
  readonly term: number;
  /** Revision of the last commit. */
  readonly revision: number;
  /** Watches can begin at this revision or later. */
  readonly compactedRevision: number;
  /** An agent has seen a later revision of this store: it was restored, and nothing may be decided from it. */
  readonly isBehind: boolean;
  /** Set while commits wait for something that may pass, such as space on the disk. */
  readonly stall: GodwitError | undefined;

  /** @param limit entries at most */
  range(range: Range, limit?: number): Promise<Snapshot>;

  /**
   * All of the writes or none. Transactions take effect in the order of the calls.
   *
   * @throws GodwitError `store.failed` it is not known whether it was committed and the store is of no
   *   more use; `store.lease_gone` a write names a lease that ended
   */
  transact(compares: readonly Compare[], writes: readonly Write[]): Promise<Outcome>;

  /**
   * Tells every change in the range that is later than revision `after`: each once, in the order of
   * the commits, and before the promise of its own transaction resolves.
   *
   * @returns the end of the watch
   * @throws GodwitError `store.compacted` that far back is forgotten
   */
  watch(range: Range, after: number, listener: (change: Change) => void): () => void;

  /** Forgets the history up to this revision. Entries stay. */
  compact(revision: number): void;

  /**
   * A lease ends `ttlMs` after it was last kept alive, by the monotonic clock of the store, and its
   * keys are deleted in one transaction. While the store is closed no lease ends; each has its whole
   * time again when the store is opened. A lease says that somebody was there a moment ago and never
   * that he still is: a transaction that depends on it compares its key.
   */
  grantLease(ttlMs: number): Promise<string>;

  /** @throws GodwitError `store.lease_gone` */
  keepAlive(lease: string): Promise<void>;

  /** Ends it now. No error when it has ended before. */
  revokeLease(lease: string): Promise<void>;

  /** Durably, so that a revision that grows beyond what agents have seen hides nothing. */
  markBehind(): Promise<void>;

  /** It is behind no more: term (from the next start) and revision are at least these. */
  catchUp(seen: { readonly term: number; readonly revision: number }): Promise<void>;

  /** Writes what is waiting, and releases the store for another coordinator. */
  close(): Promise<void>;
}

export const ALL_KEYS: Range = { from: '', to: '\u{10ffff}' };

/** The range of all keys that begin with `prefix`, which ends in an ASCII character. */
export function withPrefix(prefix: string): Range {
  const last = prefix.length - 1;
  const next = String.fromCharCode(prefix.charCodeAt(last) + 1);
  return { from: prefix, to: prefix.slice(0, last) + next };
}

/**
 * The order of keys: that of their UTF-8 bytes, which is that of code points. UTF-16 units compare
 * likewise, but for surrogates, which stand for larger characters than all other units.
 */
export function compareKeys(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x === y) continue;
    if (isSurrogate(x) !== isSurrogate(y)) return isSurrogate(x) ? 1 : -1;
    return x - y;
  }
  return a.length - b.length;
}

function isSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdfff;
}

export function isWithin({ from, to }: Range, key: string): boolean {
  return compareKeys(from, key) <= 0 && compareKeys(key, to) < 0;
}
