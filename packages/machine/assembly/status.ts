/**
 * mstatus and privilege, and which TLB entries are valid under them (Privileged ISA manual, sections
 * "Machine Status Registers" and "Supervisor Status Register").
 *
 * csr, trap -> [status] -> core.privilege, core.reads, core.writes, core.fetches
 *
 * The hart's own thread only. A TLB entry says "allowed" without saying to whom, so entries made under
 * one rule must not be found under another:
 *
 *   rule                               what keeps entries apart
 *   U, or S and M                      a set of entries each
 *   S or M, MPRV, MXR                  the set is dropped when they change (a kernel hardly ever does)
 *   SUM (may S touch pages of U?)      the few entries made with it are listed, and dropped when it ends
 *   satp                               everything is dropped
 */
import { core, field } from './core';
import { HART_MSTATUS, HART_PRIVILEGE, PRIVILEGE_M, PRIVILEGE_U, PROFILE_FLUSHES } from './machine-map.ts';
import {
  TLB_ARRAY_SIZE, TLB_EMPTY_BYTE, TLB_ENTRIES, TLB_ENTRY_SIZE, TLB_FETCH, TLB_READ, TLB_SET_SIZE, TLB_WRITE,
} from './memory-map.ts';
import { tally } from './profile';

export const MSTATUS_SIE: u64 = 1 << 1;
export const MSTATUS_MIE: u64 = 1 << 3;
export const MSTATUS_SPIE: u64 = 1 << 5;
export const MSTATUS_MPIE: u64 = 1 << 7;
export const MSTATUS_SPP: u64 = 1 << 8;
export const MSTATUS_MPP: u64 = 3 << 11;
/** State of the floating-point unit: 0 Off, 1 Initial, 2 Clean, 3 Dirty. */
export const MSTATUS_FS: u64 = 3 << 13;
export const MSTATUS_MPRV: u64 = 1 << 17;
export const MSTATUS_SUM: u64 = 1 << 18;
export const MSTATUS_MXR: u64 = 1 << 19;
export const MSTATUS_TVM: u64 = 1 << 20;
export const MSTATUS_TW: u64 = 1 << 21;
export const MSTATUS_TSR: u64 = 1 << 22;
export const MSTATUS_UXL: u64 = 3 << 32;
/** Read only: FS is Dirty. */
export const MSTATUS_SD: u64 = 1 << 63;

/** What a write can change. MPP holds U, S or M. */
export const MSTATUS_WRITABLE: u64 = MSTATUS_SIE | MSTATUS_MIE | MSTATUS_SPIE | MSTATUS_MPIE | MSTATUS_SPP
  | MSTATUS_MPP | MSTATUS_FS | MSTATUS_MPRV | MSTATUS_SUM | MSTATUS_MXR | MSTATUS_TVM | MSTATUS_TW | MSTATUS_TSR;
/** What sstatus shows of it. */
export const SSTATUS_VISIBLE: u64 = MSTATUS_SIE | MSTATUS_SPIE | MSTATUS_SPP | MSTATUS_FS | MSTATUS_SUM
  | MSTATUS_MXR | MSTATUS_UXL | MSTATUS_SD;

const MPP_SHIFT: u64 = 11;
/** MPP = 2: the hypervisor's, which is not here. */
const MPP_NONE: u64 = 2 << 11;

// Behind the three arrays of a hart's TLB: a bit for each GiB (VPN[2]) with superpages in it, and the
// places of the entries made with SUM.
const SUPERPAGES: usize = TLB_FETCH + TLB_ARRAY_SIZE;
const SUPERPAGES_SIZE: usize = 64;
const BORROWED: usize = SUPERPAGES + SUPERPAGES_SIZE;
const BORROWED_MAX: u32 = 16;

/** The rule the entries of the set of S and M were made under. */
let rule: i32 = 0;
/** MXR under which the entries of U's set were made. */
let userMxr: bool = false;
/** Entries made with SUM; more than BORROWED_MAX: not all of them are listed. */
let borrowed: u32 = 0;

export function mppOf(status: u64): i32 { return <i32>(status >> MPP_SHIFT) & 3; }

/** mstatus after a write of `value`. */
export function legalStatus(old: u64, value: u64): u64 {
  const mask = (value & MSTATUS_MPP) == MPP_NONE ? MSTATUS_WRITABLE & ~MSTATUS_MPP : MSTATUS_WRITABLE;
  return (old & ~mask) | (value & mask);
}

/** mstatus as it is read: SD sums up FS. */
export function readStatus(): u64 {
  const status = field(HART_MSTATUS);
  return (status & MSTATUS_FS) == MSTATUS_FS ? status | MSTATUS_SD : status;
}

/** Every entry of every kind. */
export function dropEntries(): void {
  tally(PROFILE_FLUSHES);
  memory.fill(core.tlb, <u8>TLB_EMPTY_BYTE, 3 * TLB_ARRAY_SIZE);
  memory.fill(core.tlb + SUPERPAGES, 0, SUPERPAGES_SIZE);
  borrowed = 0;
}

function dropSet(set: usize): void {
  memory.fill(core.tlb + TLB_READ + set, <u8>TLB_EMPTY_BYTE, TLB_SET_SIZE);
  memory.fill(core.tlb + TLB_WRITE + set, <u8>TLB_EMPTY_BYTE, TLB_SET_SIZE);
  memory.fill(core.tlb + TLB_FETCH + set, <u8>TLB_EMPTY_BYTE, TLB_SET_SIZE);
}

@inline function dropEntry(at: usize): void { store<u64>(at, u64.MAX_VALUE); }

/** A superpage's entries are one for each of its small pages: all of a GiB with one are dropped together. */
@inline function superpageByte(address: u64): usize { return core.tlb + SUPERPAGES + (<usize>(address >> 33) & 63); }
@inline function superpageBit(address: u64): u32 { return 1 << (<u32>(address >> 30) & 7); }

export function noteSuperpage(address: u64): void {
  const at = superpageByte(address);
  store<u8>(at, load<u8>(at) | superpageBit(address));
}

/** SFENCE.VMA with an address. */
export function dropAddress(address: u64): void {
  if (load<u8>(superpageByte(address)) & superpageBit(address)) {
    dropEntries();
    return;
  }
  const entry = core.tlb + (<usize>(address >> 12) & (TLB_ENTRIES - 1)) * TLB_ENTRY_SIZE;
  for (let array: usize = 0; array < 3 * TLB_ARRAY_SIZE; array += TLB_SET_SIZE) dropEntry(entry + array);
}

/** An entry for S on a page of U was made at this place. */
export function noteBorrowed(entry: usize): void {
  if (borrowed < BORROWED_MAX) store<u32>(core.tlb + BORROWED + (borrowed << 2), <u32>entry);
  if (borrowed <= BORROWED_MAX) borrowed++;
}

function dropBorrowed(): void {
  if (borrowed > BORROWED_MAX) dropSet(TLB_SET_SIZE);
  else for (let i: u32 = 0; i < borrowed; i++) dropEntry(load<u32>(core.tlb + BORROWED + (i << 2)));
  borrowed = 0;
}

/** To be called after each change of privilege or mstatus, and when a hart starts. */
export function applyStatus(): void {
  const status = field(HART_MSTATUS);
  const privilege = <i32>field(HART_PRIVILEGE);
  const mxr = (status & MSTATUS_MXR) != 0;
  core.privilege = privilege;
  core.dataPrivilege = privilege == PRIVILEGE_M && (status & MSTATUS_MPRV) ? mppOf(status) : privilege;
  const set: usize = privilege == PRIVILEGE_U ? 0 : TLB_SET_SIZE;
  core.reads = core.tlb + TLB_READ + set;
  core.writes = core.tlb + TLB_WRITE + set;
  core.fetches = core.tlb + TLB_FETCH + set;
  if (privilege == PRIVILEGE_U) {
    if (mxr != userMxr) dropSet(0);
    userMxr = mxr;
    return;
  }
  const now = privilege << 3 | core.dataPrivilege << 1 | <i32>mxr;
  if (now != rule) dropSet(TLB_SET_SIZE);
  rule = now;
  if (borrowed && !(status & MSTATUS_SUM)) dropBorrowed();
}
