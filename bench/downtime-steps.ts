/**
 * Where the downtime of our moves goes: step by step, medians.
 *
 *   moves' results -> splitDowntime -> medianSteps -> cells of a table
 */
import { DOWNTIME_STEPS, type DowntimeStep, type splitDowntime } from '@godwit/cli';
import { median } from './statistics.ts';

/** Milliseconds. */
export type Steps = ReturnType<typeof splitDowntime>;

const STEPS = Object.keys(DOWNTIME_STEPS) as DowntimeStep[];

export const STEP_TITLES: readonly string[] = Object.values(DOWNTIME_STEPS);

/** In the order of STEP_TITLES. */
export function medianSteps(moves: readonly Steps[]): string[] {
  return STEPS.map((step) => median(moves.map((one) => one[step])).toFixed(2));
}
