/**
 * Thread entry: one hart of one guest.
 *
 * Parks until CONTROL_RUN says go, runs until it is told to stop or its guest ends, parks again; leaves
 * at RUN_QUIT, and is then free for another guest. May block at any time, which no other thread of the
 * agent may. All it shares with the rest lies in the guest's memory; it posts only that it is parked
 * for the first time, and that its hart has left the loop by itself.
 */
import {
  GuestMemory,
  HartGate,
  loadMachine,
  memoryMap as map,
  NO_LIMIT,
  runWorkload,
} from '@godwit/machine';
import { postEvent, serveThread } from '../thread.ts';
import type { VcpuEvent, VcpuInput } from './vcpus.ts';

const post = (event: VcpuEvent) => postEvent(event);

/**
 * The machine package's own loop would do, but the agent must hear of an end at once: nobody looks at
 * CONTROL_END in a quiet guest.
 */
function runMachineHart(memory: WebAssembly.Memory, hart: number): void {
  const guest = GuestMemory.adopt(memory);
  const gate = new HartGate(guest, hart);
  const machine = loadMachine(memory);
  post('parked');
  while (gate.waitForStart() === 'run') {
    if (machine.run(hart, NO_LIMIT) === 'stopped') continue;
    post('left');
    waitWhileGo(guest, hart);
  }
}

/** The guest has ended, or this hart is at its stop: nothing to run until the host says something else. */
function waitWhileGo(guest: GuestMemory, hart: number): void {
  const wake = guest.hartWord(hart, map.HART_WAKE);
  for (;;) {
    const rung = Atomics.load(guest.i32, wake);
    if (guest.control(map.CONTROL_RUN) !== map.RUN_GO) return;
    Atomics.wait(guest.i32, wake, rung);
  }
}

const commands = {
  /** Blocks until the host says RUN_QUIT. */
  run({ memory, hart, kind }: VcpuInput): void {
    if (kind === 'machine') return runMachineHart(memory, hart);
    post('parked');
    runWorkload(memory, hart);
  },
  async close(): Promise<void> {},
};

export type VcpuCommands = typeof commands;

serveThread(commands);
