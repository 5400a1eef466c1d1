/**
 * The profile variant counts what happened, and does what the other one does.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { guestImagePath, runMachine } from '../src/mod.ts';
import type { Profile } from '../src/profile.ts';
import { Assembler, writeElf } from './riscv/assembler.ts';
import * as e from './riscv/encode.ts';

const MIB = 1048576;
const churn = readFileSync(guestImagePath('churn'));

const countOf = (counts: Profile['events'], name: string) =>
  Number(counts.find((one) => one.name === name)?.count ?? 0n);

test('counts are those of the program', () => {
  const a = new Assembler(0x80000000);
  // Ten rounds of a load, a store and a multiplication, then an ECALL into a loop of one jump.
  a.loadAddress(5, 'handler');
  a.emit(e.csrrw(0, e.CSR.mtvec, 5), e.addi(6, 0, 10));
  a.label('loop');
  a.emit(e.iType(0x03, e.LOADS.ld, 7, 5, 0x100), e.sType(e.STORES.sd, 7, 5, 0x108));
  a.emit(e.rType(0x33, 0, 1, 8, 7, 7), e.addi(6, 6, -1));
  a.branch(e.BRANCHES.bne, 6, 0, 'loop');
  a.emit(e.ECALL);
  a.align(4);
  a.label('handler');
  a.emit(0x6f);
  const elf = writeElf(0x80000000, a.bytes());
  const { profile, instructions } = runMachine({
    elf,
    memoryBytes: MIB,
    maxInstructions: 100,
    profile: true,
  });
  assert.equal(instructions, 100n);
  const operation = (name: string) => countOf(profile!.operations, name);
  assert.deepEqual(
    ['ld', 'sd', 'mul', 'bne', 'system'].map(operation),
    [10, 10, 10, 10, 2],
    'system: the CSR write and the ECALL, which trapped',
  );
  assert.equal(countOf(profile!.events, 'exception 11'), 1);
  assert.equal(countOf(profile!.kinds, 'loads'), 10);
  const all = profile!.kinds.reduce((sum, { count }) => sum + Number(count), 0);
  assert.equal(all, 101, 'every instruction once, and the one that trapped');
});

test('the profiled machine is the same machine', () => {
  const run = (profile: boolean) =>
    runMachine({ elf: churn, memoryBytes: 12 * MIB, stopAt: 2_000_000, digest: true, profile });
  assert.equal(run(true).digest, run(false).digest);
});
