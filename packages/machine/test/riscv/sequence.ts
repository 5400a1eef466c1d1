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
import { type Group, hex } from './group.ts';
import { access, atomic, loop, reservation, selfModify, shortAccess } from './memory-groups.ts';
import type { Random } from './random.ts';
import { stretches } from './shrink.ts';

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

const INPUTS = 2;
const GROUPS_MAX = 40;

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

export function randomSequence(random: Random): Sequence {
  const value = (): bigint => (random.oneIn(2) ? random.pick(EDGES) : random.doubleword());
  const input = (): Input => ({
    registers: Array.from({ length: 30 }, value),
    windowSeed: random.doubleword() | 1n,
  });
  return {
    inputs: Array.from({ length: INPUTS }, input),
    groups: Array.from({ length: random.between(1, GROUPS_MAX) }, () => random.pick(DRAW)(random)),
  };
}

/** Fewer groups, one input less, zeros in registers and window. */
export function* simplerSequences({ inputs, groups }: Sequence): Generator<Sequence> {
  for (const [first, count] of stretches(groups.length)) {
    yield { inputs, groups: groups.toSpliced(first, count) };
  }
  for (const [i, input] of inputs.entries()) {
    if (inputs.length > 1) yield { inputs: inputs.toSpliced(i, 1), groups };
    for (const less of simplerInputs(input)) yield { inputs: inputs.with(i, less), groups };
  }
}

function* simplerInputs({ registers, windowSeed }: Input): Generator<Input> {
  if (windowSeed !== 0n) yield { registers, windowSeed: 0n };
  for (const [first, count] of stretches(registers.length)) {
    const zeroed = registers.map((value, i) => (i < first || i >= first + count ? value : 0n));
    if (zeroed.some((value, i) => value !== registers[i])) yield { registers: zeroed, windowSeed };
  }
}

export function describeSequence({ inputs, groups }: Sequence): string {
  const starts = inputs.map(({ registers, windowSeed }, i) => {
    const values = registers.flatMap((value, x) => (value ? [`x${x + 1} ${hex(value)}`] : []));
    return `run ${i + 1} from ${[...values, `window seed ${hex(windowSeed)}`].join(', ')}`;
  });
  return [...groups.map(({ text }, i) => `  ${i}: ${text}`), ...starts].join('\n');
}
