/**
 * The one door through which pages reach a socket: work requests, queue pairs, completions.
 *
 *   stripe, push chunk, fault -> [post(work request)] -> frames -> ... -> [completion queue]
 *
 * After the verbs of RDMA (InfiniBand specification, chapter 10): a work request names pages of the
 * guest and the peer's key; the queue pair turns it into frames; a completion says that all of it has
 * landed (the peer's CREDIT, or its READ_RESPONSE), or why it has not. Only requests marked
 * `signalled` complete when they succeed; a request that fails always completes.
 *
 * A WRITE leaves zero pages out (ZERO carries their descriptors only), sends runs of
 * RUN_PAGES_BY_REFERENCE pages and more by reference, and gathers shorter ones into a private buffer:
 * one system call for scattered pages at the price of one copy, which is counted. Requests that hold
 * nothing but zeros wait for the next of their kind, so that an empty gigabyte is a hundred frames and
 * not two thousand; whoever posts them calls `sendZeros` when nothing more is to be posted now.
 *
 * One queue pair a socket, used by the thread that owns the socket.
 */
import { type GuestMemory, loadPageOps, memoryMap, type PageOps } from '@godwit/machine/memory';
import {
  emptyHeader,
  FRAME_PAGES_MAX,
  FRAME_RUNS_MAX,
  GodwitError,
  OPCODE,
  PAGE_BYTES,
  RUN_BYTES,
  RUN_PAGES_BY_REFERENCE,
  ZERO_PAGES_MAX,
} from '@godwit/protocol';
import { DeliveryWindow, type SentMark } from './delivery-window.ts';
import type { FrameWriter } from './frame-writer.ts';
import { Staging } from './staging.ts';

export interface WorkRequest {
  /** The caller's own number, given back in the completion. */
  readonly id: number;
  readonly opcode: 'WRITE' | 'READ' | 'READ_RESPONSE';
  /** rkey of the region at the peer; in READ_RESPONSE the key the request came with. */
  readonly key: number;
  readonly round: number;
  /** FRAME flags. */
  readonly flags: number;
  readonly signalled: boolean;
  /** WRITE: all of the pages are known to be zero, and are not looked at. */
  readonly zeros?: boolean;
  /** Scatter/gather list: {first page, pages} pairs, rising, at most FRAME_PAGES_MAX pages together. */
  readonly sge: Uint32Array<ArrayBuffer>;
}

export interface Completion {
  readonly id: number;
  /** flushed: the channel ended first. The pages may or may not have landed. */
  readonly status: 'success' | 'flushed';
  readonly pages: number;
}

/** What has completed, in order, until it is polled. */
export class CompletionQueue {
  #completions: Completion[] = [];

  push(completion: Completion): void {
    this.#completions.push(completion);
  }

  /** Takes everything that has completed since the last poll. */
  poll(): readonly Completion[] {
    if (this.#completions.length === 0) return NOTHING;
    const taken = this.#completions;
    this.#completions = [];
    return taken;
  }
}

const NOTHING: readonly Completion[] = [];

interface Posted {
  readonly request: WorkRequest;
  readonly pages: number;
}

interface InFlight {
  readonly sequence: number;
  readonly bytes: number;
  /** Pages of this frame; negative when they are zero pages. */
  readonly pages: number;
  readonly mark: SentMark;
  /** The requests whose last frame this is. */
  readonly ends: readonly Posted[];
}

export class QueuePair {
  readonly #guest: GuestMemory;
  readonly #ram: Buffer;
  readonly #writer: FrameWriter;
  readonly #completions: CompletionQueue;
  readonly #pageOps: PageOps;
  readonly #written: () => void;
  readonly #header = emptyHeader();
  readonly #zeroRuns = new RunList(FRAME_RUNS_MAX + 1);
  readonly #shortRuns = new RunList(FRAME_RUNS_MAX + 1);
  /** Requests of zeros that were posted and not yet sent, and their runs. */
  #waiting: Posted[] = [];
  readonly #waitingRuns = new RunList(FRAME_RUNS_MAX);
  readonly #staging = new Staging();
  #inFlight: InFlight[] = [];
  #acknowledged = 0;
  /** How much the link can take, learnt from what has been acknowledged. */
  readonly window: DeliveryWindow;
  /** Bytes sent and not yet known to have landed; what credit is counted against. */
  inFlightBytes = 0;
  /** Page bytes this end has copied in user space, since the start. */
  copiedBytes = 0;
  /** Pages known to have landed, frame by frame, since the start; the zero ones among them. */
  landedPages = 0;
  landedZeroPages = 0;

  /**
   * @param written called whenever the kernel has taken a frame: there may be room for the next
   * @param alone no other queue pair sends pages of this guest beside this one
   */
  constructor(
    guest: GuestMemory,
    writer: FrameWriter,
    completions: CompletionQueue,
    written: () => void,
    alone = true,
  ) {
    this.window = new DeliveryWindow(alone);
    this.#guest = guest;
    const ram = guest.ram();
    this.#ram = Buffer.from(ram.buffer, ram.byteOffset, ram.length);
    this.#writer = writer;
    this.#completions = completions;
    this.#pageOps = loadPageOps(guest.memory);
    this.#written = written;
  }

  /**
   * Sends the pages of a work request.
   *
   * @throws RangeError when the list is larger than a frame may be or leaves the guest
   */
  post(request: WorkRequest): void {
    const posted: Posted = { request, pages: this.#check(request.sge) };
    if (request.opcode === 'READ') this.#read(posted);
    else if (request.opcode === 'READ_RESPONSE') this.#respond(posted);
    else this.#write(posted);
  }

  /**
   * Every frame up to the sequence has landed (CREDIT is cumulative).
   *
   * @throws GodwitError `wire.bad_frame` for what was never sent
   */
  acknowledge(sequence: number): void {
    if (sequence < this.#acknowledged || sequence > this.#writer.sequence) {
      throw new GodwitError('wire.bad_frame', {
        why: `credit for frame ${sequence} of ${this.#writer.sequence}`,
      });
    }
    this.#acknowledged = sequence;
    let done = 0;
    const before = this.inFlightBytes;
    for (const frame of this.#inFlight) {
      if (frame.sequence > sequence) break;
      done++;
      this.inFlightBytes -= frame.bytes;
      this.landedPages += Math.abs(frame.pages);
      if (frame.pages < 0) this.landedZeroPages -= frame.pages;
      for (const posted of frame.ends) this.#complete(posted, 'success');
    }
    if (done === 0) return;
    const { mark } = this.#inFlight[done - 1]!;
    this.window.acknowledged(mark, before - this.inFlightBytes, performance.now());
    this.#inFlight.splice(0, done);
  }

  /**
   * The connection is over, and the next one that was heard says which frame landed last. It speaks of the
   * one right before it, which may have broken before it was heard and has nothing then: what is known to
   * have landed here stays so.
   */
  endedAt(sequence: number): void {
    if (sequence > this.#acknowledged) this.acknowledge(sequence);
  }

  /** Everything sent so far has landed: a barrier came back. */
  acknowledgeAll(): void {
    this.acknowledge(this.#writer.sequence);
  }

  /** The oldest READ has been answered in full. False when none was open. */
  responded(): boolean {
    const [posted] = this.#inFlight.shift()?.ends ?? [];
    if (posted === undefined) return false;
    this.#complete(posted, 'success');
    return true;
  }

  /** The channel ended: whatever is open completes as flushed. */
  flush(): void {
    const open = [...this.#inFlight.flatMap(({ ends }) => ends), ...this.#waiting];
    this.#inFlight = [];
    this.#waiting = [];
    this.#waitingRuns.clear();
    this.inFlightBytes = 0;
    for (const posted of open) this.#complete(posted, 'flushed');
  }

  /** Sends what was posted and found to be all zeros, if anything was. */
  sendZeros(): void {
    const [first] = this.#waiting;
    if (first === undefined) return;
    const ends = this.#waiting;
    this.#waiting = [];
    this.#sendZeroFrame(first.request, this.#waitingRuns, ends);
    this.#waitingRuns.clear();
  }

  #write(posted: Posted): void {
    const { sge } = posted.request;
    this.#zeroRuns.clear();
    this.#shortRuns.clear();
    const long: [number, number][] = [];
    for (let i = 0; i < sge.length; i += 2) {
      if (posted.request.zeros) this.#zeroRuns.push(sge[i]!, sge[i + 1]!);
      else this.#sort(sge[i]!, sge[i + 1]!, long);
    }
    if (long.length === 0 && this.#shortRuns.runs === 0) return this.#keepZeros(posted);
    // Requests complete in the order they were posted.
    this.sendZeros();
    const frames =
      long.length + (this.#zeroRuns.runs > 0 ? 1 : 0) + (this.#shortRuns.runs > 0 ? 1 : 0);
    let left = frames;
    for (const [first, pages] of long) this.#sendRun(posted, first, pages, --left === 0);
    if (this.#zeroRuns.runs > 0) {
      this.#sendZeroFrame(posted.request, this.#zeroRuns, --left === 0 ? [posted] : NO_REQUEST);
    }
    if (this.#shortRuns.runs > 0) this.#sendGathered(posted);
  }

  /** Lets a request of nothing but zeros wait, behind others that fit into one frame with it. */
  #keepZeros(posted: Posted): void {
    const [first] = this.#waiting;
    if (first !== undefined && !this.#fitsWith(posted, first.request)) this.sendZeros();
    this.#zeroRuns.forEach((start, pages) => {
      this.#waitingRuns.append(start, pages);
    });
    this.#waiting.push(posted);
  }

  #fitsWith({ request, pages }: Posted, first: WorkRequest): boolean {
    const { key, round, flags, sge } = request;
    if (key !== first.key || round !== first.round || flags !== first.flags) return false;
    const waiting = this.#waitingRuns;
    return (
      sge[0]! >= waiting.end &&
      waiting.pages + pages <= ZERO_PAGES_MAX &&
      waiting.runs + this.#zeroRuns.runs <= FRAME_RUNS_MAX
    );
  }

  /**
   * Cuts a run where zero pages begin and end. The guest may write a page while it is looked at: then
   * it is in the dirty log, or will be, and goes out again in the next round.
   */
  #sort(first: number, pages: number, long: [number, number][]): void {
    const end = first + pages;
    for (let page = first; page < end; ) {
      const zeros = this.#pageOps.firstNonZero(memoryMap.RAM + page * PAGE_BYTES, end - page);
      if (zeros > 0) this.#zeroRuns.push(page, zeros);
      const start = page + zeros;
      if (start === end) return;
      // The first of them is not looked at again: it may have become zero.
      const rest = memoryMap.RAM + (start + 1) * PAGE_BYTES;
      const length = 1 + this.#pageOps.firstZero(rest, end - start - 1);
      page = start + length;
      if (length >= RUN_PAGES_BY_REFERENCE) long.push([start, length]);
      else this.#shortRuns.push(start, length);
    }
  }

  #sendRun(posted: Posted, first: number, pages: number, last: boolean): void {
    this.#prepare(posted.request, OPCODE.WRITE, 0, first, pages);
    const parts = [this.#bytes(first, pages)];
    const bytes = this.#writer.pages(this.#header, null, parts, this.#written);
    this.#sent(last ? [posted] : NO_REQUEST, bytes);
  }

  #sendZeroFrame(request: WorkRequest, list: RunList, ends: readonly Posted[]): void {
    this.#prepare(request, OPCODE.ZERO, list.runs, 0, list.pages);
    const bytes = this.#writer.pages(this.#header, list.bytes(), [], this.#written);
    this.#sent(ends, bytes);
  }

  #sendGathered(posted: Posted): void {
    const { runs, pages } = this.#shortRuns;
    const staging = this.#staging.take(pages);
    let at = 0;
    this.#shortRuns.forEach((first, length) => {
      // Not `set`: between shared and private memory it copies word by word.
      at += this.#ram.copy(staging, at, first * PAGE_BYTES, (first + length) * PAGE_BYTES);
    });
    this.copiedBytes += at;
    this.#prepare(posted.request, OPCODE.WRITE_LIST, runs, 0, pages);
    const parts = [staging.subarray(0, at)];
    const bytes = this.#writer.pages(this.#header, this.#shortRuns.bytes(), parts, () => {
      this.#staging.giveBack(staging);
      this.#written();
    });
    this.#sent([posted], bytes);
  }

  /** By reference whatever the length: the guest is stopped, and a hart waits. */
  #respond(posted: Posted): void {
    const { sge } = posted.request;
    this.#prepare(posted.request, OPCODE.READ_RESPONSE, sge.length / 2, 0, posted.pages);
    const parts: Uint8Array[] = [];
    for (let i = 0; i < sge.length; i += 2) parts.push(this.#bytes(sge[i]!, sge[i + 1]!));
    const bytes = this.#writer.pages(this.#header, runBytes(sge), parts, this.#written);
    this.#sent([posted], bytes);
  }

  #read(posted: Posted): void {
    const { sge } = posted.request;
    this.#prepare(posted.request, OPCODE.READ, sge.length / 2, 0, posted.pages);
    this.#writer.small(this.#header, runBytes(sge));
    this.#sent([posted], 0);
  }

  #prepare(request: WorkRequest, opcode: number, runs: number, first: number, pages: number): void {
    const header = this.#header;
    header.opcode = opcode;
    header.flags = request.flags;
    header.runs = runs;
    header.round = request.round;
    header.key = request.key;
    header.firstPage = first;
    header.pages = pages;
  }

  #sent(ends: readonly Posted[], bytes: number): void {
    this.inFlightBytes += bytes;
    const { opcode, pages: count } = this.#header;
    const pages = opcode === OPCODE.ZERO ? -count : count;
    const sequence = this.#writer.sequence;
    const mark = this.window.sent(performance.now());
    this.#inFlight.push({ sequence, bytes, pages, mark, ends });
  }

  #complete(posted: Posted, status: Completion['status']): void {
    const { id, signalled } = posted.request;
    if (status === 'success' && !signalled) return;
    this.#completions.push({ id, status, pages: posted.pages });
  }

  #bytes(first: number, pages: number): Uint8Array {
    return this.#ram.subarray(first * PAGE_BYTES, (first + pages) * PAGE_BYTES);
  }

  #check(sge: Uint32Array): number {
    let pages = 0;
    let end = 0;
    for (let i = 0; i < sge.length; i += 2) {
      const [first, length] = [sge[i]!, sge[i + 1]!];
      if (length === 0 || first < end) throw new RangeError('runs of a work request must rise');
      end = first + length;
      pages += length;
    }
    if (pages === 0 || pages > FRAME_PAGES_MAX || end > this.#guest.pages) {
      throw new RangeError(`a work request of ${pages} pages up to page ${end}`);
    }
    return pages;
  }
}

const NO_REQUEST: readonly Posted[] = [];

/** Descriptors as they go on the wire; the host is little-endian, as wasm memory is. */
function runBytes(sge: Uint32Array<ArrayBuffer>): Uint8Array {
  return new Uint8Array(sge.buffer, sge.byteOffset, sge.byteLength);
}

/** Runs of pages, gathered for one frame. */
class RunList {
  readonly #words: Uint32Array<ArrayBuffer>;
  runs = 0;
  pages = 0;

  constructor(runsMax: number) {
    this.#words = new Uint32Array(runsMax * 2);
  }

  clear(): void {
    this.runs = 0;
    this.pages = 0;
  }

  /** One past the last page. */
  get end(): number {
    const at = (this.runs - 1) * 2;
    return this.runs === 0 ? 0 : this.#words[at]! + this.#words[at + 1]!;
  }

  /** Like push, but a run that goes on where the last one ends makes that one longer. */
  append(first: number, pages: number): void {
    if (this.runs === 0 || first !== this.end) return this.push(first, pages);
    this.#words[this.runs * 2 - 1]! += pages;
    this.pages += pages;
  }

  push(first: number, pages: number): void {
    const at = this.runs * 2;
    this.#words[at] = first;
    this.#words[at + 1] = pages;
    this.runs++;
    this.pages += pages;
  }

  forEach(visit: (first: number, pages: number) => void): void {
    for (let i = 0; i < this.runs; i++) visit(this.#words[i * 2]!, this.#words[i * 2 + 1]!);
  }

  bytes(): Uint8Array {
    return new Uint8Array(this.#words.buffer, 0, this.runs * RUN_BYTES);
  }
}
