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
import {
  type GuestMemory,
  loadPageOps,
  memoryMap,
  type PageOps,
  PageStates,
} from '@godwit/machine/memory';
import { type FrameHeader, GodwitError, PAGE_BYTES } from '@godwit/protocol';
import type { RegionTable } from '../channel/regions.ts';
import type { LandingBoard } from './landing-board.ts';
import type { RoundGate } from './round-gate.ts';

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
  readonly #pageOps: PageOps;
  #entry = -1;
  #key = 0;
  #land = false;

  constructor(options: PlacementOptions) {
    this.#options = options;
    this.#states = new PageStates(options.guest);
    this.#pageOps = loadPageOps(options.guest.memory);
  }

  /**
   * Checks a frame against the region its key opens; until `finish` its bytes may land. An answer to
   * READ carries the source's key, which opens nothing here: it lands where the READ's owner says,
   * `answerKey`.
   *
   * @throws GodwitError `channel.protection`, `wire.bad_frame`
   */
  admit(header: FrameHeader, answerKey?: number): void {
    const { regions, gate, board, channel } = this.#options;
    this.#key = answerKey ?? header.key;
    this.#entry = regions.begin(channel, this.#key);
    if (this.#entry < 0) this.#refuse(header, 'no such key');
    const access = regions.access(this.#entry);
    this.#land = access === 'land';
    if (access === 'read') this.#refuse(header, 'the region may only be read');
    if (access === 'write') gate.check(channel, header.round);
    else if (!board.inPostcopy) this.#refuse(header, 'post-copy has not begun');
  }

  admitRun(header: FrameHeader, firstPage: number, pages: number): void {
    if (this.#options.regions.covers(this.#entry, firstPage, pages)) return;
    this.#refuse(header, `pages ${firstPage} to ${firstPage + pages - 1} lie outside its region`);
  }

  finish(): void {
    this.#options.regions.finish(this.#options.channel);
  }

  stillAdmitted(): boolean {
    return this.#options.regions.holds(this.#entry, this.#key);
  }

  /** Whether the frame under way is one of post-copy. */
  get landing(): boolean {
    return this.#land;
  }

  /** In the rounds nobody else fills pages, and none is present before its time. */
  takesAll(): boolean {
    return !this.#land;
  }

  claim(page: number): boolean {
    return !this.#land || this.#states.tryLand(page);
  }

  /** Pages that began as zeros and were given nothing are not written again. */
  zeros(firstPage: number, pages: number): void {
    if (this.#land) return this.#landZeros(firstPage, pages);
    this.#options.board.forEachWritten(firstPage, pages, (first, count) =>
      this.#fill(first, count),
    );
  }

  #landZeros(firstPage: number, pages: number): void {
    for (let page = firstPage; page < firstPage + pages; page++) {
      if (!this.claim(page)) continue;
      this.#options.board.forEachWritten(page, 1, (first, count) => this.#fill(first, count));
      this.landed(page);
    }
  }

  #fill(firstPage: number, pages: number): void {
    this.#pageOps.fill(memoryMap.RAM + firstPage * PAGE_BYTES, 0, pages * PAGE_BYTES);
  }

  landed(page: number): void {
    if (!this.#land) return;
    const expected = this.#options.board.hashOf(page);
    if (expected !== null && this.#hash(page) !== expected) return this.#wrong(page, expected);
    this.#states.makePresent(page);
    if (this.#options.board.pagePresent()) this.#options.onAllPresent();
  }

  unclaim(page: number): void {
    if (this.#land) this.#states.backToAbsent(page);
  }

  #hash(page: number): bigint {
    return this.#pageOps.hash64(memoryMap.RAM + page * PAGE_BYTES);
  }

  #wrong(page: number, expected: bigint): void {
    const found = `${this.#hash(page).toString(16)} of page ${page}`;
    this.#states.backToAbsent(page);
    if (!this.#options.board.retryOnce(page)) {
      throw new GodwitError('migration.digest', { expected: expected.toString(16), found });
    }
    this.#options.onWrongPage(page);
  }

  #refuse(header: FrameHeader, why: string): never {
    const { channel } = this.#options;
    throw new GodwitError('channel.protection', { channel, key: header.key, why });
  }
}
