/**
 * Remembers, outside the migration, how far each workload guest has come.
 *
 * The count of writes travels with the memory it explains. If both went back together, an audit would
 * find them in agreement; so somebody who is not moved keeps the highest count heard while the guest ran,
 * and a guest that claims less has lost writes.
 */
import { MachineError } from '../errors.ts';

export class Witness {
  readonly #heard = new Map<string, readonly number[]>();

  /**
   * Takes note of a guest's counts (writes done, one number a hart). They may arrive out of order.
   */
  hear(guest: string, counts: readonly number[]): void {
    const before = this.#heard.get(guest) ?? [];
    this.#heard.set(
      guest,
      counts.map((count, hart) => Math.max(count, before[hart] ?? 0)),
    );
  }

  /** The highest counts heard of a guest; empty = never heard of it. */
  heard(guest: string): readonly number[] {
    return this.#heard.get(guest) ?? [];
  }

  /**
   * To be called with the counts an audit goes by.
   *
   * @throws MachineError witness.rollback when some hart claims less than was heard of it
   */
  check(guest: string, counts: readonly number[]): void {
    this.heard(guest).forEach((heard, hart) => {
      const found = counts[hart] ?? 0;
      if (found >= heard) return;
      const detail = { guest, hart, heard: String(heard), found: String(found) };
      throw new MachineError('witness.rollback', detail);
    });
  }

  forget(guest: string): void {
    this.#heard.delete(guest);
  }
}
