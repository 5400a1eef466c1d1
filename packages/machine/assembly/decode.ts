/**
 * Instruction formats: where the fields of a 32-bit instruction lie, and the numbers of the opcodes.
 *
 * instruction word -> [decode] -> execute
 *
 * Register fields are returned as byte offsets (number x 8) into the register file, which saves a
 * shift on every access. Sections are those of the RISC-V Unprivileged ISA manual.
 */

// Major opcodes: bits 6..2 of a 32-bit instruction (table "RISC-V base opcode map").
export const OP_LOAD = 0;
export const OP_LOAD_FP = 1;
export const OP_MISC_MEM = 3;
export const OP_IMM = 4;
export const OP_AUIPC = 5;
export const OP_IMM_32 = 6;
export const OP_STORE = 8;
export const OP_STORE_FP = 9;
export const OP_AMO = 11;
export const OP_OP = 12;
export const OP_LUI = 13;
export const OP_32 = 14;
export const OP_MADD = 16;
export const OP_MSUB = 17;
export const OP_NMSUB = 18;
export const OP_NMADD = 19;
export const OP_FP = 20;
export const OP_BRANCH = 24;
export const OP_JALR = 25;
export const OP_JAL = 27;
export const OP_SYSTEM = 28;

// Opcode and funct3 side by side: one number for each instruction, or for the few that funct7 tells
// apart. Those of U and J type have immediate bits in funct3's place, and no name here.

@inline export function keyOf(instruction: u32): u32 {
  return (instruction >> 2 & 31) | (instruction >> 7 & 0xe0);
}

/** funct3 at its place in the key. */
export const F1 = 1 << 5;
export const F2 = 2 << 5;
export const F3 = 3 << 5;
export const F4 = 4 << 5;
export const F5 = 5 << 5;
export const F6 = 6 << 5;
export const F7 = 7 << 5;

export const LB = OP_LOAD;
export const LH = OP_LOAD | F1;
export const LW = OP_LOAD | F2;
export const LD = OP_LOAD | F3;
export const LBU = OP_LOAD | F4;
export const LHU = OP_LOAD | F5;
export const LWU = OP_LOAD | F6;
export const FENCE = OP_MISC_MEM;
export const FENCE_I = OP_MISC_MEM | F1;
export const ADDI = OP_IMM;
export const SLLI = OP_IMM | F1;
export const SLTI = OP_IMM | F2;
export const SLTIU = OP_IMM | F3;
export const XORI = OP_IMM | F4;
export const SRLI_SRAI = OP_IMM | F5;
export const ORI = OP_IMM | F6;
export const ANDI = OP_IMM | F7;
export const ADDIW = OP_IMM_32;
export const SLLIW = OP_IMM_32 | F1;
export const SRLIW_SRAIW = OP_IMM_32 | F5;
export const SB = OP_STORE;
export const SH = OP_STORE | F1;
export const SW = OP_STORE | F2;
export const SD = OP_STORE | F3;
// With funct7 = 0; other values of it make M, SUB or SRA of these.
export const ADD = OP_OP;
export const SLL = OP_OP | F1;
export const SLT = OP_OP | F2;
export const SLTU = OP_OP | F3;
export const XOR = OP_OP | F4;
export const SRL = OP_OP | F5;
export const OR = OP_OP | F6;
export const AND = OP_OP | F7;
export const ADDW = OP_32;
export const BEQ = OP_BRANCH;
export const BNE = OP_BRANCH | F1;
export const BLT = OP_BRANCH | F4;
export const BGE = OP_BRANCH | F5;
export const BLTU = OP_BRANCH | F6;
export const BGEU = OP_BRANCH | F7;
export const JALR = OP_JALR;

/** Not an instruction, in any extension: all ones is defined illegal (section 1.5). */
export const ILLEGAL: u32 = 0xffffffff;

//                                          31      25 24  20 19  15 14 12 11   7 6    0
// R-type                                   [ funct7  | rs2  | rs1  | f3  | rd   | op  ]

@inline export function rdAt(instruction: u32): usize { return (instruction >> 4) & 0xf8; }
@inline export function rs1At(instruction: u32): usize { return (instruction >> 12) & 0xf8; }
@inline export function rs2At(instruction: u32): usize { return (instruction >> 17) & 0xf8; }
@inline export function funct3(instruction: u32): u32 { return (instruction >> 12) & 7; }
@inline export function funct7(instruction: u32): u32 { return instruction >> 25; }

// Immediates, sign-extended to 64 bits (section 2.3).

@inline export function immI(instruction: u32): u64 {
  return <u64>(<i64>(<i32>instruction >> 20));
}

@inline export function immS(instruction: u32): u64 {
  return <u64>(<i64>((<i32>instruction >> 25 << 5) | <i32>((instruction >> 7) & 31)));
}

@inline export function immB(instruction: u32): u64 {
  return <u64>(<i64>((<i32>instruction >> 31 << 12) | <i32>((instruction << 4) & 0x800)
    | <i32>((instruction >> 20) & 0x7e0) | <i32>((instruction >> 7) & 0x1e)));
}

@inline export function immU(instruction: u32): u64 {
  return <u64>(<i64>(<i32>(instruction & 0xfffff000)));
}

@inline export function immJ(instruction: u32): u64 {
  return <u64>(<i64>((<i32>instruction >> 31 << 20) | <i32>(instruction & 0xff000)
    | <i32>((instruction >> 9) & 0x800) | <i32>((instruction >> 20) & 0x7fe)));
}

// Encoders, for the expansion of 16-bit instructions. Registers are numbers here.

@inline export function encodeR(opcode: u32, f3: u32, f7: u32, rd: u32, rs1: u32, rs2: u32): u32 {
  return (f7 << 25) | (rs2 << 20) | (rs1 << 15) | (f3 << 12) | (rd << 7) | (opcode << 2) | 3;
}

@inline export function encodeI(opcode: u32, f3: u32, rd: u32, rs1: u32, imm: u32): u32 {
  return (imm << 20) | (rs1 << 15) | (f3 << 12) | (rd << 7) | (opcode << 2) | 3;
}

@inline export function encodeS(opcode: u32, f3: u32, rs1: u32, rs2: u32, imm: u32): u32 {
  return ((imm >> 5) << 25) | (rs2 << 20) | (rs1 << 15) | (f3 << 12) | ((imm & 31) << 7)
    | (opcode << 2) | 3;
}

@inline export function encodeB(f3: u32, rs1: u32, rs2: u32, imm: u32): u32 {
  return ((imm >> 12 & 1) << 31) | ((imm >> 5 & 63) << 25) | (rs2 << 20) | (rs1 << 15) | (f3 << 12)
    | ((imm >> 1 & 15) << 8) | ((imm >> 11 & 1) << 7) | (OP_BRANCH << 2) | 3;
}

@inline export function encodeJ(rd: u32, imm: u32): u32 {
  return ((imm >> 20 & 1) << 31) | ((imm >> 1 & 1023) << 21) | ((imm >> 11 & 1) << 20)
    | ((imm >> 12 & 255) << 12) | (rd << 7) | (OP_JAL << 2) | 3;
}

@inline export function encodeLui(rd: u32, imm: u32): u32 {
  return (imm & 0xfffff000) | (rd << 7) | (OP_LUI << 2) | 3;
}
