/**
 * Reads what a target sends to a source: small, masked messages.
 *
 *   socket of the source -> [request reader] -> ATTACH, CREDIT, BARRIER, READ
 *
 * Everything is gathered in one fixed buffer, a little larger than the largest request, so that a peer
 * cannot make the source allocate. Pure but for its callbacks; one reader a socket.
 */
import {
  CAPABILITY_CHARS,
  checkRuns,
  decodeHeader,
  emptyHeader,
  FRAME_HEADER_BYTES,
  type FrameHeader,
  GodwitError,
  GUEST_PAGES_MAX,
  READ_PAGES_MAX,
  RUN_BYTES,
} from '@godwit/protocol';
import { statesLanded } from './frame-writer.ts';
import {
  applyMask,
  type MessageHeader,
  parseMessageHeader,
  WS_CLIENT_HEADER_BYTES_MAX,
  WS_CLOSE,
  WS_CONTROL_BYTES_MAX,
  WS_PING,
  WS_PONG,
} from './websocket-wire.ts';

const REQUEST_BYTES_MAX = Math.max(
  WS_CONTROL_BYTES_MAX,
  FRAME_HEADER_BYTES + CAPABILITY_CHARS,
  FRAME_HEADER_BYTES + READ_PAGES_MAX * RUN_BYTES,
);

export interface RequestEvents {
  /** A checked frame; header and payload are reused after the call. */
  readonly frame: (header: FrameHeader, payload: Buffer) => void;
  readonly ping: (payload: Uint8Array) => void;
  readonly closed: (payload: Uint8Array) => void;
  /** The peer broke the rules; nothing more is read. */
  readonly failed: (error: GodwitError) => void;
}

export class RequestReader {
  readonly #channelKind: 'pages' | 'faults';
  readonly #events: RequestEvents;
  readonly #bytes = Buffer.alloc(WS_CLIENT_HEADER_BYTES_MAX + REQUEST_BYTES_MAX);
  readonly #view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.length);
  readonly #message: MessageHeader = { opcode: 0, headerBytes: 0, payloadBytes: 0 };
  readonly #header = emptyHeader();
  #have = 0;
  #sequence = 0;
  #ended = false;

  constructor(channelKind: 'pages' | 'faults', events: RequestEvents) {
    this.#channelKind = channelKind;
    this.#events = events;
  }

  /** Takes bytes as they come; any split gives the same frames. */
  feed(chunk: Uint8Array): void {
    try {
      for (let at = 0; at < chunk.length && !this.#ended; ) {
        const count = Math.min(chunk.length - at, this.#bytes.length - this.#have);
        this.#bytes.set(chunk.subarray(at, at + count), this.#have);
        this.#have += count;
        at += count;
        this.#takeMessages();
      }
    } catch (thrown) {
      this.#ended = true;
      this.#events.failed(GodwitError.from(thrown));
    }
  }

  #takeMessages(): void {
    let at = 0;
    while (!this.#ended) {
      const used = this.#takeMessage(at);
      if (used === 0) break;
      at += used;
    }
    this.#bytes.copyWithin(0, at, this.#have);
    this.#have -= at;
  }

  /** Handles the message at `at`; returns its bytes, 0 when it is not all there. */
  #takeMessage(at: number): number {
    const have = this.#have - at;
    const message = this.#message;
    const limit = REQUEST_BYTES_MAX;
    if (parseMessageHeader(this.#view, at, have, true, limit, message) > have) return 0;
    const total = message.headerBytes + message.payloadBytes;
    if (have < total) return 0;
    const start = at + message.headerBytes;
    const mask = Uint8Array.from(this.#bytes.subarray(start - 4, start));
    applyMask(this.#bytes, start, at + total, mask);
    this.#dispatch(message.opcode, start, at + total);
    return total;
  }

  #dispatch(opcode: number, start: number, end: number): void {
    const payload = this.#bytes.subarray(start, end);
    if (opcode === WS_PONG) return;
    if (opcode === WS_PING) return this.#events.ping(payload);
    if (opcode === WS_CLOSE) {
      this.#ended = true;
      return this.#events.closed(payload);
    }
    if (payload.length < FRAME_HEADER_BYTES) {
      throw new GodwitError('wire.truncated', {
        what: 'a frame header',
        expectedBytes: FRAME_HEADER_BYTES,
        receivedBytes: payload.length,
      });
    }
    const header = decodeHeader(this.#view, start, 'target', this.#channelKind, this.#header);
    if (payload.length !== FRAME_HEADER_BYTES + header.payloadBytes) {
      throw new GodwitError('wire.bad_frame', { why: 'message and frame differ in length' });
    }
    if (!statesLanded(header.opcode) && header.sequence !== ++this.#sequence) {
      throw new GodwitError('wire.bad_frame', { why: `sequence ${header.sequence} out of order` });
    }
    if (header.runs > 0) {
      checkRuns(this.#view, start + FRAME_HEADER_BYTES, header, GUEST_PAGES_MAX);
    }
    this.#events.frame(header, payload.subarray(FRAME_HEADER_BYTES));
  }
}
