/**
 * Sv39: from a virtual address to a physical one (Privileged ISA manual, section "Virtual Address
 * Translation Process"; step numbers are those of its algorithm).
 *
 * TLB miss -> [walk -> gate, mark] -> fill
 *
 * The walker is a memory user like any other: a page of a page table may be absent and is then waited
 * for, and A and D are set by a compare-and-exchange after the page was marked. ASIDs are not
 * implemented. A walk that does not end in an address says why in the outcome.
 */
import { core, field, raise } from './core';
import { mark } from './dirty';
import { admit } from './gate';
import { HART_MSTATUS, HART_SATP, PRIVILEGE_M, PRIVILEGE_U, PROFILE_WALKS, RAM_BASE } from './machine-map.ts';
import { PAGE_SHIFT, PAGE_SIZE, RAM } from './memory-map.ts';
import { tally } from './profile';
import { MSTATUS_MXR, MSTATUS_SUM } from './status';

// Kinds of access; an atomic operation is a write.
export const READ = 0;
export const WRITE = 1;
export const FETCH = 2;

/** Exception codes of the three kinds, and no address at all. */
@inline export function accessFault(access: i32): u64 { return access == READ ? 5 : access == WRITE ? 7 : 1; }
@inline function pageFault(access: i32): u64 { return access == READ ? 13 : access == WRITE ? 15 : 12; }
export const NO_ADDRESS: u64 = u64.MAX_VALUE;

const SATP_MODE_SHIFT: u64 = 60;
const SATP_PPN: u64 = (1 << 44) - 1;
const SV39: u64 = 8;
const LEVELS = 3;
const VPN_BITS = 9;

// Page table entry.
const V: u64 = 1;
const R: u64 = 1 << 1;
const W: u64 = 1 << 2;
const X: u64 = 1 << 3;
const U: u64 = 1 << 4;
const A: u64 = 1 << 6;
const D: u64 = 1 << 7;
const PPN_SHIFT: u64 = 10;
const PPN: u64 = (1 << 44) - 1;
/** Bits 63..54: reserved, or extensions that are not here (Svpbmt, Svnapot). */
const RESERVED_SHIFT: u64 = 54;

/** What the last successful walk met. */
export namespace walked {
  /** A page of user mode, used by supervisor mode. */
  export let borrowed: bool = false;
  export let superpage: bool = false;
}

/** satp after a write of `value`: a mode that is not implemented changes nothing. */
export function legalSatp(old: u64, value: u64): u64 {
  const mode = value >> SATP_MODE_SHIFT;
  return mode == 0 || mode == SV39 ? (mode << SATP_MODE_SHIFT) | (value & SATP_PPN) : old;
}

function fault(address: u64, access: i32): u64 {
  raise(pageFault(access), address);
  return NO_ADDRESS;
}

/** Steps 5 and 6: whether the leaf allows the access. */
function allows(entry: u64, access: i32, privilege: i32): bool {
  const status = field(HART_MSTATUS);
  if (privilege == PRIVILEGE_U) {
    if (!(entry & U)) return false;
  } else if (entry & U) {
    if (access == FETCH || !(status & MSTATUS_SUM)) return false;
  }
  if (access == READ) return (entry & R) != 0 || ((status & MSTATUS_MXR) != 0 && (entry & X) != 0);
  return (entry & (access == WRITE ? W : X)) != 0;
}

/** Place of a page table entry, or 0 with an outcome. */
function placeOfEntry(physical: u64, address: u64, access: i32): usize {
  const offset = physical - RAM_BASE;
  if (offset >= core.ramBytes) {
    raise(accessFault(access), address);
    return 0;
  }
  return admit(<u32>(offset >> PAGE_SHIFT)) ? RAM + <usize>offset : 0;
}

/** Step 7: A, and D for a write. False: the entry has changed meanwhile. */
function touch(place: usize, entry: u64, access: i32): bool {
  const wanted = access == WRITE ? entry | A | D : entry | A;
  if (wanted == entry) return true;
  mark(<u32>((place - RAM) >> PAGE_SHIFT));
  return atomic.cmpxchg<u64>(place, entry, wanted) == entry;
}

function walk(address: u64, access: i32, privilege: i32): u64 {
  tally(PROFILE_WALKS);
  // Bits 63..39 must all equal bit 38.
  if (<u64>(<i64>address << 25 >> 25) != address) return fault(address, access);
  let table = (field(HART_SATP) & SATP_PPN) << PAGE_SHIFT;
  for (let level = LEVELS - 1; level >= 0; level--) {
    const shift = <u64>(PAGE_SHIFT + level * VPN_BITS);
    const place = placeOfEntry(table + ((address >> shift & 511) << 3), address, access);
    if (!place) return NO_ADDRESS;
    let entry = atomic.load<u64>(place);
    while (true) {
      if (!(entry & V) || (entry & (R | W)) == W || entry >> RESERVED_SHIFT) return fault(address, access);
      if (!(entry & (R | X))) break;
      const low: u64 = (1 << shift) - 1;
      const base = (entry >> PPN_SHIFT & PPN) << PAGE_SHIFT;
      if (!allows(entry, access, privilege) || (base & low)) return fault(address, access);
      if (touch(place, entry, access)) {
        walked.borrowed = (entry & U) != 0 && privilege != PRIVILEGE_U;
        walked.superpage = level != 0;
        return base | (address & low);
      }
      entry = atomic.load<u64>(place);
    }
    // A pointer to the next table: A, D and U are reserved in it.
    if (entry & (A | D | U)) return fault(address, access);
    table = (entry >> PPN_SHIFT & PPN) << PAGE_SHIFT;
  }
  return fault(address, access);
}

/** Physical address of a virtual one for this kind of access, or NO_ADDRESS with an outcome. */
export function translate(address: u64, access: i32): u64 {
  const privilege = access == FETCH ? core.privilege : core.dataPrivilege;
  walked.borrowed = false;
  walked.superpage = false;
  if (privilege == PRIVILEGE_M || field(HART_SATP) >> SATP_MODE_SHIFT == 0) return address;
  return walk(address, access, privilege);
}
