/**
 * Thread entry: tasks over a range of a guest's pages (memory-task.ts).
 */
import {
  audit,
  digest,
  fillWorkload,
  GuestMemory,
  loadPageOps,
  memoryMap as map,
  readCheckpoint,
  writeCheckpoint,
} from '@godwit/machine';
import { serveThread } from '../thread.ts';
import { bootGuest } from './boot.ts';
import { asGodwitError } from './machine-errors.ts';
import type { MemoryTaskInput, MemoryTaskResults } from './memory-task.ts';

type Result = MemoryTaskResults[keyof MemoryTaskResults];

function perform({ memory, task, fromPage, toPage }: MemoryTaskInput): Result {
  const guest = GuestMemory.adopt(memory);
  switch (task.kind) {
    case 'wipe':
      return wipe(memory, task.byte, fromPage, toPage);
    case 'fill':
      fillWorkload(guest, task.spec, fromPage, toPage);
      return null;
    case 'boot':
      bootGuest(guest, task.boot, task.options);
      return null;
    case 'audit':
      return audit(guest, task.spec, task.counts, fromPage, toPage);
    case 'digest':
      return digest(guest);
    case 'write':
      return writeCheckpoint(task.path, guest, task);
    case 'read':
      return readCheckpoint(task.path, guest).state;
  }
}

function wipe(memory: WebAssembly.Memory, byte: number, fromPage: number, toPage: number): null {
  const offset = map.RAM + fromPage * map.PAGE_SIZE;
  loadPageOps(memory).fill(offset, byte, (toPage - fromPage) * map.PAGE_SIZE);
  return null;
}

const commands = {
  perform(input: MemoryTaskInput): Result {
    try {
      return perform(input);
    } catch (error) {
      throw asGodwitError(error);
    }
  },
  async close(): Promise<void> {},
};

export type MemoryCommands = typeof commands;

serveThread(commands);
