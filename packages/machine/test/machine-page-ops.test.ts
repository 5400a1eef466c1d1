/**
 * Zero test and hash of pages.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as map from '../assembly/memory-map.ts';
import { GuestMemory } from '../src/guest-memory.ts';
import { loadPageOps } from '../src/page-ops.ts';

const guest = GuestMemory.create({ ramBytes: 1048576, harts: 1 });
const ops = loadPageOps(guest.memory);
const page = guest.ramOffset(7);

test('a page is zero only if each of its bytes is', () => {
  guest.ram().fill(0);
  assert.ok(ops.isZero(page));
  for (let at = 0; at < map.PAGE_SIZE; at++) {
    guest.page(7)[at] = 0x80;
    assert.ok(!ops.isZero(page), `byte ${at}`);
    guest.page(7)[at] = 0;
  }
  // Its neighbours do not count.
  guest.page(6)[4095] = 1;
  guest.page(8)[0] = 1;
  assert.ok(ops.isZero(page));
});

test('a run of zero pages ends at the first that is not', () => {
  guest.ram().fill(0);
  assert.equal(ops.firstNonZero(guest.ramOffset(0), guest.pages), guest.pages);
  guest.page(9)[100] = 1;
  assert.equal(ops.firstNonZero(guest.ramOffset(2), 20), 7);
  assert.equal(ops.firstNonZero(guest.ramOffset(9), 20), 0);
  assert.equal(ops.firstNonZero(guest.ramOffset(2), 7), 7);
});

test('a run of pages with content ends at the first that is zero', () => {
  guest.ram().fill(1);
  assert.equal(ops.firstZero(guest.ramOffset(0), guest.pages), guest.pages);
  guest.page(9).fill(0);
  assert.equal(ops.firstZero(guest.ramOffset(2), 20), 7);
  assert.equal(ops.firstZero(guest.ramOffset(9), 20), 0);
  assert.equal(ops.firstZero(guest.ramOffset(2), 7), 7);
});

test('a range is filled and nothing beside it', () => {
  guest.ram().fill(0xa5);
  ops.fill(page + 1, 7, 5000);
  const ram = guest.ram();
  const start = page + 1 - map.RAM;
  assert.ok(ram.subarray(start, start + 5000).every((byte) => byte === 7));
  assert.deepEqual([ram[start - 1], ram[start + 5000]], [0xa5, 0xa5]);
  assert.throws(() => ops.fill(guest.sab.byteLength - 1, 0, 2));
});

test('the hash changes with every bit, with the order and with the length', () => {
  guest.ram().fill(0);
  const seen = new Set([ops.hash64(page)]);
  const add = (what: string) => {
    const hash = ops.hash64(page);
    assert.ok(!seen.has(hash), what);
    seen.add(hash);
  };
  for (let at = 0; at < map.PAGE_SIZE; at++) {
    guest.page(7)[at] = 1 << (at % 8);
    add(`bit of byte ${at}`);
    guest.page(7)[at] = 0;
  }
  // Blocks of every size swapped.
  for (let size = 8; size <= 2048; size *= 2) {
    guest.page(7).fill(1, 0, size);
    guest.page(7).fill(2, size, 2 * size);
    add(`${size} bytes of 1, then of 2`);
    guest.page(7).fill(2, 0, size);
    guest.page(7).fill(1, size, 2 * size);
    add(`${size} bytes of 2, then of 1`);
    guest.page(7).fill(0);
  }
  assert.notEqual(ops.hash64(page, 4096), ops.hash64(page, 4096 - 64));
  assert.notEqual(ops.hash64(page, 4096), ops.hash64(page, 8192));
});

test('one flipped bit changes about half of the bits of the hash', () => {
  let flips = 0;
  const rounds = 2000;
  for (let round = 0; round < rounds; round++) {
    guest.page(7).fill((round * 37) & 0xff);
    const before = ops.hash64(page);
    guest.page(7)[(round * 2053) % 4096]! ^= 1 << (round % 8);
    flips += popcount(before ^ ops.hash64(page));
  }
  const mean = flips / rounds;
  assert.ok(mean > 31 && mean < 33, `${mean} bits of 64`);
});

test('the hash is the same on every host', () => {
  guest.page(7).set(Uint8Array.from({ length: 4096 }, (_, i) => i * i));
  assert.equal(ops.hash64(page), 8013622989651929958n);
});

test('a hash outside the memory is refused', () => {
  const size = guest.sab.byteLength;
  for (const [offset, length] of [
    [size - 64, 128],
    [-64, 64],
    [page, 63],
    [page, 0],
  ] as const) {
    assert.throws(() => ops.hash64(offset, length), RangeError);
  }
});

function popcount(value: bigint): number {
  return [...value.toString(2)].filter((digit) => digit === '1').length;
}
