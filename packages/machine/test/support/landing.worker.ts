/** The target's side of post-copy without a network: faults first, the rest in the background. */
import { parentPort, workerData } from 'node:worker_threads';
import * as map from '../../assembly/memory-map.ts';
import { GuestMemory } from '../../src/guest-memory.ts';
import { PageStates } from '../../src/page-states.ts';

const target = GuestMemory.adopt(workerData.target);
const source = GuestMemory.adopt(workerData.source);
const states = new PageStates(target);
const bell = map.CONTROL_BELL_FAULT >> 2;
let missing = states.countAbsent();
let faults = 0;
let next = 0;

function land(page: number): boolean {
  if (!states.tryLand(page)) return false;
  // In two halves: a page that is only half here must not be seen by anybody.
  const into = target.page(page);
  const from = source.page(page);
  into.set(from.subarray(0, 2048), 0);
  into.set(from.subarray(2048), 2048);
  states.makePresent(page);
  missing--;
  return true;
}

while (missing > 0) {
  const rung = Atomics.load(target.i32, bell);
  for (const fault of states.faults()) if (land(fault.page)) faults++;
  for (let i = 0; i < workerData.pushPages && next < target.pages; i++) land(next++);
  if (workerData.pushPages === 0) Atomics.wait(target.i32, bell, rung, 1000);
}
states.setGated(false);
parentPort!.postMessage({ faults });
