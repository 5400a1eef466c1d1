/**
 * The small language in which the message table describes fields, and the walk that checks a value
 * against it. What comes from a socket is checked while it is read (wire-reader.ts).
 *
 * A field is plain data, so that the codec, the TypeScript types (`Infer`), PROTOCOL.md and the
 * fuzzer all read the same table. Limits stand in the field itself: a value is refused before
 * anything is allocated for it.
 */
import { clip } from './error-text.ts';
import { GodwitError } from './errors.ts';

export type Field =
  | { readonly type: 'uint'; readonly max: number }
  | { readonly type: 'number' }
  | { readonly type: 'bool' }
  | {
      readonly type: 'text';
      readonly charsMax: number;
      readonly pattern?: RegExp;
      /** Read by people alone: what is longer is cut by its sender, and is no reason to say nothing. */
      readonly isProse?: true;
    }
  | { readonly type: 'bytes'; readonly bytesMax: number }
  | { readonly type: 'oneOf'; readonly values: readonly string[] }
  | { readonly type: 'list'; readonly of: Field; readonly countMax: number }
  | { readonly type: 'record'; readonly fields: Fields }
  | { readonly type: 'optional'; readonly of: Field };

export interface Fields {
  readonly [name: string]: Field;
}

export type Infer<F> = F extends { type: 'uint' | 'number' }
  ? number
  : F extends { type: 'bool' }
    ? boolean
    : F extends { type: 'text' }
      ? string
      : F extends { type: 'bytes' }
        ? Uint8Array
        : F extends { type: 'oneOf'; values: readonly (infer V)[] }
          ? V
          : F extends { type: 'list'; of: infer I }
            ? Infer<I>[]
            : F extends { type: 'record'; fields: infer R }
              ? InferFields<R>
              : F extends { type: 'optional'; of: infer O }
                ? Infer<O> | undefined
                : never;

export type InferFields<R> = {
  [K in keyof R as R[K] extends { type: 'optional' } ? never : K]: Infer<R[K]>;
} & { [K in keyof R as R[K] extends { type: 'optional' } ? K : never]?: Infer<R[K]> };

export const u8 = { type: 'uint', max: 255 } as const;
export const u16 = { type: 'uint', max: 65_535 } as const;
export const u32 = { type: 'uint', max: 0xffff_ffff } as const;
/** Up to 2^53 - 1: bytes, counts, epochs, nanoseconds of a monotonic clock. */
export const u53 = { type: 'uint', max: Number.MAX_SAFE_INTEGER } as const;
/** A finite double: rates, milliseconds, offsets between clocks. */
export const number = { type: 'number' } as const;
export const bool = { type: 'bool' } as const;
export const text = <const N extends number>(charsMax: N, pattern?: RegExp) =>
  ({ type: 'text', charsMax, ...(pattern && { pattern }) }) as { type: 'text'; charsMax: N };
export const prose = <const N extends number>(charsMax: N) =>
  ({ type: 'text', charsMax, isProse: true }) as const;
export const bytes = <const N extends number>(bytesMax: N) =>
  ({ type: 'bytes', bytesMax }) as const;
export const oneOf = <const V extends readonly string[]>(...values: V) =>
  ({ type: 'oneOf', values }) as const;
export const list = <const F extends Field>(of: F, countMax: number) =>
  ({ type: 'list', of, countMax }) as const;
export const record = <const R extends Fields>(fields: R) => ({ type: 'record', fields }) as const;
export const optional = <const F extends Field>(of: F) => ({ type: 'optional', of }) as const;

/**
 * Where the walk stands, for the text of an error: names of fields and places in lists. One for all
 * walks, because a walk is never interrupted; a string made at every step would be half of its cost.
 */
export const trail: (string | number)[] = [];

/** Before a walk: the last one may have ended with an error. */
export function beginTrail(): void {
  trail.length = 0;
}

/** Names and fields of each record, taken apart once. */
const ENTRIES = new WeakMap<Fields, readonly (readonly [string, Field])[]>();

export function entriesOf(fields: Fields): readonly (readonly [string, Field])[] {
  const known = ENTRIES.get(fields);
  if (known !== undefined) return known;
  const entries = Object.entries(fields);
  ENTRIES.set(fields, entries);
  return entries;
}

/**
 * Turns a message into what is put on the wire: records become arrays in the table's order, absent
 * optionals null. Checks every limit on the way, so that we never send what a peer must refuse.
 *
 * @throws GodwitError `wire.bad_field`
 */
export function packFields(
  fields: Fields,
  value: Record<string, unknown>,
  message: string,
): unknown[] {
  beginTrail();
  return packRecord(fields, value, message);
}

/**
 * One field by itself, for what is kept in files in the same form.
 * @param path where it stands, for the text of an error
 * @throws GodwitError `wire.bad_field`
 */
export function pack(field: Field, value: unknown, message: string, path: string): unknown {
  beginTrail();
  trail.push(path);
  return packField(field, value, message);
}

export function unpack(field: Field, value: unknown, message: string, path: string): unknown {
  beginTrail();
  trail.push(path);
  return unpackField(field, value, message);
}

function packField(field: Field, value: unknown, message: string): unknown {
  switch (field.type) {
    case 'optional':
      return value === undefined || value === null ? null : packField(field.of, value, message);
    case 'list':
      return walkList(field, value, message, packField);
    case 'record':
      if (typeof value !== 'object' || value === null) return bad(message, 'is no record');
      return packRecord(field.fields, value as Record<string, unknown>, message);
    default: {
      const isProse = field.type === 'text' && field.isProse && typeof value === 'string';
      const given = isProse ? clip(value, field.charsMax) : value;
      checkScalar(field, given, message);
      return given;
    }
  }
}

function packRecord(fields: Fields, value: Record<string, unknown>, message: string): unknown[] {
  for (const name in value) {
    if (name !== 'type' && !Object.hasOwn(fields, name)) {
      trail.push(name);
      bad(message, 'is not in the table');
    }
  }
  const packed: unknown[] = [];
  for (const [name, field] of entriesOf(fields)) {
    trail.push(name);
    packed.push(packField(field, value[name], message));
    trail.pop();
  }
  return packed;
}

function unpackField(field: Field, value: unknown, message: string): unknown {
  switch (field.type) {
    case 'optional':
      return value === null ? undefined : unpackField(field.of, value, message);
    case 'list':
      return walkList(field, value, message, unpackField);
    case 'record':
      return unpackRecord(field.fields, value, message);
    default:
      checkScalar(field, value, message);
      return value;
  }
}

function unpackRecord(fields: Fields, value: unknown, message: string): Record<string, unknown> {
  const entries = entriesOf(fields);
  if (!Array.isArray(value) || value.length !== entries.length) {
    return bad(message, `is not a list of ${entries.length} fields`);
  }
  const result: Record<string, unknown> = {};
  for (let i = 0; i < entries.length; i++) {
    const [name, field] = entries[i]!;
    trail.push(name);
    const unpacked = unpackField(field, value[i], message);
    if (unpacked !== undefined) result[name] = unpacked;
    trail.pop();
  }
  return result;
}

function walkList(
  field: Field & { type: 'list' },
  value: unknown,
  message: string,
  walk: typeof packField,
): unknown[] {
  if (!Array.isArray(value)) return bad(message, 'is no list');
  if (value.length > field.countMax) {
    return bad(message, `has ${value.length} items of ${field.countMax}`);
  }
  const items: unknown[] = [];
  for (let i = 0; i < value.length; i++) {
    trail.push(i);
    items.push(walk(field.of, value[i], message));
    trail.pop();
  }
  return items;
}

export function checkScalar(field: Field, value: unknown, message: string): void {
  switch (field.type) {
    case 'uint':
      if (!Number.isInteger(value) || (value as number) < 0 || (value as number) > field.max) {
        bad(message, `is no whole number of 0 to ${field.max}`);
      }
      return;
    case 'number':
      if (typeof value !== 'number' || !Number.isFinite(value)) bad(message, 'is no number');
      return;
    case 'bool':
      if (typeof value !== 'boolean') bad(message, 'is neither true nor false');
      return;
    case 'text':
      if (typeof value !== 'string' || value.length > field.charsMax) {
        bad(message, `is no text of at most ${field.charsMax} characters`);
      }
      if (field.pattern && !field.pattern.test(value as string))
        bad(message, `does not match ${field.pattern}`);
      return;
    case 'bytes':
      if (!(value instanceof Uint8Array) || value.length > field.bytesMax) {
        bad(message, `is no byte string of at most ${field.bytesMax} bytes`);
      }
      return;
    case 'oneOf':
      if (!field.values.includes(value as string))
        bad(message, `is none of ${field.values.join(', ')}`);
      return;
    default:
      throw new Error(`not a scalar: ${field.type}`);
  }
}

export function bad(message: string, why: string): never {
  let field = '';
  for (const step of trail) {
    if (typeof step === 'number') field += `[${step}]`;
    else field += field === '' ? step : `.${step}`;
  }
  throw new GodwitError('wire.bad_field', { message, field: field || '(fields)', why });
}
