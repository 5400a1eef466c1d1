/**
 * From an instruction to a decoded entry (code.ts): the one place that knows every encoding.
 *
 * execute meets an entry nobody has decoded -> [predecode] -> the entry
 *
 * One line an instruction. Whatever has no line is illegal. Sections are those of the Unprivileged ISA
 * manual; opcodes and fields are in decode.ts, 16-bit instructions are expanded first (expand.ts).
 */
import { COPY } from './code';
import {
  ADD, ADDI, ADDIW, AND, ANDI, BEQ, BGE, BGEU, BLT, BLTU, BNE, F2, F3, FENCE,
  FENCE_I, funct3, funct7, immB, immI, immJ, immS, JALR, keyOf, LB, LBU, LD, LH, LHU, LW, LWU,
  OP_32, OP_AMO, OP_AUIPC, OP_FP, OP_JAL, OP_LOAD_FP, OP_LUI, OP_MADD, OP_MSUB, OP_NMADD, OP_NMSUB,
  OP_STORE_FP, OP_SYSTEM, OR, ORI, SB, SD, SH, SLL, SLLI, SLLIW, SLT, SLTI, SLTIU, SLTU, SRL, SRLI_SRAI,
  SRLIW_SRAIW, SW, XOR, XORI,
} from './decode';
import { expand } from './expand';
import { DYNAMIC, RNE, RTZ } from './float-format';
import { PAGE_SIZE } from './memory-map.ts';
import {
  DO_ADD, DO_ADDI, DO_ADDIW, DO_ADDW, DO_AMO, DO_AND, DO_ANDI, DO_AUIPC, DO_BEQ, DO_BEQ_FAR, DO_BGE,
  DO_BGEU, DO_BLT, DO_BLTU, DO_BNE, DO_CROSSING, DO_DIV, DO_DIVU, DO_DIVUW, DO_DIVW, DO_FADD_D, DO_FCVT_D_L,
  DO_FCVT_D_W, DO_FCVT_L_D, DO_FCVT_W_D, DO_FDIV_D, DO_FENCE, DO_FENCE_I, DO_FEQ_D, DO_FLD, DO_FLE_D,
  DO_FLOAT, DO_FLT_D, DO_FLW, DO_FMADD_D, DO_FMSUB_D, DO_FMUL_D, DO_FMV_D_X, DO_FMV_X_D, DO_FNMADD_D,
  DO_FNMSUB_D, DO_FSD, DO_FSGNJN_D, DO_FSGNJX_D, DO_FSGNJ_D, DO_FSQRT_D, DO_FSUB_D, DO_FSW, DO_ILLEGAL,
  DO_JAL, DO_JALR, DO_JAL_FAR, DO_LB, DO_LBU, DO_LD, DO_LH, DO_LHU, DO_LI, DO_LUI, DO_LW, DO_LWU, DO_MUL,
  DO_MULH, DO_MULHSU, DO_MULHU, DO_MULW, DO_MV, DO_NOP, DO_OR, DO_ORI, DO_REM, DO_REMU, DO_REMUW, DO_REMW,
  DO_SB, DO_SD, DO_SH, DO_SLL, DO_SLLI, DO_SLLIW, DO_SLLW, DO_SLT, DO_SLTI, DO_SLTIU, DO_SLTU, DO_SRA,
  DO_SRAI, DO_SRAIW, DO_SRAW, DO_SRL, DO_SRLI, DO_SRLIW, DO_SRLW, DO_SUB, DO_SUBW, DO_SW, DO_SYSTEM, DO_XOR,
  DO_XORI,
} from './operations';

/** rd of an instruction that writes x0. */
const NOWHERE: u32 = 32;

/** The instruction in hand: its entry, its length in bytes, and its offset in the page or NOT_IN_PAGE. */
let entry: usize = 0;
let size: u32 = 0;
let offset: i32 = 0;
/** An instruction across two pages has no near neighbours. */
const NOT_IN_PAGE = -1;

@inline function rdOf(i: u32): u32 { return i >> 7 & 31; }
@inline function rs1Of(i: u32): u32 { return i >> 15 & 31; }
@inline function rs2Of(i: u32): u32 { return i >> 20 & 31; }

/** Writes the entry. The operation comes last and all at once: 0 until the rest is there. */
function put(operation: u32, rd: u32, rs1: u32, rs2: u32, immediate: i32): void {
  store<u32>(entry, (immediate << 8) | size << 2, 4);
  store<u32>(entry, operation | rd << 8 | rs1 << 16 | rs2 << 24);
}

/** Computes rd from registers and immediate: nothing at all if rd is x0. */
function compute(operation: u32, i: u32, immediate: i32): void {
  if (rdOf(i)) put(operation, rdOf(i), rs1Of(i), rs2Of(i), immediate);
  else put(DO_NOP, 0, 0, 0, 0);
}

@inline function operate(operation: u32, i: u32): void { compute(operation, i, 0); }
@inline function immediate(operation: u32, i: u32): void { compute(operation, i, <i32>immI(i)); }
@inline function upper(operation: u32, i: u32): void { compute(operation, i, <i32>i >> 12); }

function add(i: u32): void {
  if (!rs1Of(i)) immediate(DO_LI, i);
  else immediate(immI(i) ? DO_ADDI : DO_MV, i);
}

/** A load happens even if its value goes nowhere. */
function loads(operation: u32, i: u32): void {
  put(operation, rdOf(i) ? rdOf(i) : NOWHERE, rs1Of(i), 0, <i32>immI(i));
}

function stores(operation: u32, i: u32): void { put(operation, 0, rs1Of(i), rs2Of(i), <i32>immS(i)); }

/** Whether a jump so many bytes away stays in the page, and so among its entries. */
@inline function isNear(distance: i32): bool {
  return offset != NOT_IN_PAGE && offset + distance >= 0 && offset + distance < PAGE_SIZE;
}

/** Near operations are numbered as their far ones. */
function branch(near: u32, i: u32): void {
  const distance = <i32>immB(i);
  if (isNear(distance)) put(near, 0, rs1Of(i), rs2Of(i), distance << 2);
  else put(near + (DO_BEQ_FAR - DO_BEQ), NOWHERE, rs1Of(i), rs2Of(i), distance);
}

function jump(i: u32): void {
  const distance = <i32>immJ(i);
  const rd = rdOf(i) ? rdOf(i) : NOWHERE;
  if (isNear(distance)) put(DO_JAL, rd, 0, 0, distance << 2);
  else put(DO_JAL_FAR, rd, 0, 0, distance);
}

/** Executed from the instruction word; entry and word find each other by their places. */
@inline function whole(operation: u32): void { put(operation, 0, 0, 0, 0); }

/** Shifts by a constant: the bits above the amount tell arithmetic from logical. */
function shift(i: u32, bits: u32, left: u32, logical: u32, arithmetic: u32): void {
  const amount = <i32>(i >> 20 & ((1 << bits) - 1));
  const kind = i >> (20 + bits);
  if (kind == 0) compute(funct3(i) == 1 ? left : logical, i, amount);
  else if (kind == 1 << (10 - bits) && funct3(i) == 5) compute(arithmetic, i, amount);
  else whole(DO_ILLEGAL);
}

/** ADD, of which C.MV makes a copy: x0 + rs2. */
function sum(i: u32): void {
  if (rs1Of(i) || funct7(i) || !rdOf(i)) register(i, DO_ADD, DO_SUB, DO_MUL);
  else put(DO_MV, rdOf(i), rs2Of(i), 0, 0);
}

/** OP: funct7 0 is `base`, 0x20 SUB or SRA, 1 the M extension. */
function register(i: u32, base: u32, alternate: u32, multiply: u32): void {
  const f7 = funct7(i);
  if (f7 == 0) operate(base, i);
  else if (f7 == 1) operate(multiply, i);
  else if (f7 == 0x20 && alternate) operate(alternate, i);
  else whole(DO_ILLEGAL);
}

/** OP-32: the same, where some funct7 have no instruction at all. */
function register32(i: u32): void {
  switch (funct7(i) << 3 | funct3(i)) {
    case 0: operate(DO_ADDW, i); break;
    case 1: operate(DO_SLLW, i); break;
    case 5: operate(DO_SRLW, i); break;
    case 0x20 << 3: operate(DO_SUBW, i); break;
    case 0x20 << 3 | 5: operate(DO_SRAW, i); break;
    case 1 << 3: operate(DO_MULW, i); break;
    case 1 << 3 | 4: operate(DO_DIVW, i); break;
    case 1 << 3 | 5: operate(DO_DIVUW, i); break;
    case 1 << 3 | 6: operate(DO_REMW, i); break;
    case 1 << 3 | 7: operate(DO_REMUW, i); break;
    default: whole(DO_ILLEGAL);
  }
}

/** Floating-point registers, or an x register as rs1 or (`toX`) as rd. */
function floats(operation: u32, i: u32): void { put(operation, rdOf(i), rs1Of(i), rs2Of(i), <i32>(i >> 27)); }
function toX(operation: u32, i: u32): void {
  put(operation, rdOf(i) ? rdOf(i) : NOWHERE, rs1Of(i), rs2Of(i), 0);
}

/** Whether float-plain.ts may do it: it rounds to nearest even, or as frm says, and that is looked at there. */
@inline function isPlain(i: u32): bool { return funct3(i) == RNE || funct3(i) == DYNAMIC; }

/** MADD and its kin; rs3 becomes the immediate. */
function fused(operation: u32, i: u32): void {
  if (isPlain(i) && (i >> 25 & 3) == 1) floats(operation, i);
  else whole(DO_FLOAT);
}

/** Operations of D that round: funct7, and the number in rs2's place where it is one. */
function rounded(i: u32): void {
  switch (funct7(i) << 5 | (i >> 30 ? rs2Of(i) : 0)) {
    case 0x01 << 5: floats(DO_FADD_D, i); break;
    case 0x05 << 5: floats(DO_FSUB_D, i); break;
    case 0x09 << 5: floats(DO_FMUL_D, i); break;
    case 0x0d << 5: floats(DO_FDIV_D, i); break;
    case 0x69 << 5: floats(DO_FCVT_D_W, i); break;
    case 0x69 << 5 | 2: floats(DO_FCVT_D_L, i); break;
    default: if (i >> 20 == 0x2d << 5) floats(DO_FSQRT_D, i); else whole(DO_FLOAT);
  }
}

/** OP-FP: the commonest have an operation of their own, all else is executed from the word. */
function float(i: u32): void {
  switch (funct7(i) << 3 | funct3(i)) {
    case 0x11 << 3: floats(DO_FSGNJ_D, i); return;
    case 0x11 << 3 | 1: floats(DO_FSGNJN_D, i); return;
    case 0x11 << 3 | 2: floats(DO_FSGNJX_D, i); return;
    case 0x51 << 3: toX(DO_FLE_D, i); return;
    case 0x51 << 3 | 1: toX(DO_FLT_D, i); return;
    case 0x51 << 3 | 2: toX(DO_FEQ_D, i); return;
  }
  // Towards zero, as C casts; moves of bits.
  switch (i >> 20 << 3 | funct3(i)) {
    case 0x61 << 8 | RTZ: toX(DO_FCVT_W_D, i); return;
    case 0x61 << 8 | 2 << 3 | RTZ: toX(DO_FCVT_L_D, i); return;
    case 0x71 << 8: toX(DO_FMV_X_D, i); return;
    case 0x79 << 8: floats(DO_FMV_D_X, i); return;
  }
  if (isPlain(i)) rounded(i);
  else whole(DO_FLOAT);
}

/** Those whose bits 14..12 are not funct3, or belong to the operation's own function. */
function byOpcode(i: u32): void {
  switch (i >> 2 & 31) {
    case OP_LUI: upper(DO_LUI, i); break;
    case OP_AUIPC: upper(DO_AUIPC, i); break;
    case OP_JAL: jump(i); break;
    case OP_32: register32(i); break;
    case OP_AMO: whole(DO_AMO); break;
    case OP_SYSTEM: whole(DO_SYSTEM); break;
    case OP_MADD: fused(DO_FMADD_D, i); break;
    case OP_MSUB: fused(DO_FMSUB_D, i); break;
    case OP_NMSUB: fused(DO_FNMSUB_D, i); break;
    case OP_NMADD: fused(DO_FNMADD_D, i); break;
    case OP_FP: float(i); break;
    default: whole(DO_ILLEGAL);
  }
}

function encode(i: u32): void {
  switch (keyOf(i)) {
    case LB: loads(DO_LB, i); break;
    case LH: loads(DO_LH, i); break;
    case LW: loads(DO_LW, i); break;
    case LD: loads(DO_LD, i); break;
    case LBU: loads(DO_LBU, i); break;
    case LHU: loads(DO_LHU, i); break;
    case LWU: loads(DO_LWU, i); break;
    case SB: stores(DO_SB, i); break;
    case SH: stores(DO_SH, i); break;
    case SW: stores(DO_SW, i); break;
    case SD: stores(DO_SD, i); break;

    case ADDI: add(i); break;
    case SLTI: immediate(DO_SLTI, i); break;
    case SLTIU: immediate(DO_SLTIU, i); break;
    case XORI: immediate(DO_XORI, i); break;
    case ORI: immediate(DO_ORI, i); break;
    case ANDI: immediate(DO_ANDI, i); break;
    case ADDIW: immediate(DO_ADDIW, i); break;
    case SLLI: case SRLI_SRAI: shift(i, 6, DO_SLLI, DO_SRLI, DO_SRAI); break;
    case SLLIW: case SRLIW_SRAIW: shift(i, 5, DO_SLLIW, DO_SRLIW, DO_SRAIW); break;

    case ADD: sum(i); break;
    case SLL: register(i, DO_SLL, 0, DO_MULH); break;
    case SLT: register(i, DO_SLT, 0, DO_MULHSU); break;
    case SLTU: register(i, DO_SLTU, 0, DO_MULHU); break;
    case XOR: register(i, DO_XOR, 0, DO_DIV); break;
    case SRL: register(i, DO_SRL, DO_SRA, DO_DIVU); break;
    case OR: register(i, DO_OR, 0, DO_REM); break;
    case AND: register(i, DO_AND, 0, DO_REMU); break;

    case BEQ: branch(DO_BEQ, i); break;
    case BNE: branch(DO_BNE, i); break;
    case BLT: branch(DO_BLT, i); break;
    case BGE: branch(DO_BGE, i); break;
    case BLTU: branch(DO_BLTU, i); break;
    case BGEU: branch(DO_BGEU, i); break;
    case JALR: put(DO_JALR, rdOf(i) ? rdOf(i) : NOWHERE, rs1Of(i), 0, <i32>immI(i)); break;

    case FENCE: whole(DO_FENCE); break;
    case FENCE_I: whole(DO_FENCE_I); break;
    case OP_LOAD_FP | F2: put(DO_FLW, rdOf(i), rs1Of(i), 0, <i32>immI(i)); break;
    case OP_LOAD_FP | F3: put(DO_FLD, rdOf(i), rs1Of(i), 0, <i32>immI(i)); break;
    case OP_STORE_FP | F2: stores(DO_FSW, i); break;
    case OP_STORE_FP | F3: stores(DO_FSD, i); break;
    default: byOpcode(i);
  }
}

/** The instruction of an entry: 32 bits, expanded if it was a short one. */
export function wordAt(slot: usize, at: usize): u32 {
  const bits = fetchedAt(slot, at);
  return (bits & 3) == 3 ? bits : expand(bits);
}

/** The instruction as it was fetched: 16 or 32 bits. */
export function fetchedAt(slot: usize, at: usize): u32 {
  const place = slot + COPY + ((at - slot) >> 2);
  const low = <u32>load<u16>(place);
  return (low & 3) == 3 ? load<u32>(place) : low;
}

/** Decodes an entry of a page. */
export function decodeEntry(slot: usize, at: usize): void {
  const low = <u32>load<u16>(slot + COPY + ((at - slot) >> 2));
  entry = at;
  offset = <i32>((at - slot) >> 2);
  size = (low & 3) == 3 ? 4 : 2;
  if (size == 4 && offset == PAGE_SIZE - 2) whole(DO_CROSSING);
  else encode(wordAt(slot, at));
}

/** Decodes an instruction that is in no page as a whole. */
export function decodeCrossing(at: usize, instruction: u32): void {
  entry = at;
  offset = NOT_IN_PAGE;
  size = 4;
  encode(instruction);
}
