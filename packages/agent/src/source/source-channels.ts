/**
 * All page channels of one migration at the source, as the runner sees them.
 *
 *   runner -> [source channels] -> channel threads -> sockets
 *
 * Main thread only. It never touches page bytes: it loads the plan of a round into shared memory, tells
 * the threads to go and waits for their barriers. Every promise ends: with the round, with the first
 * failure of any channel, or with `close`. Once the guest is stopped for good its pages are wanted until the
 * target has them: a thread that dies then has a successor at its port, and the target dials again.
 */
import { randomInt } from 'node:crypto';
import type { GuestMemory } from '@godwit/machine';
import { CHANNELS_MAX, GodwitError, LANDING_DEADLINE_MS } from '@godwit/protocol';
import { Counters, type Figures } from '../channel/counters.ts';
import { type PageHashes, pageHashes } from '../channel/page-hashes.ts';
import { RegionTable } from '../channel/regions.ts';
import { type OwnedThread, Thread } from '../thread.ts';
import type { FaultsServerCommands } from './faults-server.worker.ts';
import type { PageChannelCommands } from './page-channel.worker.ts';
import { hottestFirst } from './push-order.ts';
import { PushTable } from './push-table.ts';
import { StripeTable } from './stripe-table.ts';

export const PAGE_CHANNEL = new URL('./page-channel.worker.ts', import.meta.url);
export const FAULTS_SERVER = new URL('./faults-server.worker.ts', import.meta.url);

export interface SourceChannelsOptions {
  readonly memory: GuestMemory;
  readonly migration: string;
  /** Hex, CAPABILITY_CHARS long; whoever presents it gets the guest's pages. */
  readonly capability: string;
  /** Page channels, 1 to CHANNELS_MAX. */
  readonly channels: number;
  /** Whether pages may be missing when the guest runs at the target: then it can ask for them. */
  readonly faults: boolean;
  readonly listenHost: string;
  /** Ports to choose from, inclusive; null for any free ones. */
  readonly ports: { readonly from: number; readonly to: number } | null;
  /** Bytes a second over all channels; 0 for no limit. */
  readonly maxBandwidthBytes: number;
  readonly onFailed?: (error: GodwitError) => void;
}

export interface RoundResult {
  readonly round: number;
  /** Pages that landed, zero ones included; requeued ones not. */
  readonly pages: number;
  readonly zeroPages: number;
  readonly wireBytes: number;
  /** Page bytes copied in user space at the source. */
  readonly copiedBytes: number;
  readonly durationMs: number;
  /** Pages of channels that died: to be ORed into the dirty map with `takeRequeued`. */
  readonly requeuedPages: number;
}

export class SourceChannels {
  readonly pagePorts: number[] = [];
  /** 0 without a faults channel. */
  faultsPort = 0;
  /** The key under which READ is answered, once `serve` has been called. */
  readonly readKey = randomInt(1, 0x1_0000_0000);
  readonly #options: SourceChannelsOptions;
  readonly #stripes: StripeTable;
  readonly #counters: Counters;
  readonly #pushes: PushTable;
  readonly #regions = new RegionTable();
  readonly #threads: Thread<PageChannelCommands>[] = [];
  #faults: Thread<FaultsServerCommands> | null = null;
  readonly #attached = new Set<OwnedThread>();
  /** Rejected by the first failure of any channel, and by `close`: no promise outlives this object. */
  readonly #failure = Promise.withResolvers<never>();
  readonly #kinds = {
    pages: Promise.withResolvers<void>(),
    faults: Promise.withResolvers<void>(),
  };
  #nextRound = 0;
  #serving = false;
  /** The target's key for pushed pages, from `startPush` on. */
  #pushKey = 0;
  #succeeding: Promise<void> = Promise.resolve();
  #closed = false;

  /**
   * Starts the threads and listens.
   *
   * @throws GodwitError `listen.in_use`, `listen.failed`; nothing stays open then
   */
  static async open(options: SourceChannelsOptions): Promise<SourceChannels> {
    if (!(options.channels >= 1 && options.channels <= CHANNELS_MAX)) {
      throw new GodwitError('request.invalid', { why: `channels must be 1 to ${CHANNELS_MAX}` });
    }
    const channels = new SourceChannels(options);
    try {
      await channels.#start();
    } catch (thrown) {
      await channels.close();
      throw GodwitError.from(thrown);
    }
    return channels;
  }

  private constructor(options: SourceChannelsOptions) {
    this.#options = options;
    this.#stripes = StripeTable.make(options.memory.pages);
    this.#pushes = PushTable.make(options.memory.pages);
    // One row a page channel, the last for faults.
    this.#counters = Counters.make(options.channels + 1);
    this.#failure.promise.catch(() => {});
  }

  /**
   * Resolves when every channel of the kind has been attached. The faults channel, if there is one, is
   * dialled last, while the first round goes out: no page is asked for before the guest has moved.
   *
   * @throws GodwitError `request.timed_out`
   */
  async attached(kind: 'pages' | 'faults', deadlineMs = LANDING_DEADLINE_MS): Promise<void> {
    const { channels, faults } = this.#options;
    if (kind === 'faults' && !faults) return;
    let timer: NodeJS.Timeout | undefined;
    const what = kind === 'pages' ? `${channels} page channels` : 'the faults channel';
    const timeout = new Promise<never>((_resolve, reject) => {
      const late = () =>
        reject(
          new GodwitError('request.timed_out', { what: `${what} to attach`, afterMs: deadlineMs }),
        );
      timer = setTimeout(late, deadlineMs);
    });
    try {
      await Promise.race([this.#kinds[kind].promise, this.#failure.promise, timeout]);
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * Sends the pages of the map and waits until every channel's barrier has come back.
   *
   * @param round 0, 1, 2, ... without a gap
   * @param dirty 32 pages a word; copied before this returns
   * @param touched pages that may hold something else than zeros; copied too
   * @param key the target's rkey for rounds
   * @throws GodwitError of the channel that failed
   */
  async sendRound(
    round: number,
    dirty: Uint32Array,
    key: number,
    touched = dirty,
  ): Promise<RoundResult> {
    if (round !== this.#nextRound) {
      throw new GodwitError('internal', { why: `round ${round} after ${this.#nextRound - 1}` });
    }
    this.#nextRound++;
    const startedMs = performance.now();
    this.#stripes.load(dirty, touched);
    const sent = Promise.all(this.#threads.map((thread) => thread.call('sendRound', round, key)));
    const parts = await Promise.race([sent, this.#failure.promise]);
    const sum = (pick: (part: (typeof parts)[number]) => number) =>
      parts.reduce((total, part) => total + pick(part), 0);
    return {
      round,
      pages: sum((part) => part.pages),
      zeroPages: sum((part) => part.zeroPages),
      wireBytes: sum((part) => part.wireBytes),
      copiedBytes: sum((part) => part.copiedBytes),
      requeuedPages: sum((part) => part.requeuedPages),
      durationMs: performance.now() - startedMs,
    };
  }

  /** Live totals since the start. */
  progress(): { pagesSent: number; bytesSent: number; zeroPages: number; copiedBytes: number } {
    const total: Figures = this.#counters.total();
    return {
      pagesSent: total.pages,
      bytesSent: total.wireBytes,
      zeroPages: total.zeroPages,
      copiedBytes: total.copiedBytes,
    };
  }

  /** ORs the pages that dead channels gave back into a dirty map. Returns how many. */
  takeRequeued(into: Uint32Array): number {
    return this.#stripes.takeRequeued(into);
  }

  /**
   * Digests of pages of the stopped guest, made on the channel threads.
   *
   * @param which 32 pages a word; null for all
   * @returns zero where no page was asked for
   */
  async hashPages(which: Uint32Array | null): Promise<PageHashes> {
    const into = pageHashes(this.#options.memory.pages);
    const work = { which, into, cursor: new SharedArrayBuffer(4) };
    await Promise.all(this.#threads.map((thread) => thread.call('hashPages', work)));
    return into;
  }

  /**
   * The guest is stopped for good: the target may read its pages. To be called before RUN is sent;
   * READs that come earlier wait for it. Calling it again changes nothing.
   *
   * The region is what serves, and stands at once; the thread is told of it, for READs that came before,
   * when RUN is out, because waking it would be part of the blackout.
   */
  serve(): void {
    if (this.#serving) return;
    this.#serving = true;
    const pages = this.#options.memory.pages;
    this.#regions.registerRegion({ firstPage: 0, pages, access: 'read' }, this.readKey);
    setImmediate(() => this.#faults?.call('serve').catch((error) => this.#fail(error)));
  }

  /**
   * Pushes the missing pages in the background, those around faults first, until `close`. Calling it
   * again changes nothing: a broken channel goes on by itself when it is attached anew.
   *
   * @param o.missing 32 pages a word
   * @param o.key the target's rkey for post-copy
   * @param o.order chunks of PUSH_PAGES_MAX pages in the order they shall go; hottest first otherwise
   */
  startPush(o: { missing: Uint32Array; key: number; order?: Uint32Array }): void {
    if (this.#pushKey !== 0) return;
    this.#pushKey = o.key;
    this.#pushes.load(o.missing, o.order ?? hottestFirst(this.#options.memory));
    for (const thread of this.#threads) {
      thread.call('startPush', o.key).catch((error) => this.#fail(error));
    }
  }

  /** @param bytesPerSecond over all channels; 0 for no limit */
  setBandwidth(bytesPerSecond: number): void {
    const share = bytesPerSecond / this.#threads.length;
    for (const thread of this.#threads) {
      thread.call('setBandwidth', share).catch((error) => this.#fail(error));
    }
  }

  /**
   * Ends every channel. When it resolves no socket is open and no queued write refers to guest memory:
   * it may be given to another guest.
   */
  async close(): Promise<void> {
    this.#closed = true;
    this.#failure.reject(new GodwitError('internal', { why: 'the page channels were closed' }));
    await this.#succeeding;
    const threads: OwnedThread[] = this.#threads.splice(0);
    if (this.#faults !== null) threads.push(this.#faults);
    this.#faults = null;
    await Promise.all(threads.map((thread) => thread.close()));
  }

  async #start(): Promise<void> {
    const { channels, faults, ports } = this.#options;
    const opening = [];
    for (let channel = 0; channel < channels; channel++) {
      opening.push(this.#openPages(channel, ports));
    }
    if (faults) opening.push(this.#openFaults(ports));
    // All of them, so that `close` finds none half open.
    const opened = await Promise.allSettled(opening);
    for (const result of opened) if (result.status === 'rejected') throw result.reason;
    const found = opened.map((result) => (result as PromiseFulfilledResult<number>).value);
    if (faults) this.faultsPort = found.pop()!;
    this.pagePorts.push(...found);
  }

  #openPages(channel: number, ports: SourceChannelsOptions['ports']): Promise<number> {
    const { channels, maxBandwidthBytes } = this.#options;
    const thread = new Thread<PageChannelCommands>(PAGE_CHANNEL);
    this.#threads[channel] = thread;
    this.#listenTo(thread);
    return thread.call('open', {
      ...this.#common(ports),
      stripes: this.#stripes.sab,
      channel,
      alone: channels === 1,
      bandwidthBytes: maxBandwidthBytes / channels,
    });
  }

  #openFaults(ports: SourceChannelsOptions['ports']): Promise<number> {
    const thread = new Thread<FaultsServerCommands>(FAULTS_SERVER);
    this.#faults = thread;
    this.#listenTo(thread);
    const regions = this.#regions.sab;
    return thread.call('open', { ...this.#common(ports), regions, row: this.#options.channels });
  }

  #common(ports: SourceChannelsOptions['ports']) {
    const { memory, migration, capability, listenHost: host } = this.#options;
    const [pushes, counters] = [this.#pushes.sab, this.#counters.sab];
    return { memory: memory.memory, migration, capability, host, ports, pushes, counters };
  }

  #listenTo(thread: OwnedThread): void {
    thread.onEvent = (event, argument) => {
      if (event === 'failed') this.#fail(GodwitError.fromData(argument));
      else if (event === 'givenBack') this.#lookAgain();
      else if (thread === this.#faults) this.#kinds.faults.resolve();
      else this.#attached.add(thread);
      if (this.#attached.size === this.#options.channels) this.#kinds.pages.resolve();
    };
    thread.onDeath = (error) => {
      const channel = (this.#threads as OwnedThread[]).indexOf(thread);
      if (channel >= 0) this.#stripes.requeue(channel);
      this.#fail(error);
      if (!this.#serving) return;
      this.#succeeding = this.#succeeding
        .then(() => this.#succeed(thread, channel))
        .catch((failure) => this.#fail(GodwitError.from(failure)));
    };
  }

  /** What the dead thread pushed and nobody acknowledged the target asks for, when it is overdue there. */
  async #succeed(dead: OwnedThread, channel: number): Promise<void> {
    await dead.close();
    if (this.#closed) return;
    const port = channel >= 0 ? this.pagePorts[channel]! : this.faultsPort;
    const ports = { from: port, to: port };
    if (channel < 0) return void (await this.#openFaults(ports));
    await this.#openPages(channel, ports);
    if (this.#pushKey !== 0) await this.#threads[channel]?.call('startPush', this.#pushKey);
  }

  /** Pages of a broken connection are to be pushed again: every channel that lives may take them. */
  #lookAgain(): void {
    for (const thread of this.#threads) {
      thread.call('look').catch((error) => this.#fail(error));
    }
  }

  #fail(error: GodwitError): void {
    this.#failure.reject(error);
    this.#options.onFailed?.(error);
  }
}
