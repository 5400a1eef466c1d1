/**
 * Traps, interrupts and privileged instructions under random delegation and mstatus end alike on our
 * machine and on QEMU: who takes the trap, its cause, and the status it leaves.
 */
import { test } from 'node:test';
import { compareCases } from './riscv/compare-cases.ts';
import { describePrivilege, privilegeCase, simplerPrivilege } from './riscv/privilege-cases.ts';
import { privilegeProgram, RESULT_NAMES } from './riscv/privilege-program.ts';
import { qemuMissing } from './riscv/qemu.ts';

test(
  'traps under random delegation end alike on our machine and on QEMU',
  {
    skip: qemuMissing(),
  },
  (t) =>
    compareCases(
      {
        cpu: 'sifive-u54',
        batch: 2000,
        make: privilegeCase,
        describe: describePrivilege,
        simpler: simplerPrivilege,
        runs: () => 1,
        program: privilegeProgram,
        resultNames: RESULT_NAMES,
      },
      t,
    ),
);
