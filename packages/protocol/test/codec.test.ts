/**
 * Properties of the control codec. Goal: what is packed by the table comes back equal, and no bytes
 * whatever make the decoder do anything but return a message or throw a typed error.
 * Method: values are generated from the table itself, so a new row is tested without a new test.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Packr, Unpackr } from 'msgpackr';
import { type Connection, decodeMessage, encodeMessage, type Sender } from '../src/codec.ts';
import { GodwitError } from '../src/errors.ts';
import { FIRST_MESSAGE_BYTES_MAX, TEXT_CHARS_MAX } from '../src/limits.ts';
import { MESSAGES, type Message, type MessageName } from '../src/messages.ts';
import { type Field, type Fields, unpack } from '../src/schema.ts';

/** The library by itself: what a foreign end writes, and what it would read. */
const packr = new Packr({ useRecords: false, moreTypes: false });
const unpackr = new Unpackr({ useRecords: false, int64AsType: 'number' });

function arbitrary(field: Field): fc.Arbitrary<unknown> {
  switch (field.type) {
    case 'uint':
      return fc.integer({ min: 0, max: field.max });
    case 'number':
      return fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => value + 0);
    case 'bool':
      return fc.boolean();
    case 'text':
      return field.pattern
        ? fc.constantFrom(...['a', 'web-1', '0'.repeat(64)].filter((s) => field.pattern?.test(s)))
        : fc.string({ maxLength: Math.min(field.charsMax, 20) });
    case 'bytes':
      return fc.uint8Array({ maxLength: Math.min(field.bytesMax, 40) });
    case 'oneOf':
      return fc.constantFrom(...field.values);
    case 'list':
      return fc.array(arbitrary(field.of), { maxLength: Math.min(field.countMax, 3) });
    case 'record':
      return recordOf(field.fields);
    case 'optional':
      return fc.option(arbitrary(field.of), { nil: undefined });
  }
}

function recordOf(fields: Fields): fc.Arbitrary<Record<string, unknown>> {
  return fc
    .record(
      Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, arbitrary(field)])),
    )
    .map((value) => Object.fromEntries(Object.entries(value).filter(([, v]) => v !== undefined)));
}

const names = Object.keys(MESSAGES) as MessageName[];

function ends(name: MessageName): [Connection, Sender] {
  const row = MESSAGES[name];
  return [row.on, row.from === 'both' ? 'source' : row.from];
}

const messageOf = (name: MessageName): fc.Arbitrary<Message> =>
  recordOf(MESSAGES[name].fields as Fields).map((fields) => ({ type: name, ...fields }) as Message);

const messageOfPeer = fc
  .constantFrom(...names.filter((name) => MESSAGES[name].on === 'peer'))
  .filter((name) => MESSAGES[name].from !== 'target')
  .chain(messageOf);

for (const name of names) {
  test(`${name} comes back as it was sent`, () => {
    fc.assert(
      fc.property(messageOf(name), (message) => {
        const decoded = decodeMessage(encodeMessage(message), ...ends(name));
        assert.deepEqual(plain(decoded), plain(message));
      }),
      { numRuns: 25 },
    );
  });
}

/** Byte strings as hex, so that a Buffer and a Uint8Array compare equal. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
}

test('tags are unique and never zero', () => {
  const tags = Object.values(MESSAGES).map((row) => row.tag);
  assert.equal(new Set(tags).size, tags.length);
  assert.ok(!tags.includes(0 as never));
});

test('every truncation of every message is a typed error', () => {
  fc.assert(
    fc.property(fc.constantFrom(...names).chain(messageOf), (message) => {
      const whole = encodeMessage(message);
      for (let length = 0; length < whole.length; length++) {
        assert.throws(
          () => decodeMessage(whole.subarray(0, length), ...ends(message.type)),
          isWireError,
        );
      }
    }),
    { numRuns: 60 },
  );
});

test('bytes at random and messages with a byte changed never do anything but decode or be refused', () => {
  const mutated = fc
    .tuple(fc.constantFrom(...names).chain(messageOf), fc.nat(), fc.integer({ min: 0, max: 255 }))
    .map(([message, at, value]) => {
      const data = Uint8Array.from(encodeMessage(message));
      data[at % data.length] = value;
      return data;
    });
  fc.assert(
    fc.property(fc.oneof(mutated, fc.uint8Array({ maxLength: 64 })), (data) => {
      for (const on of ['agent', 'peer', 'console'] as const) {
        for (const from of ['agent', 'coordinator', 'source', 'target', 'client'] as const) {
          try {
            decodeMessage(data, on, from);
          } catch (error) {
            assert.ok(isWireError(error), String(error));
          }
        }
      }
    }),
    { numRuns: 2000 },
  );
});

test('64 zero bytes are no message', () => {
  assert.throws(() => decodeMessage(new Uint8Array(64), 'agent', 'agent'), isWireError);
});

test('a message from the wrong end or on the wrong connection is refused', () => {
  const run = encodeMessage({ type: 'run', epoch: 3 });
  assert.throws(() => decodeMessage(run, 'peer', 'target'), hasCode('wire.wrong_direction'));
  assert.throws(() => decodeMessage(run, 'agent', 'source'), hasCode('wire.wrong_direction'));
});

test('a field beyond its limit is refused on the way out and on the way in', () => {
  const long = { type: 'peerAnswer', epoch: 1, phase: 'x'.repeat(33) } as const;
  assert.throws(() => encodeMessage(long), hasCode('wire.bad_field'));
  assert.throws(() => encodeMessage({ type: 'run', epoch: -1 }), hasCode('wire.bad_field'));
  assert.throws(
    () => encodeMessage({ type: 'run', epoch: 1, more: 2 } as never),
    hasCode('wire.bad_field'),
  );
});

test('prose beyond its limit is cut on the way out and refused on the way in', () => {
  const said = encodeMessage({ type: 'cancel', epoch: 1, reason: 'x'.repeat(5000) });
  const heard = decodeMessage(said, 'peer', 'source') as Message<'cancel'>;
  assert.equal(heard.reason, `${'x'.repeat(TEXT_CHARS_MAX - 1)}…`);
  const longer = packr.pack([MESSAGES.cancel.tag, 1, 'x'.repeat(TEXT_CHARS_MAX + 1)]);
  assert.throws(() => decodeMessage(longer, 'peer', 'source'), hasCode('wire.bad_field'));
});

test('whatever decodes is what another library reads, and holds nothing but the fields of its row', () => {
  const hostile = fc
    .tuple(
      messageOfPeer,
      fc.nat(),
      fc.constantFrom(...ODD_MARKERS),
      fc.uint8Array({ maxLength: 6 }),
    )
    .map(([message, at, marker, more]) => {
      const data = Buffer.from(encodeMessage(message));
      const cut = at % data.length;
      return Buffer.concat([data.subarray(0, cut), marker, more, data.subarray(cut + 1)]);
    });
  let taken = 0;
  fc.assert(
    fc.property(fc.oneof(hostile, messageOfPeer.map(encodeMessage)), (data) => {
      let message: Message;
      try {
        message = decodeMessage(data, 'peer', 'source');
      } catch (error) {
        return assert.ok(isWireError(error), String(error));
      }
      taken += 1;
      const { type, ...fields } = message;
      const record = { type: 'record', fields: MESSAGES[type].fields } as Field;
      assert.ok(isOnly(record, fields), JSON.stringify(message));
      const [, ...list] = unpackr.unpack(data) as unknown[];
      assert.deepEqual(plain(fields), plain(unpack(record, list, type, '')));
    }),
    { numRuns: 3000 },
  );
  assert.ok(taken > 100);
});

test('maps and extensions are refused where they stand', () => {
  const typedArray = Buffer.from('c7047401020304', 'hex');
  const ofState = [typedArray, Buffer.from('80', 'hex'), Buffer.from('d6ff00000000', 'hex')];
  const { epoch, ...rest } = MESSAGES.handover.fields;
  for (const odd of ofState) {
    const before = [packr.pack(MESSAGES.handover.tag), packr.pack(1), packr.pack([])];
    const missing = [packr.pack(Buffer.alloc(0)), packr.pack(0)];
    const after = [packr.pack('d'), packr.pack(Buffer.alloc(0)), packr.pack(1)];
    const head = Buffer.from([0x90 + 2 + Object.keys(rest).length]);
    const wrap = (state: Uint8Array) =>
      Buffer.concat([head, ...before, ...missing, state, ...after]);
    assert.equal(
      decodeMessage(wrap(packr.pack(Buffer.alloc(3))), 'peer', 'source').type,
      'handover',
    );
    assert.throws(() => decodeMessage(wrap(odd), 'peer', 'source'), hasCode('wire.bad_field'));
  }
});

test('no bytes make the decoder work for longer than their table takes', () => {
  const count = 4 * 1024 * 1024;
  const items = Buffer.alloc(5 + count, 0x80);
  items[0] = 0xdd;
  items.writeUInt32BE(count, 1);
  const deep = Buffer.alloc(count, 0x91);
  const inRow = Buffer.concat([Buffer.from([0x98, MESSAGES.handover.tag, 1]), items]);
  for (const data of [items, deep, inRow]) {
    const before = process.cpuUsage();
    assert.throws(() => decodeMessage(data, 'peer', 'source'), isWireError);
    const { user, system } = process.cpuUsage(before);
    // Built, they would be seconds and hundreds of MiB.
    assert.ok(user + system < 200_000, `${user + system} us`);
  }
});

test('from one who has not said who he is only a short message is taken', () => {
  const longest = encodeMessage({
    type: 'peerHello',
    version: 0xffff_ffff,
    migration: '\u20ac'.repeat(64),
    capability: 'c'.repeat(64),
    host: 'h'.repeat(63),
    incarnation: '\u20ac'.repeat(64),
    resume: true,
  });
  assert.equal(decodeMessage(longest, 'peer', 'source', FIRST_MESSAGE_BYTES_MAX).type, 'peerHello');
  const longer = Buffer.alloc(FIRST_MESSAGE_BYTES_MAX + 1);
  const decode = () => decodeMessage(longer, 'peer', 'source', FIRST_MESSAGE_BYTES_MAX);
  assert.throws(decode, hasCode('wire.too_large'));
});

/** Markers of everything MessagePack has, and what another library makes of some extensions. */
const ODD_MARKERS = [
  ...Array.from({ length: 256 }, (_, marker) => Buffer.from([marker])),
  ...['d40000', 'd6ff00000000', 'c7047401020304', 'c7037301', 'c7056500', '81a16101', 'de0001'].map(
    (hex) => Buffer.from(hex, 'hex'),
  ),
];

/** By the table, without its limits: those are held elsewhere. */
function isOnly(field: Field, value: unknown): boolean {
  switch (field.type) {
    case 'optional':
      return value === undefined || isOnly(field.of, value);
    case 'list':
      return Array.isArray(value) && value.every((item) => isOnly(field.of, item));
    case 'record':
      return (
        Object.getPrototypeOf(value) === Object.prototype &&
        Object.entries(value as object).every(([name, item]) => isOnly(field.fields[name]!, item))
      );
    case 'bytes':
      return value instanceof Uint8Array;
    case 'bool':
      return typeof value === 'boolean';
    case 'uint':
    case 'number':
      return typeof value === 'number';
    default:
      return typeof value === 'string';
  }
}

function isWireError(error: unknown): boolean {
  return error instanceof GodwitError && error.code.startsWith('wire.');
}

function hasCode(code: string): (error: unknown) => boolean {
  return (error) => error instanceof GodwitError && error.code === code;
}
