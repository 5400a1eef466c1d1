/**
 * The part of RFC 6455 that page and faults channels use: whole binary messages, ping, pong, close.
 *
 *   frame (protocol/frames.ts) -> [WebSocket message] -> TCP
 *
 * ws does the opening handshake; from then on both ends read and write the socket themselves, so that
 * page bytes go between kernel and guest memory without a stop. The server's messages are unmasked,
 * the client's masked (section 5.1). A fragmented, text, extended or over-long message is refused: a
 * length is checked against its limit before anything waits for that many bytes.
 */
import { GodwitError } from '@godwit/protocol';
import { randomFillSync } from './builtin.ts';

export const WS_BINARY = 2;
export const WS_CLOSE = 8;
export const WS_PING = 9;
export const WS_PONG = 10;

/** Largest header of a server's message: two bytes and a 64-bit length. */
export const WS_SERVER_HEADER_BYTES_MAX = 10;
/** A client's header has the four bytes of the mask besides. */
export const WS_CLIENT_HEADER_BYTES_MAX = 14;
/** Payload of a control message, section 5.5. */
export const WS_CONTROL_BYTES_MAX = 125;

export interface MessageHeader {
  opcode: number;
  headerBytes: number;
  payloadBytes: number;
}

/**
 * Reads a message header at `offset`, of which `have` bytes are there.
 *
 * @param masked whether the sender must mask (it is the client) or must not
 * @returns the bytes the header needs; not more than `have` when `into` is filled
 * @throws GodwitError `wire.bad_frame`, `wire.too_large`
 */
export function parseMessageHeader(
  view: DataView,
  offset: number,
  have: number,
  masked: boolean,
  payloadBytesMax: number,
  into: MessageHeader,
): number {
  if (have < 2) return 2;
  const first = view.getUint8(offset);
  const second = view.getUint8(offset + 1);
  if ((first & 0x80) === 0) return refuse('a fragmented message');
  if ((first & 0x70) !== 0) return refuse('reserved bits are set');
  const opcode = first & 0x0f;
  if (opcode !== WS_BINARY && opcode !== WS_CLOSE && opcode !== WS_PING && opcode !== WS_PONG) {
    return refuse(`a message with opcode ${opcode}`);
  }
  if (((second & 0x80) !== 0) !== masked) {
    return refuse(masked ? 'an unmasked message from a client' : 'a masked message from a server');
  }
  const short = second & 0x7f;
  const lengthBytes = short === 126 ? 2 : short === 127 ? 8 : 0;
  const needed = 2 + lengthBytes + (masked ? 4 : 0);
  // The length is refused as soon as it is known: nothing waits for the rest of a bad message.
  if (have < 2 + lengthBytes) return needed;
  const length = lengthBytes === 0 ? short : readLength(view, offset + 2, lengthBytes);
  if (opcode !== WS_BINARY && length > WS_CONTROL_BYTES_MAX) {
    return refuse(`a control message of ${length} bytes`);
  }
  if (length > payloadBytesMax) {
    throw new GodwitError('wire.too_large', {
      what: 'a message',
      bytes: length,
      bytesMax: payloadBytesMax,
    });
  }
  if (have < needed) return needed;
  into.opcode = opcode;
  into.headerBytes = needed;
  into.payloadBytes = length;
  return needed;
}

/** The shortest form is the only one (section 5.2). */
function readLength(view: DataView, offset: number, lengthBytes: number): number {
  if (lengthBytes === 2) {
    const length = view.getUint16(offset);
    return length > 125 ? length : refuse('a length that is not minimal');
  }
  const length = view.getUint32(offset) * 0x1_0000_0000 + view.getUint32(offset + 4);
  return length > 0xffff ? length : refuse('a length that is not minimal');
}

/**
 * Writes a message header.
 *
 * @param mask four bytes for a client's message, undefined for a server's
 * @returns its length
 */
export function encodeMessageHeader(
  into: Buffer,
  offset: number,
  opcode: number,
  payloadBytes: number,
  mask?: Uint8Array,
): number {
  const maskBit = mask === undefined ? 0 : 0x80;
  into[offset] = 0x80 | opcode;
  let end = offset + 2;
  if (payloadBytes <= 125) {
    into[offset + 1] = maskBit | payloadBytes;
  } else if (payloadBytes <= 0xffff) {
    into[offset + 1] = maskBit | 126;
    end = into.writeUInt16BE(payloadBytes, end);
  } else {
    into[offset + 1] = maskBit | 127;
    end = into.writeUInt32BE(Math.floor(payloadBytes / 0x1_0000_0000), end);
    end = into.writeUInt32BE(payloadBytes >>> 0, end);
  }
  if (mask !== undefined) {
    into.set(mask, end);
    end += 4;
  }
  return end - offset;
}

/** Masks or unmasks in place. */
export function applyMask(bytes: Uint8Array, start: number, end: number, mask: Uint8Array): void {
  for (let i = start; i < end; i++) bytes[i]! ^= mask[(i - start) & 3]!;
}

const MASKS = Buffer.alloc(4096);
let masksUsed = MASKS.length;

/** Four fresh bytes from a strong source (section 5.3), drawn a thousand at a time. */
export function freshMask(): Uint8Array {
  if (masksUsed === MASKS.length) {
    randomFillSync(MASKS);
    masksUsed = 0;
  }
  masksUsed += 4;
  return MASKS.subarray(masksUsed - 4, masksUsed);
}

function refuse(why: string): never {
  throw new GodwitError('wire.bad_frame', { why });
}
