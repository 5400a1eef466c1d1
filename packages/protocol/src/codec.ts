/**
 * Control messages to bytes and back: `[tag, field, field, ...]` in MessagePack, by the table.
 *
 * Every byte from a socket passes through `decodeMessage`; a peer's mistake is a GodwitError with a
 * `wire.*` code, never a crash. MessagePack extensions are refused, so that a peer cannot make the
 * decoder build anything but numbers, text, bytes and lists.
 *
 * The library is loaded by the first message: most commands, and every channel thread, have none.
 */
import { createRequire } from 'node:module';
import { GodwitError } from './errors.ts';
import { CONTROL_MESSAGE_BYTES_MAX } from './limits.ts';
import { MESSAGES, type Message, type MessageName } from './messages.ts';
import { type Fields, packFields, unpackFields } from './schema.ts';

const OPTIONS = {
  useRecords: false,
  moreTypes: false,
  int64AsType: 'number',
  copyBuffers: true,
} as const;

const load = createRequire(import.meta.url);
let loaded: ReturnType<typeof makeTools> | undefined;

function makeTools() {
  const { Packr, Unpackr } = load('msgpackr') as typeof import('msgpackr');
  return { packr: new Packr(OPTIONS), unpackr: new Unpackr(OPTIONS) };
}

function tools(): ReturnType<typeof makeTools> {
  loaded ??= makeTools();
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
  return tools().packr.pack([row.tag, ...fields]);
}

/**
 * @param on the connection it came on
 * @param from who is at the other end: a message of the other direction is refused
 * @throws GodwitError `wire.too_large`, `wire.truncated`, `wire.unknown_message`,
 *   `wire.wrong_direction`, `wire.bad_field`
 */
export function decodeMessage(data: Uint8Array, on: Connection, from: Sender): Message {
  if (data.length > CONTROL_MESSAGE_BYTES_MAX) {
    throw new GodwitError('wire.too_large', {
      what: 'a control message',
      bytes: data.length,
      bytesMax: CONTROL_MESSAGE_BYTES_MAX,
    });
  }
  const list = unpackList(data);
  const tag = list[0];
  const name = typeof tag === 'number' ? BY_TAG.get(tag) : undefined;
  if (name === undefined) {
    throw new GodwitError('wire.unknown_message', { tag: typeof tag === 'number' ? tag : 0 });
  }
  const row = MESSAGES[name];
  if (row.on !== on || (row.from !== 'both' && row.from !== from)) {
    throw new GodwitError('wire.wrong_direction', { message: name });
  }
  const fields = unpackFields(row.fields as Fields, list.slice(1), name);
  return { type: name, ...fields } as Message;
}

function unpackList(data: Uint8Array): unknown[] {
  let value: unknown;
  try {
    value = tools().unpackr.unpack(data);
  } catch (cause) {
    throw new GodwitError(
      'wire.truncated',
      { what: 'a control message', expectedBytes: data.length + 1, receivedBytes: data.length },
      { cause },
    );
  }
  if (!Array.isArray(value) || value.length === 0)
    throw new GodwitError('wire.unknown_message', { tag: 0 });
  return value;
}
