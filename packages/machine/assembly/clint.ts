/**
 * CLINT: software interrupts and the machine timer (the layout of SiFive's core-local interruptor).
 *
 *   0x0000 + 4 x hart   msip       1 raises a software interrupt on the hart
 *   0x4000 + 8 x hart   mtimecmp   timer interrupt while mtime >= mtimecmp
 *   0xbff8              mtime
 *
 * Interrupts are levels computed from this state when a hart looks (interrupts.ts), never events that
 * could be lost or doubled over a move.
 */
import { guestTicks, setGuestTicks } from './clock';
import { core } from './core';
import { CLINT_MSIP, CLINT_MTIMECMP } from './machine-map.ts';
import { CONTROL_HARTS, HART_SIZE, HART_WAKE, HARTS } from './memory-map.ts';
import { ring } from './park';

export const MIP_MSIP: u64 = 1 << 3;
export const MIP_MTIP: u64 = 1 << 7;

const MTIMECMP_AT: u64 = 0x4000;
const MTIME_AT: u64 = 0xbff8;

/** mtimecmp of this hart; interrupts.ts compares it with the time. */
export function machineTimer(): u64 {
  return atomic.load<u64>(CLINT_MTIMECMP + <usize>core.number * 8);
}

/** Place in DEVICES of the 64-bit register the offset lies in, or 0: no register, or mtime. */
function registerAt(offset: u64): usize {
  const harts = <u64>atomic.load<u32>(CONTROL_HARTS);
  if (offset < 4 * harts) return CLINT_MSIP + <usize>(offset >> 2) * 8;
  const timer = offset - MTIMECMP_AT;
  return timer < 8 * harts ? CLINT_MTIMECMP + <usize>(timer >> 3) * 8 : 0;
}

@inline function isMtime(offset: u64): bool { return (offset & ~7) == MTIME_AT; }

/** Reads 4 or 8 bytes at an aligned offset. Registers of harts that do not exist read 0. */
export function readClint(offset: u64, size: u32): u64 {
  const shift = offset >= MTIMECMP_AT ? (offset & 4) << 3 : 0;
  if (isMtime(offset)) return guestTicks() >> shift;
  const register = registerAt(offset);
  return register ? atomic.load<u64>(register) >> shift : 0;
}

/** `value` with its half that a 4-byte write at `offset` changes replaced. */
function merge(old: u64, offset: u64, size: u32, value: u64): u64 {
  if (size == 8) return value;
  const shift = (offset & 4) << 3;
  const mask = <u64>u32.MAX_VALUE << shift;
  return (old & ~mask) | ((value << shift) & mask);
}

export function writeClint(offset: u64, size: u32, value: u64): void {
  if (isMtime(offset)) {
    setGuestTicks(merge(guestTicks(), offset, size, value));
    return;
  }
  const register = registerAt(offset);
  if (!register) return;
  if (offset < MTIMECMP_AT) writeMsip(register, value);
  else atomic.store<u64>(register, merge(atomic.load<u64>(register), offset, size, value));
}

function writeMsip(register: usize, value: u64): void {
  atomic.store<u64>(register, value & 1);
  const hart = (register - CLINT_MSIP) >> 3;
  if (value & 1) ring(HARTS + hart * HART_SIZE + HART_WAKE);
}
