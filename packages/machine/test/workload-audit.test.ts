/** The auditor and the witness must be able to fail: every kind of lost write is planted and found. */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { deflateRawSync } from 'node:zlib';
import { MachineError } from '../src/errors.ts';
import { GuestMemory } from '../src/guest-memory.ts';
import { audit, mergeAudits } from '../src/workload/auditor.ts';
import {
  fillBase,
  PAGE_WORDS,
  ramWords,
  readStamp,
  STAMP_TAIL,
  stampPage,
} from '../src/workload/content.ts';
import { WritePattern } from '../src/workload/pattern.ts';
import {
  CONTENTS,
  type Content,
  makeSpec,
  rateFromMiB,
  readSpec,
  setRate,
  UNLIMITED,
  type WorkloadSpec,
  writeSpec,
} from '../src/workload/spec.ts';
import { captureWorkload, restoreWorkload } from '../src/workload/state.ts';
import { Witness } from '../src/workload/witness.ts';
import { fillWorkload } from '../src/workload/workload.ts';

const code = (expected: string) => (error: unknown) =>
  error instanceof MachineError && error.code === expected;

const HARTS = 2;
const COUNTS = [5000, 4321];
let guest: GuestMemory;
let spec: WorkloadSpec;

/** The writes of all harts, done on this thread. */
function replay(into: GuestMemory, counts: readonly number[]): void {
  const words = ramWords(into);
  fillWorkload(into, spec, 0, into.pages);
  counts.forEach((count, hart) => {
    const cursor = new WritePattern(spec, into.pages, HARTS, hart).cursor(0);
    for (let n = 1; n <= count; n++) {
      const page = cursor.next();
      stampPage(words, page * PAGE_WORDS, page, n);
    }
  });
}

before(() => {
  guest = GuestMemory.create({ ramBytes: 16 * 1048576, harts: HARTS });
  spec = makeSpec(guest, { pattern: 'hotset', seed: 11, hotPages: 100 });
  writeSpec(guest, spec);
  replay(guest, COUNTS);
});

test('a sound guest passes, in one piece and in ranges', () => {
  assert.deepEqual(audit(guest, spec, COUNTS), { pagesChecked: 4096, wrongCount: 0, wrong: [] });
  const parts = [audit(guest, spec, COUNTS, 0, 1000), audit(guest, spec, COUNTS, 1000)];
  assert.deepEqual(mergeAudits(parts), { pagesChecked: 4096, wrongCount: 0, wrong: [] });
});

/** Spoils a page, looks what the audit says, and repairs it. */
function auditWithSpoilt(page: number, spoil: (bytes: Uint8Array) => void) {
  const kept = guest.page(page).slice();
  spoil(guest.page(page));
  const result = audit(guest, spec, COUNTS);
  guest.page(page).set(kept);
  return result;
}

const lastPageOf = (hart: number) =>
  new WritePattern(spec, guest.pages, HARTS, hart).page(COUNTS[hart]! - 1);

test('one dropped page is caught: its bytes are those of an earlier round', () => {
  const page = lastPageOf(0);
  const pattern = new WritePattern(spec, guest.pages, HARTS, 0);
  const earlier = pattern.lastWrite(page, COUNTS[0]! - 1) + 1;
  const result = auditWithSpoilt(page, (bytes) => {
    const words = new Int32Array(bytes.buffer, bytes.byteOffset, PAGE_WORDS);
    fillBase(words, 0, spec.content, spec.seed, page);
    if (earlier > 0) stampPage(words, 0, page, earlier);
  });
  assert.equal(result.wrongCount, 1);
  assert.deepEqual(result.wrong, [{ page, expected: COUNTS[0], found: earlier }]);
});

test('a torn page, another page’s bytes, one flipped bit, and a page never sent are caught', () => {
  const page = lastPageOf(1);
  const torn = auditWithSpoilt(page, (bytes) => {
    const words = new Int32Array(bytes.buffer, bytes.byteOffset, PAGE_WORDS);
    stampPage(words, 0, page, 1);
    const fresh = new Int32Array(PAGE_WORDS);
    stampPage(fresh, 0, page, COUNTS[1]!);
    words.set(fresh.subarray(STAMP_TAIL), STAMP_TAIL);
  });
  assert.deepEqual(torn.wrong, [{ page, expected: COUNTS[1], found: 'torn' }]);
  const spoils: ((bytes: Uint8Array) => void)[] = [
    (bytes) => bytes.set(guest.page((page + 1) % guest.pages)),
    (bytes) => {
      bytes[2000]! ^= 1;
    },
    (bytes) => bytes.fill(0xa5),
    (bytes) => bytes.fill(0),
  ];
  for (const spoil of spoils) {
    const { wrongCount, wrong } = auditWithSpoilt(page, spoil);
    assert.equal(wrongCount, 1);
    assert.equal(wrong[0]!.page, page);
    assert.equal(wrong[0]!.found, 'content');
  }
});

test('a count that is one too high or one too low does not fit the memory', () => {
  for (const counts of [
    [COUNTS[0]! + 1, COUNTS[1]!],
    [COUNTS[0]!, COUNTS[1]! - 1],
  ]) {
    assert.equal(audit(guest, spec, counts).wrongCount, 1);
  }
});

test('only the first wrong pages are listed, all are counted', () => {
  const other = GuestMemory.create({ ramBytes: 1048576, harts: 1 });
  other.ram().fill(0xa5);
  const result = audit(other, spec, [0]);
  assert.deepEqual([result.wrongCount, result.wrong.length], [256, 10]);
});

test('memory and counts rolled back together pass the audit and not the witness', () => {
  const witness = new Witness();
  witness.hear('g', [1000, 4000]);
  witness.hear('g', [3000, 3900]);
  assert.deepEqual(witness.heard('g'), [3000, 4000]);
  witness.check('g', COUNTS);

  const old = GuestMemory.create({ ramBytes: guest.ramBytes, harts: HARTS });
  const oldCounts = [3000, 3999];
  replay(old, oldCounts);
  assert.equal(audit(old, spec, oldCounts).wrongCount, 0);
  assert.throws(() => witness.check('g', oldCounts), code('witness.rollback'));
  assert.throws(() => witness.check('g', [3000]), code('witness.rollback'));
  witness.check('other', [0, 0]);
  witness.forget('g');
  witness.check('g', oldCounts);
});

test('state survives capture and restore, and a spoilt one is refused', () => {
  const state = captureWorkload(guest);
  const wire = JSON.parse(JSON.stringify({ ...state, writes: [2 ** 40, 7] }));
  const other = GuestMemory.create({ ramBytes: guest.ramBytes, harts: HARTS });
  restoreWorkload(other, wire);
  assert.deepEqual(captureWorkload(other), wire);
  assert.deepEqual(readSpec(other), spec);
  const spoilt = [
    { pages: 1 },
    { writes: [1] },
    { writes: [1, -1] },
    { writes: [1, 'x'] },
    { wrongReads: undefined },
    { pattern: 'nothing' },
    { content: 7 },
  ];
  for (const change of spoilt) {
    assert.throws(() => restoreWorkload(other, { ...wire, ...change }), code('workload.bad_state'));
  }
  for (const change of [{ seed: -1 }, { hotPages: 1 }, { pagesPerSecond: 'fast' }]) {
    assert.throws(() => restoreWorkload(other, { ...wire, ...change }), code('workload.bad_spec'));
  }
  assert.deepEqual(captureWorkload(other), wire, 'a refused state changes nothing');
});

test('the rate can change, within limits', () => {
  const other = GuestMemory.create({ ramBytes: 1048576, harts: 1 });
  assert.throws(() => setRate(other, 1), code('workload.bad_state'));
  writeSpec(other, makeSpec(other, { pattern: 'uniform', pagesPerSecond: rateFromMiB(50) }));
  assert.equal(readSpec(other).pagesPerSecond, 12800);
  setRate(other, rateFromMiB('unlimited'));
  assert.equal(readSpec(other).pagesPerSecond, UNLIMITED);
  assert.throws(() => setRate(other, -2), code('workload.bad_spec'));
});

test('content is what its name says', () => {
  const words = new Int32Array(PAGE_WORDS * 16);
  const ratio: Partial<Record<Content, number>> = {};
  for (const content of CONTENTS) {
    for (let page = 0; page < 16; page++) fillBase(words, page * PAGE_WORDS, content, 5, page);
    const bytes = new Uint8Array(words.buffer);
    ratio[content] = bytes.length / deflateRawSync(bytes, { level: 1 }).length;
  }
  assert.ok(words.some((word) => word !== 0));
  assert.ok(ratio.zero! > 100);
  assert.ok(ratio.random! < 1.001);
  assert.ok(ratio.compressible! > 2.5 && ratio.compressible! < 4);
});

test('a stamp is read back whole or not at all', () => {
  const words = new Int32Array(PAGE_WORDS);
  for (const sequence of [1, 2 ** 31, 2 ** 32, 2 ** 32 + 1, 2 ** 45]) {
    stampPage(words, 0, 77, sequence);
    assert.equal(readStamp(words, 0, 77), sequence);
    assert.equal(readStamp(words, STAMP_TAIL, 77), sequence);
    assert.equal(readStamp(words, 0, 78), -1);
    words[1]! ^= 1;
    assert.equal(readStamp(words, 0, 77), -1);
  }
});
