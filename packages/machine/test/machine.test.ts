/**
 * The machine as a whole: programs run to their end, stop where they are told, and are the same machine
 * however often they are interrupted.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { guestImagePath, runMachine } from '../src/mod.ts';
import { Assembler, writeElf } from './riscv/assembler.ts';
import * as e from './riscv/encode.ts';

const MIB = 1048576;

test('churn verifies its memory and reports over the UART', () => {
  let output = '';
  const result = runMachine({
    elf: readFileSync(guestImagePath('churn')),
    memoryBytes: 12 * MIB,
    maxInstructions: 60_000_000n,
    onOutput: (bytes) => {
      output += Buffer.from(bytes).toString();
    },
  });
  assert.equal(result.end, 'limit');
  assert.equal(result.instructions, 60_000_000n);
  assert.match(output, /^churn ready\nchurn PASS 1 [0-9a-f]{16}\n/);
});

const churn = readFileSync(guestImagePath('churn'));
const CHURN_BYTES = 12 * MIB;

test('stop-at stops at exactly the instruction, with the same digest however it is reached', () => {
  const run = (stopAt: bigint) =>
    runMachine({ elf: churn, memoryBytes: CHURN_BYTES, stopAt, digest: true });
  const [a, b, c] = [run(1_000_003n), run(1_000_003n), run(1_000_004n)];
  assert.deepEqual([a.end, a.exit, a.instructions], ['stop-at', 0, 1_000_003n]);
  assert.match(a.digest!, /^[0-9a-f]{64}$/);
  assert.equal(a.digest, b.digest);
  assert.notEqual(a.digest, c.digest);
});

test('a run ends with the code of the program, its bound, or because nothing can happen', () => {
  const a = (code: readonly number[]) => {
    const program = new Assembler(0x80000000);
    program.emit(...code);
    return writeElf(0x80000000, program.bytes());
  };
  const off = [e.lui(5, 0x100), e.lui(6, 0x73), e.addi(6, 6, 0x333), e.sType(2, 6, 5, 0), 0x6f];
  const { mips: _speed, profile: _none, ...result } = runMachine({ elf: a(off), memoryBytes: MIB });
  assert.deepEqual(result, {
    end: 'power-off',
    exit: 7,
    instructions: 4n,
    digest: undefined,
    checkpoint: undefined,
  });
  const bound = runMachine({ elf: a([0x6f]), memoryBytes: MIB, maxInstructions: 1000 });
  assert.deepEqual([bound.end, bound.exit, bound.instructions], ['limit', 124, 1000n]);
  const idle = runMachine({ elf: a([e.WFI, 0x6f]), memoryBytes: MIB });
  assert.deepEqual([idle.end, idle.exit], ['idle', 124]);
  const crash = runMachine({ elf: a([0xffffffff]), memoryBytes: MIB });
  assert.deepEqual([crash.end, crash.exit], ['crash', 125]);
});

test('several harts on one thread are repeatable', () => {
  const run = () =>
    runMachine({
      elf: churn,
      memoryBytes: CHURN_BYTES,
      harts: 3,
      maxInstructions: 900_000n,
      digest: true,
    });
  const result = run();
  assert.equal(result.digest, run().digest);
  // Two harts sleep at once, the third takes what is left.
  assert.equal(result.instructions, 900_000n);
});

test('bad options are refused by name', () => {
  for (const option of [{ stopAt: -1 }, { maxInstructions: 1.5 }, { stopAt: -1n }]) {
    assert.throws(() => runMachine({ elf: churn, ...option }), { code: 'machine.bad_option' });
  }
});
