/** The threads of this process as Linux names them: after their files (thread.ts). For Linux only. */
import { readdirSync, readFileSync } from 'node:fs';

/** Options of a test that needs it. */
export const NEEDS_LINUX = { skip: process.platform !== 'linux' && 'needs Linux' };

/** In order of the alphabet, one for each thread. */
export function threadNames(): string[] {
  return readdirSync('/proc/self/task')
    .map((id) => readFileSync(`/proc/self/task/${id}/comm`, 'utf8').trim())
    .toSorted();
}
