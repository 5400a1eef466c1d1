/**
 * The memory contract as the wasm hart keeps it, with real threads: stops, harvests and post-copy
 * under a running machine.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import * as own from '../assembly/machine-map.ts';
import * as map from '../assembly/memory-map.ts';
import * as bits from '../src/bitmap.ts';
import { ConsoleRing } from '../src/console-ring.ts';
import { DirtyLog } from '../src/dirty-log.ts';
import { loadElf } from '../src/elf.ts';
import { GuestMemory } from '../src/guest-memory.ts';
import {
  guestEnd,
  loadMachine,
  NO_LIMIT,
  resetMachine,
  retiredInstructions,
  stopAtInstruction,
} from '../src/machine.ts';
import { captureState, digest, restoreState } from '../src/machine-state.ts';
import { PageStates } from '../src/page-states.ts';
import { quitHarts, setThrottle, startHarts, stopHarts } from '../src/run-control.ts';
import { waitForWord } from '../src/word-wait.ts';
import { Assembler, writeElf } from './riscv/assembler.ts';
import * as e from './riscv/encode.ts';
import { RESTLESS_BYTES, restlessElf } from './support/restless.ts';
import { landPages } from './support/threads.ts';

const RAM_BASE = own.RAM_BASE;
/** For waits that end by an event; reached only when something is broken. */
const LIMIT_MS = 20_000;

function makeGuest(elf: Uint8Array, harts = 1, clock: 'host' | 'instructions' = 'instructions') {
  const guest = GuestMemory.create({ ramBytes: RESTLESS_BYTES, harts });
  resetMachine(guest, { ...loadElf(elf, guest), clock });
  return guest;
}

/** vCPU threads; `came` resolves when every hart has come back by itself once. */
function startThreads(t: TestContext, guest: GuestMemory) {
  const workers = Array.from({ length: guest.harts }, (_, hart) => {
    const url = new URL('./support/machine.worker.ts', import.meta.url);
    return new Worker(url, { workerData: { memory: guest.memory, hart } });
  });
  // After a failed assertion nobody else ends them, and the file would never end.
  t.after(() => Promise.all(workers.map((worker) => worker.terminate())));
  const exits = workers.map((worker) => once(worker, 'exit'));
  const came = Promise.all(workers.map((worker) => once(worker, 'message')));
  // A test that does not wait for it must not fail because the threads went away.
  came.catch(() => {});
  startHarts(guest);
  return {
    came: came.then((messages) => messages.map(([reason]) => reason as string)),
    async quit() {
      await quitHarts(guest);
      await Promise.all(exits);
    },
  };
}

/** The digest of the program at an instruction when nothing disturbs it. */
function undisturbed(elf: Uint8Array, instruction: bigint): string {
  const guest = makeGuest(elf);
  stopAtInstruction(guest, instruction);
  guest.setControl(map.CONTROL_RUN, map.RUN_GO);
  assert.equal(loadMachine(guest.memory).run(0, NO_LIMIT), 'stop-at');
  return digest(guest);
}

const state = (guest: GuestMemory, hart: number) =>
  Atomics.load(guest.i32, guest.hartWord(hart, map.HART_STATE));

/** Waits for a condition that the hart brings about by itself. */
async function until(guest: GuestMemory, condition: () => boolean): Promise<void> {
  assert.ok(await waitForWord(guest.i32, map.CONTROL_BELL_ACK >> 2, condition, LIMIT_MS));
}

test('stopped and started at random, a machine is the same at instruction N', async (t) => {
  const end = 3_000_000n;
  const guest = makeGuest(restlessElf());
  stopAtInstruction(guest, end);
  const threads = startThreads(t, guest);
  let stops = 0;
  while (retiredInstructions(guest, 0) < end) {
    await stopHarts(guest);
    assert.equal(state(guest, 0), map.HART_STOPPED);
    const at = retiredInstructions(guest, 0);
    restoreState(guest, captureState(guest));
    assert.equal(retiredInstructions(guest, 0), at);
    stops++;
    startHarts(guest);
    const next = at + 200_000n < end ? at + 200_000n : end;
    await until(guest, () => retiredInstructions(guest, 0) >= next);
  }
  assert.ok(stops >= 2);
  assert.deepEqual(await threads.came, ['stop-at']);
  await threads.quit();
  assert.equal(digest(guest), undisturbed(restlessElf(), end));
});

test('a hart rings when it begins to run, and when it has stopped', () => {
  const guest = makeGuest(restlessElf());
  const rung = () => Atomics.load(guest.i32, map.CONTROL_BELL_ACK >> 2);
  const before = rung();
  stopAtInstruction(guest, 1000n);
  guest.setControl(map.CONTROL_RUN, map.RUN_GO);
  assert.equal(loadMachine(guest.memory).run(0, NO_LIMIT), 'stop-at');
  assert.equal(rung() - before, 2, 'whoever waits for either is woken, and need not look again');
});

test('a harvest under a running hart loses no write', async (t) => {
  const guest = makeGuest(restlessElf());
  const log = new DirtyLog(guest);
  const shadow = new Uint8Array(guest.ramBytes);
  const bitmap = bits.makeBitmap(guest.pages);
  const copy = (page: number) => shadow.set(guest.page(page), page * 4096);
  for (let page = 0; page < guest.pages; page++) copy(page);
  await log.startLog();
  const threads = startThreads(t, guest);
  await until(guest, () => retiredInstructions(guest, 0) > 0n);
  let harvested = 0;
  for (let round = 0; round < 200; round++) {
    harvested += await log.harvest(bitmap);
    bits.forEachPage(bitmap, copy);
  }
  assert.ok(harvested > 200, `${harvested} pages in 200 harvests`);
  await stopHarts(guest);
  await log.harvest(bitmap);
  bits.forEachPage(bitmap, copy);
  assert.deepEqual(Buffer.compare(shadow, guest.ram().slice()), 0);
  await threads.quit();
});

/** The source at an instruction, and its state in a target none of whose pages is there. */
function startPostCopy(from: bigint, end: bigint) {
  const source = makeGuest(restlessElf());
  stopAtInstruction(source, from);
  source.setControl(map.CONTROL_RUN, map.RUN_GO);
  loadMachine(source.memory).run(0, NO_LIMIT);

  const target = GuestMemory.create({ ramBytes: source.ramBytes, harts: 1 });
  target.ram().fill(0xa5);
  restoreState(target, captureState(source));
  const pages = new PageStates(target);
  pages.clearAll(map.PAGE_ABSENT);
  pages.setGated(true);
  stopAtInstruction(target, end);
  return { source, target, pages };
}

function land(pages: PageStates, target: GuestMemory, source: GuestMemory, page: number): void {
  if (!pages.tryLand(page)) return;
  target.page(page).set(source.page(page));
  pages.makePresent(page);
}

/** Answers faults, and nothing but faults, until `done`. */
async function landOnRequest(
  { source, target, pages }: ReturnType<typeof startPostCopy>,
  done: () => boolean,
): Promise<void> {
  const bell = map.CONTROL_BELL_FAULT >> 2;
  while (!done()) {
    let faults = pages.faults();
    const asked = () => {
      faults = faults.length > 0 ? faults : pages.faults();
      return faults.length > 0 || done();
    };
    assert.ok(await waitForWord(target.i32, bell, asked, LIMIT_MS));
    for (const fault of faults) land(pages, target, source, fault.page);
  }
}

test('with every page absent and landed on request, a machine is the same at N', async (t) => {
  const end = 400_000n;
  const post = startPostCopy(100_000n, end);
  const { source, target, pages } = post;
  const threads = startThreads(t, target);
  await landOnRequest(post, () => retiredInstructions(target, 0) >= end);
  assert.deepEqual(await threads.came, ['stop-at']);
  await threads.quit();
  const faults = Number(target.i64[map.CONTROL_FAULTS >> 3]);
  assert.ok(faults > 50 && faults <= target.pages, `${faults} faults: each page at most once`);
  for (let page = 0; page < target.pages; page++) land(pages, target, source, page);
  assert.equal(digest(target), undisturbed(restlessElf(), end));
});

test('with pages pushed while it faults, a machine is the same at N', async (t) => {
  const end = 1_000_000n;
  const { source, target } = startPostCopy(100_000n, end);
  const threads = startThreads(t, target);
  await landPages({ target, source, pushPages: 1 });
  assert.deepEqual(await threads.came, ['stop-at']);
  await threads.quit();
  assert.equal(digest(target), undisturbed(restlessElf(), end));
});

test('a hart that waits for a page can be stopped, and asks again when it is started', async (t) => {
  const end = 150_000n;
  const post = startPostCopy(100_000n, end);
  const { target, source, pages } = post;
  const threads = startThreads(t, target);
  await waitForWord(target.i32, map.CONTROL_BELL_FAULT >> 2, () => isWaiting(target), LIMIT_MS);
  await stopHarts(target);
  assert.equal(retiredInstructions(target, 0), 100_000n, 'the first fetch has had no effect');
  // A harvest meanwhile flushes the stopped hart too.
  await new DirtyLog(target).harvest(bits.makeBitmap(target.pages));
  startHarts(target);
  await landOnRequest(post, () => retiredInstructions(target, 0) >= end);
  await threads.quit();
  for (let page = 0; page < target.pages; page++) land(pages, target, source, page);
  assert.equal(digest(target), undisturbed(restlessElf(), end));
});

test('what a hart knew of its pages before a stop is forgotten at the start', async (t) => {
  const end = 200_000n;
  const post = startPostCopy(100_000n, end);
  const { source, target, pages } = post;
  // The target ran here before: its TLB has entries for pages that are absent now.
  target.ram().set(source.ram());
  pages.setGated(false);
  target.setControl(map.CONTROL_RUN, map.RUN_GO);
  const machine = loadMachine(target.memory);
  machine.run(0, 50_000n);
  restoreState(target, captureState(source));
  target.ram().fill(0xa5);
  pages.clearAll(map.PAGE_ABSENT);
  pages.setGated(true);
  const threads = startThreads(t, target);
  await landOnRequest(post, () => retiredInstructions(target, 0) >= end);
  await threads.quit();
  for (let page = 0; page < target.pages; page++) land(pages, target, source, page);
  assert.equal(digest(target), undisturbed(restlessElf(), end));
});

function isWaiting(guest: GuestMemory): boolean {
  return Atomics.load(guest.i32, guest.hartWord(0, map.HART_FAULT_STATE)) === map.FAULT_WAITING;
}

/** Harts that each add 1 to a counter `count` times by AMO, to another under an LR/SC loop, then WFI. */
function countersElf(count: number): Uint8Array {
  const a = new Assembler(RAM_BASE);
  const [counters, left, seen, failed] = [8, 9, 10, 11];
  a.loadAddress(counters, 'counters');
  a.emit(e.lui(left, count >> 12));
  a.label('loop');
  a.emit(e.addi(seen, 0, 1), e.amo(e.AMOS.amoadd, 3, 0, 0, counters, seen));
  a.emit(e.addi(counters, counters, 8));
  a.label('retry');
  a.emit(e.amo(e.LR, 3, 0, seen, counters, 0), e.addi(seen, seen, 1));
  a.emit(e.amo(e.SC, 3, 0, failed, counters, seen));
  a.branch(e.BRANCHES.bne, failed, 0, 'retry');
  a.emit(e.addi(counters, counters, -8), e.addi(left, left, -1));
  a.branch(e.BRANCHES.bne, left, 0, 'loop');
  a.emit(e.amo(e.AMOS.amoadd, 3, 0, 0, counters, 0));
  a.label('sleep');
  a.emit(e.WFI);
  a.jump('sleep');
  a.align(4096);
  a.label('counters');
  a.space(16);
  return writeElf(RAM_BASE, a.bytes());
}

test('harts on threads of their own share memory by AMO and LR/SC', async (t) => {
  const count = 1 << 15;
  const harts = 3;
  const guest = makeGuest(countersElf(count), harts, 'host');
  const threads = startThreads(t, guest);
  const asleep = () => {
    const hart = Array.from({ length: harts }, (_, i) => i);
    return hart.every((i) => retiredInstructions(guest, i) > 9n * BigInt(count) && inWfi(guest, i));
  };
  await until(guest, asleep);
  await threads.quit();
  const view = new DataView(guest.sab, map.RAM + 4096);
  const total = BigInt(harts * count);
  assert.deepEqual([view.getBigUint64(0, true), view.getBigUint64(8, true)], [total, total]);
});

const inWfi = (guest: GuestMemory, hart: number) =>
  state(guest, hart) === map.HART_PARKED &&
  guest.i64[(map.HARTS + hart * map.HART_SIZE + own.HART_WFI) >> 3] === 1n;

/**
 * Hart 0 sleeps in WFI without a timer and echoes input; `!` powers off with code 7. The other harts
 * only sleep: two readers of one UART would race for each byte and echo it out of order.
 */
function echoElf(): Uint8Array {
  const a = new Assembler(RAM_BASE);
  const [uart, syscon, byte, stop, value, hart] = [8, 9, 13, 11, 12, 10];
  a.emit(e.lui(uart, 0x10000), e.lui(syscon, 0x100), e.addi(stop, 0, 33));
  a.emit(e.lui(value, 0x73), e.addi(value, value, 0x333));
  a.label('sleep');
  a.emit(e.WFI);
  a.branch(e.BRANCHES.bne, hart, 0, 'sleep');
  a.label('poll');
  a.emit(e.iType(0x03, e.LOADS.lbu, byte, uart, 5), e.iType(0x13, 7, byte, byte, 1));
  a.branch(e.BRANCHES.beq, byte, 0, 'sleep');
  a.emit(e.iType(0x03, e.LOADS.lbu, byte, uart, 0));
  a.branch(e.BRANCHES.beq, byte, stop, 'off');
  a.emit(e.sType(e.STORES.sb, byte, uart, 0));
  a.jump('poll');
  a.label('off');
  a.emit(e.sType(e.STORES.sw, value, syscon, 0));
  a.jump('sleep');
  return writeElf(RAM_BASE, a.bytes());
}

test('input wakes a sleeping hart, its output rings, and power-off ends every hart', async (t) => {
  const guest = makeGuest(echoElf(), 2, 'host');
  const console = new ConsoleRing(guest);
  console.listen(true);
  const threads = startThreads(t, guest);
  const heard = async (text: string) => {
    const said = () => Buffer.from(console.readOutput(0n).bytes).toString() === text;
    assert.ok(await waitForWord(guest.i32, map.CONTROL_BELL_DEVICE >> 2, said, LIMIT_MS), text);
  };
  console.writeInput(Buffer.from('he'));
  await heard('he');
  await until(guest, () => inWfi(guest, 0) && inWfi(guest, 1));
  console.writeInput(Buffer.from('llo'));
  await heard('hello');
  console.writeInput(Buffer.from('!'));
  assert.deepEqual(await threads.came, ['ended', 'ended']);
  assert.deepEqual(guestEnd(guest), { end: 'power-off', code: 7 });
  await threads.quit();
});

test('a throttled hart sleeps, and is stopped and harvested out of its sleep', async (t) => {
  const guest = makeGuest(restlessElf());
  const log = new DirtyLog(guest);
  const threads = startThreads(t, guest);
  setThrottle(guest, 990);
  await until(guest, () => state(guest, 0) === map.HART_PARKED);
  assert.ok((await log.harvest(bits.makeBitmap(guest.pages))) > 0);
  await stopHarts(guest);
  setThrottle(guest, 0);
  startHarts(guest);
  const before = retiredInstructions(guest, 0);
  await until(guest, () => retiredInstructions(guest, 0) > before + 1_000_000n);
  await threads.quit();
});
