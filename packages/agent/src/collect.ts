/**
 * An explicit garbage collection of the calling thread's own heap.
 *
 * Node returns a dropped shared memory only when no thread's heap refers to it any more, dead or alive,
 * and a thread that sleeps never collects by itself. So whoever drops a guest's memory has every
 * thread collect that may have seen it (thread.ts, memory-pool.ts).
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

let collect: (() => void) | undefined;

/** Takes milliseconds in a worker and tens of them on the main thread: never in a blackout. */
export function collectGarbage(): void {
  if (collect === undefined) {
    setFlagsFromString('--expose-gc');
    collect = runInNewContext('gc') as () => void;
  }
  collect();
}
