/**
 * The latest changes of a store, in memory, and who is told of them.
 *
 *   commit --add--> [history] --each change once, in order--> watchers
 *
 * Kept for watchers that begin at an earlier revision than the newest. It begins anew with each
 * start and is bounded, so nobody may count on it: who comes too late gets `store.compacted`.
 */
import { GodwitError } from '@godwit/protocol';
import { type Change, isWithin, type Range } from './store.ts';

/** A watcher that is this far behind does better to read its range anew. */
const CHANGES_MAX = 10_000;
/** Records of migrations are long: 16 million characters are at most 32 MiB. */
const CHARS_MAX = 16 * 1024 * 1024;

interface Watcher {
  readonly range: Range;
  readonly listener: (change: Change) => void;
}

export class History {
  /** Changes later than this are all here. */
  #compacted: number;
  #changes: Change[] = [];
  #chars = 0;
  readonly #watchers = new Set<Watcher>();

  constructor(revision: number) {
    this.#compacted = revision;
  }

  get compactedRevision(): number {
    return this.#compacted;
  }

  /** Changes of whole transactions, later than all before. */
  add(changes: readonly Change[]): void {
    for (const change of changes) {
      this.#changes.push(change);
      this.#chars += sizeOf(change);
    }
    if (this.#changes.length > CHANGES_MAX || this.#chars > CHARS_MAX) this.#forgetHalf();
    for (const change of changes) {
      for (const { range, listener } of [...this.#watchers]) {
        if (isWithin(range, change.key)) listener(change);
      }
    }
  }

  /** @throws GodwitError `store.compacted` */
  watch(range: Range, after: number, listener: (change: Change) => void): () => void {
    if (after < this.#compacted) {
      throw new GodwitError('store.compacted', { asked: after, oldest: this.#compacted });
    }
    const past = this.#changes.filter(
      ({ key, revision }) => revision > after && isWithin(range, key),
    );
    const watcher = { range, listener };
    this.#watchers.add(watcher);
    for (const change of past) listener(change);
    return () => this.#watchers.delete(watcher);
  }

  compact(revision: number): void {
    if (revision <= this.#compacted) return;
    this.#compacted = revision;
    this.#changes = this.#changes.filter((change) => change.revision > revision);
    this.#chars = this.#changes.reduce((sum, change) => sum + sizeOf(change), 0);
  }

  clear(): void {
    this.#watchers.clear();
  }

  /** Half at a time, so that a long run does not move the array at every commit. */
  #forgetHalf(): void {
    const middle = this.#changes[this.#changes.length >> 1];
    if (middle !== undefined) this.compact(middle.revision);
  }
}

function sizeOf({ key, entry }: Change): number {
  return key.length + (entry?.value.length ?? 0);
}
