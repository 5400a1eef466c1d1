/**
 * The C extension: each 16-bit instruction as the 32-bit one it abbreviates.
 *
 * fetch -> [expand] -> predecode
 *
 * "Each RVC instruction expands into a single 32-bit instruction" (manual, chapter "C"), so nothing
 * after this knows that it was short, but for the length added to pc. Reserved encodings become ILLEGAL;
 * hints need no case of their own, they expand to something that changes only x0. The forms for F and
 * D are expanded too, and are as legal as what they expand to.
 */
import {
  encodeB, encodeI, encodeJ, encodeLui, encodeR, encodeS, ILLEGAL, OP_32, OP_IMM, OP_IMM_32, OP_JALR,
  OP_LOAD, OP_LOAD_FP, OP_OP, OP_STORE, OP_STORE_FP, OP_SYSTEM,
} from './decode';

// Registers with a role in this extension, and the fields of the formats (table "RVC formats").
const ZERO: u32 = 0;
const RA: u32 = 1;
const SP: u32 = 2;

@inline function bit(c: u32, from: u32, to: u32): u32 { return (c >> from & 1) << to; }
/** rd or rs1, all 32 registers. */
@inline function full(c: u32): u32 { return c >> 7 & 31; }
@inline function rs2(c: u32): u32 { return c >> 2 & 31; }
/** The three-bit fields reach x8..x15. */
@inline function high3(c: u32): u32 { return 8 + (c >> 7 & 7); }
@inline function low3(c: u32): u32 { return 8 + (c >> 2 & 7); }
/** Six-bit signed immediate of the CI and CB formats. */
@inline function imm6(c: u32): u32 { return <u32>(-<i32>bit(c, 12, 5)) | (c >> 2 & 31); }
@inline function shamt(c: u32): u32 { return bit(c, 12, 5) | (c >> 2 & 31); }
/** Scaled unsigned offsets of loads and stores. */
@inline function offsetW(c: u32): u32 { return (c >> 7 & 0x38) | bit(c, 6, 2) | bit(c, 5, 6); }
@inline function offsetD(c: u32): u32 { return (c >> 7 & 0x38) | (c << 1 & 0xc0); }
@inline function offsetWsp(c: u32): u32 { return bit(c, 12, 5) | (c >> 2 & 0x1c) | (c << 4 & 0xc0); }
@inline function offsetDsp(c: u32): u32 { return bit(c, 12, 5) | (c >> 2 & 0x18) | (c << 4 & 0x1c0); }
@inline function storeWsp(c: u32): u32 { return (c >> 7 & 0x3c) | (c >> 1 & 0xc0); }
@inline function storeDsp(c: u32): u32 { return (c >> 7 & 0x38) | (c >> 1 & 0x1c0); }

function jumpOffset(c: u32): u32 {
  return <u32>(-<i32>bit(c, 12, 11)) | bit(c, 11, 4) | (c >> 1 & 0x300) | bit(c, 8, 10) | bit(c, 7, 6)
    | bit(c, 6, 7) | (c >> 2 & 0xe) | bit(c, 2, 5);
}

function branchOffset(c: u32): u32 {
  return <u32>(-<i32>bit(c, 12, 8)) | (c >> 7 & 0x18) | (c << 1 & 0xc0) | (c >> 2 & 6) | bit(c, 2, 5);
}

/** Quadrant 0: C.ADDI4SPN, loads and stores over x8..x15. */
function quadrant0(c: u32): u32 {
  switch (c >> 13) {
    case 0: {
      const imm = (c >> 7 & 0x30) | (c >> 1 & 0x3c0) | bit(c, 6, 2) | bit(c, 5, 3);
      return imm ? encodeI(OP_IMM, 0, low3(c), SP, imm) : ILLEGAL; // C.ADDI4SPN
    }
    case 1: return encodeI(OP_LOAD_FP, 3, low3(c), high3(c), offsetD(c)); // C.FLD
    case 2: return encodeI(OP_LOAD, 2, low3(c), high3(c), offsetW(c)); // C.LW
    case 3: return encodeI(OP_LOAD, 3, low3(c), high3(c), offsetD(c)); // C.LD
    case 5: return encodeS(OP_STORE_FP, 3, high3(c), low3(c), offsetD(c)); // C.FSD
    case 6: return encodeS(OP_STORE, 2, high3(c), low3(c), offsetW(c)); // C.SW
    case 7: return encodeS(OP_STORE, 3, high3(c), low3(c), offsetD(c)); // C.SD
  }
  return ILLEGAL;
}

/** C.ADDI16SP when rd is sp, else C.LUI; an immediate of 0 is reserved for both. */
function stackOrUpper(c: u32): u32 {
  const rd = full(c);
  if (rd == SP) {
    const imm = <u32>(-<i32>bit(c, 12, 9)) | bit(c, 6, 4) | bit(c, 5, 6) | (c << 4 & 0x180) | bit(c, 2, 5);
    return imm ? encodeI(OP_IMM, 0, SP, SP, imm) : ILLEGAL;
  }
  const upper = imm6(c) << 12;
  return upper ? encodeLui(rd, upper) : ILLEGAL;
}

/** C.SRLI, C.SRAI, C.ANDI and the register forms, all over x8..x15. */
function arithmetic(c: u32): u32 {
  const rd = high3(c);
  switch (c >> 10 & 3) {
    case 0: return encodeI(OP_IMM, 5, rd, rd, shamt(c)); // C.SRLI
    case 1: return encodeI(OP_IMM, 5, rd, rd, 0x400 | shamt(c)); // C.SRAI
    case 2: return encodeI(OP_IMM, 7, rd, rd, imm6(c)); // C.ANDI
  }
  const other = low3(c);
  switch ((c >> 5 & 3) | bit(c, 12, 2)) {
    case 0: return encodeR(OP_OP, 0, 0x20, rd, rd, other); // C.SUB
    case 1: return encodeR(OP_OP, 4, 0, rd, rd, other); // C.XOR
    case 2: return encodeR(OP_OP, 6, 0, rd, rd, other); // C.OR
    case 3: return encodeR(OP_OP, 7, 0, rd, rd, other); // C.AND
    case 4: return encodeR(OP_32, 0, 0x20, rd, rd, other); // C.SUBW
    case 5: return encodeR(OP_32, 0, 0, rd, rd, other); // C.ADDW
  }
  return ILLEGAL;
}

/** Quadrant 1: immediates, arithmetic, jumps and branches. */
function quadrant1(c: u32): u32 {
  const rd = full(c);
  switch (c >> 13) {
    case 0: return encodeI(OP_IMM, 0, rd, rd, imm6(c)); // C.NOP, C.ADDI
    case 1: return rd ? encodeI(OP_IMM_32, 0, rd, rd, imm6(c)) : ILLEGAL; // C.ADDIW
    case 2: return encodeI(OP_IMM, 0, rd, ZERO, imm6(c)); // C.LI
    case 3: return stackOrUpper(c);
    case 4: return arithmetic(c);
    case 5: return encodeJ(ZERO, jumpOffset(c)); // C.J
    case 6: return encodeB(0, high3(c), ZERO, branchOffset(c)); // C.BEQZ
    case 7: return encodeB(1, high3(c), ZERO, branchOffset(c)); // C.BNEZ
  }
  return ILLEGAL;
}

/** C.JR, C.MV, C.EBREAK, C.JALR, C.ADD: told apart by bit 12 and by which registers are x0. */
function jumpMoveAdd(c: u32): u32 {
  const rd = full(c);
  const other = rs2(c);
  if (!bit(c, 12, 0)) {
    if (other) return encodeR(OP_OP, 0, 0, rd, ZERO, other); // C.MV
    return rd ? encodeI(OP_JALR, 0, ZERO, rd, 0) : ILLEGAL; // C.JR
  }
  if (other) return encodeR(OP_OP, 0, 0, rd, rd, other); // C.ADD
  return rd ? encodeI(OP_JALR, 0, RA, rd, 0) : encodeI(OP_SYSTEM, 0, 0, 0, 1); // C.JALR, C.EBREAK
}

/** Quadrant 2: C.SLLI, loads and stores over sp, and jumpMoveAdd. */
function quadrant2(c: u32): u32 {
  const rd = full(c);
  switch (c >> 13) {
    case 0: return encodeI(OP_IMM, 1, rd, rd, shamt(c)); // C.SLLI
    case 1: return encodeI(OP_LOAD_FP, 3, rd, SP, offsetDsp(c)); // C.FLDSP
    case 2: return rd ? encodeI(OP_LOAD, 2, rd, SP, offsetWsp(c)) : ILLEGAL; // C.LWSP
    case 3: return rd ? encodeI(OP_LOAD, 3, rd, SP, offsetDsp(c)) : ILLEGAL; // C.LDSP
    case 4: return jumpMoveAdd(c);
    case 5: return encodeS(OP_STORE_FP, 3, SP, rs2(c), storeDsp(c)); // C.FSDSP
    case 6: return encodeS(OP_STORE, 2, SP, rs2(c), storeWsp(c)); // C.SWSP
    case 7: return encodeS(OP_STORE, 3, SP, rs2(c), storeDsp(c)); // C.SDSP
  }
  return ILLEGAL;
}

/** The 32-bit instruction that a 16-bit one stands for, or ILLEGAL. */
export function expand(c: u32): u32 {
  switch (c & 3) {
    case 0: return quadrant0(c);
    case 1: return quadrant1(c);
    case 2: return quadrant2(c);
  }
  return ILLEGAL; // bits 1..0 = 3: not a 16-bit instruction
}
