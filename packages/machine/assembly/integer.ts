/**
 * Integer instructions that funct7 tells apart: shifts by a constant, and OP and OP-32 with the M extension.
 *
 * execute -> [integer] -> registers
 *
 * The common ones with funct7 = 0 are in execute.ts itself; these are called. Each answers false for an
 * encoding that is no instruction. Sections are those of the Unprivileged ISA manual.
 */
import { div, divu, divuw, divw, mulh, mulhsu, mulhu, rem, remu, remuw, remw } from './alu';
import { funct3, funct7, rdAt, rs1At, rs2At } from './decode';
import { HART_X } from './machine-map.ts';

@inline export function x(hart: usize, at: usize): u64 { return load<u64>(hart + at, HART_X); }
@inline export function setX(hart: usize, at: usize, value: u64): void {
  store<u64>(hart + at, value, HART_X);
}
/** A 32-bit result, sign-extended as the W instructions want it. */
@inline export function word(value: i32): u64 { return <u64><i64>value; }

/** SLLI, SRLI, SRAI (section "Integer Register-Immediate Instructions"). */
export function shiftImmediate(hart: usize, instruction: u32): bool {
  const a = x(hart, rs1At(instruction));
  const shamt = <u64>(instruction >> 20 & 63);
  let value: u64;
  switch ((instruction >> 26) << 3 | funct3(instruction)) {
    case 1: value = a << shamt; break; // SLLI
    case 5: value = a >> shamt; break; // SRLI
    case 16 << 3 | 5: value = <u64>(<i64>a >> shamt); break; // SRAI
    default: return false;
  }
  setX(hart, rdAt(instruction), value);
  return true;
}

/** SLLIW, SRLIW, SRAIW. */
export function shiftImmediate32(hart: usize, instruction: u32): bool {
  const a = <i32>x(hart, rs1At(instruction));
  const shamt = <i32>(instruction >> 20 & 31);
  let value: i32;
  switch (funct7(instruction) << 3 | funct3(instruction)) {
    case 1: value = a << shamt; break; // SLLIW
    case 5: value = <i32>(<u32>a >> shamt); break; // SRLIW
    case 0x20 << 3 | 5: value = a >> shamt; break; // SRAIW
    default: return false;
  }
  setX(hart, rdAt(instruction), word(value));
  return true;
}

/** funct3, bit 25 (M) and bit 30 (SUB, SRA) side by side: one number for each instruction of OP. */
@inline function opKey(instruction: u32): u32 {
  return funct3(instruction) | (instruction >> 22 & 8) | (instruction >> 26 & 16);
}

/** Whether funct7 holds nothing but those two bits. */
@inline function isOpKey(instruction: u32): bool { return (instruction & 0xbc000000) == 0; }

/** OP with funct7: sections "Integer Register-Register Operations" and "M". */
export function register(hart: usize, instruction: u32): bool {
  if (!isOpKey(instruction)) return false;
  const a = x(hart, rs1At(instruction));
  const b = x(hart, rs2At(instruction));
  let value: u64;
  switch (opKey(instruction)) {
    case 8: value = a * b; break; // MUL
    case 9: value = mulh(a, b); break; // MULH
    case 10: value = mulhsu(a, b); break; // MULHSU
    case 11: value = mulhu(a, b); break; // MULHU
    case 12: value = div(a, b); break; // DIV
    case 13: value = divu(a, b); break; // DIVU
    case 14: value = rem(a, b); break; // REM
    case 15: value = remu(a, b); break; // REMU
    case 16: value = a - b; break; // SUB
    case 21: value = <u64>(<i64>a >> (b & 63)); break; // SRA
    default: return false;
  }
  setX(hart, rdAt(instruction), value);
  return true;
}

/** OP-32, all of it but ADDW. */
export function register32(hart: usize, instruction: u32): bool {
  if (!isOpKey(instruction)) return false;
  const a = <i32>x(hart, rs1At(instruction));
  const b = <i32>x(hart, rs2At(instruction));
  let value: i32;
  switch (opKey(instruction)) {
    case 1: value = a << (b & 31); break; // SLLW
    case 5: value = <i32>(<u32>a >> (b & 31)); break; // SRLW
    case 8: value = a * b; break; // MULW
    case 12: value = divw(a, b); break; // DIVW
    case 13: value = <i32>divuw(<u32>a, <u32>b); break; // DIVUW
    case 14: value = remw(a, b); break; // REMW
    case 15: value = <i32>remuw(<u32>a, <u32>b); break; // REMUW
    case 16: value = a - b; break; // SUBW
    case 21: value = a >> (b & 31); break; // SRAW
    default: return false;
  }
  setX(hart, rdAt(instruction), word(value));
  return true;
}
