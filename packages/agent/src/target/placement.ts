/**
 * Decides what may land where: keys, rounds, page states.
 *
 *   landing reader -> [placement] -> guest RAM's states, landing board
 *
 * Under a key with access `write` (the rounds) every page of the open round lands, again and again,
 * and nobody looks at page states: the guest does not run here. Under one with access `land`
 * (post-copy) a page lands only if it is absent and this thread won it, is checked against the
 * source's hash while it is still landing, and is present, its waiters woken, right after its last byte.
 *
 * One placement a channel, used by the thread that reads the channel's socket.
 */
import { type GuestMemory, PageStates } from '@godwit/machine';
import { type FrameHeader, GodwitError, OPCODE } from '@godwit/protocol';
import type { RegionTable } from '../channel/regions.ts';
import type { LandingBoard } from './landing-board.ts';
import type { RoundGate } from './round-gate.ts';

/** Compares a page in guest memory with the digest the source made of it. */
export type PageCheck = (page: number) => boolean;

export interface PlacementOptions {
  readonly guest: GuestMemory;
  readonly regions: RegionTable;
  readonly board: LandingBoard;
  readonly gate: RoundGate;
  readonly channel: number;
  /** The last missing page is present. */
  readonly onAllPresent: () => void;
  /** A page whose bytes were wrong is absent again and must be asked for. */
  readonly onWrongPage: (page: number) => void;
}

export class Placement {
  readonly #options: PlacementOptions;
  readonly #states: PageStates;
  #entry = -1;
  #land = false;
  #check: PageCheck | null = null;

  constructor(options: PlacementOptions) {
    this.#options = options;
    this.#states = new PageStates(options.guest);
  }

  /** From now on every page that lands under a `land` key is checked before it is present. */
  setCheck(check: PageCheck | null): void {
    this.#check = check;
  }

  /** @throws GodwitError `channel.protection`, `wire.bad_frame` */
  admit(header: FrameHeader): void {
    const { regions, gate, channel } = this.#options;
    this.#entry = regions.find(header.key);
    if (this.#entry < 0) this.#refuse(header, 'no such key');
    const access = regions.access(this.#entry);
    this.#land = access === 'land';
    if (access === 'read') this.#refuse(header, 'the region may only be read');
    if (access === 'write') {
      if (header.opcode === OPCODE.READ_RESPONSE) this.#refuse(header, 'nothing was asked for');
      gate.check(channel, header.round);
    }
  }

  admitRun(header: FrameHeader, firstPage: number, pages: number): void {
    if (this.#options.regions.covers(this.#entry, firstPage, pages)) return;
    this.#refuse(header, `pages ${firstPage} to ${firstPage + pages - 1} lie outside its region`);
  }

  stillAdmitted(header: FrameHeader): boolean {
    return this.#options.regions.holds(this.#entry, header.key);
  }

  /** Whether the frame under way is one of post-copy. */
  get landing(): boolean {
    return this.#land;
  }

  claim(page: number): boolean {
    return !this.#land || this.#states.tryLand(page);
  }

  landed(page: number): void {
    if (!this.#land) return this.#options.board.cover(page, 1);
    if (this.#check !== null && !this.#check(page)) return this.#wrong(page);
    this.#states.makePresent(page);
    if (this.#options.board.pagePresent()) this.#options.onAllPresent();
  }

  unclaim(page: number): void {
    if (this.#land) this.#states.backToAbsent(page);
  }

  #wrong(page: number): void {
    this.#states.backToAbsent(page);
    if (!this.#options.board.retryOnce(page)) {
      throw new GodwitError('migration.digest', {
        expected: `the source's digest of page ${page}`,
        found: 'another one twice',
      });
    }
    this.#options.onWrongPage(page);
  }

  #refuse(header: FrameHeader, why: string): never {
    const { channel } = this.#options;
    throw new GodwitError('channel.protection', { channel, key: header.key, why });
  }
}
