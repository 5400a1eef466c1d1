/**
 * A guest on one host: made, run, stopped, audited, captured, put into another memory, given back.
 * Goal: nothing of it is left behind, and what it is asked while leased waits for the owner.
 */
import assert from 'node:assert/strict';
import { availableParallelism } from 'node:os';
import { afterEach, test } from 'node:test';
import {
  ConsoleRing,
  GuestMemory,
  loadPageOps,
  makeBitmap,
  memoryMap,
  popcount,
  testBit,
} from '@godwit/machine';
import { GodwitError, type GuestSpec } from '@godwit/protocol';
import { Guest } from '../src/guest/guest.ts';
import { auditGuest } from '../src/guest/guest-audit.ts';
import type { GuestEnding } from '../src/guest/guest-ending.ts';
import { checkStateVersion, stateVersion } from '../src/guest/guest-state.ts';
import { MemoryPool } from '../src/guest/memory-pool.ts';
import { runMemoryTask } from '../src/guest/memory-task.ts';
import { endIdleThreads } from '../src/thread.ts';
import { image, MIB, machineSpec, silent, until, workloadSpec } from './support/agent-parts.ts';
import { NEEDS_LINUX, threadNames } from './support/thread-names.ts';

const isCode = (code: string) => (error: unknown) =>
  error instanceof GodwitError && error.code === code;

const made = new Set<Guest>();
/** A failed test must not leave threads that keep the process alive. */
afterEach(async () => {
  await Promise.all([...made].map((guest) => guest.release()));
  made.clear();
});

async function make(spec: GuestSpec, pool: MemoryPool, elf?: Uint8Array): Promise<Guest> {
  const boot = elf && (() => ({ kind: 'elf', elf }) as const);
  const guest = await Guest.create({ spec, epoch: 1, pool, log: silent, boot });
  made.add(guest);
  return guest;
}

async function reserve(spec: GuestSpec, pool: MemoryPool): Promise<Guest> {
  const guest = await Guest.reserve({ spec, epoch: 2, pool, log: silent });
  made.add(guest);
  return guest;
}

function consoleText(guest: Guest): string {
  return Buffer.from(new ConsoleRing(guest.memory).readOutput(0n).bytes).toString();
}

test('a workload runs, is audited while it runs, and is given back', async () => {
  const pool = new MemoryPool('a', 64 * MIB);
  const guest = await make(workloadSpec('w'), pool);
  guest.start();
  await until('writes', () => guest.report().writes > 5000);
  const audit = await auditGuest(guest, 5000);
  assert.equal(audit.wrong, 0);
  assert.equal(audit.pages, 2048);
  assert.equal(guest.state, 'running');
  await until('more writes', () => guest.report().writes > audit.writes);
  await guest.release();
  assert.equal(pool.reservedBytes, 0);
  assert.equal(pool.idleBytes, 8 * MIB);
});

test('what a new guest has not touched is zero, and a guest that came from elsewhere may hold anything', async () => {
  const pool = new MemoryPool('a', 64 * MIB);
  const sparse = workloadSpec('s', { content: 'zero', hotPages: 64 });
  const kinds = [
    { guest: await make(sparse, pool), touches: (pages: number) => pages <= 64 },
    { guest: await make(workloadSpec('w'), pool), touches: (pages: number) => pages === 2048 },
    {
      guest: await make(machineSpec('m'), pool, image('churn')),
      touches: (pages: number) => pages > 0 && pages < 4096,
    },
  ];
  for (const { guest, touches } of kinds) {
    const { isZero } = loadPageOps(guest.memory.memory);
    guest.start();
    await until('work', () => guest.report().writes > 100 || guest.report().instructions > 1e6);
    // One harvest in the middle: what it takes is still known afterwards.
    await guest.harvest(makeBitmap(guest.memory.pages));
    await guest.stopHarts();
    await guest.harvest(makeBitmap(guest.memory.pages));
    const { touched } = guest.dirtyLog;
    assert.ok(touches(popcount(touched)), `${guest.name} has touched ${popcount(touched)} pages`);
    for (let page = 0; page < guest.memory.pages; page++) {
      assert.ok(testBit(touched, page) || isZero(guest.memory.ramOffset(page)), `page ${page}`);
    }
  }
  const incoming = await reserve({ ...sparse, name: 'i' }, pool);
  assert.equal(popcount(incoming.dirtyLog.touched), incoming.memory.pages);
});

test('an audit finds a page that was dropped, and memory and count that went back together', async () => {
  const pool = new MemoryPool('a', 64 * MIB);
  const guest = await make(workloadSpec('w', { pattern: 'idle' }), pool);
  guest.memory.page(100).fill(0);
  const dropped = await auditGuest(guest, 0).catch((error) => error);
  assert.ok(isCode('guest.not_running')(dropped), 'a guest that is being made is not audited');
  guest.start();
  const found = await auditGuest(guest, 0);
  assert.equal(found.wrong, 1);
  assert.match(found.firstWrong ?? '', /^page 100: /);
  guest.memory.page(100).fill(0);
  const behind = await auditGuest(guest, 1);
  assert.match(behind.firstWrong ?? '', /claims 0 writes, 1 were heard of/);
  await guest.release();
});

test('state moves into a reserved guest and it goes on from there', async () => {
  const pool = new MemoryPool('a', 64 * MIB);
  const source = await make(workloadSpec('w'), pool);
  const target = await reserve({ ...workloadSpec('w'), name: 'w-there' }, pool);
  assert.equal(target.state, 'incoming');
  source.start();
  await until('writes', () => source.report().writes > 100);
  await source.stopHarts();
  target.memory.ram().set(source.memory.ram());
  target.adoptState(source.captureState());
  target.start();
  const before = source.report().writes;
  await until('writes there', () => target.report().writes > before);
  assert.equal((await auditGuest(target, before)).wrong, 0);
  assert.throws(() => target.adoptState(Buffer.from('nonsense')), isCode('state.corrupt'));
});

test('state of an unknown version is refused before there is any', () => {
  for (const kind of ['machine', 'workload'] as const) {
    const newest = stateVersion(kind);
    checkStateVersion(kind, newest);
    assert.throws(() => checkStateVersion(kind, newest + 1), isCode('state.version'));
    assert.throws(() => checkStateVersion(kind, 0), isCode('state.version'));
  }
  checkStateVersion('machine', stateVersion('machine') - 1);
});

test('target memory is poisoned when a test asks for it', async () => {
  const before = process.env.GODWIT_TEST_POISON;
  process.env.GODWIT_TEST_POISON = '1';
  try {
    const pool = new MemoryPool('a', 64 * MIB);
    const guest = await reserve(machineSpec('m'), pool);
    assert.ok(guest.memory.ram().every((byte) => byte === 0xa5));
    assert.equal(guest.fresh, false);
    await guest.release();
  } finally {
    if (before === undefined) delete process.env.GODWIT_TEST_POISON;
    else process.env.GODWIT_TEST_POISON = before;
  }
});

test('memories that come at once are touched by as few threads as pay', NEEDS_LINUX, async () => {
  await endIdleThreads();
  const memories = Array.from({ length: 4 }, () =>
    GuestMemory.create({ ramBytes: 64 * MIB, harts: 1 }),
  );
  await Promise.all(memories.map((memory) => runMemoryTask(memory, { kind: 'wipe', byte: 0xa5 })));
  // A thread that is done is kept for the next: there were never more.
  const threads = threadNames().filter((name) => name === 'memory').length;
  assert.ok(threads >= 1 && threads <= Math.min(availableParallelism(), 4), `${threads} threads`);
});

test('nobody touches a memory before it is scrubbed', async () => {
  const scrub = Promise.withResolvers<void>();
  const pool = new MemoryPool('a', 64 * MIB, () => scrub.promise);
  const before = await make(workloadSpec('w', { pattern: 'idle' }), pool);
  const left = Buffer.from(before.memory.ram());
  await before.release();
  const making = make(workloadSpec('x', { pattern: 'idle', seed: 2 }), pool);
  // Long enough for a thread to write it: one that is there does, and answers another question too.
  await runMemoryTask(GuestMemory.create({ ramBytes: MIB, harts: 1 }), { kind: 'digest' });
  assert.ok(left.equals(before.memory.ram()));
  scrub.resolve();
  const guest = await making;
  assert.ok(!left.equals(guest.memory.ram()));
  await guest.release();
});

test('a machine guest boots on memory another guest left, and takes input', async () => {
  const pool = new MemoryPool('a', 64 * MIB);
  const before = await make(workloadSpec('w'), pool);
  await before.release();
  const spec = machineSpec('h', { memoryBytes: 8 * MIB });
  const guest = await make(spec, pool, image('hello'));
  assert.equal(pool.idleBytes, 0, 'the memory was used again');
  guest.start();
  await until('the banner', () => consoleText(guest).includes('\n'));
  const ended = new Promise<GuestEnding>((resolve) => guest.once('ended', resolve));
  assert.ok(guest.takesInput);
  new ConsoleRing(guest.memory).writeInput(Buffer.from('quit\n'));
  assert.deepEqual(await ended, { event: 'powerOff', code: 0 });
  assert.equal(guest.takesInput, false);
  assert.deepEqual(guest.report().end, { why: 'powerOff', code: 0 });
  await guest.release();
});

test('a stop at instruction N has one digest, whoever runs it', async () => {
  const pool = new MemoryPool('a', 64 * MIB);
  const spec = machineSpec('c', { clock: 'instructions', stopAt: 3_000_000 });
  const digests: string[] = [];
  for (let run = 0; run < 2; run++) {
    const guest = await make(spec, pool, image('churn'));
    const ended = new Promise<GuestEnding>((resolve) => guest.once('ended', resolve));
    guest.start();
    const { event, digest } = await ended;
    assert.equal(event, 'stopAt');
    assert.equal(guest.report().instructions, 3_000_000);
    digests.push(digest as string);
    await guest.release();
  }
  assert.match(digests[0]!, /^[0-9a-f]{64}$/);
  assert.equal(digests[0], digests[1]);
});

test('stopping harts that have ended by themselves says so', async () => {
  const pool = new MemoryPool('a', 64 * MIB);
  const spec = machineSpec('c', { clock: 'instructions', stopAt: 1000 });
  const guest = await make(spec, pool, image('churn'));
  let endings = 0;
  guest.on('ended', () => endings++);
  guest.start();
  await until('the stop', () => guest.report().instructions === 1000);
  await assert.rejects(guest.stopHarts(), isCode('guest.ended'));
  assert.equal(endings, 1);
  await guest.release();
});

test('one lease; what is latched under it waits for its end, or hears that the guest left', async () => {
  const pool = new MemoryPool('a', 64 * MIB);
  const guest = await make(workloadSpec('w'), pool);
  const done: string[] = [];
  const latch = (name: string) =>
    guest.latch({
      what: 'stop',
      carryOut: () => done.push(`${name} done`),
      gone: () => done.push(`${name} gone`),
    });
  guest.leaseTo('m-1');
  assert.throws(() => guest.leaseTo('m-2'), isCode('guest.busy'));
  assert.equal(guest.report().migration, 'm-1');
  latch('first');
  guest.carryOutLatched();
  assert.deepEqual(done, []);
  guest.releaseLease('m-0');
  assert.equal(guest.lease, 'm-1', 'a lease is given back by its holder only');
  guest.releaseLease('m-1');
  await until('the latched stop', () => done.length === 1);
  guest.leaseTo('m-2');
  latch('second');
  await guest.release();
  assert.deepEqual(done, ['first done', 'second gone']);
});

test('harvest takes what was written, and reports show a rate and a working set', async () => {
  const pool = new MemoryPool('a', 64 * MIB);
  const spec = workloadSpec('w', { pattern: 'hotset', hotPages: 64, rateMiBps: 20 });
  const guest = await make(spec, pool);
  guest.start();
  const bitmap = makeBitmap(guest.memory.pages);
  await until('hot pages', () => guest.countDirty() >= 64);
  const harvested = await guest.harvest(bitmap);
  assert.ok(harvested >= 64);
  assert.equal(popcount(bitmap), harvested);
  await until('the working set', () => {
    void guest.sampleDirty();
    return guest.report().workingSetPages >= 64;
  });
  assert.ok(guest.report().dirtyBytesPerS > 0);
  guest.setRate(0);
  assert.equal(guest.report().spec.workload?.rateMiBps, 0);
  assert.throws(() => guest.setRate(-1), isCode('guest.bad_spec'));
  await guest.release();
});

test('a guest that cannot be made leaves nothing reserved', async () => {
  const pool = new MemoryPool('a', 64 * MIB);
  const elf = image('hello');
  const cases: [GuestSpec, Uint8Array | undefined, string][] = [
    [machineSpec('m'), undefined, 'guest.bad_spec'],
    [machineSpec('m'), elf.subarray(0, 100), 'guest.bad_spec'],
    [machineSpec('m', { memoryBytes: 1000 }), elf, 'guest.bad_spec'],
    [machineSpec('m', { harts: 9 }), elf, 'guest.bad_spec'],
    [machineSpec('m', { memoryBytes: 65 * MIB }), elf, 'host.no_room'],
    [workloadSpec('w', { pattern: 'hotset', hotPages: 1 << 20 }), undefined, 'guest.bad_spec'],
    [workloadSpec('w'), elf, 'guest.bad_spec'],
  ];
  for (const [spec, program, code] of cases) {
    await assert.rejects(make(spec, pool, program), isCode(code), JSON.stringify(spec));
    assert.equal(pool.reservedBytes, 0);
  }
});

test('a stop that was overtaken by a start neither succeeds nor starts anything afterwards', async () => {
  const pool = new MemoryPool('a', 64 * MIB);
  const guest = await make(workloadSpec('w'), pool);
  guest.start();
  await until('writes', () => guest.report().writes > 0);
  const overtaken = guest.stopHarts();
  guest.start();
  const stopped = guest.stopHarts();
  await assert.rejects(overtaken, isCode('guest.stopped_late'));
  await stopped;
  const run = guest.memory.control(memoryMap.CONTROL_RUN);
  assert.equal(run, memoryMap.RUN_STOP, 'the newest command stands');
  await guest.release();
});

test('memory of guests that left goes back to the machine, also from threads that sleep', async () => {
  const pool = new MemoryPool('a', 160 * MIB);
  const rssMiB = () => process.memoryUsage.rss() / MIB;
  const visit = async (mib: number) => {
    const spec = { ...workloadSpec('v', { pattern: 'idle' }), memoryBytes: mib * MIB };
    const guest = await Guest.create({ spec, epoch: 1, pool, log: silent });
    guest.start();
    await guest.release();
  };
  await visit(128);
  const before = rssMiB();
  // A size of its own each: none can be used again, each evicts the one before.
  for (let i = 1; i <= 5; i++) await visit(128 + i);
  await until('five visits leave no more than two', () => rssMiB() < before + 2 * 128);
  pool.close();
  await until('and none when the pool is closed', () => rssMiB() < before);
});
