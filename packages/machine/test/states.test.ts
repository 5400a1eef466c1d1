/** Page states against a plain model, and under threads that race to land the same pages. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import * as map from '../assembly/memory-map.ts';
import { makeBitmap, setBit, testBit } from '../src/bitmap.ts';
import { MachineError } from '../src/errors.ts';
import { GuestMemory } from '../src/guest-memory.ts';
import { PageStates } from '../src/page-states.ts';

const PAGES = 256;
const makeGuest = (harts = 1) => GuestMemory.create({ ramBytes: PAGES * 4096, harts });
const { PAGE_ABSENT, PAGE_LANDING, PAGE_PRESENT } = map;

test('page states follow a plain model under any sequence of steps', () => {
  const step = fc.record({
    do: fc.constantFrom('tryLand', 'makePresent', 'backToAbsent'),
    page: fc.nat(40),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const states = new PageStates(makeGuest());
      const model = new Array<number>(PAGES).fill(PAGE_ABSENT);
      for (const { do: what, page } of steps) {
        if (what === 'tryLand') {
          assert.equal(states.tryLand(page), model[page] === PAGE_ABSENT);
          if (model[page] === PAGE_ABSENT) model[page] = PAGE_LANDING;
        } else if (model[page] !== PAGE_LANDING) {
          const illegal = () =>
            what === 'makePresent' ? states.makePresent(page) : states.backToAbsent(page);
          assert.throws(illegal, MachineError);
        } else if (what === 'makePresent') {
          states.makePresent(page);
          model[page] = PAGE_PRESENT;
        } else {
          states.backToAbsent(page);
          model[page] = PAGE_ABSENT;
        }
      }
      for (const [page, state] of model.entries()) assert.equal(states.get(page), state);
      for (const state of [PAGE_ABSENT, PAGE_LANDING, PAGE_PRESENT] as const) {
        assert.equal(states.count(state), model.filter((other) => other === state).length);
      }
    }),
    { numRuns: 50 },
  );
});

/** Scattered, or words of a bitmap that come several times in a row, alike in both halves or not. */
const missingPages = fc.oneof(
  fc.uniqueArray(fc.nat(PAGES - 1)),
  fc
    .array(fc.constantFrom(0, 0xffffffff, 0x00ff00ff, 0x0000ffff), { minLength: 3, maxLength: 3 })
    .map((words) => {
      const all = Array.from({ length: PAGES / 32 }, (_, i) => words[Math.floor(i / 3)]!);
      return [...Array(PAGES).keys()].filter((page) => (all[page >>> 5]! >>> (page & 31)) & 1);
    }),
);

test('the missing bitmap becomes absent pages, all others present', () => {
  fc.assert(
    fc.property(missingPages, (missing) => {
      const states = new PageStates(makeGuest());
      states.clearAll(PAGE_LANDING);
      assert.equal(states.count(PAGE_LANDING), PAGES);
      const bitmap = makeBitmap(PAGES);
      for (const page of missing) setBit(bitmap, page);
      states.setAbsentFrom(bitmap);
      assert.equal(states.countAbsent(), missing.length);
      for (let page = 0; page < PAGES; page++) {
        assert.equal(states.get(page), testBit(bitmap, page) ? PAGE_ABSENT : PAGE_PRESENT);
      }
    }),
    { numRuns: 50 },
  );
});

test('only the harts that wait for a page are woken by it', () => {
  const guest = makeGuest(3);
  const states = new PageStates(guest);
  const put = (hart: number, offset: number, value: number) =>
    Atomics.store(guest.i32, guest.hartWord(hart, offset), value);
  const slot = (hart: number) =>
    Atomics.load(guest.i32, guest.hartWord(hart, map.HART_FAULT_STATE));
  [7, 8, 7].forEach((page, hart) => {
    put(hart, map.HART_FAULT_PAGE, page);
    put(hart, map.HART_FAULT_SEQUENCE, 10 + hart);
    put(hart, map.HART_FAULT_STATE, map.FAULT_WAITING);
  });
  assert.deepEqual(states.faults(), [
    { hart: 0, page: 7, sequence: 10 },
    { hart: 1, page: 8, sequence: 11 },
    { hart: 2, page: 7, sequence: 12 },
  ]);
  states.tryLand(7);
  states.makePresent(7);
  assert.deepEqual(
    [slot(0), slot(1), slot(2)],
    [map.FAULT_NONE, map.FAULT_WAITING, map.FAULT_NONE],
  );
  assert.deepEqual(states.faults(), [{ hart: 1, page: 8, sequence: 11 }]);
});

test('threads that race for pages win each of them exactly once', { timeout: 20_000 }, async () => {
  const guest = GuestMemory.create({ ramBytes: 16 * 1048576, harts: 1 });
  const file = new URL('./support/race.worker.ts', import.meta.url);
  const threads = [0, 1, 2].map((seed) => {
    const workerData = { memory: guest.memory, seed };
    return once(new Worker(file, { workerData }), 'message');
  });
  const won = (await Promise.all(threads)).map(([pages]) => pages as number[]);
  const all = won.flat();
  assert.equal(all.length, guest.pages);
  assert.equal(new Set(all).size, guest.pages);
  const states = new PageStates(guest);
  assert.equal(states.count(PAGE_PRESENT), guest.pages);
});
