/** What the board says of a page is true: untouched means that no one has given it a byte. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LandingBoard } from '../src/target/landing-board.ts';

const PAGES = 200;

/** The pages of a run that are visited; each once, in runs that do not touch. */
function visited(board: LandingBoard, first: number, pages: number): number[] {
  const found: number[] = [];
  let free = -1;
  board.forEachWritten(first, pages, (start, count) => {
    assert.ok(start > free && count > 0, 'runs rise and are as long as they can be');
    for (let page = start; page < start + count; page++) found.push(page);
    free = start + count;
  });
  return found;
}

const range = (first: number, pages: number) => Array.from({ length: pages }, (_, i) => first + i);

test('of any run those pages are visited that were written, and no other', () => {
  const run = fc
    .tuple(fc.integer({ min: 0, max: PAGES - 1 }), fc.integer({ min: 1, max: PAGES }))
    .map(([first, pages]) => [first, Math.min(pages, PAGES - first)] as const);
  fc.assert(
    fc.property(fc.array(run, { maxLength: 12 }), run, (runs, [first, pages]) => {
      const board = LandingBoard.make(PAGES, true);
      const written = new Set<number>();
      for (const [start, count] of runs) {
        board.markWritten(start, count);
        for (const page of range(start, count)) written.add(page);
      }
      const expected = range(first, pages).filter((page) => written.has(page));
      assert.deepEqual(visited(board, first, pages), expected);
    }),
  );
});

test('in a memory that did not begin as zeros nothing is known', () => {
  const board = LandingBoard.make(PAGES, false);
  assert.deepEqual(visited(board, 3, 150), range(3, 150));
});

test('another thread sees what was written, and whether it began as zeros', () => {
  const board = LandingBoard.make(PAGES, true);
  const there = new LandingBoard(board.sab);
  assert.deepEqual(visited(there, 0, PAGES), []);
  board.markWritten(32, 32);
  assert.deepEqual(visited(there, 0, PAGES), range(32, 32));
});
