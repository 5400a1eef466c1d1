/**
 * Groups of plain arithmetic, 32 and 16 bits wide, and any encoding of the arithmetic opcodes.
 */
import * as isa from './encode.ts';
import {
  alignedOffset,
  destination,
  type Group,
  keys,
  operation,
  plain,
  short,
  source,
  WINDOW_BASE,
  written,
} from './group.ts';
import type { Random } from './random.ts';

export function registerRegister(random: Random): Group {
  const { text, word } = operation(random, destination(random));
  return plain(text, word);
}

export function registerImmediate(random: Random): Group {
  const name = random.pick(keys(isa.IMMEDIATE_OPS));
  const [opcode, funct3] = isa.IMMEDIATE_OPS[name];
  const [rd, rs1] = [destination(random), source(random)];
  const immediate = random.pick([0, -1, 2047, -2048, random.between(-2048, 2047)]);
  const word = isa.iType(opcode, funct3, rd, rs1, immediate);
  return plain(`${name} x${rd}, x${rs1}, ${immediate}`, word);
}

export function shift(random: Random): Group {
  const name = random.pick(keys(isa.SHIFT_OPS));
  const [opcode, funct3, high, width] = isa.SHIFT_OPS[name];
  const [rd, rs1] = [destination(random), source(random)];
  const amount = random.between(0, 2 ** width - 1);
  const word = isa.iType(opcode, funct3, rd, rs1, high | amount);
  return plain(`${name} x${rd}, x${rs1}, ${amount}`, word);
}

export function upper(random: Random): Group {
  const [rd, value] = [destination(random), random.between(0, 0xfffff)];
  return random.oneIn(2)
    ? plain(`lui x${rd}, ${value}`, isa.lui(rd, value))
    : plain(`auipc x${rd}, ${value}`, isa.auipc(rd, value));
}

export function shortArithmetic(random: Random): Group {
  const immediate = random.between(-32, 31);
  const [rd, rs2, near, near2] = [
    destination(random),
    written(random),
    short(random),
    short(random),
  ];
  const amount = random.between(0, 63);
  const name = random.pick(keys(isa.SHORT_OPS));
  // Destinations of x0 are hints where they are not reserved: they must do nothing.
  const notSp = rd === 2 ? 3 : rd;
  return random.pick([
    () => plain(`c.addi x${rd}, ${immediate}`, isa.cAddi(rd, immediate)),
    () => plain(`c.addiw x${rs2}, ${immediate}`, isa.cAddiw(rs2, immediate)),
    () => plain(`c.li x${rd}, ${immediate}`, isa.cLi(rd, immediate)),
    () => plain(`c.lui x${notSp}, ${immediate || 1}`, isa.cLui(notSp, immediate || 1)),
    () => plain(`c.slli x${rd}, ${amount}`, isa.cSlli(rd, amount)),
    () => plain(`c.srli x${near}, ${amount}`, isa.cImmediateShort(0, near, amount)),
    () => plain(`c.srai x${near}, ${amount}`, isa.cImmediateShort(1, near, amount)),
    () => plain(`c.andi x${near}, ${immediate}`, isa.cImmediateShort(2, near, immediate)),
    () => plain(`${name} x${near}, x${near2}`, isa.cShortOp(name, near, near2)),
    () => plain(`c.mv x${rd}, x${rs2}`, isa.cMv(rd, rs2)),
    () => plain(`c.add x${rd}, x${rs2}`, isa.cAdd(rd, rs2)),
    () => plain(`c.addi16sp ${(immediate || 1) * 16}`, isa.cAddi16sp((immediate || 1) * 16)),
    () => plain(`c.addi4spn x${near}, ${amount * 4 + 4}`, isa.cAddi4spn(near, amount * 4 + 4)),
    () => plain('c.nop', isa.C_NOP),
  ])();
}

/**
 * Major opcodes of which any encoding may be tried: arithmetic, AMO, FENCE, and those that belong to
 * absent extensions. Their reserved encodings must be illegal, their ignored fields ignored.
 */
const MAJOR_OPCODES = [
  0x13, 0x1b, 0x33, 0x3b, 0x2f, 0x0f, 0x0b, 0x2b, 0x5b, 0x7b, 0x57, 0x6b, 0x77, 0x43, 0x53, 0x07,
] as const;

export function anyEncoding(random: Random): Group {
  const opcode = random.pick(MAJOR_OPCODES);
  const rd = destination(random);
  // An AMO's address is aligned and in the window whatever its fields turn out to mean.
  const base = written(random);
  const offset = alignedOffset(random, 8);
  // A lone SC may fail or succeed where an earlier LR of the same address went without one.
  const drawn = random.word() & 0xfe007000;
  const free = opcode === 0x2f && drawn >>> 27 === isa.SC ? drawn ^ 0x80000000 : drawn;
  const word = (free | (source(random) << 20) | (base << 15) | (rd << 7) | opcode) >>> 0;
  return plain(
    `addi x${base}, x31, ${offset}; .word 0x${word.toString(16)}`,
    isa.addi(base, WINDOW_BASE, offset),
    word,
  );
}

/** Any 16 bits that are no jump, branch, load or store, and do not write x31. */
export function anyShortEncoding(random: Random): Group {
  for (;;) {
    const half = random.word() & 0xffff;
    const [quadrant, funct3, rd] = [half & 3, half >> 13, (half >> 7) & 31];
    const isArithmetic =
      (quadrant === 0 && (funct3 === 0 || funct3 === 4 || funct3 === 1 || funct3 === 5)) ||
      (quadrant === 1 && funct3 <= 4) ||
      (quadrant === 2 && (funct3 === 0 || (funct3 === 4 && (half & 0x7c) !== 0)));
    if (!isArithmetic || rd === WINDOW_BASE) continue;
    return plain(`.half 0x${half.toString(16)}`, half);
  }
}
