/** A rehearsal is the real thing on a guest of its own: it ends, and what it walks exists. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rehearse } from '../src/migration/rehearsal.ts';

test('a rehearsal goes through a whole switchover', async () => {
  await rehearse(2);
});

test('it leaves the event loop alone between its turns', async () => {
  let turns = 0;
  const counting = setInterval(() => turns++, 0);
  await rehearse(100);
  clearInterval(counting);
  assert.ok(turns > 3, `${turns} turns for others`);
});
