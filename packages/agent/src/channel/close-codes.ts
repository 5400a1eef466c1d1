/**
 * Why a channel was closed, as a WebSocket close code: how the other end learns the typed error.
 *
 * A channel that ends without a close message was cut by the network and is dialled again; one that
 * ends with any of these is not: the same bytes would be refused again.
 */
import { type ErrorCode, GodwitError } from '@godwit/protocol';
import { WS_CONTROL_BYTES_MAX } from './websocket-wire.ts';

/** The migration is over, or its owner closed the channels (RFC 6455 section 7.4.1). */
export const CLOSE_NORMAL = 1000;

/** Codes 4000 to 4999 are an application's own. */
const CODES: readonly (readonly [ErrorCode, number])[] = [
  ['channel.protection', 4001],
  ['wire.bad_frame', 4002],
  ['wire.too_large', 4003],
  ['peer.capability', 4004],
  ['channel.early_data', 4005],
  ['migration.digest', 4006],
];
const CLOSE_OTHER = 4000;

/** Bytes of the reason: a control message's, less the code. */
const REASON_BYTES_MAX = WS_CONTROL_BYTES_MAX - 2;

/** Payload of the close message that reports an error. */
export function closePayload(error: GodwitError | null): Buffer {
  const code = error === null ? CLOSE_NORMAL : (codeOf(error.code) ?? CLOSE_OTHER);
  const reason = Buffer.from(error === null ? '' : error.message).subarray(0, REASON_BYTES_MAX);
  const payload = Buffer.alloc(2 + reason.length);
  payload.writeUInt16BE(code, 0);
  payload.set(reason, 2);
  return payload;
}

/** What the peer's close message says: null for an orderly end. */
export function closeError(payload: Uint8Array, channel: number): GodwitError | null {
  const bytes = Buffer.from(payload);
  const code = bytes.length >= 2 ? bytes.readUInt16BE(0) : CLOSE_NORMAL;
  if (code === CLOSE_NORMAL) return null;
  const why = `the peer closed it: ${bytes.toString('utf8', 2) || `code ${code}`}`;
  if (code === codeOf('channel.protection')) {
    return new GodwitError('channel.protection', { channel, key: 0, why });
  }
  return new GodwitError('wire.bad_frame', { why: `channel ${channel}: ${why}` });
}

function codeOf(error: ErrorCode): number | undefined {
  return CODES.find(([code]) => code === error)?.[1];
}
