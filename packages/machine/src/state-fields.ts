/**
 * Words of a guest's memory by name: the tables of machine state made to work.
 *
 * machine-state.ts, device-state.ts -> [state fields] -> 64-bit words of the memory contract
 */
import type { GuestMemory } from './guest-memory.ts';
import type { FieldReader, Since } from './state-codec.ts';

/** A table's names with the words that stand there. */
export type Fields<T> = { readonly [K in keyof T]: bigint };
/** Byte offsets by name, from a base. */
export type Places = { readonly [name: string]: number };

export function getFields<T extends Places>(
  guest: GuestMemory,
  base: number,
  places: T,
): Fields<T> {
  const entries = Object.entries(places).map(([name, at]) => [name, word(guest, base + at)]);
  return Object.fromEntries(entries) as Fields<T>;
}

export function putFields<T extends Places>(
  guest: GuestMemory,
  base: number,
  places: T,
  from: Fields<T>,
): void {
  for (const name of Object.keys(places)) setWord(guest, base + places[name]!, from[name]!);
}

/** @throws MachineError state.bad_field */
export function takeFields<T extends Places>(
  reader: FieldReader,
  places: T,
  later: { readonly [name: string]: Since<bigint> } = {},
): Fields<T> {
  const entries = Object.keys(places).map((name) => [name, reader.u64(name, later[name])]);
  return Object.fromEntries(entries) as Fields<T>;
}

export function word(guest: GuestMemory, offset: number): bigint {
  return BigInt.asUintN(64, Atomics.load(guest.i64, offset >> 3));
}

export function setWord(guest: GuestMemory, offset: number, value: bigint): void {
  Atomics.store(guest.i64, offset >> 3, BigInt.asIntN(64, value));
}

/** Words one after the other. */
export function words(guest: GuestMemory, offset: number, count: number): bigint[] {
  return Array.from({ length: count }, (_, i) => word(guest, offset + i * 8));
}

export function setWords(guest: GuestMemory, offset: number, values: readonly bigint[]): void {
  for (const [i, value] of values.entries()) setWord(guest, offset + i * 8, value);
}
