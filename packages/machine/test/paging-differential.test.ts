/**
 * Accesses through random page tables end alike on our machine and on QEMU: the trap or the value, A and D
 * in the entries, and what was written.
 */
import { test } from 'node:test';
import { compareCases } from './riscv/compare-cases.ts';
import { describePaging, pagingCase, simplerPaging } from './riscv/paging-cases.ts';
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
        batch: 2000,
        make: pagingCase,
        describe: describePaging,
        simpler: simplerPaging,
        runs: () => 1,
        program: pagingProgram,
        resultNames: RESULT_NAMES,
      },
      t,
    ),
);
