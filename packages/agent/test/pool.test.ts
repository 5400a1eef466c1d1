/** Room on a host: reservations add up, memories are used again, and idle ones are bounded. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GodwitError } from '@godwit/protocol';
import { MemoryPool } from '../src/guest/memory-pool.ts';
import { MIB } from './support/agent-parts.ts';

const size = (mib: number) => ({ ramBytes: mib * MIB, harts: 1 });

test('reservations add up, and the refusal says what is free', () => {
  const pool = new MemoryPool('a', 10 * MIB);
  pool.take('one', size(4));
  pool.take('two', size(4));
  assert.throws(
    () => pool.take('three', size(4)),
    (error) => error instanceof GodwitError && error.message.includes('has 2 MiB free'),
  );
  assert.equal(pool.freeBytes, 2 * MIB);
});

test('a name is taken once', () => {
  const pool = new MemoryPool('a', 10 * MIB);
  pool.take('one', size(1));
  assert.throws(
    () => pool.take('one', size(1)),
    (error) => error instanceof GodwitError && error.code === 'guest.exists',
  );
});

test('a memory that came back serves the next guest of its size, once it is all zero', async () => {
  const pool = new MemoryPool('a', 16 * MIB);
  const first = pool.take('one', size(4));
  assert.equal(first.scrubbed, null);
  first.memory.ram().fill(0xa5);
  pool.give('one', first.memory);
  const second = pool.take('two', { ...size(4), harts: 2 });
  assert.equal(second.memory.memory, first.memory.memory);
  assert.equal(second.memory.harts, 2);
  await second.scrubbed;
  assert.ok(second.memory.ram().every((byte) => byte === 0));
  await pool.close();
});

test('a memory that could not be scrubbed serves nobody', async () => {
  const pool = new MemoryPool('a', 16 * MIB, () => Promise.reject(new Error('the thread ended')));
  const first = pool.take('one', size(4));
  pool.give('one', first.memory);
  const early = pool.take('two', size(4));
  await assert.rejects(early.scrubbed!, /the thread ended/);
  pool.give('two', early.memory);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(pool.idleBytes, 0);
  await pool.close();
});

test('a pool is closed when no scrub is under way, also of a memory that was taken', async () => {
  const scrub = Promise.withResolvers<void>();
  const pool = new MemoryPool('a', 16 * MIB, () => scrub.promise);
  const first = pool.take('one', size(4));
  pool.give('one', first.memory);
  const { scrubbed } = pool.take('two', size(4));
  assert.ok(scrubbed !== null);
  let isClosed = false;
  const closed = pool.close().then(() => {
    isClosed = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(isClosed, false);
  scrub.resolve();
  await closed;
});

test('memories are scrubbed one after another, whatever becomes of one', async () => {
  const begun: PromiseWithResolvers<void>[] = [];
  const pool = new MemoryPool('a', 16 * MIB, () => {
    const scrub = Promise.withResolvers<void>();
    begun.push(scrub);
    return scrub.promise;
  });
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  const taken = ['one', 'two'].map((name) => ({ name, memory: pool.take(name, size(4)).memory }));
  for (const { name, memory } of taken) pool.give(name, memory);
  await turn();
  assert.equal(begun.length, 1);
  begun[0]!.reject(new Error('the thread ended'));
  await turn();
  assert.equal(begun.length, 2);
  begun[1]!.resolve();
  await pool.close();
});

test('what is idle never takes room from a reservation', async () => {
  const pool = new MemoryPool('a', 16 * MIB);
  const taken = ['a', 'b', 'c'].map((name) => ({ name, memory: pool.take(name, size(5)).memory }));
  for (const { name, memory } of taken) pool.give(name, memory);
  assert.equal(pool.idleBytes, 15 * MIB);
  pool.take('large', size(10));
  assert.equal(pool.idleBytes, 5 * MIB);
  await pool.close();
  assert.equal(pool.idleBytes, 0);
});

test('who waits for a name goes on when it is given back, or when it takes too long', async () => {
  const pool = new MemoryPool('a', 64 * MIB);
  await pool.vacated('g', 60_000);
  const { memory } = pool.take('g', { ramBytes: 16 * MIB, harts: 1 });
  await pool.vacated('g', 1);
  assert.throws(() => pool.take('g', { ramBytes: 16 * MIB, harts: 1 }), { code: 'guest.exists' });
  const vacated = pool.vacated('g', 60_000);
  pool.give('g', memory);
  await vacated;
  pool.take('g', { ramBytes: 16 * MIB, harts: 1 });
  await pool.close();
});
