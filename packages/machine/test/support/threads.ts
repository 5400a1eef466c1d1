/** Real threads for the tests of the memory contract: one worker a hart, and one that lands pages. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { GuestMemory } from '../../src/guest-memory.ts';
import { quitHarts } from '../../src/run-control.ts';

const worker = (name: string, workerData: object) =>
  new Worker(new URL(`./${name}`, import.meta.url), { workerData });

/** vCPU threads of a workload guest; `quit` ends them and waits for their exit. */
export function startWorkloadThreads(guest: GuestMemory): { quit(): Promise<void> } {
  const exits = Array.from({ length: guest.harts }, (_, hart) =>
    once(worker('workload.worker.ts', { memory: guest.memory, hart }), 'exit'),
  );
  return {
    async quit() {
      await quitHarts(guest);
      await Promise.all(exits);
    },
  };
}

export interface LandingOptions {
  readonly target: GuestMemory;
  readonly source: GuestMemory;
  /** Background pages pushed between two looks at the faults; 0 = on request only. */
  readonly pushPages: number;
}

/** Lands the target's absent pages out of the source's frozen RAM; resolves when all are present. */
export async function landPages(options: LandingOptions): Promise<{ faults: number }> {
  const { target, source, pushPages } = options;
  const data = { target: target.memory, source: source.memory, pushPages };
  const [message] = await once(worker('landing.worker.ts', data), 'message');
  return message as { faults: number };
}

/** A thread that makes one hart do a list of steps; see gate.worker.ts. */
export function startGateThread(guest: GuestMemory, hart: number, steps: readonly GateStep[]) {
  const thread = worker('gate.worker.ts', { memory: guest.memory, hart, steps });
  const done = once(thread, 'message').then(([message]) => message as GateReport);
  return { done };
}

export type GateStep =
  | { readonly do: 'write'; readonly page: number; readonly value: number }
  | { readonly do: 'read'; readonly page: number }
  | { readonly do: 'sleep'; readonly limitMs: number }
  /** Safepoints until the guest stops. */
  | { readonly do: 'spin' };

export interface GateReport {
  /** Steps done before the hart had to stop. */
  readonly stepsDone: number;
  /** First byte of each page read. */
  readonly bytes: number[];
}
