/**
 * What the coordinator needs of a store: ordered keys, compare-and-set transactions, watches.
 *
 * Everything durable goes through `transact`: it commits when every compared key still has the
 * revision its writer has seen, and its promise resolves only when the commit is on disk. Whoever
 * says something about a record waits for that promise first, so no agent and no person is ever
 * told what a restart could forget.
 *
 * Methods are asynchronous although the embedded store answers at once: a store on other machines
 * can stand behind the same interface.
 */

/** Revision of a key that does not exist. */
export const ABSENT = 0;

export interface Entry {
  readonly key: string;
  /** JSON text. */
  readonly value: string;
  /** The store's revision when this key was last written; rises with every transaction. */
  readonly revision: number;
}

/** The transaction commits only if `key` is at exactly this revision (or ABSENT). */
export interface Compare {
  readonly key: string;
  readonly revision: number;
}

/** `value: undefined` deletes the key. */
export interface Write {
  readonly key: string;
  readonly value: string | undefined;
}

export interface Change {
  readonly key: string;
  /** Undefined: deleted. */
  readonly entry: Entry | undefined;
}

export interface Store {
  /** Random name of this store, made with it; agents recognise it. */
  readonly id: string;
  /** Number of this start; rises durably at each one. Agents obey only the highest. */
  readonly term: number;
  /** Revision of the last commit. A store that shows a lower one than before was restored. */
  readonly revision: number;

  /** All entries whose key starts with `prefix`, by key. */
  list(prefix: string): Promise<Entry[]>;

  /** True: committed and durable. False: a comparison failed and nothing was written. */
  transact(compares: readonly Compare[], writes: readonly Write[]): Promise<boolean>;

  /**
   * Calls `listener` for every committed change under `prefix`, before `transact` resolves and in
   * the order of the commits. Returns the end of the watch.
   */
  watch(prefix: string, listener: (change: Change) => void): () => void;

  /** Releases the store for another coordinator. */
  close(): Promise<void>;
}
