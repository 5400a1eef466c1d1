/**
 * The host's hand on a guest's harts: start, stop, quit. Main thread only; blocks for no longer
 * than word-wait.ts says.
 *
 * The host only writes CONTROL_RUN and rings; the harts move themselves (hart-gate.ts). A hart that
 * waits for a page is woken out of its fault slot, so that a guest can be stopped while its pages are
 * out of reach.
 */
import * as map from '../assembly/memory-map.ts';
import { MachineError } from './errors.ts';
import type { GuestMemory } from './guest-memory.ts';
import { ringBell, waitForWord } from './word-wait.ts';

/** A stop is part of the blackout: normally under a millisecond. Past this the host is in trouble. */
export const STOP_LIMIT_MS = 2000;
/** Covers the start of a vCPU thread itself, some 50 ms, on a busy host. */
export const START_LIMIT_MS = 5000;

/** Lets the harts run. Their threads may still be starting: they see RUN when they come. */
export function startHarts(guest: GuestMemory): void {
  // Or an earlier run's start would be taken for this one's first instruction.
  for (let hart = 0; hart < guest.harts; hart++) {
    Atomics.store(guest.i64, hartTimeIndex(hart, map.HART_STARTED_NS), 0n);
  }
  setRun(guest, map.RUN_GO);
}

/**
 * Resolves to the moment of the guest's first instruction since `startHarts` (monotonic host clock, ns).
 *
 * @throws MachineError hart.no_acknowledge
 */
export async function whenRunning(guest: GuestMemory, limitMs = START_LIMIT_MS): Promise<bigint> {
  const bell = map.CONTROL_BELL_ACK >> 2;
  const started = () => runTimes(guest).startedNs !== 0n;
  if (await waitForWord(guest.i32, bell, started, limitMs)) return runTimes(guest).startedNs;
  throw noAnswer(guest, 0, 'a start', limitMs);
}

/**
 * Resolves when every hart is STOPPED; its stores are then in memory, its own state too.
 *
 * @throws MachineError hart.no_acknowledge; CONTROL_RUN stays RUN_STOP then, and the caller decides
 *   whether to start again
 */
export function stopHarts(guest: GuestMemory, limitMs = STOP_LIMIT_MS): Promise<void> {
  return stopWith(guest, map.RUN_STOP, limitMs);
}

/** As `stopHarts`, and the vCPU threads end themselves. */
export function quitHarts(guest: GuestMemory, limitMs = STOP_LIMIT_MS): Promise<void> {
  return stopWith(guest, map.RUN_QUIT, limitMs);
}

/** Makes a sleeping hart look around. */
export function wakeHart(guest: GuestMemory, hart: number): void {
  ringBell(guest.i32, guest.hartWord(hart, map.HART_WAKE));
}

/** Sets the share of its time each hart must sleep, in parts of 1000 (0 to 999). */
export function setThrottle(guest: GuestMemory, partsPerThousand: number): void {
  guest.setControl(map.CONTROL_THROTTLE, partsPerThousand);
  for (let hart = 0; hart < guest.harts; hart++) wakeHart(guest, hart);
}

/**
 * When the guest last began and last ceased to run, monotonic host clock in ns (comparable between the
 * processes of one host): the earliest start and the latest stop of any hart. 0n = never.
 */
export function runTimes(guest: GuestMemory): { startedNs: bigint; stoppedNs: bigint } {
  let startedNs = 0n;
  let stoppedNs = 0n;
  for (let hart = 0; hart < guest.harts; hart++) {
    const started = hartTime(guest, hart, map.HART_STARTED_NS);
    const stopped = hartTime(guest, hart, map.HART_STOPPED_NS);
    if (started !== 0n && (startedNs === 0n || started < startedNs)) startedNs = started;
    if (stopped > stoppedNs) stoppedNs = stopped;
  }
  return { startedNs, stoppedNs };
}

/** The longest time any hart waited for a page since the last call, in us. */
export function takeLongestStallUs(guest: GuestMemory): number {
  let longest = 0;
  for (let hart = 0; hart < guest.harts; hart++) {
    const word = guest.hartWord(hart, map.HART_STALL_US);
    longest = Math.max(longest, Atomics.exchange(guest.i32, word, 0));
  }
  return longest;
}

async function stopWith(guest: GuestMemory, run: number, limitMs: number): Promise<void> {
  setRun(guest, run);
  const bell = map.CONTROL_BELL_ACK >> 2;
  if (await waitForWord(guest.i32, bell, () => unstoppedHart(guest) < 0, limitMs)) return;
  throw noAnswer(guest, Math.max(unstoppedHart(guest), 0), 'a stop', limitMs);
}

function noAnswer(guest: GuestMemory, hart: number, waitedFor: string, limitMs: number) {
  const state = Atomics.load(guest.i32, guest.hartWord(hart, map.HART_STATE));
  return new MachineError('hart.no_acknowledge', { hart, waitedFor, state, limitMs });
}

function setRun(guest: GuestMemory, run: number): void {
  guest.setControl(map.CONTROL_RUN, run);
  for (let hart = 0; hart < guest.harts; hart++) {
    wakeHart(guest, hart);
    const slot = guest.hartWord(hart, map.HART_FAULT_STATE);
    Atomics.compareExchange(guest.i32, slot, map.FAULT_WAITING, map.FAULT_NONE);
    Atomics.notify(guest.i32, slot);
  }
}

function unstoppedHart(guest: GuestMemory): number {
  for (let hart = 0; hart < guest.harts; hart++) {
    const state = Atomics.load(guest.i32, guest.hartWord(hart, map.HART_STATE));
    if (state !== map.HART_STOPPED) return hart;
  }
  return -1;
}

function hartTimeIndex(hart: number, offset: number): number {
  return (map.HARTS + hart * map.HART_SIZE + offset) >> 3;
}

function hartTime(guest: GuestMemory, hart: number, offset: number): bigint {
  return Atomics.load(guest.i64, hartTimeIndex(hart, offset));
}
