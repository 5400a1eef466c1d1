/** What two ends compare: in pieces it is the same digest as in one. */
import assert from 'node:assert/strict';
import { createHash, randomFillSync } from 'node:crypto';
import { test } from 'node:test';
import { makeBitmap, setBit } from '@godwit/machine';
import fc from 'fast-check';
import { pageHashes } from '../src/channel/page-hashes.ts';
import { handoverDigest } from '../src/migration/digest.ts';

test('page digests count piece by piece, missing pages as zero', () => {
  const state = new Uint8Array([1, 2, 3]);
  const missingOf = (pages: number) =>
    fc.option(fc.uniqueArray(fc.integer({ min: 0, max: pages - 1 }), { maxLength: 20 }));
  const cases = fc
    .oneof(fc.constantFrom(8191, 8192, 8193, 16384), fc.integer({ min: 1, max: 20_000 }))
    .chain((pages) => fc.tuple(fc.constant(pages), missingOf(pages)));
  fc.assert(
    fc.property(cases, ([pages, missing]) => {
      const hashes = pageHashes(pages);
      randomFillSync(new Uint8Array(hashes.buffer));
      const counted = hashes.slice();
      for (const page of missing ?? []) counted[page] = 0n;
      const bitmap = missing === null ? undefined : makeBitmap(pages);
      for (const page of missing ?? []) setBit(bitmap as Uint32Array, page);
      const whole = createHash('sha256').update(state).update(counted).digest('hex');
      assert.equal(handoverDigest(state, hashes, bitmap), whole);
    }),
  );
});
