/**
 * The one working copy of a migration's record, and the way it becomes durable.
 *
 *   runner, granting, hearing --change--> [working record] --transact--> store
 *
 * A change is made in memory at once, so that two changes in a row never start from the same copy,
 * and the promise resolves when it is on disk. Phases and progress are noted in memory only and go
 * out with the next change. Neither people nor agents are told of a change before its promise is
 * kept: what is read from outside is `shown`, which follows the disk.
 */
import type { CoordinatorState, Migration, Side } from '@godwit/protocol';
import { isSettled } from '@godwit/protocol';
import type { MigrationRecord, Records } from '../records.ts';
import { commit } from '../store/collection.ts';
import { guestAfter, type Happened, holdsGuest, recordAfter } from './migration-commit.ts';

/** Phase changes kept in a record; a link that flaps must not make it grow for ever. */
const PHASES_MAX = 200;

export class WorkingRecord {
  readonly #records: Records;
  readonly #changed: () => void;
  #now: MigrationRecord;
  #shown: MigrationRecord;
  /** Changes on their way to the disk. */
  #due = 0;

  /** @param changed called after every change: watchers are told */
  constructor(record: MigrationRecord, records: Records, changed: () => void) {
    this.#now = record;
    this.#shown = record;
    this.#records = records;
    this.#changed = changed;
  }

  get now(): MigrationRecord {
    return this.#now;
  }

  /** Without what is not durable yet. */
  get shown(): MigrationRecord {
    return this.#shown;
  }

  get isSettled(): boolean {
    return isSettled(this.#now.core.phase);
  }

  async save(change: Partial<MigrationRecord>): Promise<void> {
    this.#now = { ...this.#now, ...change };
    await this.#show(this.#records.migrations.update(this.#now.view.id, () => this.#now));
  }

  /**
   * A step of the core and the owner of the guest become durable as one.
   *
   * @returns false: the migration is settled and its guest was restored or removed since; nothing changed
   */
  async commit(core: CoordinatorState, happened: Happened): Promise<boolean> {
    const before = this.#now;
    this.#now = recordAfter(before, core, happened);
    return this.#show(this.#write(before, happened));
  }

  async #write(before: MigrationRecord, happened: Happened): Promise<boolean> {
    const { id, guest: name } = before.view;
    const hasEntered = this.#now.core.phase !== before.core.phase;
    const isLate = hasEntered && isSettled(before.core.phase);
    for (;;) {
      const guest = this.#records.guests.get(name);
      if (isLate && !holdsGuest(before, guest)) {
        this.#now = { ...this.#now, core: before.core, view: before.view };
        return false;
      }
      const puts = [this.#records.migrations.put(id, this.#now)];
      if (guest !== undefined && hasEntered) {
        puts.push(this.#records.guests.put(name, guestAfter(this.#now, guest, happened)));
      }
      // False: one of the records was written meanwhile (the guest's witness, say). Once more.
      if (await commit(this.#records.store, puts)) return true;
    }
  }

  /** Once `written` is kept, people see the record as it is now, or as the next change leaves it. */
  async #show<T>(written: Promise<T>): Promise<T> {
    const change = this.#now;
    this.#due += 1;
    const outcome = await written;
    this.#due -= 1;
    this.#shown = this.#due === 0 ? this.#now : change;
    this.#changed();
    return outcome;
  }

  /** In memory, until the next change; a crash may forget the last phases. */
  note(side: Side, phase: string, entry?: Migration['phases'][number]): void {
    const { view } = this.#now;
    const name = side === 'source' ? 'sourcePhase' : 'targetPhase';
    const phases = entry ? [...view.phases, entry].slice(-PHASES_MAX) : view.phases;
    const isSwitching = side === 'source' && phase === 'stopping' && view.state === 'rounds';
    this.#now = {
      ...this.#now,
      phaseHeardAtMs: view[name] === phase ? this.#now.phaseHeardAtMs : Date.now(),
      view: { ...view, [name]: phase, phases, ...(isSwitching && { state: 'switchover' }) },
    };
    if (this.#due > 0) return;
    this.#shown = this.#now;
    this.#changed();
  }
}
