/**
 * Writes frames to one socket: the WebSocket message header, the frame header, descriptors, bytes.
 *
 *   queue pair, channel -> [frame writer] -> socket
 *
 * Page bytes are handed over as views of guest memory and never copied here: header and views of one
 * frame leave in one writev, with those of others if the socket is corked. The views are read by the
 * kernel when it has room for them, so whoever passes one must be able to live with its later content
 * (raw frames of a round that is followed by another, or a stopped guest). Used by the thread that
 * owns the socket only.
 */
import type { Socket } from 'node:net';
import {
  encodeHeader,
  FRAME_HEADER_BYTES,
  type FrameHeader,
  OPCODE,
  payloadBytes,
} from '@godwit/protocol';
import {
  applyMask,
  encodeMessageHeader,
  freshMask,
  WS_BINARY,
  WS_CLIENT_HEADER_BYTES_MAX,
  WS_CLOSE,
  WS_PONG,
} from './websocket-wire.ts';

/** How long a close message may take to get past what is queued before it. */
const LINGER_MS = 250;

export class FrameWriter {
  readonly socket: Socket;
  /** Whether this end is the WebSocket client, whose messages are masked and small. */
  readonly #masked: boolean;
  /** Of the last numbered frame. */
  sequence = 0;
  /** Everything handed to the socket, headers included. */
  wireBytes = 0;
  #pongQueued = false;

  constructor(socket: Socket, masked: boolean) {
    this.socket = socket;
    this.#masked = masked;
  }

  /**
   * Writes a frame whose payload, if any, is small or private to it; `header.sequence` is set, except
   * where it is the caller's statement of what has landed.
   */
  small(header: FrameHeader, payload?: Uint8Array): void {
    if (!statesLanded(header.opcode)) header.sequence = ++this.sequence;
    const length = FRAME_HEADER_BYTES + (payload?.length ?? 0);
    const { bytes, start } = this.#begin(WS_BINARY, length);
    encodeHeader(new DataView(bytes.buffer, bytes.byteOffset), start, header);
    if (payload !== undefined) bytes.set(payload, start + FRAME_HEADER_BYTES);
    this.#finish(bytes, start);
  }

  /**
   * Writes a frame of the source: descriptors in front, then `parts` by reference.
   *
   * @param written called when the kernel has taken all of it, or the socket is closed
   * @returns bytes on the wire
   */
  pages(
    header: FrameHeader,
    descriptors: Uint8Array | null,
    parts: readonly Uint8Array[],
    written: () => void,
  ): number {
    header.sequence = ++this.sequence;
    const payload = payloadBytes(header.opcode, header.runs, header.pages);
    const descriptorBytes = descriptors?.length ?? 0;
    const bytes = Buffer.allocUnsafe(
      WS_CLIENT_HEADER_BYTES_MAX + FRAME_HEADER_BYTES + descriptorBytes,
    );
    const start = encodeMessageHeader(bytes, 0, WS_BINARY, FRAME_HEADER_BYTES + payload);
    encodeHeader(new DataView(bytes.buffer, bytes.byteOffset), start, header);
    if (descriptors !== null) bytes.set(descriptors, start + FRAME_HEADER_BYTES);
    const head = bytes.subarray(0, start + FRAME_HEADER_BYTES + descriptorBytes);
    const total = start + FRAME_HEADER_BYTES + payload;
    this.wireBytes += total;
    const last = parts.length - 1;
    this.socket.cork();
    if (last < 0) this.socket.write(head, written);
    else this.socket.write(head);
    for (let i = 0; i < last; i++) this.socket.write(parts[i]!);
    if (last >= 0) this.socket.write(parts[last]!, written);
    this.socket.uncork();
    return total;
  }

  /** What a corked socket holds back leaves now; it stays corked. */
  flush(): void {
    this.socket.uncork();
    this.socket.cork();
  }

  /** One answer may stand for several pings (RFC 6455 section 5.5.3): a flood of them queues nothing. */
  pong(payload: Uint8Array): void {
    if (this.#pongQueued) return;
    this.#pongQueued = true;
    this.#control(WS_PONG, payload, () => {
      this.#pongQueued = false;
    });
  }

  /**
   * Says why the channel ends. The peer closes when it has read that; at the latest after LINGER_MS this
   * end does. Not at once: a socket that is closed with unread bytes sends a reset, and a peer that
   * meets it while writing never reads the reason.
   */
  close(payload: Uint8Array): void {
    if (this.socket.writable) this.#control(WS_CLOSE, payload);
    const lingering = setTimeout(() => this.socket.destroy(), LINGER_MS);
    this.socket.once('close', () => clearTimeout(lingering));
  }

  #control(opcode: number, payload: Uint8Array, written?: () => void): void {
    const { bytes, start } = this.#begin(opcode, payload.length);
    bytes.set(payload, start);
    this.#finish(bytes, start, written);
  }

  /** A buffer with the message header in place, mask included. */
  #begin(opcode: number, length: number): { bytes: Buffer; start: number } {
    const bytes = Buffer.allocUnsafe(WS_CLIENT_HEADER_BYTES_MAX + length);
    const mask = this.#masked ? freshMask() : undefined;
    const start = encodeMessageHeader(bytes, 0, opcode, length, mask);
    return { bytes: bytes.subarray(0, start + length), start };
  }

  #finish(bytes: Buffer, start: number, written?: () => void): void {
    if (this.#masked) applyMask(bytes, start, bytes.length, bytes.subarray(start - 4, start));
    this.wireBytes += bytes.length;
    this.socket.write(bytes, written);
  }
}

/** Whether a frame's sequence is not its own but that of the last frame that landed. */
export function statesLanded(opcode: number): boolean {
  return opcode === OPCODE.CREDIT || opcode === OPCODE.ATTACH;
}
