/**
 * Cases of one kind on our machine and on QEMU: many in one program that prints a hash for each, and the
 * first that differs again by itself with everything printed.
 *
 * Seeds are fixed, so a run is repeatable; GODWIT_TEST_SEED=n starts elsewhere, GODWIT_TEST_SEQUENCES=n
 * runs more cases.
 */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import type { QemuCpu } from './qemu.ts';
import { Random } from './random.ts';
import { programOnOurs, programOnQemu } from './run-program.ts';

export interface CaseKind<Case> {
  readonly cpu: QemuCpu;
  make(random: Random): Case;
  describe(one: Case): string;
  /** Prints a line a case, or with `full` a line a result. */
  program(cases: readonly Case[], detail: 'summary' | 'full'): Uint8Array;
  readonly resultNames: readonly string[];
}

/** Cases a program: their output must stay below the console ring. */
const BATCH = 2000;

async function explain<Case>(kind: CaseKind<Case>, seed: number, one: Case): Promise<string> {
  const elf = kind.program([one], 'full');
  const [qemu, ours] = await Promise.all([programOnQemu(elf, kind.cpu), programOnOurs(elf)]);
  const differing = kind.resultNames.flatMap((name, i) =>
    qemu[i] === ours[i] ? [] : [`${name}: QEMU ${qemu[i]}, ours ${ours[i]}`],
  );
  return [`seed ${seed}: ${kind.describe(one)}`, ...differing].join('\n');
}

async function compareFrom<Case>(kind: CaseKind<Case>, firstSeed: number): Promise<void> {
  const cases = Array.from({ length: BATCH }, (_, i) => kind.make(new Random(firstSeed + i)));
  const elf = kind.program(cases, 'summary');
  const [qemu, ours] = await Promise.all([programOnQemu(elf, kind.cpu), programOnOurs(elf)]);
  assert.equal(qemu.length, BATCH + 2, 'a line a case, `end`, and the last newline');
  const first = qemu.findIndex((hash, i) => hash !== ours[i]);
  if (first >= 0) assert.fail(await explain(kind, firstSeed + first, cases[first]!));
}

export async function compareCases<Case>(kind: CaseKind<Case>, t: TestContext): Promise<void> {
  const seed = Number(process.env.GODWIT_TEST_SEED ?? 1);
  const count = Number(process.env.GODWIT_TEST_SEQUENCES ?? BATCH);
  t.diagnostic(`seeds from ${seed}`);
  for (let done = 0; done < count; done += BATCH) await compareFrom(kind, seed + done);
}
