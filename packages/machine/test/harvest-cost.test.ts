/**
 * What a harvest of the dirty log every 100 ms costs a guest, counted: instructions, and fills of its TLB.
 *
 * A harvest disarms every write entry. The next store through one marks its page and arms it again, which is
 * no fill: nothing is translated and no page table walked. That happens once for each page that is written
 * again, some tens between two harvests, whatever else the guest does.
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
import { digest } from '../src/machine-state.ts';
import { guestImagePath } from '../src/mod.ts';
import { readProfile } from '../src/profile.ts';
import { quitHarts, startHarts } from '../src/run-control.ts';
import { waitForWord } from '../src/word-wait.ts';
import { linuxTest, makeLinux, runToEnd } from './support/linux-guest.ts';

const MIB = 1048576;
/** 100 ms of a machine of 100 million instructions a second; a faster one does more between two harvests. */
const HARVEST_EVERY = 10_000_000n;
const LIMIT_MS = 120_000;

interface Run {
  readonly instructions: number;
  readonly fills: number;
  readonly armedAgain: number;
  readonly harvests: number;
  /** Of RAM and state at the end. */
  readonly digest: string;
}

/** Runs a guest to its end on a thread of its own; with `harvests` the log is taken every HARVEST_EVERY. */
async function countedRun(guest: GuestMemory, harvests: boolean): Promise<Run> {
  const began = retiredInstructions(guest, 0);
  const workerData = { memory: guest.memory, hart: 0, profile: true };
  const worker = new URL('./support/machine.worker.ts', import.meta.url);
  const exit = once(new Worker(worker, { workerData }), 'exit');
  const log = new DirtyLog(guest);
  const bitmap = makeBitmap(guest.pages);
  const hasEnded = () => guestEnd(guest) !== undefined;
  startHarts(guest);
  let count = 0;
  for (let next = began + HARVEST_EVERY; ; next += HARVEST_EVERY) {
    const isDue = () => hasEnded() || retiredInstructions(guest, 0) >= next;
    assert.ok(await waitForWord(guest.i32, map.CONTROL_BELL_ACK >> 2, isDue, LIMIT_MS));
    if (hasEnded()) break;
    if (!harvests) continue;
    await log.harvest(bitmap);
    count++;
  }
  await quitHarts(guest);
  await exit;
  const events = (what: string) =>
    readProfile(guest)
      .events.filter(({ name }) => name.startsWith(what))
      .reduce((sum, { count }) => sum + Number(count), 0);
  return {
    instructions: Number(retiredInstructions(guest, 0) - began),
    fills: events('TLB misses'),
    armedAgain: events('TLB entries armed again'),
    harvests: count,
    digest: digest(guest),
  };
}

/** What harvests add to the same guest's run. */
async function costOfHarvests(make: () => GuestMemory) {
  const without = await countedRun(make(), false);
  const harvested = await countedRun(make(), true);
  assert.ok(harvested.harvests > 0);
  assert.equal(without.armedAgain, 0);
  assert.equal(harvested.digest, without.digest, 'the guest cannot tell');
  const fills = harvested.fills - without.fills;
  const part = fills / without.fills;
  const each = harvested.armedAgain / harvested.harvests;
  const instructions = harvested.instructions - without.instructions;
  const added = `${fills} fills to ${without.fills} (${(100 * part).toFixed(2)} %)`;
  const text = `${harvested.harvests} harvests added ${added}, ${instructions} instructions, and armed ${each.toFixed(0)} entries again each`;
  return { part, each, instructions, text };
}

/** The most a harvest may add to the fills of any guest. It adds no instruction at all. */
const PART_MAX = 0.01;

const WORK =
  'i=0; while [ $i -lt 4 ]; do ls -lR /bin /proc/sys > /tmp/list; grep -c root /tmp/list; sort /tmp/list | md5sum; i=$((i+1)); done; poweroff -f\n';

/** A Linux at its prompt that has just been told to work in its shell and then power off. */
function workingLinux(): GuestMemory {
  const guest = makeLinux({ initrd: 'initrd.cpio.gz', memoryMiB: 128 });
  runToEnd(guest, [{ after: '# ', type: WORK }], /poweroff -f/);
  return guest;
}

for (const [what, make] of [
  ['boots', () => makeLinux({ initrd: 'initrd-tiny.cpio.gz', memoryMiB: 128 })],
  ['works in its shell', workingLinux],
] as const) {
  linuxTest(
    `a harvest every 100 ms adds at most 1 % of TLB fills to a Linux that ${what}`,
    async (t) => {
      const { part, instructions, text } = await costOfHarvests(make);
      t.diagnostic(text);
      assert.equal(instructions, 0);
      assert.ok(part <= PART_MAX, text);
    },
  );
}

/** No program may need more than this of its pages marked again: one for 10,000 instructions. */
const EACH_MAX = Number(HARVEST_EVERY) / 10_000;

test('a harvest every 100 ms adds no TLB fill to a program that writes all the time', async (t) => {
  const churn = readFileSync(guestImagePath('churn'));
  const { part, each, instructions, text } = await costOfHarvests(() => {
    const guest = GuestMemory.create({ ramBytes: 12 * MIB, harts: 1 });
    resetMachine(guest, { ...loadElf(churn, guest), clock: 'instructions' });
    stopAtInstruction(guest, 12n * HARVEST_EVERY);
    return guest;
  });
  t.diagnostic(text);
  assert.equal(instructions, 0);
  assert.ok(part <= PART_MAX, text);
  assert.ok(each > 0 && each <= EACH_MAX, text);
});
