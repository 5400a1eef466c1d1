/**
 * What a page channel sends: the stripes of a round, or the missing pages of post-copy.
 *
 *   page channel's pump -> [job: next work request] -> queue pair
 *
 *              round                                push
 *   unit       stripe                               chunk, at most PUSH_PAGES_MAX pages
 *   window     CREDIT_BYTES                         PUSH_CREDIT_BYTES while harts wait: a fault must
 *                                                   not wait behind it
 *   pauses     never                                all channels but the first few, while harts wait
 *   at its end barrier                              nothing; pages may be given back and go again
 *   lost       requeued into the dirty map          given back to the push table
 *
 * The pump asks for one request at a time; a job keeps what it has handed out until it has landed or
 * is lost. Channel thread only.
 */
import { availableParallelism } from 'node:os';
import {
  CREDIT_BYTES,
  FLAG_PUSH,
  FRAME_PAYLOAD_BYTES_MAX,
  PAGE_BYTES,
  PUSH_CREDIT_BYTES,
  PUSH_PAGES_MAX,
} from '@godwit/protocol';
import type { Completion, WorkRequest } from '../channel/verbs.ts';
import { type PushPlace, type PushTable, QUIET_AFTER_MS } from './push-table.ts';
import type { StripeTable } from './stripe-table.ts';

export interface ChannelRound {
  /** Pages that landed, counted frame by frame as the target does. */
  pages: number;
  zeroPages: number;
  wireBytes: number;
  copiedBytes: number;
  requeuedPages: number;
}

export interface Job {
  /** Bytes that may be under way, and the most that one request puts on the wire. */
  readonly windowBytes: number;
  readonly requestBytesMax: number;
  /** How long this channel leaves the processors to others before it looks again; 0: it goes on. */
  readonly pauseMs: number;
  /** The next request, null when there is none for now. */
  next(framePagesMax: number): WorkRequest | null;
  completed(completion: Completion): void;
  /** Nothing that has not completed will: gives it up. Returns the pages that go again. */
  lost(): number;
}

const NO_RUNS = new Uint32Array(0);

export class RoundJob implements Job {
  readonly windowBytes = CREDIT_BYTES;
  readonly requestBytesMax = FRAME_PAYLOAD_BYTES_MAX;
  readonly pauseMs = 0;
  readonly round: number;
  readonly key: number;
  readonly sums: ChannelRound = {
    pages: 0,
    zeroPages: 0,
    wireBytes: 0,
    copiedBytes: 0,
    requeuedPages: 0,
  };
  /** Set while the barrier is under way on the present connection. */
  barrierSent = false;
  readonly #stripes: StripeTable;
  readonly #channel: number;
  /** The stripe being sent and the rest of its runs, when the pacer cuts it into small frames. */
  #stripe = -1;
  #runs: Uint32Array<ArrayBuffer> = NO_RUNS;

  constructor(stripes: StripeTable, channel: number, round: number, key: number) {
    this.#stripes = stripes;
    this.#channel = channel;
    this.round = round;
    this.key = key;
  }

  /** Whether there is nothing left to hand out: nothing follows the barrier. */
  get exhausted(): boolean {
    return this.barrierSent || (this.#runs.length === 0 && this.#stripes.exhausted);
  }

  next(framePagesMax: number): WorkRequest | null {
    if (this.#runs.length === 0) {
      this.#stripe = this.#stripes.claim(this.#channel);
      if (this.#stripe < 0) return null;
      this.#runs = this.#stripes.runs(this.#stripe, framePagesMax);
    }
    const words = wordsOfPages(this.#runs, framePagesMax);
    const sge = this.#runs.subarray(0, words);
    this.#runs = this.#runs.subarray(words);
    // Requests complete in order: the last of a stripe's completes the stripe.
    const signalled = this.#runs.length === 0;
    const { round, key } = this;
    const zeros = this.#stripes.isUntouched(this.#stripe);
    return { id: this.#stripe, opcode: 'WRITE', key, round, flags: 0, signalled, zeros, sge };
  }

  completed(completion: Completion): void {
    if (completion.status === 'success') this.#stripes.acknowledge(completion.id);
  }

  lost(): number {
    const pages = this.#stripes.requeue(this.#channel);
    this.#runs = NO_RUNS;
    this.barrierSent = false;
    this.sums.requeuedPages += pages;
    return pages;
  }
}

/** The window while no hart waits, in PUSH_CREDIT_BYTES. Measured: docs/decisions/0002-data-path.md. */
const QUIET_WINDOW = 4;
/**
 * Channels that push while harts wait: a processor must be left to the threads that answer. With both of two
 * processors pushing, a fault takes nearly twice as long for a push that is no quicker (the same document).
 */
const PUSHING_WHILE_FAULTED = Math.max(1, availableParallelism() - 1);

export class PushJob implements Job {
  readonly requestBytesMax = PUSH_PAGES_MAX * PAGE_BYTES;
  readonly #table: PushTable;
  readonly #key: number;
  readonly #place: PushPlace = { chunk: 0, left: 0 };
  readonly #open = new Map<number, Uint32Array>();
  readonly #mayPause: boolean;
  #lastId = 0;

  constructor(table: PushTable, channel: number, key: number) {
    this.#table = table;
    this.#mayPause = channel >= PUSHING_WHILE_FAULTED;
    this.#key = key;
  }

  get pauseMs(): number {
    return this.#mayPause && !this.#table.quiet ? QUIET_AFTER_MS : 0;
  }

  get windowBytes(): number {
    return this.#table.quiet ? PUSH_CREDIT_BYTES * QUIET_WINDOW : PUSH_CREDIT_BYTES;
  }

  next(): WorkRequest | null {
    const sge = this.#table.next(this.#place);
    if (sge === null) return null;
    const id = ++this.#lastId;
    this.#open.set(id, sge);
    const [key, flags] = [this.#key, FLAG_PUSH];
    return { id, opcode: 'WRITE', key, round: 0, flags, signalled: true, sge };
  }

  completed(completion: Completion): void {
    if (completion.status === 'success') this.#open.delete(completion.id);
  }

  lost(): number {
    let pages = 0;
    for (const runs of this.#open.values()) {
      this.#table.giveBack(runs);
      for (let i = 1; i < runs.length; i += 2) pages += runs[i]!;
    }
    this.#open.clear();
    return pages;
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
