/**
 * Random instruction sequences do the same on our machine and on QEMU: registers, memory, traps. Where one
 * does not, the report has it as small as it gets.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type CaseKind, compareCases, findDifference, onOurs } from './riscv/compare-cases.ts';
import * as isa from './riscv/encode.ts';
import { plain } from './riscv/group.ts';
import { harness, RESULT_NAMES } from './riscv/harness.ts';
import { qemuMissing } from './riscv/qemu.ts';
import {
  describeSequence,
  randomSequence,
  type Sequence,
  simplerSequences,
} from './riscv/sequence.ts';

const SEQUENCES: CaseKind<Sequence> = {
  cpu: 'sifive-e51',
  batch: 500,
  make: randomSequence,
  describe: describeSequence,
  simpler: simplerSequences,
  runs: ({ inputs }) => inputs.length,
  program: harness,
  resultNames: RESULT_NAMES,
};

test(
  'random sequences end alike on our machine and on QEMU',
  {
    skip: qemuMissing(),
  },
  (t) => compareCases(SEQUENCES, t, 2),
);

/** Our machine, but that it does nothing where there is this instruction. */
function withoutEffect(name: string): CaseKind<Sequence> {
  const nothing = plain('nothing', isa.addi(0, 0, 0));
  const isWrong = new RegExp(`^${name} [x\\d, ]+$`);
  const broken = ({ inputs, groups }: Sequence): Sequence => ({
    inputs,
    groups: groups.map((group) => (isWrong.test(group.text) ? nothing : group)),
  });
  return { ...SEQUENCES, program: (cases, detail) => harness(cases.map(broken), detail) };
}

test('of a sequence that ends otherwise the one instruction that is wrong is left', async () => {
  const machines = { qemu: onOurs(SEQUENCES), ours: onOurs(withoutEffect('remu')) };
  const found = await findDifference(SEQUENCES, machines, 1, SEQUENCES.batch);
  assert.ok(found !== null);
  const { least, report } = found;
  assert.equal(least.groups.length, 1, report);
  assert.equal(least.inputs.length, 1, report);
  const [{ registers, windowSeed }] = least.inputs as [Sequence['inputs'][0]];
  assert.equal(registers.filter((value) => value !== 0n).length, 1, report);
  assert.equal(windowSeed, 0n, report);
  assert.match(report, /^seed \d+, case \d+ from seed 1, in its smallest form:\n {2}0: remu x/);
  assert.match(report, /\nrun 1 from x\d+ 0x[0-9a-f]+, window seed 0x0\nrun 1, x\d+: QEMU /);
});

test('sequences that end alike have nothing to tell', async () => {
  const machines = { qemu: onOurs(SEQUENCES), ours: onOurs(SEQUENCES) };
  assert.equal(await findDifference(SEQUENCES, machines, 1, 1), null);
});
