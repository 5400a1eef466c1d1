/** Arbitrary messages from the message table: every field within its limits, sizes kept small. */
import type { Field, Fields } from '@godwit/protocol';
import fc from 'fast-check';

/** Names that tests use, so that some messages hit something that exists. */
const NAMES = ['g', 'a', 'b', 'good', 'no-such'];
const COUNT_MAX = 3;

export function arbitraryOf(type: string, fields: Fields): fc.Arbitrary<unknown> {
  return recordOf(fields).map((record) => ({ type, ...record }));
}

function recordOf(fields: Fields): fc.Arbitrary<Record<string, unknown>> {
  const parts: Record<string, fc.Arbitrary<unknown>> = {};
  for (const [name, field] of Object.entries(fields)) parts[name] = arbitraryValue(field);
  return fc.record(parts).map((record) => {
    const present = Object.entries(record).filter(([, value]) => value !== undefined);
    return Object.fromEntries(present);
  });
}

function arbitraryValue(field: Field): fc.Arbitrary<unknown> {
  switch (field.type) {
    case 'uint':
      return fc.oneof(
        fc.nat(Math.min(3, field.max)),
        fc.maxSafeNat().map((n) => n % (field.max + 1)),
      );
    case 'number':
      return fc.double({ noNaN: true, noDefaultInfinity: true });
    case 'bool':
      return fc.boolean();
    case 'text':
      return textOf(field.charsMax, field.pattern);
    case 'bytes':
      return fc.uint8Array({ maxLength: 16 });
    case 'oneOf':
      return fc.constantFrom(...field.values);
    case 'list':
      return fc.array(arbitraryValue(field.of), { maxLength: Math.min(COUNT_MAX, field.countMax) });
    case 'record':
      return recordOf(field.fields);
    case 'optional':
      return fc.option(arbitraryValue(field.of), { nil: undefined });
  }
}

function textOf(charsMax: number, pattern: RegExp | undefined): fc.Arbitrary<string> {
  if (pattern?.test('g')) return fc.constantFrom(...NAMES);
  if (pattern !== undefined) return fc.constant('0'.repeat(charsMax));
  return fc.oneof(fc.constantFrom(...NAMES), fc.string({ maxLength: Math.min(charsMax, 20) }));
}
