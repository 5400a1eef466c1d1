/**
 * Accesses through random page tables end alike on our machine and on QEMU: the trap or the value, A and D
 * in the entries, and what was written.
 *
 * Seeds are fixed, so a run is repeatable; GODWIT_TEST_SEED=n starts elsewhere, GODWIT_TEST_SEQUENCES=n
 * runs more cases.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type PagingCase, pagingCase } from './riscv/paging-cases.ts';
import { pagingProgram, RESULT_NAMES } from './riscv/paging-program.ts';
import { qemuMissing } from './riscv/qemu.ts';
import { Random } from './riscv/random.ts';
import { programOnOurs, programOnQemu } from './riscv/run-program.ts';

/** Cases a program: their output must stay below the console ring. */
const BATCH = 2000;
const CPU = 'sifive-u54';

async function explain(seed: number, one: PagingCase): Promise<string> {
  const elf = pagingProgram([one], 'full');
  const [qemu, ours] = await Promise.all([programOnQemu(elf, CPU), programOnOurs(elf)]);
  const differing = RESULT_NAMES.flatMap((name, i) =>
    qemu[i] === ours[i] ? [] : [`${name}: QEMU ${qemu[i]}, ours ${ours[i]}`],
  );
  return [`seed ${seed}: ${one.text}`, ...differing].join('\n');
}

async function compareFrom(firstSeed: number): Promise<void> {
  const cases = Array.from({ length: BATCH }, (_, i) => pagingCase(new Random(firstSeed + i)));
  const elf = pagingProgram(cases, 'summary');
  const [qemu, ours] = await Promise.all([programOnQemu(elf, CPU), programOnOurs(elf)]);
  assert.equal(qemu.length, BATCH + 2, 'a line a case, `end`, and the last newline');
  const first = qemu.findIndex((hash, i) => hash !== ours[i]);
  if (first >= 0) assert.fail(await explain(firstSeed + first, cases[first]!));
}

test('accesses through random page tables end alike on our machine and on QEMU', {
  skip: qemuMissing(),
}, async (t) => {
  const seed = Number(process.env.GODWIT_TEST_SEED ?? 1);
  const count = Number(process.env.GODWIT_TEST_SEQUENCES ?? 2 * BATCH);
  t.diagnostic(`seeds from ${seed}`);
  for (let done = 0; done < count; done += BATCH) await compareFrom(seed + done);
});
