/**
 * What this wasm instance is doing: the hart it runs and what the instruction in hand has met.
 *
 * One instance per vCPU thread. Its wasm globals are its own; everything that must be seen by others
 * or survive a move is in the shared memory at the places of memory-map.ts and machine-map.ts.
 *
 * An instruction that cannot finish says so in `outcome` and has had no effect; the interpreter looks
 * there after each call that may say so (wasm has no cheap way to leave from the depth).
 */
import {
  CONTROL_PAGES, HART_INSTRUCTIONS, HART_SIZE, HARTS, PAGE_SHIFT, TLB, TLB_SIZE,
} from './memory-map.ts';

/** The instruction finished. */
export const DONE = 0;
/** It finished, and the hart must look at its interrupts and attention words before the next one. */
export const DONE_LOOK_UP = 1;
/** It finished; the translation or the pending interrupts changed: look at interrupts, then go on. */
export const DONE_SWITCHED = -1;
/** The same, and the next instruction is at HART_PC. */
export const DONE_JUMPED = -2;
/** It raised the exception in `cause` and `value`; not retired. */
export const TRAPPED = 2;
/** It waited for a page, or was told to stop while waiting; not retired, to be executed again. */
export const RETRY = 3;

export namespace core {
  /** Number of the hart and its blocks in the memory. */
  export let number: i32 = 0;
  export let block: usize = 0;
  export let tlb: usize = 0;
  export let ramBytes: u64 = 0;

  /** Privilege, and the one that loads and stores have (mstatus.MPRV); derived, status.ts writes them. */
  export let privilege: i32 = 0;
  export let dataPrivilege: i32 = 0;
  /** The sets of TLB entries in use under them, absolute. */
  export let reads: usize = 0;
  export let writes: usize = 0;
  export let fetches: usize = 0;

  export let outcome: i32 = DONE;
  export let cause: u64 = 0;
  export let value: u64 = 0;

  /** Instructions of the present slice, and how many of them were still to do at the last slow call. */
  export let slice: u32 = 0;
  export let left: u32 = 0;
}

/** Points this instance at a hart. */
export function select(hart: i32): void {
  core.number = hart;
  core.block = HARTS + <usize>hart * HART_SIZE;
  core.tlb = TLB + <usize>hart * TLB_SIZE;
  core.ramBytes = <u64>atomic.load<u32>(CONTROL_PAGES) << PAGE_SHIFT;
  core.slice = 0;
  core.left = 0;
}

/** Reads and writes of the hart's own 64-bit fields. */
@inline export function field(offset: usize): u64 { return load<u64>(core.block + offset); }
@inline export function setField(offset: usize, value: u64): void { store<u64>(core.block + offset, value); }

/** Instructions retired before the one in hand. */
export function retired(): u64 {
  return field(HART_INSTRUCTIONS) + <u64>(core.slice - core.left);
}

/** The instruction in hand ends in an exception. */
export function raise(cause: u64, value: u64): void {
  core.outcome = TRAPPED;
  core.cause = cause;
  core.value = value;
}
