/**
 * What all kinds of instruction groups share: the type, operands, places in the memory window.
 */
import type { Assembler } from './assembler.ts';
import * as isa from './encode.ts';
import type { Random } from './random.ts';

export const WINDOW_BASE = 31;
/** The window is [x31 - 2048, x31 + 2048); x31 is a page border. */
export const WINDOW_HALF_BYTES = 2048;

export interface Group {
  /** For the report of a difference. */
  readonly text: string;
  /** `ahead(n)` is the label of the group n places further on, or of the end. */
  emit(into: Assembler, ahead: (places: number) => string): void;
}

export const plain = (text: string, ...instructions: number[]): Group => ({
  text,
  emit: (into) => into.emit(...instructions),
});

export const keys = <K extends string>(table: { readonly [name in K]: unknown }): K[] =>
  Object.keys(table) as K[];

export const hex = (value: bigint): string => `0x${value.toString(16)}`;

export const source = (random: Random): number => random.between(0, 31);
/** x0 may be named as a destination; x31 may not. */
export const destination = (random: Random): number => random.between(0, 30);
export const written = (random: Random): number => random.between(1, 30);
export const short = (random: Random): number => random.between(8, 15);

export function operation(random: Random, rd: number): { text: string; word: number } {
  const name = random.pick(keys(isa.OPS));
  const [opcode, funct3, funct7] = isa.OPS[name];
  const [rs1, rs2] = [source(random), source(random)];
  const word = isa.rType(opcode, funct3, funct7, rd, rs1, rs2);
  return { text: `${name} x${rd}, x${rs1}, x${rs2}`, word };
}

/** An offset from x31 such that `bytes` bytes lie in the window; often over the page border. */
export function windowOffset(random: Random, bytes: number): number {
  if (random.oneIn(4)) return random.between(-bytes, 0);
  return random.between(-WINDOW_HALF_BYTES, WINDOW_HALF_BYTES - bytes);
}

export function alignedOffset(random: Random, bytes: number): number {
  return Math.floor(windowOffset(random, 8) / bytes) * bytes;
}
