/** The runs of a stripe against the plan they come from, whatever the plan looks like. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { STRIPE_PAGES } from '@godwit/protocol';
import fc from 'fast-check';
import { StripeTable } from '../src/source/stripe-table.ts';

const WORDS = STRIPE_PAGES / 32;
const STRIPES = 2;

/** Whole words, which are stepped over, beside others. */
const words = fc.array(
  fc.oneof(fc.constant(0), fc.constant(0xffffffff), fc.nat(0xffffffff), fc.constant(0x80000001)),
  { minLength: WORDS * STRIPES, maxLength: WORDS * STRIPES },
);

test('every planned page is in one run, runs rise, and none is longer than allowed or needlessly cut', () => {
  fc.assert(
    fc.property(words, fc.integer({ min: 1, max: STRIPE_PAGES }), (plan, longest) => {
      const table = StripeTable.make(STRIPES * STRIPE_PAGES);
      const map = Uint32Array.from(plan);
      table.load(map, map);
      for (let stripe = 0; stripe < STRIPES; stripe++) {
        const planned: number[] = [];
        for (let page = stripe * STRIPE_PAGES; page < (stripe + 1) * STRIPE_PAGES; page++) {
          if (((plan[page >>> 5]! >>> (page & 31)) & 1) === 1) planned.push(page);
        }
        const listed: number[] = [];
        const runs = table.runs(stripe, longest);
        for (let i = 0; i < runs.length; i += 2) {
          const [first, pages] = [runs[i]!, runs[i + 1]!];
          assert.ok(pages >= 1 && pages <= longest);
          if (i > 0 && first === listed.at(-1)! + 1) assert.equal(runs[i - 1], longest);
          for (let page = first; page < first + pages; page++) listed.push(page);
        }
        assert.deepEqual(listed, planned);
      }
    }),
  );
});

test('a stripe is untouched while no page of it may hold content, round by round', () => {
  const table = StripeTable.make(STRIPES * STRIPE_PAGES);
  const all = new Uint32Array(WORDS * STRIPES).fill(0xffffffff);
  const touched = new Uint32Array(WORDS * STRIPES);
  for (const page of [null, STRIPE_PAGES - 1, STRIPE_PAGES]) {
    if (page !== null) touched[page >>> 5]! |= 1 << (page & 31);
    table.load(all, touched);
    const expected = page === null ? [true, true] : [false, page < STRIPE_PAGES];
    assert.deepEqual(
      [0, 1].map((stripe) => table.isUntouched(stripe)),
      expected,
    );
  }
});
