/**
 * Where the downtime of our moves goes: step by step, medians.
 *
 *   a move's result -> stepsOf -> medianSteps -> cells of a table
 *
 * The agents report their own steps; what is left of the whole is the coordinator's answer, for which only
 * a switchover that had to ask waits.
 */
import type { Migration } from '@godwit/protocol';
import { median } from './statistics.ts';

/** In the order of the switchover; each begins where the one before it ended. */
const TITLES = {
  lastPages: 'last pages',
  state: 'state',
  landed: 'landed',
  verdict: "coordinator's answer",
  run: 'run',
} as const;

/** Milliseconds. */
export type Steps = Readonly<Record<keyof typeof TITLES, number>>;

const STEPS = Object.keys(TITLES) as (keyof Steps)[];

export const STEP_TITLES: readonly string[] = STEPS.map((step) => TITLES[step]);

export function stepsOf(result: NonNullable<Migration['result']>): Steps {
  const { downtimeMs, steps } = result;
  const { lastPagesMs: lastPages, stateMs: state, landedMs: landed, runMs: run } = steps;
  const verdict = Math.max(0, downtimeMs - lastPages - state - landed - run);
  return { lastPages, state, landed, verdict, run };
}

/** In the order of STEP_TITLES. */
export function medianSteps(moves: readonly Steps[]): string[] {
  return STEPS.map((step) => median(moves.map((one) => one[step])).toFixed(2));
}
