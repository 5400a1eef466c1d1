/**
 * The profile variant counts what happened, does what the other one does, and shows by counting what a
 * harvest of the dirty log costs a guest.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import * as map from '../assembly/memory-map.ts';
import { makeBitmap } from '../src/bitmap.ts';
import { DirtyLog } from '../src/dirty-log.ts';
import { loadElf } from '../src/elf.ts';
import { GuestMemory } from '../src/guest-memory.ts';
import { guestEnd, resetMachine, retiredInstructions, stopAtInstruction } from '../src/machine.ts';
import { guestImagePath, runMachine } from '../src/mod.ts';
import { type Profile, readProfile } from '../src/profile.ts';
import { quitHarts, startHarts } from '../src/run-control.ts';
import { waitForWord } from '../src/word-wait.ts';
import { Assembler, writeElf } from './riscv/assembler.ts';
import * as e from './riscv/encode.ts';

const MIB = 1048576;
const churn = readFileSync(guestImagePath('churn'));

const countOf = (counts: Profile['events'], name: string) =>
  Number(counts.find((one) => one.name === name)?.count ?? 0n);

test('counts are those of the program', () => {
  const a = new Assembler(0x80000000);
  // Ten rounds of a load, a store and a multiplication, then an ECALL into a loop of one jump.
  a.loadAddress(5, 'handler');
  a.emit(e.csrrw(0, e.CSR.mtvec, 5), e.addi(6, 0, 10));
  a.label('loop');
  a.emit(e.iType(0x03, e.LOADS.ld, 7, 5, 0x100), e.sType(e.STORES.sd, 7, 5, 0x108));
  a.emit(e.rType(0x33, 0, 1, 8, 7, 7), e.addi(6, 6, -1));
  a.branch(e.BRANCHES.bne, 6, 0, 'loop');
  a.emit(e.ECALL);
  a.align(4);
  a.label('handler');
  a.emit(0x6f);
  const elf = writeElf(0x80000000, a.bytes());
  const { profile, instructions } = runMachine({
    elf,
    memoryBytes: MIB,
    maxInstructions: 100,
    profile: true,
  });
  assert.equal(instructions, 100n);
  const operation = (name: string) => countOf(profile!.operations, name);
  assert.deepEqual(
    ['ld', 'sd', 'mul', 'bne', 'system'].map(operation),
    [10, 10, 10, 10, 2],
    'system: the CSR write and the ECALL, which trapped',
  );
  assert.equal(countOf(profile!.events, 'exception 11'), 1);
  assert.equal(countOf(profile!.kinds, 'loads'), 10);
  const all = profile!.kinds.reduce((sum, { count }) => sum + Number(count), 0);
  assert.equal(all, 101, 'every instruction once, and the one that trapped');
});

test('the profiled machine is the same machine', () => {
  const run = (profile: boolean) =>
    runMachine({ elf: churn, memoryBytes: 12 * MIB, stopAt: 2_000_000, digest: true, profile });
  assert.equal(run(true).digest, run(false).digest);
});

/** 100 ms of the clock that counts instructions. */
const HARVEST_EVERY = 10_000_000n;
const STOP_AT = 12n * HARVEST_EVERY;
const LIMIT_MS = 120_000;

/** Runs churn on a thread of its own; with `harvests` the log is taken every HARVEST_EVERY instructions. */
async function missesOfChurn(harvests: boolean) {
  const guest = GuestMemory.create({ ramBytes: 12 * MIB, harts: 1 });
  resetMachine(guest, { ...loadElf(churn, guest), clock: 'instructions' });
  stopAtInstruction(guest, STOP_AT);
  const data = { memory: guest.memory, hart: 0, profile: true };
  const thread = new Worker(new URL('./support/machine.worker.ts', import.meta.url), {
    workerData: data,
  });
  const exit = once(thread, 'exit');
  const log = new DirtyLog(guest);
  const bitmap = makeBitmap(guest.pages);
  startHarts(guest);
  let count = 0;
  for (let next = HARVEST_EVERY; next < STOP_AT; next += HARVEST_EVERY) {
    const due = () => retiredInstructions(guest, 0) >= next;
    assert.ok(await waitForWord(guest.i32, map.CONTROL_BELL_ACK >> 2, due, LIMIT_MS));
    if (guestEnd(guest) !== undefined || !harvests) continue;
    await log.harvest(bitmap);
    count++;
  }
  const ended = () => guestEnd(guest) !== undefined;
  assert.ok(await waitForWord(guest.i32, map.CONTROL_BELL_DEVICE >> 2, ended, LIMIT_MS));
  await quitHarts(guest);
  await exit;
  const { events } = readProfile(guest);
  const kinds = ['loads', 'stores', 'fetches'];
  const misses = kinds.reduce((sum, kind) => sum + countOf(events, `TLB misses, ${kind}`), 0);
  return { misses, count, retired: retiredInstructions(guest, 0) };
}

/** A harvest costs a miss for each write entry that is used again, whatever else the program does. */
const INSTRUCTIONS_A_MISS_MIN = 10_000;

test('a harvest every 100 ms adds hardly a TLB miss, and no instruction', async (t) => {
  const [without, harvested] = [await missesOfChurn(false), await missesOfChurn(true)];
  assert.equal(harvested.retired, without.retired);
  assert.ok(harvested.count > 0);
  const each = (harvested.misses - without.misses) / harvested.count;
  const between = without.misses / Number(STOP_AT / HARVEST_EVERY);
  t.diagnostic(`${harvested.count} harvests, ${each} misses each, ${between} between two`);
  assert.ok(each <= Number(HARVEST_EVERY) / INSTRUCTIONS_A_MISS_MIN, `${each} misses a harvest`);
});
