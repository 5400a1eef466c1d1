/**
 * Work over all pages of a guest that must not be done on the main thread: first touch, wiping, a
 * workload's content, audits, digests. Split by page ranges over short-lived threads.
 *
 *   main: [memory task] --range--> memory.worker.ts x n --result--> main
 *
 * The guest's harts stand still while a task that reads runs; the caller sees to that.
 */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { AuditResult, GuestMemory, WorkloadSpec } from '@godwit/machine';
import { GodwitError } from '@godwit/protocol';

export type MemoryTask =
  /** Every byte of RAM to this value: also the first touch of cold memory. */
  | { readonly kind: 'wipe'; readonly byte: number }
  | { readonly kind: 'fill'; readonly spec: WorkloadSpec }
  | { readonly kind: 'audit'; readonly spec: WorkloadSpec; readonly counts: readonly number[] }
  /** SHA-256 of RAM and machine state: one thread, the hash is a chain. */
  | { readonly kind: 'digest' };

export interface MemoryTaskResults {
  wipe: null;
  fill: null;
  audit: AuditResult;
  digest: string;
}

/** What a thread is given. */
export interface MemoryTaskInput {
  readonly memory: WebAssembly.Memory;
  readonly task: MemoryTask;
  readonly fromPage: number;
  readonly toPage: number;
}

/** What it answers. */
export type MemoryTaskOutput =
  | { readonly ok: true; readonly result: MemoryTaskResults[MemoryTask['kind']] }
  | { readonly ok: false; readonly error: unknown };

/** A thread costs about 50 ms to start: what it would touch meanwhile is not worth one. */
const PAGES_PER_THREAD_MIN = 8192;
const THREADS_MAX = 4;

const WORKER = new URL('./memory.worker.ts', import.meta.url);

/** @returns one result a range, in the order of the ranges */
export async function runMemoryTask<T extends MemoryTask>(
  guest: GuestMemory,
  task: T,
): Promise<MemoryTaskResults[T['kind']][]> {
  const useful = Math.ceil(guest.pages / PAGES_PER_THREAD_MIN);
  const threads =
    task.kind === 'digest' ? 1 : Math.min(useful, availableParallelism(), THREADS_MAX);
  const pagesEach = Math.ceil(guest.pages / threads);
  const ranges = Array.from({ length: threads }, (_, i) => ({
    memory: guest.memory,
    task,
    fromPage: i * pagesEach,
    toPage: Math.min((i + 1) * pagesEach, guest.pages),
  }));
  return Promise.all(ranges.map((range) => runRange<T>(range)));
}

async function runRange<T extends MemoryTask>(
  input: MemoryTaskInput,
): Promise<MemoryTaskResults[T['kind']]> {
  const worker = new Worker(WORKER, { workerData: input, name: `memory ${input.task.kind}` });
  const { promise, resolve, reject } = Promise.withResolvers<MemoryTaskOutput>();
  const failed = (why: string) => reject(new GodwitError('internal', { why }));
  worker.once('message', resolve);
  worker.once('error', (error) => failed(`memory thread: ${error.message}`));
  // Settled long before by a message, unless the thread died without one.
  worker.once('exit', (code) => failed(`memory thread ended with code ${code}`));
  const output = await promise;
  if (!output.ok) throw GodwitError.fromData(output.error);
  return output.result as MemoryTaskResults[T['kind']];
}
