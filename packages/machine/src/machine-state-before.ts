/**
 * Machine state as the version before wrote it: nested records, a value for each register.
 *
 *   FieldReader's record -> [machine state before] -> MachineState
 *
 * The paths of its words are the names of today's sheets. Goes when the next version comes.
 */
import { MachineError } from './errors.ts';
import type { StateRecord, StateValue } from './state-codec.ts';
import { PackedSheet, Sheet, type SheetLayout } from './word-sheet.ts';

/** Takes a record apart by the paths of what is in it; `end` refuses what nobody asked for. */
export class PathReader {
  readonly #leaves = new Map<string, StateValue>();

  constructor(record: StateRecord) {
    this.#flatten(record, '');
  }

  /** @throws MachineError state.bad_field */
  sheet(layout: SheetLayout, prefix = ''): Sheet {
    const values = new BigUint64Array(layout.words);
    for (const { name, words, first } of layout.rows) {
      const leaf = this.#take(prefix + name);
      const list = typeof leaf === 'bigint' ? BigUint64Array.of(leaf) : leaf;
      const isGood = list instanceof BigUint64Array && list.length === words;
      if (!isGood) throw bad(prefix + name, `is not ${words} u64`);
      values.set(list, first);
    }
    return new Sheet(layout, values);
  }

  /** @throws MachineError state.bad_field */
  bytes(path: string): Uint8Array {
    const leaf = this.#take(path);
    if (leaf instanceof Uint8Array) return leaf;
    throw bad(path, 'is not bytes');
  }

  end(): void {
    const [unknown] = this.#leaves.keys();
    if (unknown !== undefined) throw bad(unknown, 'is unknown');
  }

  #take(path: string): StateValue {
    const leaf = this.#leaves.get(path);
    if (leaf === undefined) throw bad(path, 'is missing');
    this.#leaves.delete(path);
    return leaf;
  }

  #flatten(value: StateValue, path: string): void {
    if (typeof value !== 'object' || ArrayBuffer.isView(value) || value instanceof PackedSheet) {
      this.#leaves.set(path, value);
      return;
    }
    const prefix = path === '' ? '' : `${path}.`;
    for (const [name, inner] of Object.entries(value)) this.#flatten(inner, prefix + name);
  }
}

function bad(field: string, reason: string): MachineError {
  return new MachineError('state.bad_field', { field: `machine.${field}`, reason });
}
