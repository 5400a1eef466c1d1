/**
 * Thread entry: one task over a range of a guest's pages (memory-task.ts), then the end.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { audit, digest, fillWorkload, GuestMemory, memoryMap as map } from '@godwit/machine';
import { asGodwitError } from './machine-errors.ts';
import type { MemoryTaskInput, MemoryTaskOutput, MemoryTaskResults } from './memory-task.ts';

const { memory, task, fromPage, toPage } = workerData as MemoryTaskInput;

function perform(): MemoryTaskResults[keyof MemoryTaskResults] {
  const guest = GuestMemory.adopt(memory);
  switch (task.kind) {
    case 'wipe':
      guest.ram().fill(task.byte, fromPage * map.PAGE_SIZE, toPage * map.PAGE_SIZE);
      return null;
    case 'fill':
      fillWorkload(guest, task.spec, fromPage, toPage);
      return null;
    case 'audit':
      return audit(guest, task.spec, task.counts, fromPage, toPage);
    case 'digest':
      return digest(guest);
  }
}

function output(): MemoryTaskOutput {
  try {
    return { ok: true, result: perform() };
  } catch (error) {
    return { ok: false, error: asGodwitError(error).toData() };
  }
}

parentPort?.postMessage(output());
