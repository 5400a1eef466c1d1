/**
 * A typed view of all keys under one prefix, held in memory and kept right by a watch.
 *
 *   guests, hosts, migrations --update--> [collection] --transact--> store --watch--> [collection]
 *
 * Reads are answered from memory and show committed records only: the map changes in the watch,
 * after the commit. Several collections can take part in one transaction (`put` makes the write and
 * its comparison), which is how the owner of a guest and the verdict change together.
 *
 * Records are values: never changed in place, always replaced.
 */
import { GodwitError } from '@godwit/protocol';
import { ABSENT, type Compare, type Store, type Write, withPrefix } from './store.ts';

/** Version of the record layouts; stored with each, so that a later release can read ours. */
const RECORD_VERSION = 1;

interface Held<T> {
  readonly value: T;
  readonly revision: number;
}

/** One key's part of a transaction. */
export interface Put {
  readonly compare: Compare;
  readonly write: Write;
}

export class Collection<T extends object> {
  readonly #store: Store;
  readonly #prefix: string;
  readonly #held = new Map<string, Held<T>>();
  /** All values, made when somebody asks and good until the next change. */
  #values: readonly T[] | undefined;

  private constructor(store: Store, prefix: string) {
    this.#store = store;
    this.#prefix = prefix;
  }

  /** @throws GodwitError `state.version`, `state.corrupt` a record that this release cannot read */
  static async load<T extends object>(store: Store, prefix: string): Promise<Collection<T>> {
    const collection = new Collection<T>(store, prefix);
    const range = withPrefix(prefix);
    const { entries, revision: after } = await store.range(range);
    for (const { key, value, revision } of entries) {
      collection.#held.set(key.slice(prefix.length), { value: parse(key, value), revision });
    }
    store.watch(range, after, ({ key, entry }) => {
      const name = key.slice(prefix.length);
      collection.#values = undefined;
      if (entry === undefined) collection.#held.delete(name);
      else {
        collection.#held.set(name, { value: parse(key, entry.value), revision: entry.revision });
      }
    });
    return collection;
  }

  get(name: string): T | undefined {
    return this.#held.get(name)?.value;
  }

  values(): readonly T[] {
    this.#values ??= Array.from(this.#held.values(), ({ value }) => value);
    return this.#values;
  }

  get size(): number {
    return this.#held.size;
  }

  /** The write of `value` (undefined: delete), valid if nobody writes this record before it. */
  put(name: string, value: T | undefined): Put {
    const key = this.#prefix + name;
    const text =
      value === undefined ? undefined : JSON.stringify({ version: RECORD_VERSION, ...value });
    return {
      compare: { key, revision: this.#held.get(name)?.revision ?? ABSENT },
      write: { key, value: text },
    };
  }

  /**
   * Replaces a record by what `change` makes of it; tried again when another writer was first.
   * `change` may return the same object: nothing to write.
   */
  async update(
    name: string,
    change: (value: T | undefined) => T | undefined,
  ): Promise<T | undefined> {
    for (;;) {
      const before = this.get(name);
      const after = change(before);
      if (after === before) return before;
      if (await commit(this.#store, [this.put(name, after)])) return after;
    }
  }
}

/** Commits several records, of any collections, as one. False: another writer was first. */
export async function commit(store: Store, puts: readonly Put[]): Promise<boolean> {
  const { isCommitted } = await store.transact(
    puts.map((put) => put.compare),
    puts.map((put) => put.write),
  );
  return isCommitted;
}

function parse<T>(key: string, text: string): T {
  let record: { version?: unknown };
  try {
    record = JSON.parse(text) as { version?: unknown };
  } catch (cause) {
    throw new GodwitError('state.corrupt', { what: key, why: 'it is no JSON' }, { cause });
  }
  const { version, ...value } = record;
  if (version !== RECORD_VERSION) {
    throw new GodwitError('state.version', { what: key, version: Number(version) });
  }
  return value as T;
}
