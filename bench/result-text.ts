/**
 * What the result files of the benchmarks have in common: how they begin, how samples are told, goals.
 *
 *   linux-text.ts, machine-text.ts, peers-text.ts -> [result text] -> docs/results/*.md
 */
import { cpus, loadavg } from 'node:os';
import { percentile } from './statistics.ts';

/** The first sentences: who wrote the file, when, and on what. */
export function writtenBy(command: string): string {
  const day = new Date().toISOString().slice(0, 10);
  const load = loadavg()[1]!.toFixed(1);
  return `\`${command}\` wrote this file on ${day}. ${cpus().length} processors at load ${load}`;
}

export const SAMPLE_TITLES = ['median', 'half of them', 'all'] as const;

/** Median, quartiles, ends; in the order of SAMPLE_TITLES. */
export function sampleCells(values: readonly number[], digits: number): string[] {
  const at = (fraction: number) => percentile(values, fraction).toFixed(digits);
  return [at(0.5), `${at(0.25)} to ${at(0.75)}`, `${at(0)} to ${at(1)}`];
}

export function markdownTable(
  titles: readonly string[],
  rows: readonly (readonly string[])[],
): string[] {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`.replace(/^\| {2}/, '| ');
  return [line(titles), `|${'---|'.repeat(titles.length)}`, ...rows.map(line)];
}

export function reached(isReached: boolean): string {
  return isReached ? 'reached' : 'not reached';
}
