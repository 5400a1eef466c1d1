/**
 * The A extension (manual, chapter "A"): LR, SC and the AMOs, by wasm atomics.
 *
 * All of them are sequentially consistent, so aq and rl need no thought. Misaligned ones trap before
 * they get here; wasm would trap too.
 *
 * LR/SC: a reservation is (physical address, value). SC succeeds if a compare-and-exchange finds the
 * value still there: another hart that wrote something else and then the same again goes unseen, which
 * the usual uses do not mind, and no hart has to watch another's stores. A reservation travels with
 * the guest like a register, so that a move between LR and SC changes nothing.
 */
import { core, field, raise, setField } from './core';
import { rdAt, rs1At, rs2At } from './decode';
import { HART_RESERVED, HART_RESERVED_VALUE, HART_X, NO_RESERVATION, RAM_BASE } from './machine-map.ts';
import { RAM } from './memory-map.ts';
import { NO_PLACE } from './mmu';
import { placeToModify, placeToReserve } from './ram';
import { ILLEGAL_INSTRUCTION } from './trap';

// funct5 of the instructions.
const AMOADD: u32 = 0;
const AMOSWAP: u32 = 1;
const LR: u32 = 2;
const SC: u32 = 3;
const AMOXOR: u32 = 4;
const AMOOR: u32 = 8;
const AMOAND: u32 = 12;
const AMOMIN: u32 = 16;
const AMOMAX: u32 = 20;
const AMOMINU: u32 = 24;
const AMOMAXU: u32 = 28;

@inline function physicalOf(place: usize): u64 { return <u64>(place - RAM) + RAM_BASE; }

/** S is the signed type of the operand's width, U the unsigned one. Results are sign-extended. */
function loadReserved<S, U>(address: u64): u64 {
  const place = placeToReserve<U>(address);
  if (place == NO_PLACE) return 0;
  const value = atomic.load<U>(place);
  setField(HART_RESERVED, physicalOf(place));
  setField(HART_RESERVED_VALUE, <u64>value);
  return <u64><S>value;
}

/** 0: stored. 1: not. Either way the reservation is gone. */
function storeConditional<S, U>(address: u64, value: u64): u64 {
  const place = placeToModify<U>(address);
  if (place == NO_PLACE) return 0;
  const reserved = field(HART_RESERVED);
  setField(HART_RESERVED, <u64><i64>NO_RESERVATION);
  if (reserved != physicalOf(place)) return 1;
  const expected = <U>field(HART_RESERVED_VALUE);
  return atomic.cmpxchg<U>(place, expected, <U>value) == expected ? 0 : 1;
}

/** What AMOMIN and its kin store. */
function choose<S, U>(operation: u32, old: U, operand: U): U {
  switch (operation) {
    case AMOMIN: return <U>min<S>(<S>old, <S>operand);
    case AMOMAX: return <U>max<S>(<S>old, <S>operand);
    case AMOMINU: return min<U>(old, operand);
  }
  return max<U>(old, operand);
}

/** Minimum and maximum, which wasm lacks: compare-and-exchange until nobody came between. */
function extreme<S, U>(operation: u32, place: usize, operand: U): U {
  let old = atomic.load<U>(place);
  while (true) {
    const seen = atomic.cmpxchg<U>(place, old, choose<S, U>(operation, old, operand));
    if (seen == old) return old;
    old = seen;
  }
}

function modify<S, U>(instruction: u32, operation: u32, address: u64, value: u64): u64 {
  const known = operation <= AMOSWAP || (operation & 3) == 0;
  if (!known) {
    raise(ILLEGAL_INSTRUCTION, <u64>instruction);
    return 0;
  }
  const place = placeToModify<U>(address);
  if (place == NO_PLACE) return 0;
  const operand = <U>value;
  switch (operation) {
    case AMOADD: return <u64><S>atomic.add<U>(place, operand);
    case AMOSWAP: return <u64><S>atomic.xchg<U>(place, operand);
    case AMOXOR: return <u64><S>atomic.xor<U>(place, operand);
    case AMOOR: return <u64><S>atomic.or<U>(place, operand);
    case AMOAND: return <u64><S>atomic.and<U>(place, operand);
  }
  return <u64><S>extreme<S, U>(operation, place, operand);
}

function executeWidth<S, U>(instruction: u32): void {
  const address = load<u64>(core.block + rs1At(instruction), HART_X);
  const value = load<u64>(core.block + rs2At(instruction), HART_X);
  const operation = instruction >> 27;
  let result: u64;
  if (operation == LR && rs2At(instruction) != 0) {
    raise(ILLEGAL_INSTRUCTION, <u64>instruction);
    return;
  }
  if (operation == LR) result = loadReserved<S, U>(address);
  else if (operation == SC) result = storeConditional<S, U>(address, value);
  else result = modify<S, U>(instruction, operation, address, value);
  if (!core.outcome) store<u64>(core.block + rdAt(instruction), result, HART_X);
}

/** One instruction of the extension; funct3 gives the width. */
export function executeAtomic(instruction: u32, left: u32): void {
  core.left = left;
  switch ((instruction >> 12) & 7) {
    case 2: executeWidth<i32, u32>(instruction); break;
    case 3: executeWidth<i64, u64>(instruction); break;
    default: raise(ILLEGAL_INSTRUCTION, <u64>instruction);
  }
}
