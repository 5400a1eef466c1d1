/**
 * Control messages to bytes and back: `[tag, field, field, ...]` in MessagePack, by the table.
 *
 * Every byte from a socket passes through `decodeMessage`; a peer's mistake is a GodwitError with a
 * `wire.*` code, never a crash. Tag, connection and direction are looked at first, then the fields are
 * read as the table says (wire-reader.ts), so that a peer cannot make the decoder build anything but
 * numbers, text, bytes and lists, nor more of them than the message has room for.
 *
 * The library, which only writes, is loaded by the first message: most commands, and every channel
 * thread, have none.
 */
import { createRequire } from 'node:module';
import { GodwitError } from './errors.ts';
import { CONTROL_MESSAGE_BYTES_MAX } from './limits.ts';
import { MESSAGES, type Message, type MessageName } from './messages.ts';
import { beginTrail, type Fields, packFields } from './schema.ts';
import { WireReader } from './wire-reader.ts';

const OPTIONS = { useRecords: false, moreTypes: false } as const;

const load = createRequire(import.meta.url);
let loaded: ReturnType<typeof makePackr> | undefined;

function makePackr() {
  const { Packr } = load('msgpackr') as typeof import('msgpackr');
  return new Packr(OPTIONS);
}

function packr(): ReturnType<typeof makePackr> {
  loaded ??= makePackr();
  return loaded;
}

const BY_TAG = new Map<number, MessageName>(
  Object.entries(MESSAGES).map(([name, row]) => [row.tag, name as MessageName]),
);

export type Connection = 'agent' | 'peer' | 'console';
export type Sender = 'agent' | 'coordinator' | 'source' | 'target' | 'client';

/** @throws GodwitError `wire.bad_field` when a field breaks its own limit: our mistake, found here. */
export function encodeMessage(message: Message): Uint8Array {
  const row = MESSAGES[message.type];
  const fields = packFields(row.fields as Fields, message as Record<string, unknown>, message.type);
  return packr().pack([row.tag, ...fields]);
}

/**
 * @param on the connection it came on
 * @param from who is at the other end: a message of the other direction is refused
 * @param bytesMax less, from one who has not yet said who he is
 * @throws GodwitError `wire.too_large`, `wire.truncated`, `wire.unknown_message`,
 *   `wire.wrong_direction`, `wire.bad_field`
 */
export function decodeMessage(
  data: Uint8Array,
  on: Connection,
  from: Sender,
  bytesMax = CONTROL_MESSAGE_BYTES_MAX,
): Message {
  if (data.length > bytesMax) {
    throw new GodwitError('wire.too_large', {
      what: 'a control message',
      bytes: data.length,
      bytesMax,
    });
  }
  const reader = new WireReader(data);
  const length = reader.listLength();
  const tag = length === undefined || length === 0 ? undefined : reader.number();
  const name = tag === undefined ? undefined : BY_TAG.get(tag);
  if (length === undefined || name === undefined) {
    throw new GodwitError('wire.unknown_message', { tag: tag ?? 0 });
  }
  const row = MESSAGES[name];
  if (row.on !== on || (row.from !== 'both' && row.from !== from)) {
    throw new GodwitError('wire.wrong_direction', { message: name });
  }
  beginTrail();
  const fields = reader.fields(row.fields as Fields, length - 1, name);
  reader.end();
  return { type: name, ...fields } as Message;
}
