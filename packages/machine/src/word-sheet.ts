/**
 * Words of a guest's memory by name, moved as one block: what machine state consists of.
 *
 *   memory -> [layout: capture] -> Sheet -> state codec -> ... -> [layout: read, restore] -> memory
 *
 * A layout says under which names which words stand where. Its sheets have them in the order of their
 * addresses, so that words side by side are copied together, and carry the names once, in front: a
 * hundred registers are a dozen copies in the blackout of every migration, and a reader of the same
 * layout compares the names as one block of bytes. A reader of another version looks each of them up.
 *
 * Names as bytes: for each row count u16 (words, little-endian), length u8, the name in UTF-8.
 */
import { MachineError } from './errors.ts';
import type { GuestMemory } from './guest-memory.ts';

/** Byte offsets by name, from a base; of several words in a row with how many. */
export type Places = { readonly [name: string]: number | readonly [at: number, words: number] };

/** A sheet as it travels: what its words are called is not known yet. */
export class PackedSheet {
  readonly names: Uint8Array;
  readonly values: BigUint64Array;

  constructor(names: Uint8Array, values: BigUint64Array) {
    this.names = names;
    this.values = values;
  }
}

interface Row {
  readonly name: string;
  readonly words: number;
  /** Its first word in a sheet. */
  readonly first: number;
}

/** Words that stand side by side, in memory and in the sheet. */
interface Run {
  /** Byte offset from the base. */
  readonly at: number;
  readonly first: number;
  words: number;
}

export class SheetLayout {
  readonly rows: readonly Row[];
  readonly words: number;
  readonly names: Buffer;
  readonly #byName = new Map<string, Row>();
  readonly #runs: Run[] = [];

  constructor(places: Places) {
    const sorted = Object.entries(places)
      .map(([name, place]) => {
        const [at, words] = typeof place === 'number' ? [place, 1] : place;
        return { name, at, words };
      })
      .sort((a, b) => a.at - b.at);
    let first = 0;
    for (const { name, at, words } of sorted) {
      this.#byName.set(name, { name, words, first });
      const run = this.#runs.at(-1);
      if (run !== undefined && run.at + 8 * run.words === at) run.words += words;
      else this.#runs.push({ at, first, words });
      first += words;
    }
    this.rows = [...this.#byName.values()];
    this.words = first;
    this.names = Buffer.concat(this.rows.map(namedRow));
  }

  row(name: string): Row {
    const row = this.#byName.get(name);
    if (row === undefined) throw new TypeError(`no word is called ${name}`);
    return row;
  }

  /** A copy of the words; nobody writes them meanwhile. */
  capture(guest: GuestMemory, base = 0): Sheet {
    const values = new BigUint64Array(this.words);
    const to = new BigInt64Array(values.buffer);
    for (const { at, first, words } of this.#runs) {
      const from = (base + at) >> 3;
      to.set(guest.i64.subarray(from, from + words), first);
    }
    return new Sheet(this, values);
  }

  /** The other way. @param sheet one of this layout */
  restore(guest: GuestMemory, base: number, sheet: Sheet): void {
    if (sheet.layout !== this) throw new TypeError('a sheet of another layout');
    const { values } = sheet;
    const from = new BigInt64Array(values.buffer, values.byteOffset, values.length);
    for (const { at, first, words } of this.#runs) {
      guest.i64.set(from.subarray(first, first + words), (base + at) >> 3);
    }
  }

  /**
   * A sheet that a peer sent, with this layout's words, all of them and no other.
   *
   * @param path what the sheet is called in an error
   * @throws MachineError state.bad_field
   */
  read(packed: PackedSheet, path: string): Sheet {
    if (this.names.equals(packed.names) && packed.values.length === this.words) {
      return new Sheet(this, packed.values);
    }
    const received = rowsOf(packed, path);
    const values = new BigUint64Array(this.words);
    for (const { name, words, first } of this.rows) {
      const row = received.get(name);
      if (row === undefined) throw bad(`${path}.${name}`, 'is missing');
      if (row.words !== words) throw bad(`${path}.${name}`, `has ${row.words} words, not ${words}`);
      values.set(packed.values.subarray(row.first, row.first + words), first);
      received.delete(name);
    }
    const [unknown] = received.keys();
    if (unknown !== undefined) throw bad(`${path}.${unknown}`, 'is unknown');
    return new Sheet(this, values);
  }
}

/** The words of one layout with their values. Nothing changes them. */
export class Sheet extends PackedSheet {
  readonly layout: SheetLayout;

  constructor(layout: SheetLayout, values: BigUint64Array) {
    super(layout.names, values);
    this.layout = layout;
  }

  /** The (first) word of that name. */
  word(name: string): bigint {
    return this.values[this.layout.row(name).first]!;
  }

  /** All words of that name. */
  list(name: string): BigUint64Array {
    const { first, words } = this.layout.row(name);
    return this.values.subarray(first, first + words);
  }

  /** A sheet that is another in the (first) words of these names. */
  with(changes: { readonly [name: string]: bigint }): Sheet {
    const values = this.values.slice();
    for (const [name, value] of Object.entries(changes))
      values[this.layout.row(name).first] = value;
    return new Sheet(this.layout, values);
  }
}

export function word(guest: GuestMemory, offset: number): bigint {
  return BigInt.asUintN(64, Atomics.load(guest.i64, offset >> 3));
}

export function setWord(guest: GuestMemory, offset: number, value: bigint): void {
  Atomics.store(guest.i64, offset >> 3, BigInt.asIntN(64, value));
}

function namedRow({ name, words }: Row): Buffer {
  const bytes = Buffer.from(name);
  return Buffer.concat([Uint8Array.of(words & 0xff, words >> 8, bytes.length), bytes]);
}

/** The rows a peer names, which must account for every value. */
function rowsOf({ names, values }: PackedSheet, path: string): Map<string, Row> {
  const rows = new Map<string, Row>();
  let first = 0;
  for (let at = 0; at < names.length; ) {
    const words = names[at]! | (names[at + 1]! << 8);
    const length = names[at + 2] ?? 0;
    at += 3;
    if (at + length > names.length) throw bad(path, 'has names that end early');
    const name = Buffer.from(names.subarray(at, at + length)).toString();
    if (rows.has(name)) throw bad(path, `has the word ${name} twice`);
    rows.set(name, { name, words, first });
    first += words;
    at += length;
  }
  if (first !== values.length) throw bad(path, `has ${values.length} words and names ${first}`);
  return rows;
}

function bad(field: string, reason: string): MachineError {
  return new MachineError('state.bad_field', { field, reason });
}
