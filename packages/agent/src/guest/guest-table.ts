/**
 * The guests on this host by name, however they came: made here, or reserved for a migration.
 *
 * Entering the table is what makes a guest's own end heard; nothing else watches it. A guest that is
 * leased ends for its migration first, and for its owner when the lease is over.
 */
import type { Guest, GuestEnding } from './guest.ts';

export interface GuestTableEvents {
  /** Under a lease: the migration must know at once. */
  endedInMigration(guest: Guest): void;
  /** The owner may act on it: report it, end its consoles. */
  ended(guest: Guest, ending: GuestEnding): void;
}

export class GuestTable extends Map<string, Guest> {
  readonly #events: GuestTableEvents;

  constructor(events: GuestTableEvents) {
    super();
    this.#events = events;
  }

  override set(name: string, guest: Guest): this {
    guest.once('ended', (ending) => this.#onEnded(guest, ending));
    return super.set(name, guest);
  }

  /** Names, for an error that lists what there is. */
  get known(): string {
    return [...this.keys()].sort().join(', ');
  }

  #onEnded(guest: Guest, ending: GuestEnding): void {
    const settle = () => {
      guest.state = 'ended';
      this.#events.ended(guest, ending);
    };
    if (guest.lease === undefined) {
      settle();
      return;
    }
    guest.latch({ what: 'ended', carryOut: settle, gone: () => {} });
    this.#events.endedInMigration(guest);
  }
}
