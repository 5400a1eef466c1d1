/**
 * Migrations that are settled: kept for people up to a number, the ones settled longest ago forgotten.
 *
 *   migrations.ts --settled--> [history] --forgotten--> migrations.ts, and out of the store
 *
 * The order is that in which they settled, not that in which they began: one that took long is news when
 * it ends. Those of before a restart stand in the order of their places.
 */
import type { Migration } from '@godwit/protocol';
import type { Records } from '../records.ts';

/** Kept for people; a page of them in any console, and a few megabytes in the store. */
export const HISTORY_MAX = 1_000;

export class History {
  readonly #records: Records;
  readonly #forgotten: (id: string) => void;
  readonly #settled = new Set<string>();

  /** @param forgotten called for each one before its record goes */
  constructor(records: Records, forgotten: (id: string) => void) {
    this.#records = records;
    this.#forgotten = forgotten;
  }

  /** Said again of one that is known, it changes nothing. */
  add(id: string): void {
    this.#settled.add(id);
  }

  /** Forgets what is beyond the number. Safe to call at any time. */
  async trim(): Promise<void> {
    if (this.#settled.size <= HISTORY_MAX) return;
    const { migrations, drains } = this.#records;
    const open = new Set(
      drains.values().flatMap(({ id, state }) => (state === 'moving' ? id : [])),
    );
    const old = [...this.#settled].slice(0, -HISTORY_MAX).filter((id) => {
      const view = migrations.get(id)?.view;
      return view === undefined || !isNeeded(view, open);
    });
    for (const id of old) {
      this.#settled.delete(id);
      this.#forgotten(id);
    }
    // Of one turn, so they are one commit.
    await Promise.all(old.map((id) => migrations.update(id, () => undefined)));
  }
}

/**
 * A lost guest may yet be taken back from the source's image, which needs the record; a drain that goes on
 * counts its moves.
 */
function isNeeded({ state, drain }: Migration, openDrains: ReadonlySet<string>): boolean {
  return state === 'lost' || (drain !== undefined && openDrains.has(drain));
}
