/**
 * Random RV64IMAC instruction sequences for the differential test.
 *
 * A sequence is a list of groups; a group is one instruction, or a few that belong together (an
 * address computed and then used, LR and SC, a counted loop). Branches between groups go forward, so
 * every sequence ends. Only what the ISA manual defines is generated: where it leaves a choice
 * (a misaligned AMO's cause, SC after a store of the same hart) two correct machines differ.
 *
 * Each sequence has two inputs: the second run meets decoded instructions, takes other branches, and
 * finds the code as the first run left it.
 *
 * x31 is the base of the memory window and is never written; everything else is free.
 */
import {
  anyEncoding,
  anyShortEncoding,
  registerImmediate,
  registerRegister,
  shift,
  shortArithmetic,
  upper,
} from './arithmetic-groups.ts';
import { branch, csr, fence, indirectJump, jump, shortBranch, trap } from './control-groups.ts';
import type { Group } from './group.ts';
import { access, atomic, loop, reservation, selfModify, shortAccess } from './memory-groups.ts';
import { Random } from './random.ts';

/** What a sequence starts from. */
export interface Input {
  /** x1 to x30. */
  readonly registers: readonly bigint[];
  readonly windowSeed: bigint;
}

export interface Sequence {
  readonly inputs: readonly Input[];
  readonly groups: readonly Group[];
}

export const INPUTS = 2;

/** Values at which arithmetic changes its behaviour. */
const EDGES = [
  0n,
  1n,
  2n,
  63n,
  64n,
  0x7fn,
  0x80n,
  0xffffn,
  0x7fffffffn,
  0x80000000n,
  0xffffffffn,
  0x100000000n,
  0x7fffffffffffffffn,
  0x8000000000000000n,
  0xffffffff80000000n,
  0xffffffff7fffffffn,
  0xfffffffffffffffen,
  0xffffffffffffffffn,
];

/** How often each kind is drawn. */
const KINDS: readonly (readonly [weight: number, make: (random: Random) => Group])[] = [
  [20, registerRegister],
  [8, registerImmediate],
  [6, shift],
  [3, upper],
  [16, access],
  [7, atomic],
  [4, reservation],
  [6, branch],
  [3, shortBranch],
  [3, jump],
  [3, indirectJump],
  [18, shortArithmetic],
  [8, shortAccess],
  [2, csr],
  [2, trap],
  [1, fence],
  [2, loop],
  [2, selfModify],
  [4, anyEncoding],
  [3, anyShortEncoding],
];
const DRAW = KINDS.flatMap(([weight, make]) => Array.from({ length: weight }, () => make));

/** The same sequence for the same seed, always. */
export function randomSequence(seed: number, groupsMax: number): Sequence {
  const random = new Random(seed);
  const value = (): bigint => (random.oneIn(2) ? random.pick(EDGES) : random.doubleword());
  const input = (): Input => ({
    registers: Array.from({ length: 30 }, value),
    windowSeed: random.doubleword() | 1n,
  });
  return {
    inputs: Array.from({ length: INPUTS }, input),
    groups: Array.from({ length: random.between(1, groupsMax) }, () => random.pick(DRAW)(random)),
  };
}
