/**
 * F and D instruction encodings for tests, from the RISC-V Unprivileged ISA manual, chapters "F", "D" and
 * "RV32/64G Instruction Set Listings".
 *
 * An instruction is described by what it reads and writes, so that one program can run any of them
 * (float-program.ts) and one table can name the function that must agree (float.wasm).
 */
import { iType, rType, sType } from './encode.ts';

/** S, D: in f registers. X: in x registers. */
export type Place = 'S' | 'D' | 'X';

export interface FloatInstruction {
  readonly name: string;
  /** Name in float.wasm. */
  readonly wasm: string;
  readonly result: Place;
  readonly operands: readonly Place[];
  /** Operands are 1, 2, 3 in their kind of register. `rm` is used where the encoding has it. */
  word(rd: number, rm: number): number;
}

export const DYNAMIC = 7;
const OP_FP = 0x53;
/** The format field: S 0, D 1. */
const FORMATS = { S: 0, D: 1 } as const;

export const flw = (fd: number, rs1: number, offset: number): number =>
  iType(0x07, 2, fd, rs1, offset);
export const fld = (fd: number, rs1: number, offset: number): number =>
  iType(0x07, 3, fd, rs1, offset);
// sType has the opcode of the integer stores, which differs in one bit.
export const fsw = (fs2: number, rs1: number, offset: number): number =>
  sType(2, fs2, rs1, offset) | 4;
export const fsd = (fs2: number, rs1: number, offset: number): number =>
  sType(3, fs2, rs1, offset) | 4;

/** Two operands and a rounding mode: name -> funct5. */
const ROUNDED = { add: 0, sub: 1, mul: 2, div: 3 } as const;
/** Two operands and no rounding mode: name -> funct5, funct3, place of the result (F: the format). */
const EXACT = {
  sgnj: [4, 0, 'F'],
  sgnjn: [4, 1, 'F'],
  sgnjx: [4, 2, 'F'],
  min: [5, 0, 'F'],
  max: [5, 1, 'F'],
  le: [0x14, 0, 'X'],
  lt: [0x14, 1, 'X'],
  eq: [0x14, 2, 'X'],
} as const;
/** Fused: name -> opcode. */
const FUSED = { madd: 0x43, msub: 0x47, nmsub: 0x4b, nmadd: 0x4f } as const;
/** Integers: name -> the number in rs2's place. */
const INTEGERS = { W: 0, WU: 1, L: 2, LU: 3 } as const;

const opFp = (
  format: 'S' | 'D',
  funct5: number,
  rs2: number,
  rm: number,
  rd: number,
  rs1 = 1,
): number => rType(OP_FP, rm, (funct5 << 2) | FORMATS[format], rd, rs1, rs2);

function rounded(format: 'S' | 'D'): FloatInstruction[] {
  const suffix = format.toLowerCase();
  const two = Object.entries(ROUNDED).map(([name, funct5]) => ({
    name: `f${name}.${suffix}`,
    wasm: name + format,
    result: format,
    operands: [format, format],
    word: (rd: number, rm: number) => opFp(format, funct5, 2, rm, rd),
  }));
  const fused = Object.entries(FUSED).map(([name, opcode]) => ({
    name: `f${name}.${suffix}`,
    wasm: name + format,
    result: format,
    operands: [format, format, format],
    // rs3 is the upper five bits of what is funct7 elsewhere.
    word: (rd: number, rm: number) => rType(opcode, rm, (3 << 2) | FORMATS[format], rd, 1, 2),
  }));
  const root: FloatInstruction = {
    name: `fsqrt.${suffix}`,
    wasm: `sqrt${format}`,
    result: format,
    operands: [format],
    word: (rd, rm) => opFp(format, 0x0b, 0, rm, rd),
  };
  return [...two, ...fused, root];
}

function exact(format: 'S' | 'D'): FloatInstruction[] {
  const suffix = format.toLowerCase();
  const two = Object.entries(EXACT).map(([name, [funct5, funct3, place]]) => ({
    name: `f${name}.${suffix}`,
    wasm: name + format,
    result: place === 'F' ? format : place,
    operands: [format, format],
    word: (rd: number) => opFp(format, funct5, 2, funct3, rd),
  }));
  const one: FloatInstruction = {
    name: `fclass.${suffix}`,
    wasm: `class${format}`,
    result: 'X',
    operands: [format],
    word: (rd) => opFp(format, 0x1c, 0, 1, rd),
  };
  return [...two, one];
}

function conversions(format: 'S' | 'D'): FloatInstruction[] {
  const suffix = format.toLowerCase();
  return Object.entries(INTEGERS).flatMap(([integer, number]): FloatInstruction[] => [
    {
      name: `fcvt.${integer.toLowerCase()}.${suffix}`,
      wasm: `to${integer}${format}`,
      result: 'X',
      operands: [format],
      word: (rd, rm) => opFp(format, 0x18, number, rm, rd),
    },
    {
      // As C casts, whatever frm says.
      name: `fcvt.${integer.toLowerCase()}.${suffix}, rtz`,
      wasm: `to${integer}${format}`,
      result: 'X',
      operands: [format],
      word: (rd) => opFp(format, 0x18, number, 1, rd),
    },
    {
      name: `fcvt.${suffix}.${integer.toLowerCase()}`,
      wasm: `from${integer}${format}`,
      result: format,
      operands: ['X'],
      word: (rd, rm) => opFp(format, 0x1a, number, rm, rd),
    },
  ]);
}

/** Between the formats, and bits between the register files. */
const MOVES: FloatInstruction[] = [
  {
    name: 'fcvt.s.d',
    wasm: 'narrowD',
    result: 'S',
    operands: ['D'],
    word: (rd, rm) => opFp('S', 8, 1, rm, rd),
  },
  {
    name: 'fcvt.d.s',
    wasm: 'widenS',
    result: 'D',
    operands: ['S'],
    word: (rd, rm) => opFp('D', 8, 0, rm, rd),
  },
  {
    name: 'fmv.x.w',
    wasm: 'moveToXS',
    result: 'X',
    operands: ['S'],
    word: (rd) => opFp('S', 0x1c, 0, 0, rd),
  },
  {
    name: 'fmv.x.d',
    wasm: 'moveToXD',
    result: 'X',
    operands: ['D'],
    word: (rd) => opFp('D', 0x1c, 0, 0, rd),
  },
  {
    name: 'fmv.w.x',
    wasm: 'moveFromXS',
    result: 'S',
    operands: ['X'],
    word: (rd) => opFp('S', 0x1e, 0, 0, rd),
  },
  {
    name: 'fmv.d.x',
    wasm: 'moveFromXD',
    result: 'D',
    operands: ['X'],
    word: (rd) => opFp('D', 0x1e, 0, 0, rd),
  },
];

/** Every computational instruction of F and D. */
export const FLOAT_INSTRUCTIONS: readonly FloatInstruction[] = [
  ...(['S', 'D'] as const).flatMap((format) => [
    ...rounded(format),
    ...exact(format),
    ...conversions(format),
  ]),
  ...MOVES,
];

export function floatInstruction(name: string): FloatInstruction {
  const found = FLOAT_INSTRUCTIONS.find((instruction) => instruction.name === name);
  if (found === undefined) throw new Error(`no instruction ${name}`);
  return found;
}
