/** Sheets: words come back to where they were, and a reader takes them by name whatever their order. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import * as map from '../assembly/memory-map.ts';
import { MachineError } from '../src/errors.ts';
import { GuestMemory } from '../src/guest-memory.ts';
import { PackedSheet, type Places, SheetLayout } from '../src/word-sheet.ts';

const guest = GuestMemory.create({ ramBytes: 1048576, harts: 1 });
const BASE = map.HARTS;
const WORDS = 40;
const start = BASE / 8;

/** Places that do not overlap, in any order: pieces of a stretch of words, each kept or left out. */
const places = fc
  .array(fc.tuple(fc.integer({ min: 1, max: 5 }), fc.boolean(), fc.double({ noNaN: true })), {
    maxLength: 8,
  })
  .map((pieces) => {
    let at = 0;
    const rows = pieces.map(([words, isKept, order], i) => {
      const row = { name: `word${i}`, at: 8 * at, words, isKept, order };
      at += words;
      return row;
    });
    const kept = rows.filter((row) => row.isKept).sort((a, b) => a.order - b.order);
    return Object.fromEntries(
      kept.map(({ name, at, words }) => [name, words === 1 ? at : [at, words]] as const),
    ) satisfies Places;
  });

function fill(): void {
  for (let i = 0; i < WORDS; i++) guest.i64[start + i] = BigInt(-1 - i);
}

test('what is captured is restored, each word by its name and nothing beside it', () => {
  fc.assert(
    fc.property(places, (chosen) => {
      const layout = new SheetLayout(chosen);
      fill();
      const sheet = layout.capture(guest, BASE);
      for (const [name, place] of Object.entries(chosen)) {
        const [at, words] = typeof place === 'number' ? [place, 1] : place;
        const there = guest.i64.slice((BASE + at) / 8, (BASE + at) / 8 + words);
        assert.deepEqual(new BigInt64Array(sheet.list(name).slice().buffer), there);
      }
      guest.i64.fill(0n, start, start + WORDS);
      layout.restore(guest, BASE, sheet);
      assert.deepEqual(layout.capture(guest, BASE), sheet);
      const written = guest.i64.subarray(start, start + WORDS).filter((word) => word !== 0n);
      assert.equal(written.length, layout.words, 'words of no name stay as they were');
    }),
    { numRuns: 200, seed: 1 },
  );
});

test('a sheet whose names come in another order is read by name', () => {
  const here = new SheetLayout({ a: 0, b: [8, 2], c: 24 });
  const there = new SheetLayout({ c: 0, a: 8, b: [16, 2] });
  fill();
  const sent = there.capture(guest, BASE);
  const read = here.read(new PackedSheet(sent.names, sent.values), 'sheet');
  for (const name of ['a', 'b', 'c']) assert.deepEqual(read.list(name), sent.list(name));
});

test('a sheet with other words, or names that do not account for them, is refused by name', () => {
  const layout = new SheetLayout({ a: 0, b: [8, 2] });
  const row = (name: string, words: number) => [words, 0, name.length, ...Buffer.from(name)];
  const bads: readonly [RegExp, number[], number][] = [
    [/sheet\.b: is missing/, row('a', 1), 1],
    [/sheet\.b: has 3 words, not 2/, [...row('a', 1), ...row('b', 3)], 4],
    [/sheet\.c: is unknown/, [...row('a', 1), ...row('b', 2), ...row('c', 1)], 4],
    [/has the word a twice/, [...row('a', 1), ...row('a', 1)], 2],
    [/has 2 words and names 3/, [...row('a', 1), ...row('b', 2)], 2],
    [/names that end early/, [...row('a', 1), 2, 0, 9, 98], 3],
    [/names that end early/, [...row('a', 1), 2], 3],
    [/has 4 words and names 3/, [...layout.names], 4],
  ];
  for (const [why, names, words] of bads) {
    const packed = new PackedSheet(Uint8Array.from(names), new BigUint64Array(words));
    assert.throws(
      () => layout.read(packed, 'sheet'),
      (error) => error instanceof MachineError && why.test(error.message),
      String(why),
    );
  }
});

test('a sheet of another layout is not restored, and a word of no name is not answered', () => {
  const [one, other] = [new SheetLayout({ a: 0 }), new SheetLayout({ a: 8 })];
  assert.throws(() => one.restore(guest, BASE, other.capture(guest, BASE)), TypeError);
  assert.throws(() => one.capture(guest, BASE).word('b'), /no word is called b/);
});
