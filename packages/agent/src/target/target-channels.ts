/**
 * All channels of one migration at the target, as the runner sees them.
 *
 *   runner -> [target channels] -> channel threads -> sockets, guest RAM
 *
 * Main thread only; it never touches page bytes. What the threads have done stands in shared memory
 * (landing board, counters, histogram) and is read from there.
 *
 * In the rounds the failure of a channel is the end of all of them: the guest runs on at the source. In
 * post-copy it is not, because the pages are there still and the guest is here: what can be is opened anew.
 * Then all channels are, so that nobody fills a page any more and those that a thread left half full can
 * be asked for again.
 */
import { type GuestMemory, PageStates, popcount } from '@godwit/machine';
import {
  GodwitError,
  RECONNECT_FIRST_MS,
  RECONNECT_MAX_MS,
  TEXT_CHARS_MAX,
} from '@godwit/protocol';
import { Counters } from '../channel/counters.ts';
import type { PageHashes } from '../channel/page-hashes.ts';
import type { RegionTable } from '../channel/regions.ts';
import { type OwnedThread, Thread } from '../thread.ts';
import { FaultHistogram, type FaultStats } from './fault-histogram.ts';
import type { FaultsClientCommands } from './faults-client.worker.ts';
import type { LandingCommands } from './landing.worker.ts';
import { LandingBoard } from './landing-board.ts';
import { RoundGate } from './round-gate.ts';

export const LANDING = new URL('./landing.worker.ts', import.meta.url);
export const FAULTS_CLIENT = new URL('./faults-client.worker.ts', import.meta.url);

export interface TargetChannelsOptions {
  readonly memory: GuestMemory;
  /** All of it is zero: a page of zeros need not be written to it. */
  readonly fresh: boolean;
  readonly regions: RegionTable;
  readonly migration: string;
  readonly capability: string;
  /** Address of the source's page ports. */
  readonly host: string;
  readonly pagePorts: readonly number[];
  /** 0 when no page will be missing: then there is no faults channel. */
  readonly faultsPort: number;
  /** The source's key for READ, from its offer. */
  readonly readKey: number;
  /** Absent pages asked for together with a faulted one; 0 gives the shortest wait. */
  readonly neighbours?: number;
  /** A channel cannot go on: a broken rule, or a source that does not answer. */
  readonly onFailed?: (error: GodwitError) => void;
}

export interface Landed {
  /** Pages of complete frames, all rounds and pushes. */
  readonly pages: number;
  readonly zeroPages: number;
  /** Page bytes copied in user space at the target. */
  readonly copiedBytes: number;
}

export class TargetChannels {
  readonly #options: TargetChannelsOptions;
  readonly #board: LandingBoard;
  readonly #gate: RoundGate;
  readonly #counters: Counters;
  readonly #histogram = FaultHistogram.make();
  readonly #threads: Thread<LandingCommands>[] = [];
  #faults: Thread<FaultsClientCommands> | null = null;
  #faultsOpened: Promise<void> = Promise.resolve();
  readonly #allPresent = Promise.withResolvers<void>();
  /** Of post-copy. */
  #landKey = 0;
  /** Missing pages when they were last overdue. */
  #remainedBefore = 0;
  /** Why channels failed, until pages come and none fails again. */
  #trouble: GodwitError | undefined;
  #failedLately = false;
  #attempt = 0;
  #reopenTimer: NodeJS.Timeout | undefined;
  #reopening: Promise<void> = Promise.resolve();
  #closed = false;
  /** Settled and replaced whenever a round has ended on every channel. */
  #roundEnds = Promise.withResolvers<void>();

  /**
   * Dials every page channel; resolves when ATTACH has been sent on all of them. The faults channel, if
   * there is one, is dialled then: nobody needs it before the guest runs here, and the first round need
   * not wait for it.
   *
   * @throws GodwitError `channel.refused`, `channel.early_data`; nothing stays open then
   */
  static async open(options: TargetChannelsOptions): Promise<TargetChannels> {
    const channels = new TargetChannels(options);
    try {
      await channels.#start();
    } catch (thrown) {
      await channels.close();
      throw GodwitError.from(thrown);
    }
    return channels;
  }

  private constructor(options: TargetChannelsOptions) {
    this.#options = options;
    this.#board = LandingBoard.make(options.memory.pages, options.fresh);
    this.#gate = RoundGate.make(options.pagePorts.length);
    this.#counters = Counters.make(options.pagePorts.length);
    this.#allPresent.promise.catch(() => {});
    this.#roundEnds.promise.catch(() => {});
  }

  /** What has landed, for the manifest check. */
  landed(): Landed {
    const { pages, zeroPages, copiedBytes } = this.#counters.total();
    return { pages, zeroPages, copiedBytes };
  }

  /** Pages landed in each of the first so many rounds. */
  landedIn(rounds: number): readonly number[] {
    return this.#board.rounds(rounds);
  }

  /**
   * Resolves when the barriers of so many rounds have been seen on every channel; rejects with the first
   * failure of any, and on `close`.
   */
  async barriersOf(rounds: number): Promise<void> {
    while (this.#gate.openRound < rounds) await this.#roundEnds.promise;
  }

  /**
   * Digests of pages here, made on the channel threads; the guest must not run.
   *
   * @param which 32 pages a word; null for all
   * @returns zero where no page was asked for
   */
  async verify(which: Uint32Array | null): Promise<PageHashes> {
    const into = this.#board.hashes;
    const work = { which, into, cursor: new SharedArrayBuffer(4) };
    await Promise.all(this.#threads.map((thread) => thread.call('hashPages', work)));
    return into.subarray(0, this.#options.memory.pages);
  }

  /**
   * Revokes a key. When it resolves no byte under that key can land any more; a channel in the middle
   * of a frame under it fails with `channel.protection`.
   */
  async revoke(key: number): Promise<void> {
    const { regions } = this.#options;
    regions.revoke(key);
    const placing = this.#threads.filter((_, channel) => regions.isPlacing(channel, key));
    await Promise.all(placing.map((thread) => thread.call('cutOff', key)));
  }

  /**
   * Begins post-copy: answers faults and lets pushed pages land. The runner has made the missing pages
   * absent; call this before the source may push (before LANDED).
   *
   * @param o.missing 32 pages a word
   * @param o.key rkey of the `land` region
   * @param o.pageHashes the source's digests, 8 bytes a page; empty when pages are not checked
   */
  startPostcopy(o: { missing: Uint32Array; key: number; pageHashes: Uint8Array }): void {
    const pages = popcount(o.missing);
    this.#landKey = o.key;
    this.#remainedBefore = pages;
    this.#board.startPostcopy(pages, o.pageHashes);
    if (pages === 0) this.#allPresent.resolve();
    this.#onFaults((faults) => faults.call('start', o.key));
  }

  /**
   * Resolves when no missing page is left, whatever has failed meanwhile; rejects on `close`, and with the
   * first failure of any channel before post-copy.
   */
  get allPresent(): Promise<void> {
    return this.#allPresent.promise;
  }

  /** To be called now and then while pages are missing: if none has come since, they are asked for. */
  requestMissing(): void {
    const { remaining } = this.#board;
    if (remaining === 0) return this.#allPresent.resolve();
    if (remaining === this.#remainedBefore) this.#onFaults((faults) => faults.call('fetchAll'));
    else if (!this.#failedLately) {
      this.#trouble = undefined;
      this.#attempt = 0;
    }
    this.#failedLately = false;
    this.#remainedBefore = remaining;
  }

  /** Why pages may not come; undefined while they do, or nothing is known to be in their way. */
  get trouble(): string | undefined {
    return this.#trouble?.message.slice(0, TEXT_CHARS_MAX);
  }

  /** Missing pages that have not come yet. */
  remaining(): number {
    return this.#board.remaining;
  }

  faultStats(): FaultStats {
    return this.#histogram.stats();
  }

  /** The pages that were given bytes, if all others are zero; null when they may not be. */
  written(): Uint32Array | null {
    return this.#board.written();
  }

  /** Ends every channel; no socket is open when it resolves. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#reopenTimer);
    const error = new GodwitError('internal', { why: 'the page channels were closed' });
    this.#allPresent.reject(error);
    this.#roundEnds.reject(error);
    await this.#reopening;
    await this.#closeThreads();
  }

  async #closeThreads(): Promise<void> {
    const threads: OwnedThread[] = this.#threads.splice(0);
    const faults = this.#faults;
    this.#faults = null;
    // A thread that is half open has nothing to close yet.
    const faultsClosed = this.#faultsOpened.then(() => faults?.close());
    await Promise.all([faultsClosed, ...threads.map((thread) => thread.close())]);
  }

  async #start(): Promise<void> {
    const { memory, regions, migration, capability, host, pagePorts } = this.#options;
    const { faultsPort, readKey, neighbours = 0 } = this.#options;
    const common = {
      memory: memory.memory,
      regions: regions.sab,
      board: this.#board.sab,
      gate: this.#gate.sab,
      migration,
      capability,
      host,
    };
    const opening = pagePorts.map((port, channel) => {
      const thread = new Thread<LandingCommands>(LANDING);
      this.#threads.push(thread);
      this.#listenTo(thread);
      return thread.call('open', { ...common, counters: this.#counters.sab, channel, port });
    });
    // All of them, so that `close` finds none half open.
    const opened = await Promise.allSettled(opening);
    for (const result of opened) if (result.status === 'rejected') throw result.reason;
    if (faultsPort === 0) return;
    this.#faults = new Thread<FaultsClientCommands>(FAULTS_CLIENT);
    this.#listenTo(this.#faults);
    const histogram = this.#histogram.sab;
    const setup = { ...common, histogram, port: faultsPort, readKey, neighbours };
    this.#faultsOpened = this.#faults.call('open', setup).catch((error) => this.#fail(error));
  }

  #listenTo(thread: OwnedThread): void {
    thread.onEvent = (event, argument) => {
      if (event === 'failed') this.#fail(GodwitError.fromData(argument));
      else if (event === 'allPresent') this.#allPresent.resolve();
      else if (event === 'roundEnded') this.#roundEnded();
      else this.#onFaults((faults) => faults.call('fetch', argument as number));
    };
    thread.onDeath = (error) => this.#fail(error);
  }

  /** Once it is open, and in order: what is to be fetched comes after the start. */
  #onFaults(command: (faults: Thread<FaultsClientCommands>) => Promise<unknown>): void {
    const call = async () => {
      if (this.#faults !== null) await command(this.#faults);
    };
    this.#faultsOpened.then(call).catch((error) => this.#fail(error));
  }

  #roundEnded(): void {
    const ended = this.#roundEnds;
    this.#roundEnds = Promise.withResolvers();
    this.#roundEnds.promise.catch(() => {});
    ended.resolve();
  }

  #fail(error: GodwitError): void {
    if (this.#closed) return;
    this.#trouble = error;
    this.#failedLately = true;
    this.#roundEnds.reject(error);
    if (this.#board.inPostcopy) this.#reopenSoon();
    else this.#allPresent.reject(error);
    this.#options.onFailed?.(error);
  }

  #reopenSoon(): void {
    if (this.#reopenTimer !== undefined) return;
    const pauseMs = Math.min(RECONNECT_FIRST_MS * 2 ** this.#attempt++, RECONNECT_MAX_MS);
    this.#reopenTimer = setTimeout(() => {
      this.#reopening = this.#reopening
        .then(() => this.#reopen())
        .catch((error) => this.#fail(GodwitError.from(error)));
    }, pauseMs);
  }

  /** Whatever the channels had under way is lost, and neither end may know of it: all is asked for. */
  async #reopen(): Promise<void> {
    const { memory } = this.#options;
    await this.#closeThreads();
    this.#reopenTimer = undefined;
    if (this.#board.remaining === 0) this.#allPresent.resolve();
    if (this.#closed || this.#board.remaining === 0) return;
    new PageStates(memory).landingToAbsent();
    await this.#start();
    this.#onFaults(async (faults) => {
      await faults.call('start', this.#landKey);
      await faults.call('fetchAll');
    });
  }
}
