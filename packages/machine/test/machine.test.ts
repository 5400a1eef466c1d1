/**
 * The machine as a whole: programs run to their end, stop where they are told, and are the same machine
 * however often they are interrupted.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { guestImagePath, runElf } from '../src/mod.ts';

const MIB = 1048576;

test('churn verifies its memory and reports over the UART', () => {
  let output = '';
  const result = runElf({
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
