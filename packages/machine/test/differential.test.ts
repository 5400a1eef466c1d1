/**
 * Random instruction sequences do the same on our machine and on QEMU: registers, memory, traps.
 *
 * Many sequences go into one program, which prints a hash for each (riscv/harness.ts); only a
 * sequence whose hashes differ is run again by itself, with everything printed. Seeds are fixed,
 * so a run is repeatable; GODWIT_TEST_SEED=n starts elsewhere, GODWIT_TEST_SEQUENCES=n runs more.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { harness, RESULT_NAMES } from './riscv/harness.ts';
import { qemuMissing } from './riscv/qemu.ts';
import { programOnOurs, programOnQemu } from './riscv/run-program.ts';
import { INPUTS, randomSequence, type Sequence } from './riscv/sequence.ts';

const CPU = 'sifive-e51';
const GROUPS_MAX = 40;
/** Sequences a program: their output must stay below the console ring, their code below 1 MiB. */
const BATCH = 500;

/** What differs after a sequence, and the sequence itself. */
async function explain(seed: number, sequence: Sequence): Promise<string> {
  const elf = harness([sequence], 'full');
  const [qemu, ours] = await Promise.all([programOnQemu(elf, CPU), programOnOurs(elf)]);
  const differing = qemu.flatMap((value, i) => {
    if (value === ours[i]) return [];
    const run = Math.floor(i / RESULT_NAMES.length) + 1;
    return [`run ${run}, ${RESULT_NAMES[i % RESULT_NAMES.length]}: QEMU ${value}, ours ${ours[i]}`];
  });
  const text = sequence.groups.map((group, i) => `  ${i}: ${group.text}`);
  return [`seed ${seed}`, ...differing, ...text].join('\n');
}

async function compareFrom(firstSeed: number): Promise<void> {
  const sequences = Array.from({ length: BATCH }, (_, i) =>
    randomSequence(firstSeed + i, GROUPS_MAX),
  );
  const elf = harness(sequences, 'summary');
  const [qemu, ours] = await Promise.all([programOnQemu(elf, CPU), programOnOurs(elf)]);
  assert.equal(qemu.length, BATCH * INPUTS + 2, 'a line a run, `end`, and the last newline');
  const line = qemu.findIndex((hash, i) => hash !== ours[i]);
  if (line < 0) return;
  const first = Math.floor(line / INPUTS);
  assert.fail(await explain(firstSeed + first, sequences[first]!));
}

test('random sequences end alike on our machine and on QEMU', {
  skip: qemuMissing(),
}, async (t) => {
  const seed = Number(process.env.GODWIT_TEST_SEED ?? 1);
  const count = Number(process.env.GODWIT_TEST_SEQUENCES ?? 2 * BATCH);
  t.diagnostic(`seeds from ${seed}`);
  for (let done = 0; done < count; done += BATCH) await compareFrom(seed + done);
});
