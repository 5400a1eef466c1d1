/**
 * One page channel at the source: pulls work and sends it.
 *
 *   job (stripes of a round, push) -> [page channel] -> queue pair -> socket ... CREDIT, BARRIER come back
 *
 * Runs in a thread of its own (page-channel.worker.ts) with a listening port of its own, so that page
 * bytes never pass through the main thread. The channel outlives its sockets: when one dies, the
 * channel waits for the target's next generation. Only that ATTACH confirms that nothing of the old
 * one can land any more, so a round cannot end without it; it also says how far the old one came, so
 * that both ends count the same pages. What is then known to be lost goes back to the job.
 *
 * A pump sends until credit, the socket's queue, the pacer or the job says stop; each of them starts it
 * again.
 */
import type { GuestMemory } from '@godwit/machine';
import {
  CONNECT_DEADLINE_MS,
  emptyHeader,
  type FrameHeader,
  GodwitError,
  LINK_SILENCE_MS,
  OPCODE,
} from '@godwit/protocol';
import { Admission, type AdmissionOptions, type AttachedSocket } from '../channel/admission.ts';
import type { Counters } from '../channel/counters.ts';
import type { FrameWriter } from '../channel/frame-writer.ts';
import { Pacer } from '../channel/pacer.ts';
import { CompletionQueue, QueuePair } from '../channel/verbs.ts';
import { type ChannelRound, type Job, PushJob, RoundJob } from './channel-jobs.ts';
import type { PushTable } from './push-table.ts';
import type { StripeTable } from './stripe-table.ts';

/**
 * Bytes the socket may hold beside what the kernel has taken. Most of a stripe keeps the kernel's buffer
 * from running dry while this thread is busy; more only adds pages that change before they leave.
 */
const QUEUED_BYTES_MAX = 2 * 1024 * 1024;
/** Requests sent before the event loop gets a turn, so that credit and pings are heard. */
const REQUESTS_PER_TURN = 16;
/**
 * Frames smaller than this leave together: the last pages before a switchover lie scattered, and a frame for
 * each stripe of them would be a write here and a wake-up there.
 */
const TOGETHER_BYTES = 64 * 1024;
/** A target that cannot dial again has given up by then. */
const REATTACH_DEADLINE_MS = LINK_SILENCE_MS + CONNECT_DEADLINE_MS;

export interface PageChannelOptions extends AdmissionOptions {
  readonly guest: GuestMemory;
  readonly stripes: StripeTable;
  readonly pushes: PushTable;
  readonly counters: Counters;
  /** The migration's only page channel. */
  readonly alone: boolean;
  readonly onAttached: () => void;
  /** Pushed pages go again: channels that had nothing left to do must look. */
  readonly onGivenBack: () => void;
  /** The channel cannot go on: a broken rule, or a target that did not come back. */
  readonly onFailed: (error: GodwitError) => void;
}

interface Link {
  readonly writer: FrameWriter;
  readonly queue: QueuePair;
}

export class PageChannel {
  readonly #options: PageChannelOptions;
  readonly #admission: Admission;
  readonly #completions = new CompletionQueue();
  readonly #pacer = new Pacer();
  readonly #header = emptyHeader();
  #link: Link | null = null;
  /** Of the generation that broke, until the next one says how far it came. */
  #broken: QueuePair | null = null;
  #job: Job | null = null;
  /** Settle the round under way. */
  #finish: (sums: ChannelRound) => void = () => {};
  #abort: (error: GodwitError) => void = () => {};
  /** Set while the pacer or the job holds the pump back, and while other events get their turn. */
  #pumpAgain: NodeJS.Timeout | undefined;
  #nextTurn: NodeJS.Immediate | null = null;
  #reattachBy: NodeJS.Timeout | undefined;
  /** Nothing is sent: the channel is closed, or failed and no target has attached anew. */
  #failed = false;

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
    const { stripes, channel } = this.#options;
    return new Promise((resolve, reject) => {
      this.#finish = resolve;
      this.#abort = reject;
      this.#job = new RoundJob(stripes, channel, round, key);
      this.#awaitTarget();
      this.#pump();
    });
  }

  /** From now on the missing pages are pushed, until `close`. A broken link is waited for without end. */
  startPush(key: number): void {
    if (this.#job instanceof PushJob) return;
    const { pushes, channel } = this.#options;
    this.#job = new PushJob(pushes, channel, key);
    clearTimeout(this.#reattachBy);
    this.#pump();
  }

  /** There may be work again. */
  look(): void {
    this.#pump();
  }

  async close(): Promise<void> {
    this.#failed = true;
    this.#abort(new GodwitError('internal', { why: 'the page channel was closed' }));
    this.#stopTimers();
    await this.#admission.close();
    this.#stopTimers();
  }

  #stopTimers(): void {
    clearTimeout(this.#pumpAgain);
    clearTimeout(this.#reattachBy);
    if (this.#nextTurn !== null) clearImmediate(this.#nextTurn);
  }

  #attached(socket: AttachedSocket): void {
    clearTimeout(this.#reattachBy);
    this.#broken?.endedAt(socket.landedBefore);
    this.#failed = false;
    this.#giveUpLost();
    const { writer } = socket;
    const pump = () => this.#pump();
    const { guest, alone } = this.#options;
    const queue = new QueuePair(guest, writer, this.#completions, pump, alone);
    this.#link = { writer, queue };
    this.#options.onAttached();
    this.#pump();
  }

  #pump(): void {
    clearTimeout(this.#pumpAgain);
    const socket = this.#link?.writer.socket;
    socket?.cork();
    try {
      this.#postTurn();
      this.#sendZeros();
    } finally {
      socket?.uncork();
    }
  }

  #postTurn(): void {
    let left = TOGETHER_BYTES;
    for (let turn = 0; turn < REQUESTS_PER_TURN; turn++) {
      const [job, link] = [this.#job, this.#link];
      if (job === null || link === null || this.#failed) return;
      if (job instanceof RoundJob && job.exhausted) return this.#endRound(job, link);
      if (!this.#hasRoom(job, link)) return;
      const waitMs = Math.max(job.pauseMs, this.#pacer.waitMs(performance.now()));
      if (waitMs > 0) {
        this.#pumpAgain = setTimeout(() => this.#pump(), waitMs);
        return;
      }
      const request = job.next(this.#pacer.framePagesMax);
      if (request === null) return this.#endRound(job, link);
      left -= this.#counted(job, link, () => link.queue.post(request));
      if (left > 0) continue;
      left = TOGETHER_BYTES;
      link.writer.flush();
    }
    this.#nextTurn ??= setImmediate(() => {
      this.#nextTurn = null;
      this.#pump();
    });
  }

  #hasRoom(job: Job, link: Link): boolean {
    const { inFlightBytes, window } = link.queue;
    if (inFlightBytes + job.requestBytesMax > job.windowBytes) return false;
    if (!window.admits(inFlightBytes, job.requestBytesMax)) return false;
    return link.writer.socket.writableLength <= QUEUED_BYTES_MAX;
  }

  /** The barrier needs no credit: it goes right behind the last page. */
  #endRound(job: Job, link: Link): void {
    if (!(job instanceof RoundJob) || job.barrierSent) return;
    this.#sendZeros();
    job.barrierSent = true;
    const header = this.#header;
    header.opcode = OPCODE.BARRIER;
    header.round = job.round;
    header.key = job.key;
    link.writer.small(header);
  }

  /** Requests of zeros wait for more of their kind until there is nothing more to post. */
  #sendZeros(): void {
    const [job, link] = [this.#job, this.#link];
    if (job !== null && link !== null) this.#counted(job, link, () => link.queue.sendZeros());
  }

  /** Returns the bytes that went out. */
  #counted(job: Job, link: Link, send: () => void): number {
    const { counters, channel } = this.#options;
    const before = link.writer.wireBytes;
    send();
    const bytes = link.writer.wireBytes - before;
    this.#pacer.spend(bytes);
    const copied = link.queue.copiedBytes;
    link.queue.copiedBytes = 0;
    counters.add(channel, 'wireBytes', bytes);
    counters.add(channel, 'copiedBytes', copied);
    if (!(job instanceof RoundJob)) return bytes;
    job.sums.wireBytes += bytes;
    job.sums.copiedBytes += copied;
    return bytes;
  }

  #receive(header: FrameHeader): void {
    const [job, link] = [this.#job, this.#link];
    if (link === null) return;
    if (header.opcode === OPCODE.CREDIT) {
      link.queue.acknowledge(header.sequence);
      this.#takeCompletions(link.queue);
      this.#pump();
      return;
    }
    const awaited = job instanceof RoundJob && job.barrierSent && job.round === header.round;
    if (header.opcode !== OPCODE.BARRIER || !awaited) {
      throw new GodwitError('wire.bad_frame', { why: `opcode ${header.opcode} out of place` });
    }
    link.queue.acknowledgeAll();
    this.#takeCompletions(link.queue);
    this.#job = null;
    this.#finish(job.sums);
  }

  #takeCompletions(queue: QueuePair): void {
    const { counters, channel } = this.#options;
    const { landedPages, landedZeroPages } = queue;
    queue.landedPages = 0;
    queue.landedZeroPages = 0;
    counters.add(channel, 'pages', landedPages);
    counters.add(channel, 'zeroPages', landedZeroPages);
    if (this.#job instanceof RoundJob) {
      this.#job.sums.pages += landedPages;
      this.#job.sums.zeroPages += landedZeroPages;
    }
    for (const completion of this.#completions.poll()) this.#job?.completed(completion);
  }

  #lost(error: GodwitError | null): void {
    clearTimeout(this.#pumpAgain);
    this.#broken ??= this.#link?.queue ?? null;
    this.#link = null;
    if (error !== null) return this.#fail(error);
    this.#awaitTarget();
  }

  /** A round that is under way ends with the target or without it; nothing else does. */
  #awaitTarget(): void {
    if (this.#link !== null || this.#failed || !(this.#job instanceof RoundJob)) return;
    const { channel } = this.#options;
    clearTimeout(this.#reattachBy);
    this.#reattachBy = setTimeout(() => {
      const pagesUnacknowledged = this.#giveUpLost();
      this.#fail(new GodwitError('channel.lost', { channel, pagesUnacknowledged }));
    }, REATTACH_DEADLINE_MS);
  }

  /** What the broken generation has not landed goes back to the job. Returns its pages. */
  #giveUpLost(): number {
    if (this.#broken === null) return 0;
    const { counters, channel } = this.#options;
    this.#takeCompletions(this.#broken);
    this.#broken.flush();
    this.#completions.poll();
    this.#broken = null;
    const pages = this.#job?.lost() ?? 0;
    counters.add(channel, 'requeuedPages', pages);
    if (pages > 0 && this.#job instanceof PushJob) this.#options.onGivenBack();
    return pages;
  }

  #fail(error: GodwitError): void {
    this.#failed = true;
    this.#giveUpLost();
    this.#options.onFailed(error);
  }
}
