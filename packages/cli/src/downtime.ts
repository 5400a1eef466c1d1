/**
 * Where the downtime of a move went: its steps, which add up to the whole.
 *
 *   a move's result -> [downtime] -> migration text, tables of the benchmarks
 *
 * The source measures four of them. Nobody measures the rest, mostly the source's way from LANDED to RUN: its
 * journal, and the coordinator's answer where a switchover had to ask; with --verify its digests of every
 * page, too.
 */
import type { Migration } from '@godwit/protocol';

/** In the order of the switchover; the rest lies between them. */
export const DOWNTIME_STEPS = {
  lastPages: 'last pages',
  state: 'state',
  landed: 'landed',
  run: 'run',
  rest: 'rest',
} as const;

export type DowntimeStep = keyof typeof DOWNTIME_STEPS;

/** Milliseconds. No less than nothing is left, though the clocks of two hosts may differ by more. */
export function splitDowntime(
  result: NonNullable<Migration['result']>,
): Readonly<Record<DowntimeStep, number>> {
  const { downtimeMs, steps } = result;
  const { lastPagesMs: lastPages, stateMs: state, landedMs: landed, runMs: run } = steps;
  const rest = Math.max(0, downtimeMs - lastPages - state - landed - run);
  return { lastPages, state, landed, run, rest };
}

/** What each step is called, and its milliseconds. */
export function downtimeRows(result: NonNullable<Migration['result']>): [string, number][] {
  const split = splitDowntime(result);
  return Object.entries(DOWNTIME_STEPS).map(([step, title]) => [
    title,
    split[step as DowntimeStep],
  ]);
}
