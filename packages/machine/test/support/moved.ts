/**
 * A machine that moves the hard way: state first, every page missing, and each comes when it is asked for.
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import * as map from '../../assembly/memory-map.ts';
import { GuestMemory } from '../../src/guest-memory.ts';
import { stopAtInstruction } from '../../src/machine.ts';
import { captureState, decodeState, encodeState, restoreState } from '../../src/machine-state.ts';
import { PageStates } from '../../src/page-states.ts';
import { quitHarts, startHarts } from '../../src/run-control.ts';
import { waitForWord } from '../../src/word-wait.ts';

export interface Moved {
  /** The machine at its stop, or ended; all its pages are there. */
  readonly guest: GuestMemory;
  /** Pages that were asked for. */
  readonly faults: number;
}

/** How long a look at the bell may wait; every fault rings it. */
const LOOK_MS = 1000;

/**
 * Runs a copy of `source`, one hart, with none of its pages up to an instruction or its end. Pages come
 * out of `source`, which stands, on request only; the rest of them when the hart has come back.
 */
export async function runMoved(source: GuestMemory, until: bigint): Promise<Moved> {
  const guest = GuestMemory.create({ ramBytes: source.ramBytes, harts: 1 });
  guest.ram().fill(0xa5);
  const states = new PageStates(guest);
  states.clearAll(map.PAGE_ABSENT);
  states.setGated(true);
  restoreState(guest, decodeState(encodeState(captureState(source))));
  stopAtInstruction(guest, until);

  let isBack = false;
  const back = runHart(guest).finally(() => {
    isBack = true;
  });
  let faults = 0;
  while (!isBack) {
    const asked = states.faults();
    for (const { page } of asked) faults += land(page) ? 1 : 0;
    const isWanted = () => isBack || states.faults().length > 0;
    if (asked.length === 0)
      await waitForWord(guest.i32, map.CONTROL_BELL_FAULT >> 2, isWanted, LOOK_MS);
  }
  await back;
  for (let page = 0; page < guest.pages; page++) land(page);
  states.setGated(false);
  return { guest, faults };

  function land(page: number): boolean {
    if (!states.tryLand(page)) return false;
    guest.page(page).set(source.page(page));
    states.makePresent(page);
    return true;
  }
}

/** Runs the hart on a thread of its own until it comes back by itself. */
async function runHart(guest: GuestMemory): Promise<void> {
  const url = new URL('./machine.worker.ts', import.meta.url);
  const worker = new Worker(url, { workerData: { memory: guest.memory, hart: 0 } });
  const came = once(worker, 'message');
  const left = once(worker, 'exit');
  startHarts(guest);
  await came;
  await quitHarts(guest);
  await left;
}
