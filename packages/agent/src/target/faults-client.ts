/**
 * Fetches the pages harts wait for.
 *
 *   hart's fault slot, bell -> [faults client] -> READ ... READ_RESPONSE -> page present -> hart wakes
 *
 * A thread and a connection of its own (faults-client.worker.ts), open before the guest runs here. It
 * sleeps on the guest's fault bell with Atomics.waitAsync, because its event loop must go on reading the
 * socket; a timer keeps the loop referenced, without which waitAsync never comes back in a worker.
 *
 *   state of the page in the slot   what happens
 *   absent                          READ, once until it is answered or the connection breaks
 *   landing                         nothing: a channel is filling it and will wake the hart
 *   present                         the hart is woken: it looked just before
 *
 * A connection that breaks is dialled again without end, and every page still waited for is asked for
 * again.
 */
import { type GuestMemory, memoryMap, PageStates } from '@godwit/machine';
import {
  emptyHeader,
  type FrameHeader,
  GodwitError,
  OPCODE,
  PAGE_BYTES,
  PUSH_CREDIT_BYTES,
  READ_PAGES_MAX,
} from '@godwit/protocol';
import { closeError } from '../channel/close-codes.ts';
import type { FrameWriter } from '../channel/frame-writer.ts';
import { FAULTS_CHANNEL } from '../channel/regions.ts';
import { CompletionQueue, QueuePair } from '../channel/verbs.ts';
import type { FaultHistogram } from './fault-histogram.ts';
import { LandingReader } from './landing-reader.ts';
import { Placement, type PlacementOptions } from './placement.ts';
import { TargetLink } from './target-link.ts';

const BELL = memoryMap.CONTROL_BELL_FAULT >> 2;
/** A look without a ring, in case of a hart that rang before this thread listened. */
const LOOK_EVERY_MS = 100;
/** READs of a sweep under way: as many bytes as a push may have while harts wait. */
const SWEEP_READS = PUSH_CREDIT_BYTES / (READ_PAGES_MAX * PAGE_BYTES);
/** Answers after which the source is told what has landed; until then it would push them again. */
const CREDIT_EVERY = 32;

export interface FaultsClientOptions extends PlacementOptions {
  readonly histogram: FaultHistogram;
  readonly migration: string;
  readonly capability: string;
  readonly host: string;
  readonly port: number;
  /** The source's key for READ. */
  readonly readKey: number;
  /** Absent pages after the faulted one that are asked for with it. */
  readonly neighbours: number;
  readonly onFailed: (error: GodwitError) => void;
}

export class FaultsClient {
  readonly #options: FaultsClientOptions;
  readonly #guest: GuestMemory;
  readonly #states: PageStates;
  readonly #placement: Placement;
  readonly #link: TargetLink;
  readonly #header = emptyHeader();
  readonly #completions = new CompletionQueue();
  #queue: QueuePair | null = null;
  /** READs not answered yet, in the order of their answers. */
  #reads: Uint32Array[] = [];
  /** Pages to be had although no hart waits, until they land. */
  readonly #wanted = new Set<number>();
  /** When each page was asked for; a page that is here is not asked for again. */
  readonly #askedAtMs = new Map<number, number>();
  /** Pages below it have been swept, by `fetchAll`; all of them when it is over. */
  #swept = Number.POSITIVE_INFINITY;
  #landKey = 0;
  #watching: Promise<void> | null = null;
  #closed = false;
  #landedSequence = 0;
  #landedBefore = 0;
  #answersSinceCredit = 0;

  constructor(options: FaultsClientOptions) {
    this.#options = options;
    this.#guest = options.guest;
    this.#states = new PageStates(options.guest);
    this.#placement = new Placement({ ...options, channel: FAULTS_CHANNEL });
    this.#link = new TargetLink({
      ...options,
      kind: 'faults',
      makeReader: (writer) => this.#makeReader(writer),
      nextGeneration: () => options.board.nextGeneration(FAULTS_CHANNEL),
      onAttached: (writer) => this.#attached(writer),
      onLost: () => this.#lost(),
      landedBefore: () => this.#landedBefore,
      patient: () => options.board.inPostcopy,
    });
  }

  connect(): Promise<void> {
    return this.#link.connect();
  }

  /** Begins to answer the harts. @param landKey under which their pages land here */
  start(landKey: number): void {
    this.#landKey = landKey;
    this.#watching ??= this.#watch();
    this.#sweep();
  }

  /** Asks for a page although no hart waits: what came for it was wrong. */
  fetch(page: number): void {
    this.#wanted.add(page);
    this.#askedAtMs.delete(page);
    this.#ask(page);
  }

  /** Asks for every absent page, a few at a time: who should have sent them may take them for landed. */
  fetchAll(): void {
    this.#swept = 0;
    this.#sweep();
  }

  async close(): Promise<void> {
    this.#closed = true;
    Atomics.notify(this.#guest.i32, BELL);
    await this.#link.close();
    await this.#watching;
  }

  // ---------------------------------------------------------------------------------- the harts

  async #watch(): Promise<void> {
    const keepAlive = setInterval(() => {}, 1 << 30);
    while (!this.#closed) {
      const rung = Atomics.load(this.#guest.i32, BELL);
      this.#look();
      const wait = Atomics.waitAsync(this.#guest.i32, BELL, rung, LOOK_EVERY_MS);
      if (wait.async) await wait.value;
    }
    clearInterval(keepAlive);
  }

  #look(): void {
    for (const { page } of this.#states.faults()) {
      const state = this.#states.get(page);
      if (state === memoryMap.PAGE_PRESENT) this.#states.wakeWaiters(page);
      else if (state === memoryMap.PAGE_ABSENT) this.#ask(page);
    }
  }

  #ask(page: number): void {
    if (this.#queue === null || this.#askedAtMs.has(page) || this.#landKey === 0) return;
    this.#askedAtMs.set(page, performance.now());
    this.#read(this.#queue, page, this.#options.neighbours);
  }

  /** Goes on with a sweep, if there is one; a hart waits behind no more than a few of its answers. */
  #sweep(): void {
    const { pages } = this.#guest;
    if (this.#queue === null || this.#landKey === 0) return;
    while (this.#swept < pages && this.#reads.length < SWEEP_READS) {
      const page = this.#swept;
      const isAbsent = this.#states.get(page) === memoryMap.PAGE_ABSENT;
      this.#swept += isAbsent ? this.#read(this.#queue, page, READ_PAGES_MAX - 1) : 1;
    }
  }

  /** Asks for a page and absent ones behind it. Returns how many. */
  #read(queue: QueuePair, page: number, neighbours: number): number {
    const pages = 1 + this.#absentAfter(page, neighbours);
    const sge = Uint32Array.of(page, pages);
    this.#reads.push(sge);
    queue.post({
      id: page,
      opcode: 'READ',
      key: this.#options.readKey,
      round: 0,
      flags: 0,
      signalled: false,
      sge,
    });
    return pages;
  }

  #absentAfter(page: number, neighbours: number): number {
    const limit = Math.min(neighbours, READ_PAGES_MAX - 1);
    let count = 0;
    while (count < limit && page + count + 1 < this.#guest.pages) {
      if (this.#states.get(page + count + 1) !== memoryMap.PAGE_ABSENT) break;
      count++;
    }
    return count;
  }

  // ----------------------------------------------------------------------------- the connection

  #makeReader(writer: FrameWriter): LandingReader {
    const { channel } = this.#options;
    const placement = this.#placement;
    this.#landedBefore = this.#landedSequence;
    this.#landedSequence = 0;
    return new LandingReader('faults', {
      ram: this.#guest.ram(),
      admit: (header) => this.#admit(header),
      admitRun: (header, first, pages) => this.#admitRun(header, first, pages),
      stillAdmitted: () => placement.stillAdmitted(),
      writes: (first, pages) => this.#options.board.markWritten(first, pages),
      zeros: (first, pages) => placement.zeros(first, pages),
      takesAll: () => placement.takesAll(),
      claim: (page) => placement.claim(page),
      landed: (page) => this.#landed(page),
      unclaim: (page) => placement.unclaim(page),
      finish: () => placement.finish(),
      due: () => {},
      copied: () => {},
      frameLanded: (header) => this.#answered(header, writer),
      barrier: () => {
        throw new GodwitError('wire.bad_frame', { why: 'a barrier on the faults channel' });
      },
      ping: (payload) => writer.pong(payload),
      closed: (payload) => this.#link.peerClosed(closeError(payload, channel)),
      failed: (error) => this.#link.fail(error),
    });
  }

  /** An answer must be to the oldest READ, whole and in its order. */
  #admit(header: FrameHeader): void {
    const asked = this.#reads[0];
    if (asked === undefined || header.key !== this.#options.readKey) {
      const { channel } = this.#options;
      throw new GodwitError('channel.protection', {
        channel,
        key: header.key,
        why: 'nothing was asked for',
      });
    }
    this.#placement.admit(header, this.#landKey);
  }

  #admitRun(header: FrameHeader, firstPage: number, pages: number): void {
    const asked = this.#reads[0]!;
    if (header.runs !== 1 || asked[0] !== firstPage || asked[1] !== pages) {
      throw new GodwitError('wire.bad_frame', { why: 'an answer to another READ than the oldest' });
    }
    this.#placement.admitRun(header, firstPage, pages);
  }

  #landed(page: number): void {
    // Taken before the hart is woken: on a busy machine it may run in this thread's place at once.
    const hereAtMs = performance.now();
    this.#wanted.delete(page);
    this.#placement.landed(page);
    const askedAtMs = this.#askedAtMs.get(page);
    if (askedAtMs === undefined) return;
    this.#askedAtMs.delete(page);
    this.#options.histogram.record((hereAtMs - askedAtMs) * 1000);
  }

  #answered(header: FrameHeader, writer: FrameWriter): void {
    const asked = this.#reads.shift()!;
    this.#queue?.responded();
    // Pages that a push had brought first were thrown away, and are no fault's latency.
    this.#askedAtMs.delete(asked[0]!);
    this.#landedSequence = header.sequence;
    this.#sweep();
    if (++this.#answersSinceCredit < CREDIT_EVERY) return;
    this.#answersSinceCredit = 0;
    const credit = this.#header;
    credit.opcode = OPCODE.CREDIT;
    credit.sequence = header.sequence;
    writer.small(credit);
  }

  #attached(writer: FrameWriter): void {
    this.#queue = new QueuePair(this.#guest, writer, this.#completions, () => {});
    this.#look();
    for (const page of this.#wanted) this.#ask(page);
    this.#sweep();
  }

  #lost(): void {
    this.#queue?.flush();
    this.#completions.poll();
    this.#queue = null;
    this.#reads = [];
    this.#askedAtMs.clear();
  }
}
