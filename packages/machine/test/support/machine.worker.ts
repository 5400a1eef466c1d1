/** A vCPU thread of a machine guest: runs its hart whenever it may, says when it came back by itself. */
import { parentPort, workerData } from 'node:worker_threads';
import * as map from '../../assembly/memory-map.ts';
import { GuestMemory } from '../../src/guest-memory.ts';
import { HartGate } from '../../src/hart-gate.ts';
import { loadMachine, NO_LIMIT } from '../../src/machine.ts';

const { memory, hart, profile = false } = workerData;
const guest = GuestMemory.adopt(memory);
const gate = new HartGate(guest, hart);
const machine = loadMachine(memory, { profile });

while (gate.waitForStart() === 'run') {
  const reason = machine.run(hart, NO_LIMIT);
  if (reason === 'stopped') continue;
  parentPort!.postMessage(reason);
  const wake = guest.hartWord(hart, map.HART_WAKE);
  for (;;) {
    const rung = Atomics.load(guest.i32, wake);
    if (guest.control(map.CONTROL_RUN) !== map.RUN_GO) break;
    Atomics.wait(guest.i32, wake, rung);
  }
}
