/**
 * The state envelope: what goes in comes out, what did not come out of it does not go in, and a reader
 * of this version reads the one before.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MachineError } from '../src/errors.ts';
import {
  decodeEnvelope,
  encodeEnvelope,
  FieldReader,
  STATE_BYTES_MAX,
  type StateRecord,
  type StateValue,
} from '../src/state-codec.ts';
import { PackedSheet } from '../src/word-sheet.ts';

const isRefusal = (error: unknown) =>
  error instanceof MachineError && error.code.startsWith('state.');

const name = fc.string({ maxLength: 12 });
const { value } = fc.letrec<{ value: StateValue; record: StateRecord }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
    fc.double({ noNaN: true }),
    fc.string({ unit: 'grapheme' }),
    fc.boolean(),
    fc.uint8Array({ maxLength: 20 }),
    fc.bigUint64Array({ maxLength: 5 }),
    fc
      .tuple(fc.uint8Array({ maxLength: 9 }), fc.bigUint64Array({ maxLength: 5 }))
      .map(([names, values]) => new PackedSheet(names, values)),
    fc.array(tie('value'), { maxLength: 4 }),
    tie('record'),
  ),
  record: fc.dictionary(name, tie('value'), { maxKeys: 4, noNullPrototype: false }),
}));
const fields = fc.dictionary(name, value as fc.Arbitrary<StateValue>, { maxKeys: 5 });

/** Decoded records have no prototype; the comparison is about their fields. */
function plain(from: StateValue): unknown {
  if (ArrayBuffer.isView(from) || typeof from !== 'object') return from;
  if (from instanceof PackedSheet) return { names: [...from.names], values: from.values };
  if (Array.isArray(from)) return from.map(plain);
  return Object.entries(from).map(([key, inner]) => [key, plain(inner)]);
}

test('what is encoded is decoded', () => {
  fc.assert(
    fc.property(fields, (record) => {
      const envelope = decodeEnvelope(encodeEnvelope({ kind: 'k', version: 3, fields: record }));
      assert.deepEqual([envelope.kind, envelope.version], ['k', 3]);
      assert.deepEqual(plain(envelope.fields), plain(record));
    }),
    { numRuns: 200, seed: 1 },
  );
});

test('every field is encoded where the buffer of the encoder has just become too small', () => {
  for (let length = 8_100; length < 8_200; length++) {
    const fields = {
      pad: new Uint8Array(length),
      big: 1n,
      number: 0.5,
      text: 'x',
      flag: true,
      list: [2n],
      words: BigUint64Array.of(3n, 4n),
      sheet: new PackedSheet(Uint8Array.of(1, 0, 1, 97), BigUint64Array.of(5n)),
    };
    const bytes = encodeEnvelope({ kind: 'machine', version: 1, fields });
    assert.deepEqual(plain(decodeEnvelope(bytes).fields), plain(fields));
  }
});

test('arbitrary bytes are refused, with and without the right beginning', () => {
  const start = encodeEnvelope({ kind: 'k', version: 1, fields: { a: 1n } }).subarray(0, 6);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (bytes, begins) => {
      const whole = begins ? Uint8Array.of(...start, ...bytes) : bytes;
      assert.throws(() => decodeEnvelope(whole), isRefusal);
    }),
    { numRuns: 500, seed: 1 },
  );
});

test('lengths that lie, deep nests and doubled names are refused', () => {
  const start = encodeEnvelope({ kind: 'k', version: 1, fields: {} }).subarray(0, 6);
  const u32 = (value: number) => [...new Uint8Array(Uint32Array.of(value).buffer)];
  const nest = Array.from({ length: 100 }, () => [5, ...u32(1)]).flat();
  const bodies = [
    [5, ...u32(0xffffffff)],
    [4, ...u32(0xffffffff), 1, 2],
    [3, ...u32(0x7fffffff)],
    nest,
    [6, 2, 0, 1, 97, 7, 1, 97, 8],
    [3, ...u32(1), 0xff],
    [9, ...u32(0x20000000), 1],
    [9, ...u32(0xffffffff)],
    [10, ...u32(0xffffffff), 1],
    [10, ...u32(1), 97, ...u32(0x20000000), 1],
    [10],
    [11],
    [0],
  ];
  for (const body of bodies) {
    assert.throws(() => decodeEnvelope(Uint8Array.of(...start, ...body)), isRefusal);
  }
  assert.throws(() => decodeEnvelope(new Uint8Array(64)), isRefusal);
  assert.throws(() => decodeEnvelope(new Uint8Array(STATE_BYTES_MAX + 1)), isRefusal);
});

test('values that would not come back are not encoded', () => {
  const encode = (a: StateValue) => encodeEnvelope({ kind: 'k', version: 1, fields: { a } });
  assert.throws(() => encode(-1n), isRefusal);
  assert.throws(() => encode(1n << 64n), isRefusal);
  assert.throws(() => encode(new Uint8Array(STATE_BYTES_MAX)), isRefusal);
  assert.throws(() => encode({ [`${'n'.repeat(256)}`]: 1n }), isRefusal);
});

/** A kind in its second version, which added `shift`. */
function readPoint(record: StateRecord, version: number) {
  const reader = new FieldReader(record, 'point', version);
  const point = {
    x: reader.number('x'),
    shift: reader.number('shift', { since: 2, otherwise: 7 }),
  };
  reader.end();
  return point;
}

test('a field that came later has its default in the version before, and only there', () => {
  assert.deepEqual(readPoint({ x: 1, shift: 2 }, 2), { x: 1, shift: 2 });
  assert.deepEqual(readPoint({ x: 1 }, 1), { x: 1, shift: 7 });
  assert.throws(() => readPoint({ x: 1 }, 2), /point\.shift: is missing/);
});

test('missing, unknown and mistyped fields are refused by name', () => {
  assert.throws(() => readPoint({ shift: 2 }, 2), /point\.x: is missing/);
  assert.throws(() => readPoint({ x: 1, shift: 2, y: 3 }, 2), /point\.y: is unknown/);
  assert.throws(() => readPoint({ x: 1n, shift: 2 }, 2), /point\.x: is not a number/);
});
