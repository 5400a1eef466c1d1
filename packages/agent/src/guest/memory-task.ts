/**
 * Work over all pages of a guest that must not be done on the main thread: first touch, wiping, a
 * workload's content, audits, digests. Split by page ranges over threads.
 *
 *   main: [memory task] --range--> memory.worker.ts x n --result--> main
 *
 * The guest's harts stand still while a task that reads runs; the caller sees to that.
 *
 * What gives memory its first content is done in the order it was asked for, on as many threads as pay:
 * eight guests that come at once would touch their memories with sixteen, and the first of them would
 * have its room when the last has. Every other task waits for nobody.
 */
import { availableParallelism } from 'node:os';
import type { AuditResult, GuestMemory, WorkloadSpec, WrittenCheckpoint } from '@godwit/machine';
import { Line } from '../line.ts';
import { Thread } from '../thread.ts';
import type { BootOptions, GuestBoot } from './boot.ts';
import type { MemoryCommands } from './memory.worker.ts';

export type MemoryTask =
  /** Every byte of RAM to this value: also the first touch of cold memory. */
  | { readonly kind: 'wipe'; readonly byte: number }
  | { readonly kind: 'fill'; readonly spec: WorkloadSpec }
  /** Kernel and RAM disk are tens of megabytes; shared bytes are not copied on their way here. */
  | { readonly kind: 'boot'; readonly boot: GuestBoot; readonly options: BootOptions }
  | { readonly kind: 'audit'; readonly spec: WorkloadSpec; readonly counts: readonly number[] }
  /** SHA-256 of RAM and machine state: one thread, the hash is a chain. */
  | { readonly kind: 'digest' }
  /** Writes all of it to a file, with the state and the words about it given here. */
  | {
      readonly kind: 'write';
      readonly path: string;
      readonly state: Uint8Array;
      readonly about: string;
    }
  /** Every byte of RAM from a file; answers the state that goes with it. */
  | { readonly kind: 'read'; readonly path: string };

export interface MemoryTaskResults {
  wipe: null;
  fill: null;
  boot: null;
  audit: AuditResult;
  digest: string;
  write: WrittenCheckpoint;
  read: Uint8Array;
}

/** What a thread is given. */
export interface MemoryTaskInput {
  readonly memory: WebAssembly.Memory;
  readonly task: MemoryTask;
  readonly fromPage: number;
  readonly toPage: number;
}

/** A thread costs about 50 ms to start: what it would touch meanwhile is not worth one. */
const PAGES_PER_THREAD_MIN = 8192;
const THREADS = Math.min(availableParallelism(), 4);

/** Tasks that one thread does over all pages. */
const WHOLE: readonly MemoryTask['kind'][] = ['boot', 'digest', 'write', 'read'];
/** Tasks that share THREADS threads, first come first served. */
const IN_LINE: readonly MemoryTask['kind'][] = ['wipe', 'fill'];
const line = new Line(THREADS);

export const MEMORY_THREAD = new URL('./memory.worker.ts', import.meta.url);

/**
 * What a target's memory is full of before the first page lands. In tests it is poison, which finds the
 * page that nobody sent: zeros would look right in a mostly empty guest.
 */
export function incomingByte(): number {
  return process.env.GODWIT_TEST_POISON === '1' ? 0xa5 : 0;
}

/** @returns one result a range, in the order of the ranges */
export async function runMemoryTask<T extends MemoryTask>(
  guest: GuestMemory,
  task: T,
): Promise<MemoryTaskResults[T['kind']][]> {
  const useful = Math.ceil(guest.pages / PAGES_PER_THREAD_MIN);
  const threads = WHOLE.includes(task.kind) ? 1 : Math.min(useful, THREADS);
  const pagesEach = Math.ceil(guest.pages / threads);
  const ranges = Array.from({ length: threads }, (_, i) => ({
    memory: guest.memory,
    task,
    fromPage: i * pagesEach,
    toPage: Math.min((i + 1) * pagesEach, guest.pages),
  }));
  const run = IN_LINE.includes(task.kind)
    ? (range: MemoryTaskInput) => line.run(() => runRange<T>(range))
    : runRange<T>;
  return Promise.all(ranges.map(run));
}

async function runRange<T extends MemoryTask>(
  input: MemoryTaskInput,
): Promise<MemoryTaskResults[T['kind']]> {
  const thread = new Thread<MemoryCommands>(MEMORY_THREAD);
  try {
    return (await thread.call('perform', input)) as MemoryTaskResults[T['kind']];
  } finally {
    await thread.close();
  }
}
