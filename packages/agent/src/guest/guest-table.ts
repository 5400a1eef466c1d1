/**
 * The guests on this host by name, however they came: made here, or reserved for a migration.
 *
 * Entering the table is what makes a guest's own end heard; nothing else watches it. A guest that is
 * leased ends for its migration first, and for its owner when the lease is over. A guest that rebooted
 * is started again here, if what it was made of is at hand; only then does a reboot not end it.
 */
import { fewNames } from '@godwit/protocol';
import type { Guest } from './guest.ts';
import type { GuestEnding } from './guest-ending.ts';

export interface GuestTableEvents {
  /** It is on this host from now on, or is to come. */
  entered(guest: Guest): void;
  /** Under a lease: the migration must know at once. */
  endedInMigration(guest: Guest): void;
  /** The owner may act on it: report it, end its consoles. */
  ended(guest: Guest, ending: GuestEnding): void;
  /** It has started again, or could not be and ends: `error`. */
  rebooted(guest: Guest, error?: Error): void;
}

export class GuestTable extends Map<string, Guest> {
  readonly #events: GuestTableEvents;

  constructor(events: GuestTableEvents) {
    super();
    this.#events = events;
  }

  override set(name: string, guest: Guest): this {
    this.#events.entered(guest);
    guest.on('ended', (ending) => this.#onEnded(guest, ending));
    return super.set(name, guest);
  }

  /** Names, for an error that lists what there is. */
  get known(): string {
    return fewNames(this.keys());
  }

  #onEnded(guest: Guest, ending: GuestEnding): void {
    // A stale image has no life of its own: whatever it did last is not the guest's end.
    if (guest.state === 'lost') return;
    const settle = () => {
      if (ending.event === 'reboot' && guest.boot !== undefined) void this.#reboot(guest, ending);
      else this.#end(guest, ending);
    };
    if (guest.lease === undefined) {
      settle();
      return;
    }
    guest.latch({ what: 'ended', carryOut: settle, gone: () => {} });
    this.#events.endedInMigration(guest);
  }

  async #reboot(guest: Guest, ending: GuestEnding): Promise<void> {
    try {
      if (await guest.reboot()) this.#events.rebooted(guest);
    } catch (error) {
      this.#events.rebooted(guest, error as Error);
      this.#end(guest, ending);
    }
  }

  #end(guest: Guest, ending: GuestEnding): void {
    guest.state = 'ended';
    this.#events.ended(guest, ending);
  }
}
