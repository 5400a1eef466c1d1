/**
 * The one working copy of a migration's record, and the way it becomes durable.
 *
 *   runner, granting, hearing --change--> [working record] --transact--> store
 *
 * A change is made in memory at once, so that two changes in a row never start from the same copy,
 * and the promise resolves when it is on disk. Phases and progress are noted in memory only and go
 * out with the next change. Reads by people may be a moment ahead of the disk; agents are told
 * nothing before the promise is kept.
 */
import type { CoordinatorState, Migration, Side } from '@godwit/protocol';
import { isSettled } from '@godwit/protocol';
import type { MigrationRecord, Records } from '../records.ts';
import { commit } from '../store/collection.ts';
import { guestAfter, type Happened, recordAfter } from './migration-commit.ts';

/** Phase changes kept in a record; a link that flaps must not make it grow for ever. */
const PHASES_MAX = 200;

export class WorkingRecord {
  readonly #records: Records;
  readonly #changed: () => void;
  #now: MigrationRecord;

  /** @param changed called after every change: watchers are told */
  constructor(record: MigrationRecord, records: Records, changed: () => void) {
    this.#now = record;
    this.#records = records;
    this.#changed = changed;
  }

  get now(): MigrationRecord {
    return this.#now;
  }

  get isSettled(): boolean {
    return isSettled(this.#now.core.phase);
  }

  async save(change: Partial<MigrationRecord>): Promise<void> {
    this.#now = { ...this.#now, ...change };
    await this.#records.migrations.update(this.#now.view.id, () => this.#now);
    this.#changed();
  }

  /** A step of the core and the owner of the guest become durable as one. */
  async commit(core: CoordinatorState, happened: Happened): Promise<void> {
    const { id, guest: name } = this.#now.view;
    const hasEntered = core.phase !== this.#now.core.phase;
    this.#now = recordAfter(this.#now, core, happened);
    for (let isDone = false; !isDone; ) {
      const puts = [this.#records.migrations.put(id, this.#now)];
      const guest = this.#records.guests.get(name);
      if (guest !== undefined && hasEntered) {
        puts.push(this.#records.guests.put(name, guestAfter(this.#now, guest, happened)));
      }
      // False: one of the records was written meanwhile (the guest's witness, say). Once more.
      isDone = await commit(this.#records.store, puts);
    }
    this.#changed();
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
    this.#changed();
  }
}
