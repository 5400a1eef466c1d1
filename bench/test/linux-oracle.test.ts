/**
 * A sample of the oracle of boots, where a kernel lies at hand: fresh processes that go on from random
 * instructions make the boot that nobody interrupted; and the comparison finds what is another.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ends, linuxOracle } from '../linux-oracle.ts';

const POINTS = 5;

const skip =
  !process.env.GODWIT_GUEST_IMAGE &&
  'needs GODWIT_GUEST_IMAGE=DIR with Image and initrd-tiny.cpio.gz';

test('a boot in six processes is the boot in one', { skip }, async (t) => {
  const seed = Number(process.env.GODWIT_TEST_SEED ?? Date.now() % 1_000_000);
  t.diagnostic(`seed ${seed}`);
  const result = await linuxOracle({ points: POINTS, seed, say: (line) => t.diagnostic(line) });
  assert.deepEqual(result.differences, []);
  assert.equal(result.points, POINTS);
  assert.ok(result.instructions > 0);
});

test('an end that is another is found, whatever is another about it', () => {
  const plain = { instructions: 7, digest: 'aa', console: 'up\n' };
  assert.deepEqual(ends(plain, 'aa', { ...plain }), []);
  assert.equal(ends(plain, 'ab', { ...plain }).length, 1);
  assert.equal(ends(plain, 'aa', { ...plain, digest: 'ab' }).length, 1);
  assert.equal(ends(plain, 'aa', { ...plain, instructions: 8 }).length, 1);
  assert.equal(ends(plain, 'aa', { ...plain, console: 'up\nup\n' }).length, 1);
});
