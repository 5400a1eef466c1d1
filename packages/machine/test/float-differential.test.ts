/**
 * Every floating-point instruction gives the same bits and the same flags on our machine and on QEMU's
 * user-mode emulator, in every rounding mode, for operands at the edges and random ones.
 *
 * One program runs them all (riscv/float-program.ts). The seed is fixed, so a run is repeatable;
 * GODWIT_TEST_SEED=n draws other operands, GODWIT_TEST_OPERANDS=n draws more of them.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { FLOAT_INSTRUCTIONS } from './riscv/float-encode.ts';
import { integers, type Triple, triples } from './riscv/float-operands.ts';
import { FCSRS, floatProgram, type Operands, tableOf } from './riscv/float-program.ts';
import { LocalMachine } from './riscv/local-machine.ts';
import { Random } from './riscv/random.ts';

const QEMU = 'qemu-riscv64';
const MEMORY_MIB = 256;
const RAM_BASE = 0x80000000;
const RUN_INSTRUCTIONS = 4_000_000_000n;

/** For node:test's `skip`. */
function qemuMissing(): string | false {
  try {
    execFileSync(QEMU, ['--version'], { stdio: 'ignore' });
    return false;
  } catch {
    return `needs ${QEMU}: install Debian package qemu-user`;
  }
}

function onQemu(operands: Operands): Buffer {
  const { elf, bytes } = floatProgram(operands, 'process');
  const directory = mkdtempSync(join(tmpdir(), 'godwit-float-'));
  try {
    const path = join(directory, 'program');
    writeFileSync(path, elf, { mode: 0o755 });
    return execFileSync(QEMU, [path], { maxBuffer: bytes + 1 });
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function onOurs(operands: Operands): Buffer {
  const { elf, results, bytes } = floatProgram(operands, 'power-off');
  const machine = LocalMachine.boot(elf, MEMORY_MIB);
  assert.equal(machine.run(RUN_INSTRUCTIONS)?.end, 'power-off');
  const start = results - RAM_BASE;
  return Buffer.from(machine.guest.ram().slice(start, start + bytes));
}

const hex = (value: bigint): string => `0x${value.toString(16).padStart(16, '0')}`;

/** The cases that differ, by instruction, mode and operands; a few of them. */
function differences(operands: Operands, qemu: Buffer, ours: Buffer): string[] {
  const found: string[] = [];
  let at = 0;
  for (const instruction of FLOAT_INSTRUCTIONS) {
    let here = 0;
    for (const fcsr of FCSRS) {
      for (const triple of operands[tableOf(instruction)]) {
        const outcome = (from: Buffer): string =>
          `${hex(from.readBigUInt64LE(at))} flags ${from.readUInt8(at + 8)}`;
        if (qemu.compare(ours, at, at + 16, at, at + 16) !== 0 && here++ < 3) {
          const used = triple.slice(0, instruction.operands.length).map(hex).join(', ');
          const what = `${instruction.name} ${used}, fcsr ${fcsr}`;
          found.push(`${what}: QEMU ${outcome(qemu)}, ours ${outcome(ours)}`);
        }
        at += 16;
      }
    }
    if (here > 0) found.push(`${instruction.name}: ${here} cases differ`);
  }
  return found;
}

test('every F and D instruction gives what it gives on QEMU', { skip: qemuMissing() }, (t) => {
  const seed = Number(process.env.GODWIT_TEST_SEED ?? 1);
  const count = Number(process.env.GODWIT_TEST_OPERANDS ?? 2000);
  t.diagnostic(`seed ${seed}`);
  const random = new Random(seed);
  const of = (name: 'S' | 'D'): Triple[] => triples(random, name, { count, pairs: count >> 1 });
  const operands = { S: of('S'), D: of('D'), X: integers(random, count) };
  const qemu = onQemu(operands);
  const ours = onOurs(operands);
  assert.equal(qemu.length, ours.length, 'as many results');
  t.diagnostic(`${ours.length / 16} cases`);
  assert.deepEqual(differences(operands, qemu, ours), []);
});
