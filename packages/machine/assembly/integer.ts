/**
 * The integer register file, for instructions executed from their word (decode.ts gives the places).
 */
import { HART_X } from './machine-map.ts';

@inline export function x(hart: usize, at: usize): u64 { return load<u64>(hart + at, HART_X); }
/** May write x0: execute.ts makes it 0 again. */
@inline export function setX(hart: usize, at: usize, value: u64): void {
  store<u64>(hart + at, value, HART_X);
}
