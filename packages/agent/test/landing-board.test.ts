/** What the board says of a page is true: untouched means that no one has given it a byte. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LandingBoard } from '../src/target/landing-board.ts';

const PAGES = 200;

test('a page is untouched until a run that holds it is written, and no other run matters', () => {
  const run = fc
    .tuple(fc.integer({ min: 0, max: PAGES - 1 }), fc.integer({ min: 1, max: PAGES }))
    .map(([first, pages]) => [first, Math.min(pages, PAGES - first)] as const);
  fc.assert(
    fc.property(fc.array(run, { maxLength: 12 }), (runs) => {
      const board = LandingBoard.make(PAGES, true);
      const written = new Set<number>();
      for (const [first, pages] of runs) {
        board.markWritten(first, pages);
        for (let page = first; page < first + pages; page++) written.add(page);
      }
      for (let page = 0; page < PAGES; page++) {
        assert.equal(board.isUntouched(page), !written.has(page), `page ${page}`);
      }
    }),
  );
});

test('in a memory that did not begin as zeros nothing is known', () => {
  const board = LandingBoard.make(PAGES, false);
  for (let page = 0; page < PAGES; page++) assert.equal(board.isUntouched(page), false);
});

test('another thread sees what was written, and whether it began as zeros', () => {
  const board = LandingBoard.make(PAGES, true);
  const there = new LandingBoard(board.sab);
  assert.ok(there.isUntouched(63));
  board.markWritten(32, 32);
  assert.ok(!there.isUntouched(63));
  assert.ok(there.isUntouched(64));
});
