/**
 * Accesses through random page tables end alike on our machine and on QEMU: the trap or the value, A and D
 * in the entries, and what was written.
 */
import { test } from 'node:test';
import { compareCases } from './riscv/compare-cases.ts';
import { pagingCase } from './riscv/paging-cases.ts';
import { pagingProgram, RESULT_NAMES } from './riscv/paging-program.ts';
import { qemuMissing } from './riscv/qemu.ts';

test(
  'accesses through random page tables end alike on our machine and on QEMU',
  {
    skip: qemuMissing(),
  },
  (t) =>
    compareCases(
      {
        cpu: 'sifive-u54',
        make: pagingCase,
        describe: ({ text }) => text,
        program: pagingProgram,
        resultNames: RESULT_NAMES,
      },
      t,
    ),
);
