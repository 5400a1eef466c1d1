/**
 * A sample of the fault tests: real processes killed and stopped at named steps of a switchover.
 * All of them: npm run crash.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crash } from '../crash.ts';
import { allCases, sampled } from '../crash-cases.ts';

test('after a fault one host runs the guest, or it is lost with evidence', async (t) => {
  const seed = Number(process.env.GODWIT_TEST_SEED ?? Date.now() % 1_000_000);
  t.diagnostic(`seed ${seed}`);
  const { violations } = await crash(sampled(allCases(), 8, seed), 3, (line) => t.diagnostic(line));
  assert.deepEqual(violations, []);
});
