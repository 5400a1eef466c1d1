/**
 * RV64IMAC instruction encodings for tests, from the RISC-V Unprivileged ISA manual, chapter
 * "RV32/64G Instruction Set Listings" and the tables of the C extension.
 *
 * Each function answers the bits of one instruction: 32 of them, or 16 for the names that begin
 * with `c`. Operands are checked, because an encoder that silently cuts an immediate turns a test
 * of one instruction into a test of another.
 */

function field(value: number, bits: number, name: string): number {
  if (!Number.isInteger(value) || value < 0 || value >= 2 ** bits) {
    throw new RangeError(`${name} ${value} does not fit ${bits} bits`);
  }
  return value;
}

function signed(value: number, bits: number, name: string): number {
  const half = 2 ** (bits - 1);
  if (!Number.isInteger(value) || value < -half || value >= half) {
    throw new RangeError(`${name} ${value} does not fit ${bits} signed bits`);
  }
  return value;
}

const reg = (index: number): number => field(index, 5, 'register');
/** Registers of the compressed formats' three-bit fields: x8 to x15. */
const shortReg = (index: number): number => field(index - 8, 3, 'compressed register');
/** Bits `high` to `low` of `value`, moved to `to`. */
const bits = (value: number, high: number, low: number, to: number): number =>
  ((value >> low) & (2 ** (high - low + 1) - 1)) << to;

// --------------------------------------------------------------------------------- 32-bit formats

export function rType(
  opcode: number,
  funct3: number,
  funct7: number,
  rd: number,
  rs1: number,
  rs2: number,
): number {
  const high = (field(funct7, 7, 'funct7') << 25) | (reg(rs2) << 20) | (reg(rs1) << 15);
  return (high | (funct3 << 12) | (reg(rd) << 7) | opcode) >>> 0;
}

export function iType(
  opcode: number,
  funct3: number,
  rd: number,
  rs1: number,
  immediate: number,
): number {
  const high = (signed(immediate, 12, 'immediate') << 20) | (reg(rs1) << 15);
  return (high | (funct3 << 12) | (reg(rd) << 7) | opcode) >>> 0;
}

export function sType(funct3: number, rs2: number, rs1: number, immediate: number): number {
  signed(immediate, 12, 'immediate');
  const high = bits(immediate, 11, 5, 25) | (reg(rs2) << 20) | (reg(rs1) << 15);
  return (high | (funct3 << 12) | bits(immediate, 4, 0, 7) | 0x23) >>> 0;
}

export function bType(funct3: number, rs1: number, rs2: number, offset: number): number {
  signed(offset, 13, 'branch offset');
  const high = bits(offset, 12, 12, 31) | bits(offset, 10, 5, 25) | (reg(rs2) << 20);
  const low = bits(offset, 4, 1, 8) | bits(offset, 11, 11, 7) | 0x63;
  return (high | (reg(rs1) << 15) | (funct3 << 12) | low) >>> 0;
}

/** `upper` is the 20-bit field itself. */
export function uType(opcode: number, rd: number, upper: number): number {
  return ((field(upper, 20, 'upper immediate') << 12) | (reg(rd) << 7) | opcode) >>> 0;
}

export function jal(rd: number, offset: number): number {
  signed(offset, 21, 'jump offset');
  const high = bits(offset, 20, 20, 31) | bits(offset, 10, 1, 21) | bits(offset, 11, 11, 20);
  return (high | bits(offset, 19, 12, 12) | (reg(rd) << 7) | 0x6f) >>> 0;
}

export const lui = (rd: number, upper: number): number => uType(0x37, rd, upper);
export const auipc = (rd: number, upper: number): number => uType(0x17, rd, upper);
export const jalr = (rd: number, rs1: number, offset: number): number =>
  iType(0x67, 0, rd, rs1, offset);
export const addi = (rd: number, rs1: number, immediate: number): number =>
  iType(0x13, 0, rd, rs1, immediate);

/** Register-register: name -> opcode, funct3, funct7. */
export const OPS = {
  add: [0x33, 0, 0x00],
  sub: [0x33, 0, 0x20],
  sll: [0x33, 1, 0x00],
  slt: [0x33, 2, 0x00],
  sltu: [0x33, 3, 0x00],
  xor: [0x33, 4, 0x00],
  srl: [0x33, 5, 0x00],
  sra: [0x33, 5, 0x20],
  or: [0x33, 6, 0x00],
  and: [0x33, 7, 0x00],
  addw: [0x3b, 0, 0x00],
  subw: [0x3b, 0, 0x20],
  sllw: [0x3b, 1, 0x00],
  srlw: [0x3b, 5, 0x00],
  sraw: [0x3b, 5, 0x20],
  mul: [0x33, 0, 0x01],
  mulh: [0x33, 1, 0x01],
  mulhsu: [0x33, 2, 0x01],
  mulhu: [0x33, 3, 0x01],
  div: [0x33, 4, 0x01],
  divu: [0x33, 5, 0x01],
  rem: [0x33, 6, 0x01],
  remu: [0x33, 7, 0x01],
  mulw: [0x3b, 0, 0x01],
  divw: [0x3b, 4, 0x01],
  divuw: [0x3b, 5, 0x01],
  remw: [0x3b, 6, 0x01],
  remuw: [0x3b, 7, 0x01],
} as const;

/** Register-immediate, 12 signed bits: name -> opcode, funct3. */
export const IMMEDIATE_OPS = {
  addi: [0x13, 0],
  slti: [0x13, 2],
  sltiu: [0x13, 3],
  xori: [0x13, 4],
  ori: [0x13, 6],
  andi: [0x13, 7],
  addiw: [0x1b, 0],
} as const;

/** Shifts by a constant: name -> opcode, funct3, bits above the amount, width of the amount. */
export const SHIFT_OPS = {
  slli: [0x13, 1, 0x000, 6],
  srli: [0x13, 5, 0x000, 6],
  srai: [0x13, 5, 0x400, 6],
  slliw: [0x1b, 1, 0x000, 5],
  srliw: [0x1b, 5, 0x000, 5],
  sraiw: [0x1b, 5, 0x400, 5],
} as const;

export const LOADS = { lb: 0, lh: 1, lw: 2, ld: 3, lbu: 4, lhu: 5, lwu: 6 } as const;
export const STORES = { sb: 0, sh: 1, sw: 2, sd: 3 } as const;
export const BRANCHES = { beq: 0, bne: 1, blt: 4, bge: 5, bltu: 6, bgeu: 7 } as const;

/** Read-modify-write AMOs: name -> funct5. Width is funct3: 2 for .w, 3 for .d. */
export const AMOS = {
  amoadd: 0x00,
  amoswap: 0x01,
  amoxor: 0x04,
  amoor: 0x08,
  amoand: 0x0c,
  amomin: 0x10,
  amomax: 0x14,
  amominu: 0x18,
  amomaxu: 0x1c,
} as const;
export const LR = 0x02;
export const SC = 0x03;

/** `ordering` is the two bits aq, rl. */
export function amo(
  funct5: number,
  width: 2 | 3,
  ordering: number,
  rd: number,
  rs1: number,
  rs2: number,
): number {
  return rType(0x2f, width, (funct5 << 2) | field(ordering, 2, 'aq rl'), rd, rs1, rs2);
}

export const CSR = { mstatus: 0x300, mtvec: 0x305, mscratch: 0x340, mepc: 0x341 } as const;
export const csrrw = (rd: number, csr: number, rs1: number): number =>
  rType(0x73, 1, csr >> 5, rd, rs1, csr & 31);
export const csrrs = (rd: number, csr: number, rs1: number): number =>
  rType(0x73, 2, csr >> 5, rd, rs1, csr & 31);
export const csrrc = (rd: number, csr: number, rs1: number): number =>
  rType(0x73, 3, csr >> 5, rd, rs1, csr & 31);

export const ECALL = 0x00000073;
export const EBREAK = 0x00100073;
export const MRET = 0x30200073;
export const SRET = 0x10200073;
export const WFI = 0x10500073;
export const sfenceVma = (rs1: number, rs2: number): number => rType(0x73, 0, 9, 0, rs1, rs2);
export const FENCE = 0x0ff0000f;
export const FENCE_I = 0x0000100f;

// --------------------------------------------------------------------------------- 16-bit formats

/** CI: a six-bit immediate split over bit 12 and bits 6 to 2. */
function cImmediate(quadrant: number, funct3: number, rd: number, immediate: number): number {
  const six = immediate & 63;
  return (funct3 << 13) | bits(six, 5, 5, 12) | (reg(rd) << 7) | bits(six, 4, 0, 2) | quadrant;
}

export const cAddi = (rd: number, immediate: number): number =>
  cImmediate(1, 0, rd, signed(immediate, 6, 'immediate'));
export const cAddiw = (rd: number, immediate: number): number =>
  cImmediate(1, 1, rd, signed(immediate, 6, 'immediate'));
export const cLi = (rd: number, immediate: number): number =>
  cImmediate(1, 2, rd, signed(immediate, 6, 'immediate'));
/** `upper` counts in 4096; not 0, and rd is neither x0 nor x2. */
export const cLui = (rd: number, upper: number): number =>
  cImmediate(1, 3, rd, signed(upper, 6, 'immediate'));
export const cSlli = (rd: number, amount: number): number =>
  cImmediate(2, 0, rd, field(amount, 6, 'amount'));

export function cAddi16sp(immediate: number): number {
  signed(immediate, 10, 'immediate');
  const low = bits(immediate, 4, 4, 6) | bits(immediate, 6, 6, 5) | bits(immediate, 8, 7, 3);
  return 0x6101 | bits(immediate, 9, 9, 12) | low | bits(immediate, 5, 5, 2);
}

export function cAddi4spn(rd: number, immediate: number): number {
  field(immediate, 10, 'immediate');
  const high = bits(immediate, 5, 4, 11) | bits(immediate, 9, 6, 7);
  return high | bits(immediate, 2, 2, 6) | bits(immediate, 3, 3, 5) | (shortReg(rd) << 2);
}

/** srli, srai, andi on x8 to x15: kind 0, 1, 2. */
export function cImmediateShort(kind: 0 | 1 | 2, rd: number, immediate: number): number {
  const six = immediate & 63;
  const high = (4 << 13) | bits(six, 5, 5, 12) | (kind << 10);
  return high | (shortReg(rd) << 7) | bits(six, 4, 0, 2) | 1;
}

/** Register-register on x8 to x15: name -> bit 12, bits 6 to 5. */
export const SHORT_OPS = {
  cSub: [0, 0],
  cXor: [0, 1],
  cOr: [0, 2],
  cAnd: [0, 3],
  cSubw: [1, 0],
  cAddw: [1, 1],
} as const;
export function cShortOp(name: keyof typeof SHORT_OPS, rd: number, rs2: number): number {
  const [high, low] = SHORT_OPS[name];
  const registers = (shortReg(rd) << 7) | (shortReg(rs2) << 2);
  return (4 << 13) | (high << 12) | (3 << 10) | registers | (low << 5) | 1;
}

export const cMv = (rd: number, rs2: number): number => 0x8002 | (reg(rd) << 7) | (reg(rs2) << 2);
export const cAdd = (rd: number, rs2: number): number => 0x9002 | (reg(rd) << 7) | (reg(rs2) << 2);
export const cJr = (rs1: number): number => 0x8002 | (reg(rs1) << 7);
export const cJalr = (rs1: number): number => 0x9002 | (reg(rs1) << 7);
export const C_EBREAK = 0x9002;
export const C_NOP = 0x0001;

export function cJ(offset: number): number {
  signed(offset, 12, 'jump offset');
  const high = bits(offset, 11, 11, 12) | bits(offset, 4, 4, 11) | bits(offset, 9, 8, 9);
  const middle = bits(offset, 10, 10, 8) | bits(offset, 6, 6, 7) | bits(offset, 7, 7, 6);
  return 0xa001 | high | middle | bits(offset, 3, 1, 3) | bits(offset, 5, 5, 2);
}

/** c.beqz (`ifZero`) and c.bnez. */
export function cBranch(ifZero: boolean, rs1: number, offset: number): number {
  signed(offset, 9, 'branch offset');
  const high = bits(offset, 8, 8, 12) | bits(offset, 4, 3, 10) | (shortReg(rs1) << 7);
  const low = bits(offset, 7, 6, 5) | bits(offset, 2, 1, 3) | bits(offset, 5, 5, 2);
  return (ifZero ? 0xc001 : 0xe001) | high | low;
}

/** c.fld and c.fsd: like c.ld and c.sd. */
export const cFloatDouble = (store: boolean, data: number, base: number, offset: number): number =>
  cDouble(store, data, base, offset) ^ 0x4000;
/** c.fldsp and c.fsdsp. */
export const cFloatLoadSp = (fd: number, offset: number): number =>
  cLoadSp(true, fd, offset) ^ 0x4000;
export const cFloatStoreSp = (fs2: number, offset: number): number =>
  cStoreSp(true, fs2, offset) ^ 0x4000;

/** c.lw and c.sw: offset a multiple of 4 below 128. */
export function cWord(store: boolean, data: number, base: number, offset: number): number {
  field(offset, 7, 'offset');
  const at = bits(offset, 5, 3, 10) | bits(offset, 2, 2, 6) | bits(offset, 6, 6, 5);
  return (store ? 0xc000 : 0x4000) | at | (shortReg(base) << 7) | (shortReg(data) << 2);
}

/** c.ld and c.sd: offset a multiple of 8 below 256. */
export function cDouble(store: boolean, data: number, base: number, offset: number): number {
  field(offset, 8, 'offset');
  const at = bits(offset, 5, 3, 10) | bits(offset, 7, 6, 5);
  return (store ? 0xe000 : 0x6000) | at | (shortReg(base) << 7) | (shortReg(data) << 2);
}

/** From sp: offset a multiple of 4 below 256 (word) or of 8 below 512 (doubleword); rd not x0. */
export function cLoadSp(double: boolean, rd: number, offset: number): number {
  const high = bits(offset, 5, 5, 12) | (reg(rd) << 7);
  if (!double) return 0x4002 | high | bits(offset, 4, 2, 4) | bits(offset, 7, 6, 2);
  return 0x6002 | high | bits(offset, 4, 3, 5) | bits(offset, 8, 6, 2);
}

export function cStoreSp(double: boolean, rs2: number, offset: number): number {
  const low = reg(rs2) << 2;
  if (!double) return 0xc002 | bits(offset, 5, 2, 9) | bits(offset, 7, 6, 7) | low;
  return 0xe002 | bits(offset, 5, 3, 10) | bits(offset, 8, 6, 7) | low;
}
