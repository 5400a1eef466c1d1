/**
 * Words of a guest's memory by name: the tables of machine state made to work.
 *
 * machine-state.ts, device-state.ts -> [state fields] -> 64-bit words of the memory contract
 */
import type { GuestMemory } from './guest-memory.ts';
import type { FieldReader } from './state-codec.ts';

/** A table's names with the words that stand there. */
export type Fields<T> = { readonly [K in keyof T]: bigint };
/** Byte offsets by name, from a base. */
export type Places = { readonly [name: string]: number };

export function getFields<T extends Places>(
  guest: GuestMemory,
  base: number,
  places: T,
): Fields<T> {
  const fields: Record<string, bigint> = {};
  for (const name in places) fields[name] = word(guest, base + places[name]!);
  return fields as Fields<T>;
}

export function putFields<T extends Places>(
  guest: GuestMemory,
  base: number,
  places: T,
  from: Fields<T>,
): void {
  for (const name in places) setWord(guest, base + places[name]!, from[name]!);
}

/** @throws MachineError state.bad_field */
export function takeFields<T extends Places>(reader: FieldReader, places: T): Fields<T> {
  const fields: Record<string, bigint> = {};
  for (const name in places) fields[name] = reader.u64(name);
  return fields as Fields<T>;
}

export function word(guest: GuestMemory, offset: number): bigint {
  return BigInt.asUintN(64, Atomics.load(guest.i64, offset >> 3));
}

export function setWord(guest: GuestMemory, offset: number, value: bigint): void {
  Atomics.store(guest.i64, offset >> 3, BigInt.asIntN(64, value));
}

/** A copy of words that stand one after the other; nobody writes them meanwhile. */
export function words(guest: GuestMemory, offset: number, count: number): BigUint64Array {
  return new BigUint64Array(guest.sab, offset, count).slice();
}

export function setWords(guest: GuestMemory, offset: number, values: BigUint64Array): void {
  new BigUint64Array(guest.sab, offset, values.length).set(values);
}
