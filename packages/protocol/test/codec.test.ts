/**
 * Properties of the control codec. Goal: what is packed by the table comes back equal, and no bytes
 * whatever make the decoder do anything but return a message or throw a typed error.
 * Method: values are generated from the table itself, so a new row is tested without a new test.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Connection, decodeMessage, encodeMessage, type Sender } from '../src/codec.ts';
import { GodwitError } from '../src/errors.ts';
import { MESSAGES, type Message, type MessageName } from '../src/messages.ts';
import type { Field, Fields } from '../src/schema.ts';

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
  const long = { type: 'cancel', epoch: 1, reason: 'x'.repeat(5000) } as const;
  assert.throws(() => encodeMessage(long), hasCode('wire.bad_field'));
  assert.throws(() => encodeMessage({ type: 'run', epoch: -1 }), hasCode('wire.bad_field'));
  assert.throws(
    () => encodeMessage({ type: 'run', epoch: 1, more: 2 } as never),
    hasCode('wire.bad_field'),
  );
});

function isWireError(error: unknown): boolean {
  return error instanceof GodwitError && error.code.startsWith('wire.');
}

function hasCode(code: string): (error: unknown) => boolean {
  return (error) => error instanceof GodwitError && error.code === code;
}
