/** A short run of the soak: moves in a row of both kinds of guest in all modes lose nothing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { soak } from '../soak.ts';

test('24 random moves in a row, verified', async (t) => {
  const seed = Number(process.env.GODWIT_TEST_SEED ?? Date.now() % 1_000_000);
  t.diagnostic(`seed ${seed}`);
  const { errors } = await soak(24, seed, () => {});
  assert.deepEqual(errors, []);
});
