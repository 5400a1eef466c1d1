/**
 * Page frame headers. Goal: a header the table allows comes back equal; any other 32 bytes are
 * refused with `wire.bad_frame`; descriptors cannot point outside the guest.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { GodwitError } from '../src/errors.ts';
import {
  checkRuns,
  decodeHeader,
  emptyHeader,
  encodeHeader,
  FRAMES,
  type FrameHeader,
  OPCODE,
  type OpcodeName,
  payloadBytes,
} from '../src/frames.ts';
import { FRAME_HEADER_BYTES, FRAME_PAGES_MAX, GUEST_PAGES_MAX } from '../src/limits.ts';

const names = Object.keys(FRAMES) as OpcodeName[];

const headerOf = (name: OpcodeName): fc.Arbitrary<FrameHeader> => {
  const row = FRAMES[name];
  return fc
    .record({
      runs: fc.integer({ min: row.runsMin, max: row.runsMax }),
      extra: fc.nat(),
      round: fc.nat(),
      key: fc.nat(),
      firstPage: fc.integer({ min: 0, max: GUEST_PAGES_MAX - FRAME_PAGES_MAX }),
      sequence: fc.maxSafeNat(),
      flags: fc.constantFrom(0, 1),
    })
    .map(({ extra, ...rest }) => {
      const least = Math.max(1, rest.runs);
      const pages = row.pagesMax === 0 ? 0 : least + (extra % (row.pagesMax - least + 1));
      const opcode = row.opcode;
      return { ...rest, opcode, pages, payloadBytes: payloadBytes(opcode, rest.runs, pages) };
    });
};

const from = (name: OpcodeName) => (FRAMES[name].from === 'target' ? 'target' : 'source');
const on = (name: OpcodeName) => (FRAMES[name].on === 'faults' ? 'faults' : 'pages');

function encoded(header: FrameHeader): DataView {
  const view = new DataView(new ArrayBuffer(FRAME_HEADER_BYTES));
  encodeHeader(view, 0, header);
  return view;
}

for (const name of names) {
  test(`${name} comes back as it was sent, and only from its end on its channel`, () => {
    fc.assert(
      fc.property(headerOf(name), (header) => {
        const view = encoded(header);
        assert.deepEqual(decodeHeader(view, 0, from(name), on(name), emptyHeader()), header);
        if (FRAMES[name].from !== 'both') {
          const other = from(name) === 'source' ? 'target' : 'source';
          assert.throws(() => decodeHeader(view, 0, other, on(name), emptyHeader()), isBadFrame);
        }
        if (FRAMES[name].on !== 'both') {
          const other = on(name) === 'pages' ? 'faults' : 'pages';
          assert.throws(() => decodeHeader(view, 0, from(name), other, emptyHeader()), isBadFrame);
        }
      }),
    );
  });
}

test('opcodes in the table and in OPCODE are the same, unique and not zero', () => {
  for (const name of names) assert.equal(OPCODE[name], FRAMES[name].opcode);
  assert.equal(new Set(Object.values(OPCODE)).size, names.length);
  assert.ok(!Object.values(OPCODE).includes(0 as never));
});

test('32 bytes at random are a header of the table or refused', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (data) => {
      const view = new DataView(data.slice().buffer);
      try {
        const header = decodeHeader(view, 0, 'source', 'pages', emptyHeader());
        assert.equal(header.payloadBytes, payloadBytes(header.opcode, header.runs, header.pages));
      } catch (error) {
        assert.ok(isBadFrame(error));
      }
    }),
    { numRuns: 2000 },
  );
});

test('runs must be inside the guest, in order, not empty, and add up', () => {
  const list = (...runs: [number, number][]) => {
    const view = new DataView(new ArrayBuffer(runs.length * 8));
    runs.forEach(([first, pages], i) => {
      view.setUint32(i * 8, first, true);
      view.setUint32(i * 8 + 4, pages, true);
    });
    return view;
  };
  const header = (runs: number, pages: number) => ({
    ...emptyHeader(),
    opcode: OPCODE.ZERO,
    runs,
    pages,
  });
  checkRuns(list([0, 2], [5, 3]), 0, header(2, 5), 8);
  assert.throws(() => checkRuns(list([0, 2], [5, 4]), 0, header(2, 6), 8), isBadFrame);
  assert.throws(() => checkRuns(list([5, 1], [0, 1]), 0, header(2, 2), 8), isBadFrame);
  assert.throws(() => checkRuns(list([0, 0]), 0, header(1, 1), 8), isBadFrame);
  assert.throws(() => checkRuns(list([0, 3]), 0, header(1, 2), 8), isBadFrame);
  assert.throws(() => checkRuns(list([0, 2], [1, 2]), 0, header(2, 4), 8), isBadFrame);
});

function isBadFrame(error: unknown): boolean {
  return error instanceof GodwitError && error.code === 'wire.bad_frame';
}
