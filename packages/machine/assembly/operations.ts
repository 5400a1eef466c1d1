/**
 * Numbers of the decoded operations: what predecode.ts writes into an entry and execute.ts switches over.
 *
 * Dense, or the switch would not become a jump table. A new instruction is a number here, a line in
 * predecode.ts and a case in execute.ts.
 */

// 0 is what an entry holds that nobody has looked at: bytes still to be decoded.
export const DO_UNDECODED = 0;

// Not instructions: the end of a page, and an instruction that lies across two.
export const DO_PAGE_END = 1;
export const DO_CROSSING = 2;
export const DO_ILLEGAL = 3;

// Loads and stores: rd or rs2, rs1, immediate.
export const DO_LB = 4;
export const DO_LH = 5;
export const DO_LW = 6;
export const DO_LD = 7;
export const DO_LBU = 8;
export const DO_LHU = 9;
export const DO_LWU = 10;
export const DO_SB = 11;
export const DO_SH = 12;
export const DO_SW = 13;
export const DO_SD = 14;

// Immediates. LI and MV are the commonest forms of ADDI, NOP is all that writes x0 only.
export const DO_NOP = 15;
export const DO_LI = 16;
export const DO_MV = 17;
export const DO_ADDI = 18;
export const DO_SLTI = 19;
export const DO_SLTIU = 20;
export const DO_XORI = 21;
export const DO_ORI = 22;
export const DO_ANDI = 23;
export const DO_SLLI = 24;
export const DO_SRLI = 25;
export const DO_SRAI = 26;
export const DO_ADDIW = 27;
export const DO_SLLIW = 28;
export const DO_SRLIW = 29;
export const DO_SRAIW = 30;
export const DO_LUI = 31;
export const DO_AUIPC = 32;

// Registers.
export const DO_ADD = 33;
export const DO_SUB = 34;
export const DO_SLL = 35;
export const DO_SLT = 36;
export const DO_SLTU = 37;
export const DO_XOR = 38;
export const DO_SRL = 39;
export const DO_SRA = 40;
export const DO_OR = 41;
export const DO_AND = 42;
export const DO_ADDW = 43;
export const DO_SUBW = 44;
export const DO_SLLW = 45;
export const DO_SRLW = 46;
export const DO_SRAW = 47;

// M.
export const DO_MUL = 48;
export const DO_MULH = 49;
export const DO_MULHSU = 50;
export const DO_MULHU = 51;
export const DO_DIV = 52;
export const DO_DIVU = 53;
export const DO_REM = 54;
export const DO_REMU = 55;
export const DO_MULW = 56;
export const DO_DIVW = 57;
export const DO_DIVUW = 58;
export const DO_REMW = 59;
export const DO_REMUW = 60;

// Branches and jumps within the page: the immediate is the distance between entries.
export const DO_BEQ = 61;
export const DO_BNE = 62;
export const DO_BLT = 63;
export const DO_BGE = 64;
export const DO_BLTU = 65;
export const DO_BGEU = 66;
export const DO_JAL = 67;

// The same out of the page: the immediate is the distance in bytes.
export const DO_BEQ_FAR = 68;
export const DO_BNE_FAR = 69;
export const DO_BLT_FAR = 70;
export const DO_BGE_FAR = 71;
export const DO_BLTU_FAR = 72;
export const DO_BGEU_FAR = 73;
export const DO_JAL_FAR = 74;
export const DO_JALR = 75;

// Executed from the instruction word itself.
export const DO_FENCE = 76;
export const DO_FENCE_I = 77;
export const DO_AMO = 78;
export const DO_SYSTEM = 79;

// Loads and stores of floating-point registers.
export const DO_FLW = 80;
export const DO_FLD = 81;
export const DO_FSW = 82;
export const DO_FSD = 83;

// Floating point from the word; then the commonest of it (float-plain.ts), which may turn to that after all.
export const DO_FLOAT = 84;
export const DO_FADD_D = 85;
export const DO_FSUB_D = 86;
export const DO_FMUL_D = 87;
export const DO_FDIV_D = 88;
export const DO_FSQRT_D = 89;
export const DO_FMADD_D = 90;
export const DO_FMSUB_D = 91;
export const DO_FNMSUB_D = 92;
export const DO_FNMADD_D = 93;
export const DO_FSGNJ_D = 94;
export const DO_FSGNJN_D = 95;
export const DO_FSGNJX_D = 96;
export const DO_FEQ_D = 97;
export const DO_FLT_D = 98;
export const DO_FLE_D = 99;
export const DO_FCVT_D_W = 100;
export const DO_FCVT_D_L = 101;
export const DO_FCVT_W_D = 102;
export const DO_FCVT_L_D = 103;
export const DO_FMV_X_D = 104;
export const DO_FMV_D_X = 105;

/** How many there are. */
export const DO_COUNT = 106;
