/**
 * Turns the bytes of a page or faults channel into pages in guest memory.
 *
 *   kernel -> view() -> [landing reader] -> received(n) -> placement, credit, barriers
 *
 * The reader says where the next bytes shall go and is told how many came. Of a long run it hands out
 * a view of the run's own place in guest memory, so that the kernel's copy is the only one (direct
 * data placement, RFC 5041). Frame headers, and frames of scattered pages, go through static buffers:
 * a view a page would cost a system call a page.
 *
 *   state     the next bytes are             view
 *   head      message and frame header       what is missing of HEAD_BYTES, no byte of a long run
 *   staged    descriptors, scattered pages   the rest of the frame, in the staging buffer
 *   placed    one run of pages               the rest of the run in guest memory, or of a page that
 *                                            was lost to another channel, in the trash buffer
 *   ended     nothing any more               the trash buffer
 *
 * Pure but for `LandingPlace`; any split of the bytes gives the same result. A broken rule ends it with
 * a typed error through `place.failed`; it never throws, because it is called by the socket's reads.
 */
import {
  checkRuns,
  decodeHeader,
  emptyHeader,
  FRAME_HEADER_BYTES,
  FRAME_PAYLOAD_BYTES_MAX,
  type FrameHeader,
  GodwitError,
  OPCODE,
  PAGE_BYTES,
  RUN_BYTES,
} from '@godwit/protocol';
import { feed, type SocketReader } from '../channel/handshake.ts';
import { Staging } from '../channel/staging.ts';
import {
  type MessageHeader,
  parseMessageHeader,
  WS_BINARY,
  WS_CLOSE,
  WS_CONTROL_BYTES_MAX,
  WS_PING,
  WS_SERVER_HEADER_BYTES_MAX,
} from '../channel/websocket-wire.ts';

/** Where the pages go and who hears of it. Only `admit`, `admitRun` and `barrier` may throw. */
export interface LandingPlace {
  /** Guest RAM; page p starts at p * PAGE_BYTES. */
  readonly ram: Uint8Array;
  /** Checks key, right and round of a frame before any of its bytes is placed. */
  admit(header: FrameHeader): void;
  /** Checks that the pages lie in the region the frame named. */
  admitRun(header: FrameHeader, firstPage: number, pages: number): void;
  /** Whether the key still opens the region; looked at before each piece is counted as placed. */
  stillAdmitted(): boolean;
  /** These pages are about to be given bytes. */
  writes(firstPage: number, pages: number): void;
  /** Makes these pages all zero: wins them, and lands them. */
  zeros(firstPage: number, pages: number): void;
  /** Whether all pages of the frame are this channel's to fill; otherwise each must be won. */
  takesAll(): boolean;
  /** Wins the right to fill a page. A page that is not won is read and thrown away. */
  claim(page: number): boolean;
  /** All bytes of a won page are in place. */
  landed(page: number): void;
  /** The channel ended while a won page was being filled. */
  unclaim(page: number): void;
  /** No byte of the frame that was admitted can land any more: it is complete, or the channel ended. */
  finish(): void;
  /** A frame with pages is complete. */
  frameLanded(header: FrameHeader, wireBytes: number): void;
  /** So many bytes of the frame under way are still to come, 0 between frames. */
  due(bytes: number): void;
  /** So many page bytes were copied in user space. */
  copied(bytes: number): void;
  barrier(header: FrameHeader): void;
  ping(payload: Uint8Array): void;
  closed(payload: Uint8Array): void;
  failed(error: GodwitError): void;
}

/** The longest header of a server's message and a frame's: a long run's first byte comes after it. */
const HEAD_BYTES = WS_SERVER_HEADER_BYTES_MAX + FRAME_HEADER_BYTES;
/**
 * On the faults channel nothing is placed, and a hart waits: header and page come in one read, at the
 * price of a second copy of 4 KiB.
 */
const FAULT_HEAD_BYTES = 2 * PAGE_BYTES;
const TRASH_BYTES = 16 * PAGE_BYTES;
const NOTHING = Buffer.alloc(0);
const MESSAGE_BYTES_MAX = FRAME_HEADER_BYTES + FRAME_PAYLOAD_BYTES_MAX;

type State = 'head' | 'staged' | 'placed' | 'ended';

export class LandingReader implements SocketReader {
  readonly #kind: 'pages' | 'faults';
  readonly #place: LandingPlace;
  /** How much is read at once where a message begins. */
  readonly #headBytes: number;
  readonly #head: Buffer;
  readonly #headView: DataView;
  readonly #staging = new Staging();
  /** Holds the frame under way, when it is staged. */
  #staged: Buffer = NOTHING;
  readonly #trash = new Uint8Array(TRASH_BYTES);
  readonly #message: MessageHeader = { opcode: 0, headerBytes: 0, payloadBytes: 0 };
  readonly #header = emptyHeader();
  /** For each page of the frame under way, whether this channel fills it; null when it fills all. */
  #won: boolean[] | null = null;
  #state: State = 'head';
  /** Bytes of the state's buffer or run that are there. */
  #have = 0;
  /** Bytes the header under way needs. */
  #need: number;
  #wireBytes = 0;
  /** Pages of the frame under way that are complete; descriptors checked (staged only). */
  #pagesDone = 0;
  #runsChecked = false;
  #sequence = 0;
  /** It ended in the middle of a run: pages are still won. */
  #unfinished = false;

  constructor(kind: 'pages' | 'faults', place: LandingPlace) {
    this.#kind = kind;
    this.#place = place;
    this.#headBytes = kind === 'faults' ? FAULT_HEAD_BYTES : HEAD_BYTES;
    this.#need = this.#headBytes;
    this.#head = Buffer.alloc(Math.max(this.#headBytes, 2 + WS_CONTROL_BYTES_MAX));
    this.#headView = new DataView(this.#head.buffer, this.#head.byteOffset, this.#head.length);
  }

  view(): Uint8Array {
    switch (this.#state) {
      case 'head':
        return this.#head.subarray(this.#have, this.#need);
      case 'staged':
        return this.#staged.subarray(this.#have, this.#header.payloadBytes);
      case 'placed':
        return this.#placedView();
      case 'ended':
        return this.#trash;
    }
  }

  received(bytes: number): void {
    try {
      if (this.#state === 'ended') return;
      this.#have += bytes;
      if (this.#state === 'head') this.#readHead();
      else this.#advance();
      this.#place.due(this.#dueBytes());
    } catch (thrown) {
      this.fail(GodwitError.from(thrown));
    }
  }

  /** Stops reading because of an error. What was being filled stays won until `end`. */
  fail(error: GodwitError): void {
    if (this.#state === 'ended') return;
    this.#stop();
    this.#place.failed(error);
  }

  /** The socket is closed, nothing more can come: pages that were being filled are given back. */
  end(): void {
    this.#stop();
    const { firstPage, pages } = this.#header;
    if (this.#unfinished && this.#won !== null) {
      for (let i = this.#pagesDone; i < pages; i++) {
        if (this.#won[i]) this.#place.unclaim(firstPage + i);
      }
    }
    this.#unfinished = false;
    this.#place.finish();
  }

  /** Whether bytes of a frame under this key are still to come. */
  isPlacing(key: number): boolean {
    return (this.#state === 'placed' || this.#state === 'staged') && this.#header.key === key;
  }

  #dueBytes(): number {
    const inFrame = this.#state === 'placed' || this.#state === 'staged';
    return inFrame ? this.#header.payloadBytes - this.#have : 0;
  }

  #stop(): void {
    if (this.#state === 'placed') this.#unfinished = true;
    this.#state = 'ended';
    this.#place.due(0);
  }

  // ------------------------------------------------------------------------------------- headers

  #readHead(): void {
    let at = 0;
    while (this.#state === 'head') {
      const used = this.#readMessage(at);
      if (used === 0) break;
      at += used;
      this.#need = this.#headBytes;
    }
    if (this.#state === 'head') {
      this.#head.copyWithin(0, at, this.#have);
      this.#have -= at;
      return;
    }
    // A body begins; a few of its bytes may have come with a short header.
    const rest = Uint8Array.from(this.#head.subarray(at, this.#have));
    this.#have = 0;
    if (this.#state === 'placed' && rest.length > 0) this.#place.copied(rest.length);
    feed(this, rest);
  }

  /** Handles a control message or a frame header at `at`; returns its bytes, 0 when some are missing. */
  #readMessage(at: number): number {
    const have = this.#have - at;
    const message = this.#message;
    const headerBytes = parseMessageHeader(
      this.#headView,
      at,
      have,
      false,
      MESSAGE_BYTES_MAX,
      message,
    );
    if (headerBytes > have) return this.#missing(headerBytes);
    if (message.opcode !== WS_BINARY) return this.#readControl(at, have);
    if (message.payloadBytes < FRAME_HEADER_BYTES) {
      throw new GodwitError('wire.truncated', {
        what: 'a frame header',
        expectedBytes: FRAME_HEADER_BYTES,
        receivedBytes: message.payloadBytes,
      });
    }
    const total = headerBytes + FRAME_HEADER_BYTES;
    if (have < total) return this.#missing(total);
    this.#beginFrame(
      decodeHeader(this.#headView, at + headerBytes, 'source', this.#kind, this.#header),
    );
    return total;
  }

  #missing(bytes: number): number {
    this.#need = Math.max(this.#headBytes, bytes);
    return 0;
  }

  #readControl(at: number, have: number): number {
    const { opcode, headerBytes, payloadBytes } = this.#message;
    const total = headerBytes + payloadBytes;
    if (have < total) return this.#missing(total);
    const payload = this.#head.subarray(at + headerBytes, at + total);
    if (opcode === WS_PING) this.#place.ping(payload);
    if (opcode === WS_CLOSE) {
      this.#stop();
      this.#place.closed(payload);
    }
    return total;
  }

  #beginFrame(header: FrameHeader): void {
    const expected = FRAME_HEADER_BYTES + header.payloadBytes;
    if (this.#message.payloadBytes !== expected) refuse('message and frame differ in length');
    if (header.sequence !== ++this.#sequence) refuse(`sequence ${header.sequence} out of order`);
    if (header.opcode === OPCODE.BARRIER) return this.#place.barrier(header);
    this.#wireBytes = this.#message.headerBytes + this.#message.payloadBytes;
    this.#place.admit(header);
    this.#pagesDone = 0;
    if (header.opcode !== OPCODE.WRITE) {
      this.#runsChecked = false;
      this.#staged = this.#staging.take(Math.ceil(header.payloadBytes / PAGE_BYTES));
      this.#state = 'staged';
      return;
    }
    this.#place.admitRun(header, header.firstPage, header.pages);
    this.#place.writes(header.firstPage, header.pages);
    // Won before the kernel gets the view: afterwards its bytes are in guest memory.
    this.#won = this.#place.takesAll() ? null : this.#claimEach(header);
    this.#state = 'placed';
  }

  #claimEach({ firstPage, pages }: FrameHeader): boolean[] {
    return Array.from({ length: pages }, (_, i) => this.#place.claim(firstPage + i));
  }

  // -------------------------------------------------------------------------------------- bodies

  #advance(): void {
    if (!this.#place.stillAdmitted()) {
      const { key } = this.#header;
      throw new GodwitError('channel.protection', { channel: -1, key, why: 'revoked' });
    }
    if (this.#state === 'placed') this.#advancePlaced();
    else this.#advanceStaged();
    if (this.#have < this.#header.payloadBytes) return;
    if (this.#state === 'staged') this.#staging.giveBack(this.#staged);
    this.#state = 'head';
    this.#have = 0;
    this.#need = this.#headBytes;
    this.#place.finish();
    this.#place.frameLanded(this.#header, this.#wireBytes);
  }

  #advancePlaced(): void {
    if (this.#won === null) return;
    const complete = Math.floor(this.#have / PAGE_BYTES);
    while (this.#pagesDone < complete) {
      // Done first: a page whose digest is wrong is given back by `landed` itself, not by `end`.
      const index = this.#pagesDone++;
      if (this.#won[index]) this.#place.landed(this.#header.firstPage + index);
    }
  }

  /** The rest of the pages that, like the one under way, were won or were lost. */
  #placedView(): Uint8Array {
    const { firstPage, pages } = this.#header;
    const start = firstPage * PAGE_BYTES + this.#have;
    if (this.#won === null) {
      return this.#place.ram.subarray(start, (firstPage + pages) * PAGE_BYTES);
    }
    const won = this.#won[this.#pagesDone]!;
    let end = this.#pagesDone + 1;
    while (end < pages && this.#won[end] === won) end++;
    const due = end * PAGE_BYTES - this.#have;
    if (!won) return this.#trash.subarray(0, Math.min(due, TRASH_BYTES));
    return this.#place.ram.subarray(start, start + due);
  }

  #advanceStaged(): void {
    const header = this.#header;
    const descriptors = header.runs * RUN_BYTES;
    if (this.#have < descriptors) return;
    if (!this.#runsChecked) {
      const { buffer, byteOffset } = this.#staged;
      const view = new DataView(buffer, byteOffset, descriptors);
      checkRuns(view, 0, header, this.#place.ram.length / PAGE_BYTES);
      this.#eachRun((first, pages) => this.#place.admitRun(header, first, pages));
      this.#runsChecked = true;
    }
    if (header.opcode === OPCODE.ZERO) {
      this.#eachRun((first, pages) => this.#place.zeros(first, pages));
      return;
    }
    const complete = Math.floor((this.#have - descriptors) / PAGE_BYTES);
    let index = 0;
    this.#eachRun((first, pages) => {
      const end = Math.min(index + pages, complete);
      for (let i = Math.max(index, this.#pagesDone); i < end; i++)
        this.#placeStaged(first + i - index, i);
      index += pages;
    });
    this.#pagesDone = complete;
  }

  /** Puts one staged page where it belongs. */
  #placeStaged(page: number, index: number): void {
    if (!this.#place.claim(page)) return;
    this.#place.writes(page, 1);
    const from = this.#header.runs * RUN_BYTES + index * PAGE_BYTES;
    // Not `set`: between shared and private memory it copies word by word.
    this.#staged.copy(this.#place.ram, page * PAGE_BYTES, from, from + PAGE_BYTES);
    this.#place.copied(PAGE_BYTES);
    this.#place.landed(page);
  }

  #eachRun(visit: (first: number, pages: number) => void): void {
    for (let at = 0; at < this.#header.runs * RUN_BYTES; at += RUN_BYTES) {
      visit(this.#staged.readUInt32LE(at), this.#staged.readUInt32LE(at + 4));
    }
  }
}

function refuse(why: string): never {
  throw new GodwitError('wire.bad_frame', { why });
}
