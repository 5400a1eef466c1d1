/** One hart that does what the test says, step by step, through the gate. */
import { parentPort, workerData } from 'node:worker_threads';
import { GuestMemory } from '../../src/guest-memory.ts';
import { HartGate } from '../../src/hart-gate.ts';
import type { GateStep } from './threads.ts';

const guest = GuestMemory.adopt(workerData.memory);
const gate = new HartGate(guest, workerData.hart);
const steps: readonly GateStep[] = workerData.steps;
const bytes: number[] = [];

function perform(step: GateStep): boolean {
  switch (step.do) {
    case 'write':
      if (!gate.writable(step.page)) return false;
      guest.page(step.page)[0] = step.value;
      return true;
    case 'read':
      if (!gate.readable(step.page)) return false;
      bytes.push(guest.page(step.page)[0]!);
      return true;
    case 'sleep':
      gate.sleep(step.limitMs);
      return gate.safepoint() === 'run';
    case 'spin':
      while (gate.safepoint() === 'run');
      return false;
  }
}

gate.waitForStart();
let stepsDone = 0;
if (gate.enter()) {
  while (stepsDone < steps.length && perform(steps[stepsDone]!)) stepsDone++;
  gate.leave();
}
parentPort!.postMessage({ stepsDone, bytes });
