/**
 * Thread entry: one hart of one guest.
 *
 * Parks until CONTROL_RUN says go, runs until it is told to stop or its guest ends, parks again; leaves
 * at RUN_QUIT. May block at any time, which no other thread of the agent may. All it shares with the
 * rest lies in the guest's memory; it posts only that it is parked for the first time, and that its
 * hart has left the loop by itself.
 */
import { parentPort, workerData } from 'node:worker_threads';
import {
  GuestMemory,
  HartGate,
  loadMachine,
  memoryMap as map,
  NO_LIMIT,
  runWorkload,
} from '@godwit/machine';
import type { VcpuInput, VcpuMessage } from './vcpus.ts';

const { memory, hart, kind } = workerData as VcpuInput;
const post = (message: VcpuMessage) => parentPort?.postMessage(message);

/**
 * The machine package's own loop would do, but the agent must hear of an end at once: nobody looks at
 * CONTROL_END in a quiet guest.
 */
function runMachineHart(): void {
  const guest = GuestMemory.adopt(memory);
  const gate = new HartGate(guest, hart);
  const machine = loadMachine(memory);
  post({ type: 'parked' });
  while (gate.waitForStart() === 'run') {
    if (machine.run(hart, NO_LIMIT) === 'stopped') continue;
    post({ type: 'left' });
    waitWhileGo(guest);
  }
}

/** The guest has ended, or this hart is at its stop: nothing to run until the host says something else. */
function waitWhileGo(guest: GuestMemory): void {
  const wake = guest.hartWord(hart, map.HART_WAKE);
  for (;;) {
    const rung = Atomics.load(guest.i32, wake);
    if (guest.control(map.CONTROL_RUN) !== map.RUN_GO) return;
    Atomics.wait(guest.i32, wake, rung);
  }
}

if (kind === 'machine') {
  runMachineHart();
} else {
  post({ type: 'parked' });
  runWorkload(memory, hart);
}
