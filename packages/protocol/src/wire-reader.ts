/**
 * MessagePack to a message, by the table and in one walk: a peer cannot make it build anything else.
 *
 * The table says at each byte what may stand there. A marker of another kind, a longer text, one item too
 * many end the walk before anything is allocated for them; so bytes of a socket become numbers, truth
 * values, text, byte strings, and the lists and records of the table, and never more of them than it
 * allows. Maps, extensions and whatever else MessagePack has are refused where they stand.
 *
 * Of equal encodings (a small number in eight bytes) it takes all, since foreign libraries choose their own.
 */
import { GodwitError } from './errors.ts';
import { bad, checkScalar, entriesOf, type Field, type Fields, trail } from './schema.ts';

const NIL = 0xc0;
/** A UTF-16 unit is at most three bytes of UTF-8. */
const BYTES_A_CHAR_MAX = 3;
/** Far above the longest word of any `oneOf`. */
const WORD_CHARS_MAX = 64;
/** Texts up to this long are put together here when they are ASCII: names, ids, phases. */
const SHORT_TEXT_BYTES = 24;

export class WireReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor({ buffer, byteOffset, length }: Uint8Array) {
    this.#bytes = Buffer.from(buffer as ArrayBuffer, byteOffset, length);
  }

  /** @returns how many items follow; undefined: here stands no list */
  listLength(): number | undefined {
    const marker = this.#byte();
    if (marker >= 0x90 && marker <= 0x9f) return marker - 0x90;
    if (marker === 0xdc) return this.#bytes.readUInt16BE(this.#take(2));
    if (marker === 0xdd) return this.#bytes.readUInt32BE(this.#take(4));
    return undefined;
  }

  /** @returns undefined: here stands no number */
  number(): number | undefined {
    const bytes = this.#bytes;
    const marker = this.#byte();
    if (marker <= 0x7f) return marker;
    if (marker >= 0xe0) return marker - 0x100;
    switch (marker) {
      case 0xca:
        return bytes.readFloatBE(this.#take(4));
      case 0xcb:
        return bytes.readDoubleBE(this.#take(8));
      case 0xcc:
        return bytes[this.#take(1)];
      case 0xcd:
        return bytes.readUInt16BE(this.#take(2));
      case 0xce:
        return bytes.readUInt32BE(this.#take(4));
      case 0xcf:
        return Number(bytes.readBigUInt64BE(this.#take(8)));
      case 0xd0:
        return bytes.readInt8(this.#take(1));
      case 0xd1:
        return bytes.readInt16BE(this.#take(2));
      case 0xd2:
        return bytes.readInt32BE(this.#take(4));
      case 0xd3:
        return Number(bytes.readBigInt64BE(this.#take(8)));
      default:
        return undefined;
    }
  }

  /**
   * The fields of a record whose list began already.
   * @throws GodwitError `wire.bad_field`, `wire.truncated`
   */
  fields(fields: Fields, count: number | undefined, message: string): Record<string, unknown> {
    const entries = entriesOf(fields);
    if (count !== entries.length) bad(message, `is not a list of ${entries.length} fields`);
    const result: Record<string, unknown> = {};
    for (const [name, field] of entries) {
      trail.push(name);
      const value = this.#field(field, message);
      if (value !== undefined) result[name] = value;
      trail.pop();
    }
    return result;
  }

  /** @throws GodwitError `wire.truncated` when something follows */
  end(): void {
    if (this.#at !== this.#bytes.length) throw this.#misfit(this.#at);
  }

  #field(field: Field, message: string): unknown {
    switch (field.type) {
      case 'optional':
        if (this.#bytes[this.#at] !== NIL) return this.#field(field.of, message);
        this.#at += 1;
        return undefined;
      case 'record':
        return this.fields(field.fields, this.listLength(), message);
      case 'list':
        return this.#list(field, message);
      default: {
        const value = this.#scalar(field);
        checkScalar(field, value, message);
        return value;
      }
    }
  }

  #list({ of, countMax }: Field & { type: 'list' }, message: string): unknown[] {
    const count = this.listLength();
    if (count === undefined) return bad(message, 'is no list');
    if (count > countMax) return bad(message, `has ${count} items of ${countMax}`);
    const items: unknown[] = [];
    for (let i = 0; i < count; i++) {
      trail.push(i);
      items.push(this.#field(of, message));
      trail.pop();
    }
    return items;
  }

  /** @returns undefined when something else stands here, or more than the field takes */
  #scalar(field: Field): unknown {
    switch (field.type) {
      case 'text':
        return this.#text(field.charsMax);
      case 'oneOf':
        return this.#text(WORD_CHARS_MAX);
      case 'bytes':
        return this.#binary(field.bytesMax);
      case 'bool':
        return this.#bool();
      default:
        return this.number();
    }
  }

  #bool(): boolean | undefined {
    const marker = this.#byte();
    return marker === 0xc3 || (marker === 0xc2 ? false : undefined);
  }

  #text(charsMax: number): string | undefined {
    const marker = this.#byte();
    const length = marker >= 0xa0 && marker <= 0xbf ? marker - 0xa0 : this.#length(marker - 0xd9);
    if (length === undefined || length > charsMax * BYTES_A_CHAR_MAX) return undefined;
    const start = this.#take(length);
    return (
      (length <= SHORT_TEXT_BYTES ? this.#ascii(start, length) : undefined) ??
      this.#bytes.toString('utf8', start, start + length)
    );
  }

  /** Without a call into the runtime, which costs more than the text. @returns undefined: not ASCII */
  #ascii(start: number, length: number): string | undefined {
    let text = '';
    for (let i = start; i < start + length; i++) {
      const byte = this.#bytes[i] as number;
      if (byte > 0x7f) return undefined;
      text += String.fromCharCode(byte);
    }
    return text;
  }

  /** A copy: the socket's buffer is not kept for a part of it. */
  #binary(bytesMax: number): Uint8Array | undefined {
    const length = this.#length(this.#byte() - 0xc4);
    if (length === undefined || length > bytesMax) return undefined;
    const start = this.#take(length);
    return Uint8Array.prototype.slice.call(this.#bytes, start, start + length);
  }

  /** @param width 0, 1, 2: a length of one, two or four bytes; else: no such marker */
  #length(width: number): number | undefined {
    if (width === 0) return this.#bytes[this.#take(1)];
    if (width === 1) return this.#bytes.readUInt16BE(this.#take(2));
    if (width === 2) return this.#bytes.readUInt32BE(this.#take(4));
    return undefined;
  }

  #byte(): number {
    return this.#bytes[this.#take(1)] as number;
  }

  /** @returns where these bytes begin; nothing is read or made before it is known that they are there */
  #take(count: number): number {
    const start = this.#at;
    const end = start + count;
    if (end > this.#bytes.length) throw this.#misfit(end);
    this.#at = end;
    return start;
  }

  #misfit(expectedBytes: number): GodwitError {
    const receivedBytes = this.#bytes.length;
    return new GodwitError('wire.truncated', {
      what: 'a control message',
      expectedBytes,
      receivedBytes,
    });
  }
}
