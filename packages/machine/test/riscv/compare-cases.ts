/**
 * Cases of one kind on our machine and on QEMU: many in one program that prints a hash for each. The first
 * that differs is made small (shrink.ts), and what is left of it runs by itself with everything printed.
 *
 * Seeds are fixed, so a run is repeatable; GODWIT_TEST_SEED=n starts elsewhere, GODWIT_TEST_SEQUENCES=n
 * runs more cases.
 */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import type { QemuCpu } from './qemu.ts';
import { Random } from './random.ts';
import { programOnOurs, programOnQemu } from './run-program.ts';
import { smallest } from './shrink.ts';

/** A line a run with a hash of its results, or a line a result. */
export type Detail = 'summary' | 'full';

export interface CaseKind<Case> {
  readonly cpu: QemuCpu;
  /** Cases a program: their output must stay below the console ring, their code below 1 MiB. */
  readonly batch: number;
  make(random: Random): Case;
  describe(one: Case): string;
  /** Cases with less of something than this one, the boldest first. */
  simpler(one: Case): Iterable<Case>;
  /** How often a case is run. */
  runs(one: Case): number;
  program(cases: readonly Case[], detail: Detail): Uint8Array;
  /** Of one run. */
  readonly resultNames: readonly string[];
}

/** What a machine prints of cases, by lines. */
export type Machine<Case> = (cases: readonly Case[], detail: Detail) => Promise<string[]>;

export interface Machines<Case> {
  readonly qemu: Machine<Case>;
  readonly ours: Machine<Case>;
}

export const onOurs =
  <Case>({ program }: CaseKind<Case>): Machine<Case> =>
  (cases, detail) =>
    programOnOurs(program(cases, detail));

const onQemu =
  <Case>({ program, cpu }: CaseKind<Case>): Machine<Case> =>
  (cases, detail) =>
    programOnQemu(program(cases, detail), cpu);

const onBoth = <Case>(machines: Machines<Case>, cases: readonly Case[], detail: Detail) =>
  Promise.all([machines.qemu(cases, detail), machines.ours(cases, detail)]);

/** The first of the cases that does not end alike, or -1. */
async function firstDiffering<Case>(
  kind: CaseKind<Case>,
  machines: Machines<Case>,
  cases: readonly Case[],
): Promise<number> {
  const [qemu, ours] = await onBoth(machines, cases, 'summary');
  const caseOfLine = cases.flatMap((one, i) => Array<number>(kind.runs(one)).fill(i));
  assert.equal(qemu.length, caseOfLine.length + 2, 'a line a run, `end`, and the last newline');
  const line = qemu.findIndex((hash, i) => hash !== ours[i]);
  return line < 0 ? -1 : caseOfLine[line]!;
}

/** The case and what differs after it. */
async function explain<Case>(
  kind: CaseKind<Case>,
  machines: Machines<Case>,
  one: Case,
): Promise<string> {
  const { resultNames } = kind;
  const [qemu, ours] = await onBoth(machines, [one], 'full');
  const differing = qemu.flatMap((value, i) => {
    if (value === ours[i]) return [];
    const what = `run ${Math.floor(i / resultNames.length) + 1}, ${resultNames[i % resultNames.length]}`;
    return [`${what}: QEMU ${value}, ours ${ours[i]}`];
  });
  if (differing.length === 0) differing.push('by itself it ends alike: it needs its neighbours');
  return [kind.describe(one), ...differing].join('\n');
}

/** What differs in its smallest form, of the first of so many cases that ends otherwise; null if none does. */
export async function findDifference<Case>(
  kind: CaseKind<Case>,
  machines: Machines<Case>,
  firstSeed: number,
  count: number,
): Promise<{ readonly least: Case; readonly report: string } | null> {
  const differing = (cases: readonly Case[]) => firstDiffering(kind, machines, cases);
  for (let done = 0; done < count; done += kind.batch) {
    const seed = firstSeed + done;
    const cases = Array.from({ length: kind.batch }, (_, i) => kind.make(new Random(seed + i)));
    const found = await differing(cases);
    if (found < 0) continue;
    const least = await smallest(cases[found]!, kind.simpler, differing);
    const where = `seed ${seed + found}, case ${done + found + 1} from seed ${firstSeed}`;
    const report = `${where}, in its smallest form:\n${await explain(kind, machines, least)}`;
    return { least, report };
  }
  return null;
}

/** Fails with the first case that ends otherwise, of so many programs if the environment says nothing. */
export async function compareCases<Case>(
  kind: CaseKind<Case>,
  t: TestContext,
  programs = 1,
): Promise<void> {
  const seed = Number(process.env.GODWIT_TEST_SEED ?? 1);
  const count = Number(process.env.GODWIT_TEST_SEQUENCES ?? programs * kind.batch);
  t.diagnostic(`seeds from ${seed}`);
  const machines = { qemu: onQemu(kind), ours: onOurs(kind) };
  const difference = await findDifference(kind, machines, seed, count);
  if (difference !== null) assert.fail(difference.report);
}
