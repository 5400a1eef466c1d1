/**
 * The envelope machine and workload state travel in: named fields, a kind and a version.
 *
 * captureState, captureWorkload -> [state codec] -> bytes in HANDOVER -> [state codec] -> restore
 *
 * Bytes: "GWST", format u16, then one record. A value is a tag byte and, little-endian:
 *
 *   1 u64      8 bytes                      5 list     count u32, values
 *   2 number   8 bytes, IEEE 754            6 record   count u16, then {name length u8, name, value}
 *   3 text     length u32, UTF-8            7, 8       false, true
 *   4 bytes    length u32, bytes            9 u64s     count u32, 8 bytes each
 *  10 sheet    length u32, names (word-sheet.ts), count u32, 8 bytes each
 *
 * Names and not positions, because a target may be one version behind or ahead: a reader (FieldReader)
 * takes the fields its version knows, with a default for those that came later, and refuses the rest.
 * The bytes come from a peer: every length is checked before it is believed, nesting is bounded, and
 * what is wrong is a MachineError that names the place.
 */
import { MachineError } from './errors.ts';
import { PackedSheet, type Sheet, type SheetLayout } from './word-sheet.ts';

export type StateValue =
  | bigint
  | number
  | string
  | boolean
  | Uint8Array
  | BigUint64Array
  | PackedSheet
  | readonly StateValue[]
  | StateRecord;
export interface StateRecord {
  readonly [name: string]: StateValue;
}

export interface StateEnvelope {
  /** What it is the state of: 'machine' or 'workload'. */
  readonly kind: string;
  /** Version of the kind's fields. */
  readonly version: number;
  readonly fields: StateRecord;
}

/** A machine's state is a few KiB a hart and two console rings of 64 KiB; this is far above. */
export const STATE_BYTES_MAX = 1048576;
const DEPTH_MAX = 8;

const MAGIC = 0x54535747; // "GWST"
const FORMAT = 1;

const TAG_U64 = 1;
const TAG_NUMBER = 2;
const TAG_TEXT = 3;
const TAG_BYTES = 4;
const TAG_LIST = 5;
const TAG_RECORD = 6;
const TAG_FALSE = 7;
const TAG_TRUE = 8;
const TAG_U64S = 9;
const TAG_SHEET = 10;

const U64_MAX = (1n << 64n) - 1n;

const ENCODER = new TextEncoder();
const DECODER = new TextDecoder('utf-8', { fatal: true });

/**
 * @throws MachineError state.bad_field: a bigint outside 64 bits, a name over 255 bytes, more than
 *   STATE_BYTES_MAX bytes
 */
export function encodeEnvelope(envelope: StateEnvelope): Uint8Array {
  const writer = new Writer();
  writer.u32(MAGIC);
  writer.u16(FORMAT);
  const { kind, version, fields } = envelope;
  writer.value({ kind, version, fields }, '');
  return writer.bytes();
}

/**
 * @throws MachineError state.bad_field for anything that `encodeEnvelope` does not make,
 *   state.bad_version for another format
 */
export function decodeEnvelope(bytes: Uint8Array): StateEnvelope {
  const parser = new Parser(bytes);
  if (bytes.length > STATE_BYTES_MAX) throw bad('length', `${bytes.length} is too long`);
  if (parser.u32() !== MAGIC) throw bad('magic', 'is missing');
  const format = parser.u16();
  if (format !== FORMAT) {
    throw new MachineError('state.bad_version', { version: format, supported: `format ${FORMAT}` });
  }
  const root = parser.value(0);
  parser.end();
  const reader = new FieldReader(root, 'state', 1);
  const envelope = {
    kind: reader.text('kind'),
    version: reader.number('version'),
    fields: reader.record('fields'),
  };
  reader.end();
  return envelope;
}

function bad(field: string, reason: string): MachineError {
  return new MachineError('state.bad_field', { field, reason });
}

class Writer {
  #buffer = new Uint8Array(8192);
  #view = new DataView(this.#buffer.buffer);
  #length = 0;

  bytes(): Uint8Array {
    if (this.#length > STATE_BYTES_MAX) throw bad('length', `${this.#length} is too long`);
    return this.#buffer.slice(0, this.#length);
  }

  value(value: StateValue, path: string): void {
    if (typeof value === 'bigint') this.#u64(value, path);
    else if (typeof value === 'number') this.#number(value);
    else if (typeof value === 'string') this.#text(value);
    else if (typeof value === 'boolean') this.u8(value ? TAG_TRUE : TAG_FALSE);
    else if (value instanceof Uint8Array) this.#tagged(TAG_BYTES, value);
    else if (value instanceof BigUint64Array) this.#u64s(value);
    else if (value instanceof PackedSheet) this.#sheet(value);
    else if (Array.isArray(value)) this.#list(value, path);
    else this.#record(value as StateRecord, path);
  }

  u8(value: number): void {
    const at = this.#grow(1);
    this.#view.setUint8(at, value);
  }
  u16(value: number): void {
    const at = this.#grow(2);
    this.#view.setUint16(at, value, true);
  }
  u32(value: number): void {
    const at = this.#grow(4);
    this.#view.setUint32(at, value, true);
  }

  #u64(value: bigint, path: string): void {
    if (value < 0n || value > U64_MAX) throw bad(path, `${value} does not fit 64 bits`);
    this.u8(TAG_U64);
    const at = this.#grow(8);
    this.#view.setBigUint64(at, value, true);
  }

  #number(value: number): void {
    this.u8(TAG_NUMBER);
    const at = this.#grow(8);
    this.#view.setFloat64(at, value, true);
  }

  #text(value: string): void {
    this.#tagged(TAG_TEXT, ENCODER.encode(value));
  }

  #tagged(tag: number, bytes: Uint8Array): void {
    this.u8(tag);
    this.u32(bytes.length);
    this.#append(bytes);
  }

  #u64s(values: BigUint64Array): void {
    this.u8(TAG_U64S);
    this.#words(values);
  }

  #sheet({ names, values }: PackedSheet): void {
    this.#tagged(TAG_SHEET, names);
    this.#words(values);
  }

  #words(values: BigUint64Array): void {
    this.u32(values.length);
    this.#append(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  }

  #list(values: readonly StateValue[], path: string): void {
    this.u8(TAG_LIST);
    this.u32(values.length);
    for (const [i, value] of values.entries()) this.value(value, `${path}[${i}]`);
  }

  #record(record: StateRecord, path: string): void {
    const entries = Object.entries(record);
    this.u8(TAG_RECORD);
    this.u16(entries.length);
    for (const [name, value] of entries) {
      const bytes = ENCODER.encode(name);
      if (bytes.length > 255) throw bad(path, 'has a field with too long a name');
      this.u8(bytes.length);
      this.#append(bytes);
      this.value(value, path === '' ? name : `${path}.${name}`);
    }
  }

  #append(bytes: Uint8Array): void {
    const at = this.#grow(bytes.length);
    this.#buffer.set(bytes, at);
  }

  /** Makes room for `count` bytes and answers where they go. Buffer and view may be others afterwards. */
  #grow(count: number): number {
    const at = this.#length;
    this.#length += count;
    if (this.#length > this.#buffer.length) {
      const larger = new Uint8Array(2 * this.#length);
      larger.set(this.#buffer.subarray(0, at));
      this.#buffer = larger;
      this.#view = new DataView(larger.buffer);
    }
    return at;
  }
}

class Parser {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  u8(): number {
    return this.#view.getUint8(this.#take(1));
  }
  u16(): number {
    return this.#view.getUint16(this.#take(2), true);
  }
  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  end(): void {
    if (this.#at !== this.#bytes.length) throw this.#wrong('has bytes after the end');
  }

  value(depth: number): StateValue {
    if (depth > DEPTH_MAX) throw this.#wrong('is nested too deeply');
    const tag = this.u8();
    switch (tag) {
      case TAG_U64:
        return this.#view.getBigUint64(this.#take(8), true);
      case TAG_NUMBER:
        return this.#view.getFloat64(this.#take(8), true);
      case TAG_TEXT:
        return this.#text(this.#sub(this.u32()));
      case TAG_BYTES:
        return this.#sub(this.u32()).slice();
      case TAG_LIST:
        return this.#list(depth);
      case TAG_RECORD:
        return this.#record(depth);
      case TAG_FALSE:
        return false;
      case TAG_TRUE:
        return true;
      case TAG_U64S:
        return this.#words(this.u32());
      case TAG_SHEET: {
        const names = this.#sub(this.u32());
        return new PackedSheet(names, this.#words(this.u32()));
      }
    }
    throw this.#wrong(`has a value with tag ${tag}`);
  }

  #list(depth: number): StateValue[] {
    const count = this.u32();
    const values: StateValue[] = [];
    // Grows with what is there: a count that lies ends in "ends early", not in an allocation.
    for (let i = 0; i < count; i++) values.push(this.value(depth + 1));
    return values;
  }

  #record(depth: number): StateRecord {
    const count = this.u16();
    const record: { [name: string]: StateValue } = Object.create(null);
    for (let i = 0; i < count; i++) {
      const name = this.#text(this.#sub(this.u8()));
      if (name in record) throw this.#wrong(`has the field ${name} twice`);
      record[name] = this.value(depth + 1);
    }
    return record;
  }

  #words(count: number): BigUint64Array {
    const bytes = this.#sub(count * 8);
    const values = new BigUint64Array(count);
    new Uint8Array(values.buffer).set(bytes);
    return values;
  }

  #text(bytes: Uint8Array): string {
    try {
      return DECODER.decode(bytes);
    } catch {
      throw this.#wrong('has text that is not UTF-8');
    }
  }

  #sub(length: number): Uint8Array {
    const at = this.#take(length);
    return this.#bytes.subarray(at, at + length);
  }

  #take(count: number): number {
    const at = this.#at;
    if (count > this.#bytes.length - at) throw this.#wrong('ends early');
    this.#at += count;
    return at;
  }

  #wrong(reason: string): MachineError {
    return bad(`byte ${this.#at}`, reason);
  }
}

/** For a field that later versions have: what to take when the sender did not know it. */
export interface Since<T> {
  readonly since: number;
  readonly otherwise: T;
}

/**
 * Takes a record apart, field by field with its type; `end` refuses what nobody asked for. `version` is
 * the sender's.
 */
export class FieldReader {
  readonly #record: StateRecord;
  readonly #path: string;
  readonly #version: number;
  readonly #read = new Set<string>();

  constructor(value: StateValue, path: string, version: number) {
    if (!isRecord(value)) throw bad(path, 'is not a record');
    this.#record = value;
    this.#path = path;
    this.#version = version;
  }

  number(name: string, later?: Since<number>): number {
    return this.#typed(name, 'a number', (value) => typeof value === 'number', later);
  }

  text(name: string, later?: Since<string>): string {
    return this.#typed(name, 'text', (value) => typeof value === 'string', later);
  }

  bytes(name: string, later?: Since<Uint8Array>): Uint8Array {
    return this.#typed(name, 'bytes', (value) => value instanceof Uint8Array, later);
  }

  record(name: string): StateRecord {
    return this.#typed(name, 'a record', isRecord);
  }

  /** A sheet with exactly the words of the layout. */
  sheet(name: string, layout: SheetLayout): Sheet {
    this.#read.add(name);
    return sheetOf(this.#record[name], layout, `${this.#path}.${name}`);
  }

  /** Elements of a list, for one whose length is itself a finding. */
  length(name: string): number {
    return this.#typed<readonly StateValue[]>(name, 'a list', Array.isArray).length;
  }

  list(name: string, count: number): readonly StateValue[] {
    const values = this.#typed<readonly StateValue[]>(name, 'a list', Array.isArray);
    if (values.length === count) return values;
    throw this.#bad(name, `has ${values.length} elements, not ${count}`);
  }

  end(): void {
    const unknown = Object.keys(this.#record).find((name) => !this.#read.has(name));
    if (unknown !== undefined) throw this.#bad(unknown, 'is unknown');
  }

  #typed<T>(name: string, type: string, is: (value: StateValue) => boolean, later?: Since<T>): T {
    this.#read.add(name);
    const value = this.#record[name];
    if (value === undefined && later && this.#version < later.since) return later.otherwise;
    if (value === undefined) throw this.#bad(name, 'is missing');
    if (!is(value)) throw this.#bad(name, `is not ${type}`);
    return value as T;
  }

  #bad(name: string, reason: string): MachineError {
    return bad(`${this.#path}.${name}`, reason);
  }
}

function isRecord(value: StateValue): value is StateRecord {
  if (typeof value !== 'object' || value instanceof PackedSheet) return false;
  return !Array.isArray(value) && !ArrayBuffer.isView(value);
}

/** @throws MachineError state.bad_field */
export function sheetOf(value: StateValue | undefined, layout: SheetLayout, path: string): Sheet {
  if (value instanceof PackedSheet) return layout.read(value, path);
  throw bad(path, value === undefined ? 'is missing' : 'is not a sheet');
}
