/**
 * F and D: registers, encodings, state (Unprivileged ISA, chapters "F" and "D").
 *
 * execute -> [float-instructions] -> float-fast, float-convert, float-compare
 *
 * A register has 64 bits (FLEN); a single in it is boxed, its upper half all ones, and one that is not
 * counts as the canonical NaN. Everything here is illegal while mstatus.FS is Off, and whatever changes a
 * register or a flag makes FS Dirty. fcsr is read before and its flags are written after each
 * instruction, so that the field in the hart's block is always true.
 */
import { core, DONE, field, setField } from './core';
import { funct3, OP_MADD, OP_MSUB, OP_NMADD, OP_NMSUB, rdAt, rs1At, rs2At } from './decode';
import { classify, equal, less, lessOrEqual, maximum, minimum } from './float-compare';
import { fromInteger, toIntegerFast } from './float-convert';
import { add, div, mul, mulAdd, narrow, squareRoot, sub, widen } from './float-fast';
import { DYNAMIC, fp, nan, RMM, signBit } from './float-format';
import { setX, x } from './integer';
import { HART_F, HART_FCSR, HART_MSTATUS, HART_X } from './machine-map.ts';
import { loadT, storeT } from './ram';
import { MSTATUS_FS } from './status';

/** fflags in fcsr; frm is above. */
const FLAGS: u32 = 31;
const FRM_SHIFT: u32 = 5;

/** What a boxed single has in its upper half. */
export const BOX: u64 = 0xffffffff00000000;

@inline function isOff(): bool { return (field(HART_MSTATUS) & MSTATUS_FS) == 0; }

/** Something of the floating-point state has changed: FS becomes Dirty, its two bits set. */
@inline function touch(): void {
  const status = field(HART_MSTATUS);
  if ((status & MSTATUS_FS) != MSTATUS_FS) setField(HART_MSTATUS, status | MSTATUS_FS);
}

// ------------------------------------------------------------------------------------- registers

/** A number in a register, as its bits. */
@inline function f<T>(hart: usize, at: usize): u64 {
  const bits = load<u64>(hart + at, HART_F);
  if (sizeof<T>() == 8) return bits;
  return bits >= BOX ? bits & ~BOX : nan<T>();
}

/** Writes a result. True, for the sake of its callers: this was an instruction. */
@inline function setF<T>(hart: usize, instruction: u32, bits: u64): bool {
  store<u64>(hart + rdAt(instruction), sizeof<T>() == 8 ? bits : bits | BOX, HART_F);
  touch();
  return true;
}

@inline function toX(hart: usize, instruction: u32, value: u64): bool {
  setX(hart, rdAt(instruction), value);
  return true;
}

/** Takes the rounding mode from the instruction or from frm; false when it is a reserved one. */
@inline function rounds(instruction: u32): bool {
  const rm = funct3(instruction);
  fp.mode = rm == DYNAMIC ? <u32>field(HART_FCSR) >> FRM_SHIFT : rm;
  return fp.mode <= RMM;
}

// ---------------------------------------------------------------------------------- instructions

/** FSGNJ, FSGNJN, FSGNJX: a with the sign of b, its opposite, or the product of both signs. */
function injectSign<T>(hart: usize, instruction: u32, a: u64, b: u64): bool {
  let sign: u64;
  switch (funct3(instruction)) {
    case 0: sign = b; break;
    case 1: sign = ~b; break;
    case 2: sign = a ^ b; break;
    default: return false;
  }
  return setF<T>(hart, instruction, (a & ~signBit<T>()) | (sign & signBit<T>()));
}

function minMax<T>(hart: usize, instruction: u32, a: u64, b: u64): bool {
  switch (funct3(instruction)) {
    case 0: return setF<T>(hart, instruction, minimum<T>(a, b)); // FMIN
    case 1: return setF<T>(hart, instruction, maximum<T>(a, b)); // FMAX
  }
  return false;
}

function compare<T>(hart: usize, instruction: u32, a: u64, b: u64): bool {
  switch (funct3(instruction)) {
    case 0: return toX(hart, instruction, lessOrEqual<T>(a, b)); // FLE
    case 1: return toX(hart, instruction, less<T>(a, b)); // FLT
    case 2: return toX(hart, instruction, equal<T>(a, b)); // FEQ
  }
  return false;
}

/** FCVT to W, WU, L, LU: the number in rs2's place says which. */
function toInteger<T>(hart: usize, instruction: u32, a: u64): bool {
  if (!rounds(instruction)) return false;
  switch (<i32>rs2At(instruction) >> 3) {
    case 0: return toX(hart, instruction, toIntegerFast<T, i32>(a));
    case 1: return toX(hart, instruction, toIntegerFast<T, u32>(a));
    case 2: return toX(hart, instruction, toIntegerFast<T, i64>(a));
    case 3: return toX(hart, instruction, toIntegerFast<T, u64>(a));
  }
  return false;
}

/** FCVT from W, WU, L, LU. */
function fromX<T>(hart: usize, instruction: u32): bool {
  if (!rounds(instruction)) return false;
  const value = x(hart, rs1At(instruction));
  switch (<i32>rs2At(instruction) >> 3) {
    case 0: return setF<T>(hart, instruction, fromInteger<T, i32>(value));
    case 1: return setF<T>(hart, instruction, fromInteger<T, u32>(value));
    case 2: return setF<T>(hart, instruction, fromInteger<T, i64>(value));
    case 3: return setF<T>(hart, instruction, fromInteger<T, u64>(value));
  }
  return false;
}

/** FCVT.S.D and FCVT.D.S: T is the result's format, rs2's place holds the operand's. */
function fromOther<T>(hart: usize, instruction: u32): bool {
  if (!rounds(instruction) || rs2At(instruction) != (sizeof<T>() == 8 ? 0 : 1 << 3)) return false;
  const at = rs1At(instruction);
  const bits = sizeof<T>() == 8 ? widen(f<f32>(hart, at)) : narrow(f<f64>(hart, at));
  return setF<T>(hart, instruction, bits);
}

/** FMV.X.W, FMV.X.D (the bits as they are, boxed or not) and FCLASS. */
function moveToX<T>(hart: usize, instruction: u32): bool {
  const at = rs1At(instruction);
  const bits = load<u64>(hart + at, HART_F);
  switch (funct3(instruction)) {
    case 0: return toX(hart, instruction, sizeof<T>() == 8 ? bits : <u64><i64><i32>bits);
    case 1: return toX(hart, instruction, classify<T>(f<T>(hart, at)));
  }
  return false;
}

/** FMV.W.X, FMV.D.X. */
function moveFromX<T>(hart: usize, instruction: u32): bool {
  if (funct3(instruction) != 0) return false;
  return setF<T>(hart, instruction, x(hart, rs1At(instruction)));
}

/** OP-FP: funct5 says what, in the format that the two bits below it say. */
function operate<T>(hart: usize, i: u32): bool {
  const a = f<T>(hart, rs1At(i));
  const b = f<T>(hart, rs2At(i));
  const alone = rs2At(i) == 0;
  switch (i >> 27) {
    case 0x00: return rounds(i) && setF<T>(hart, i, add<T>(a, b));
    case 0x01: return rounds(i) && setF<T>(hart, i, sub<T>(a, b));
    case 0x02: return rounds(i) && setF<T>(hart, i, mul<T>(a, b));
    case 0x03: return rounds(i) && setF<T>(hart, i, div<T>(a, b));
    case 0x04: return injectSign<T>(hart, i, a, b);
    case 0x05: return minMax<T>(hart, i, a, b);
    case 0x08: return fromOther<T>(hart, i);
    case 0x0b: return alone && rounds(i) && setF<T>(hart, i, squareRoot<T>(a));
    case 0x14: return compare<T>(hart, i, a, b);
    case 0x18: return toInteger<T>(hart, i, a);
    case 0x1a: return fromX<T>(hart, i);
    case 0x1c: return alone && moveToX<T>(hart, i);
    case 0x1e: return alone && moveFromX<T>(hart, i);
  }
  return false;
}

/** FMADD and its kin: a change of a factor's sign is one of the product's, and no rounding comes before it. */
function fused<T>(hart: usize, i: u32): bool {
  if (!rounds(i)) return false;
  const a = f<T>(hart, rs1At(i));
  const b = f<T>(hart, rs2At(i));
  const c = f<T>(hart, <usize>(i >> 27 << 3));
  const sign = signBit<T>();
  switch (i >> 2 & 31) {
    case OP_MADD: return setF<T>(hart, i, mulAdd<T>(a, b, c));
    case OP_MSUB: return setF<T>(hart, i, mulAdd<T>(a, b, c ^ sign));
    case OP_NMSUB: return setF<T>(hart, i, mulAdd<T>(a ^ sign, b, c));
    case OP_NMADD: return setF<T>(hart, i, mulAdd<T>(a ^ sign, b, c ^ sign));
  }
  return false;
}

/** OP-FP, MADD, MSUB, NMSUB and NMADD. False: no instruction, and nothing has changed. */
export function executeFloat(instruction: u32): bool {
  if (isOff()) return false;
  const fcsr = <u32>field(HART_FCSR);
  fp.flags = fcsr & FLAGS;
  const isFused = (instruction >> 2 & 31) <= <u32>OP_NMADD;
  let done = false;
  switch (instruction >> 25 & 3) {
    case 0: done = isFused ? fused<f32>(core.block, instruction) : operate<f32>(core.block, instruction); break;
    case 1: done = isFused ? fused<f64>(core.block, instruction) : operate<f64>(core.block, instruction); break;
  }
  if (fp.flags != (fcsr & FLAGS)) {
    setField(HART_FCSR, <u64>(fcsr | fp.flags));
    touch();
  }
  return done;
}

// ------------------------------------------------------------------------------ loads and stores

/** What `loadFloat` and `storeFloat` answer for no instruction: no outcome is this. */
export const NOT_FLOAT = -2;

/** FLW, FLD at `address`; the outcome, or NOT_FLOAT. */
export function loadFloat(reads: usize, instruction: u32, address: u64, left: u32): i32 {
  if (isOff()) return NOT_FLOAT;
  const register = core.block + rdAt(instruction);
  // loadT writes x registers; the f registers are so far behind them.
  const place = register + (HART_F - HART_X);
  let met: i32;
  switch (funct3(instruction)) {
    case 2:
      met = loadT<u32>(reads, address, place, left);
      if (met == DONE) store<u32>(register, u32.MAX_VALUE, HART_F + 4);
      break;
    case 3: met = loadT<u64>(reads, address, place, left); break;
    default: return NOT_FLOAT;
  }
  if (met == DONE) touch();
  return met;
}

/** FSW (the lower half, whatever the upper), FSD. */
export function storeFloat(writes: usize, instruction: u32, address: u64, left: u32): i32 {
  if (isOff()) return NOT_FLOAT;
  const bits = load<u64>(core.block + rs2At(instruction), HART_F);
  switch (funct3(instruction)) {
    case 2: return storeT<u32>(writes, address, bits, left);
    case 3: return storeT<u64>(writes, address, bits, left);
  }
  return NOT_FLOAT;
}
