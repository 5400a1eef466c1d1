/**
 * One page channel at the source: pulls stripes of the round and sends them.
 *
 *   stripe table -> [page channel] -> queue pair -> socket ... CREDIT, BARRIER come back
 *
 * Runs in a thread of its own (page-channel.worker.ts) with a listening port of its own, so that page
 * bytes never pass through the main thread. The channel outlives its sockets: when one dies, the
 * channel waits for the target's next generation. Only that ATTACH confirms that nothing of the old
 * one can land any more, so the round cannot end without it; it also says how far the old one came,
 * so that both ends count the same pages. The stripes of which a part was lost are requeued.
 *
 * A pump sends until credit, the socket's queue or the pacer says stop; each of them starts it again.
 */
import type { GuestMemory } from '@godwit/machine';
import {
  CONNECT_DEADLINE_MS,
  CREDIT_BYTES,
  emptyHeader,
  FRAME_PAYLOAD_BYTES_MAX,
  type FrameHeader,
  GodwitError,
  LINK_SILENCE_MS,
  OPCODE,
} from '@godwit/protocol';
import { Admission, type AdmissionOptions, type AttachedSocket } from '../channel/admission.ts';
import type { Counters } from '../channel/counters.ts';
import { Pacer } from '../channel/pacer.ts';
import { CompletionQueue, QueuePair } from '../channel/verbs.ts';
import type { StripeTable } from './stripe-table.ts';

/**
 * Bytes the socket may hold beside what the kernel has taken. Two stripes keep the kernel's buffer
 * from running dry while this thread is busy; more only adds pages that change before they leave.
 */
const QUEUED_BYTES_MAX = 2 * 1024 * 1024;
/** Stripes sent before the event loop gets a turn, so that credit and pings are heard. */
const STRIPES_PER_TURN = 16;
/** A target that cannot dial again has given up by then. */
const REATTACH_DEADLINE_MS = LINK_SILENCE_MS + CONNECT_DEADLINE_MS;

export interface ChannelRound {
  readonly pages: number;
  readonly zeroPages: number;
  readonly wireBytes: number;
  readonly copiedBytes: number;
  readonly requeuedPages: number;
}

export interface PageChannelOptions extends AdmissionOptions {
  readonly guest: GuestMemory;
  readonly stripes: StripeTable;
  readonly counters: Counters;
  readonly onAttached: () => void;
  /** The channel cannot go on: a broken rule, or a target that did not come back. */
  readonly onFailed: (error: GodwitError) => void;
}

type Sums = { -readonly [K in keyof ChannelRound]: ChannelRound[K] };

interface Link {
  readonly socket: AttachedSocket;
  readonly queue: QueuePair;
}

interface Round {
  readonly round: number;
  readonly key: number;
  readonly sums: Sums;
  readonly finish: (result: ChannelRound) => void;
  barrierSent: boolean;
  /** The stripe being sent and the rest of its runs, when the pacer cuts it into small frames. */
  stripe: number;
  runs: Uint32Array<ArrayBuffer>;
}

const NO_RUNS = new Uint32Array(0);

export class PageChannel {
  readonly #options: PageChannelOptions;
  readonly #admission: Admission;
  readonly #completions = new CompletionQueue();
  readonly #pacer = new Pacer();
  readonly #header = emptyHeader();
  #link: Link | null = null;
  /** Of the generation that broke, until the next one says how far it came. */
  #broken: QueuePair | null = null;
  #round: Round | null = null;
  /** Set while the pacer holds the pump back, and while other events get their turn. */
  #pumpAgain: NodeJS.Timeout | undefined;
  #nextTurn: NodeJS.Immediate | null = null;
  #reattachBy: NodeJS.Timeout | undefined;
  #failed: GodwitError | null = null;

  constructor(options: PageChannelOptions) {
    this.#options = options;
    this.#admission = new Admission(options, {
      attached: (socket) => this.#attached(socket),
      frame: (header) => this.#receive(header),
      lost: (error) => this.#lost(error),
    });
  }

  listen(): Promise<number> {
    return this.#admission.listen();
  }

  setBandwidth(bytesPerSecond: number): void {
    this.#pacer.setRate(bytesPerSecond, performance.now());
    this.#pump();
  }

  /** Takes part in a round. Resolves when this channel's barrier has come back. */
  sendRound(round: number, key: number): Promise<ChannelRound> {
    return new Promise((resolve) => {
      const sums = { pages: 0, zeroPages: 0, wireBytes: 0, copiedBytes: 0, requeuedPages: 0 };
      const barrierSent = false;
      this.#round = { round, key, sums, finish: resolve, barrierSent, stripe: -1, runs: NO_RUNS };
      this.#pump();
    });
  }

  async close(): Promise<void> {
    this.#round = null;
    clearTimeout(this.#pumpAgain);
    clearTimeout(this.#reattachBy);
    await this.#admission.close();
    clearTimeout(this.#reattachBy);
  }

  #attached(socket: AttachedSocket): void {
    clearTimeout(this.#reattachBy);
    const pump = () => this.#pump();
    const queue = new QueuePair(this.#options.guest, socket.writer, this.#completions, pump);
    this.#broken?.acknowledge(socket.landedBefore);
    this.#requeue();
    this.#link = { socket, queue };
    if (this.#round !== null) this.#round.barrierSent = false;
    this.#options.onAttached();
    this.#pump();
  }

  #pump(): void {
    clearTimeout(this.#pumpAgain);
    for (let turn = 0; turn < STRIPES_PER_TURN; turn++) {
      const [round, link] = [this.#round, this.#link];
      if (round === null || link === null || round.barrierSent || this.#failed !== null) return;
      if (link.queue.inFlightBytes + FRAME_PAYLOAD_BYTES_MAX > CREDIT_BYTES) return;
      if (link.socket.writer.socket.writableLength > QUEUED_BYTES_MAX) return;
      const waitMs = this.#pacer.waitMs(performance.now());
      if (waitMs > 0) {
        this.#pumpAgain = setTimeout(() => this.#pump(), waitMs);
        return;
      }
      if (!this.#sendSome(round, link)) this.#sendBarrier(round, link);
    }
    this.#nextTurn ??= setImmediate(() => {
      this.#nextTurn = null;
      this.#pump();
    });
  }

  /** Posts the next work request of the round; false when there is nothing more to claim. */
  #sendSome(round: Round, link: Link): boolean {
    const { stripes, channel } = this.#options;
    const pagesMax = this.#pacer.framePagesMax;
    if (round.runs.length === 0) {
      round.stripe = stripes.claim(channel);
      if (round.stripe < 0) return false;
      round.runs = stripes.runs(round.stripe, pagesMax);
    }
    const words = wordsOfPages(round.runs, pagesMax);
    const sge = round.runs.subarray(0, words);
    round.runs = round.runs.subarray(words);
    const before = link.socket.writer.wireBytes;
    link.queue.post({
      id: round.stripe,
      opcode: 'WRITE',
      key: round.key,
      round: round.round,
      flags: 0,
      // Requests complete in order: the last of a stripe's completes the stripe.
      signalled: round.runs.length === 0,
      sge,
    });
    const bytes = link.socket.writer.wireBytes - before;
    this.#pacer.spend(bytes);
    this.#count(round, link, bytes);
    return true;
  }

  #count(round: Round, link: Link, bytes: number): void {
    round.sums.wireBytes += bytes;
    this.#options.counters.add(this.#options.channel, 'wireBytes', bytes);
    const copied = link.queue.copiedBytes;
    link.queue.copiedBytes = 0;
    round.sums.copiedBytes += copied;
    this.#options.counters.add(this.#options.channel, 'copiedBytes', copied);
  }

  #sendBarrier(round: Round, link: Link): void {
    round.barrierSent = true;
    const header = this.#header;
    header.opcode = OPCODE.BARRIER;
    header.round = round.round;
    header.key = round.key;
    link.socket.writer.small(header);
  }

  #receive(header: FrameHeader): void {
    const [round, link] = [this.#round, this.#link];
    if (link === null) return;
    if (header.opcode === OPCODE.CREDIT) {
      link.queue.acknowledge(header.sequence);
      this.#takeCompletions(link.queue);
      this.#pump();
    } else if (
      header.opcode === OPCODE.BARRIER &&
      round?.barrierSent &&
      header.round === round.round
    ) {
      link.queue.acknowledgeAll();
      this.#takeCompletions(link.queue);
      this.#round = null;
      round.finish(round.sums);
    } else {
      throw new GodwitError('wire.bad_frame', { why: `opcode ${header.opcode} out of place` });
    }
  }

  #takeCompletions(queue: QueuePair): void {
    const { stripes, counters, channel } = this.#options;
    if (this.#round !== null) {
      this.#round.sums.pages += queue.landedPages;
      this.#round.sums.zeroPages += queue.landedZeroPages;
    }
    counters.add(channel, 'pages', queue.landedPages);
    counters.add(channel, 'zeroPages', queue.landedZeroPages);
    queue.landedPages = 0;
    queue.landedZeroPages = 0;
    for (const done of this.#completions.poll()) {
      if (done.status === 'success') stripes.acknowledge(done.id);
    }
  }

  #lost(error: GodwitError | null): void {
    const { channel } = this.#options;
    clearTimeout(this.#pumpAgain);
    this.#broken = this.#link?.queue ?? null;
    this.#link = null;
    if (error !== null) return this.#fail(error);
    this.#reattachBy = setTimeout(() => {
      this.#fail(
        new GodwitError('channel.lost', { channel, pagesUnacknowledged: this.#requeue() }),
      );
    }, REATTACH_DEADLINE_MS);
  }

  /** Gives up what the broken generation has not landed. Returns its pages. */
  #requeue(): number {
    const { stripes, counters, channel } = this.#options;
    if (this.#broken === null) return 0;
    this.#takeCompletions(this.#broken);
    this.#broken.flush();
    this.#completions.poll();
    this.#broken = null;
    const pages = stripes.requeue(channel);
    counters.add(channel, 'requeuedPages', pages);
    if (this.#round !== null) {
      this.#round.sums.requeuedPages += pages;
      this.#round.runs = NO_RUNS;
    }
    return pages;
  }

  #fail(error: GodwitError): void {
    this.#failed = error;
    this.#requeue();
    this.#options.onFailed(error);
  }
}

/** Words of the descriptors at the front of `runs` that hold at most so many pages together. */
function wordsOfPages(runs: Uint32Array, pagesMax: number): number {
  let pages = 0;
  let words = 0;
  while (words < runs.length && pages + runs[words + 1]! <= pagesMax) {
    pages += runs[words + 1]!;
    words += 2;
  }
  return words;
}
