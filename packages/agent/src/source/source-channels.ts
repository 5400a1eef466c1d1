/**
 * All page channels of one migration at the source, as the runner sees them.
 *
 *   runner -> [source channels] -> channel threads -> sockets
 *
 * Main thread only. It never touches page bytes: it loads the plan of a round into shared memory, tells
 * the threads to go and waits for their barriers. Every promise ends: with the round, with the first
 * failure of any channel, or with `close`.
 */
import type { GuestMemory } from '@godwit/machine';
import { CHANNELS_MAX, GodwitError } from '@godwit/protocol';
import { Counters, type Figures } from '../channel/counters.ts';
import { Thread } from '../channel/thread.ts';
import type { PageChannelCommands } from './page-channel.worker.ts';
import { StripeTable } from './stripe-table.ts';

const PAGE_CHANNEL = new URL('./page-channel.worker.ts', import.meta.url);

export interface SourceChannelsOptions {
  readonly memory: GuestMemory;
  readonly migration: string;
  /** Hex, CAPABILITY_CHARS long; whoever presents it gets the guest's pages. */
  readonly capability: string;
  /** Page channels, 1 to CHANNELS_MAX. */
  readonly channels: number;
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
  readonly #options: SourceChannelsOptions;
  readonly #stripes: StripeTable;
  readonly #counters: Counters;
  readonly #threads: Thread<PageChannelCommands>[] = [];
  readonly #attached = new Set<number>();
  /** Rejected by the first failure of any channel, and by `close`: no promise outlives this object. */
  readonly #failure = Promise.withResolvers<never>();
  readonly #allAttached = Promise.withResolvers<void>();
  #nextRound = 0;

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
    this.#counters = Counters.make(options.channels);
    this.#failure.promise.catch(() => {});
  }

  /** Resolves when every channel has been attached. @throws GodwitError `request.timed_out` */
  async attached(deadlineMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const what = `${this.#options.channels} page channels to attach`;
    const timeout = new Promise<never>((_resolve, reject) => {
      const late = () =>
        reject(new GodwitError('request.timed_out', { what, afterMs: deadlineMs }));
      timer = setTimeout(late, deadlineMs);
    });
    try {
      await Promise.race([this.#allAttached.promise, this.#failure.promise, timeout]);
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * Sends the pages of the map and waits until every channel's barrier has come back.
   *
   * @param round 0, 1, 2, ... without a gap
   * @param dirty 32 pages a word; copied before this returns
   * @param key the target's rkey for rounds
   * @throws GodwitError of the channel that failed
   */
  async sendRound(round: number, dirty: Uint32Array, key: number): Promise<RoundResult> {
    if (round !== this.#nextRound) {
      throw new GodwitError('internal', { why: `round ${round} after ${this.#nextRound - 1}` });
    }
    this.#nextRound++;
    const startedMs = performance.now();
    this.#stripes.load(dirty);
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
    this.#failure.reject(new GodwitError('internal', { why: 'the page channels were closed' }));
    const threads = this.#threads.splice(0);
    await Promise.allSettled(threads.map((thread) => thread.call('close')));
    for (const thread of threads) thread.release();
  }

  async #start(): Promise<void> {
    const { memory, migration, capability, channels, listenHost: host, ports } = this.#options;
    const bandwidthBytes = this.#options.maxBandwidthBytes / channels;
    const opening = [];
    for (let channel = 0; channel < channels; channel++) {
      const thread = new Thread<PageChannelCommands>(PAGE_CHANNEL);
      this.#threads.push(thread);
      thread.onEvent = (event, argument) => this.#hear(channel, event, argument);
      thread.onDeath = (error) => {
        this.#stripes.requeue(channel);
        this.#fail(error);
      };
      opening.push(
        thread.call('open', {
          memory: memory.memory,
          stripes: this.#stripes.sab,
          counters: this.#counters.sab,
          migration,
          capability,
          channel,
          host,
          ports,
          bandwidthBytes,
        }),
      );
    }
    this.pagePorts.push(...(await Promise.all(opening)));
  }

  #hear(channel: number, event: string, argument: unknown): void {
    if (event === 'failed') return this.#fail(GodwitError.fromData(argument));
    this.#attached.add(channel);
    if (this.#attached.size === this.#options.channels) this.#allAttached.resolve();
  }

  #fail(error: GodwitError): void {
    this.#failure.reject(error);
    this.#options.onFailed?.(error);
  }
}
