/**
 * Waiting for a condition on shared words from a thread that must not block (the agent's main thread
 * and its channel threads). Threads that may block use Atomics.wait.
 */

/** A wait looks again this often by itself: a ring that somebody forgot costs this and no more. */
const RECHECK_MS = 10;

/**
 * Resolves to true once `done()` holds, to false when it does not within `limitMs`. `bell` is the
 * index of a word that whoever makes the condition true changes and notifies *afterwards*; it is read
 * before each look, so that no ring between the look and the wait is missed.
 */
export async function waitForWord(
  words: Int32Array<SharedArrayBuffer>,
  bell: number,
  done: () => boolean,
  limitMs: number,
): Promise<boolean> {
  const deadline = performance.now() + limitMs;
  let keepAlive: NodeJS.Timeout | undefined;
  try {
    for (;;) {
      const rung = Atomics.load(words, bell);
      if (done()) return true;
      const remainingMs = deadline - performance.now();
      if (remainingMs <= 0) return false;
      // A pending waitAsync does not hold an event loop open: without a timer the thread would end,
      // or in a worker sleep for ever, with the promise unsettled.
      keepAlive ??= setTimeout(() => {}, limitMs + 1000);
      const wait = Atomics.waitAsync(words, bell, rung, Math.min(remainingMs, RECHECK_MS));
      if (wait.async) await wait.value;
    }
  } finally {
    clearTimeout(keepAlive);
  }
}

/** Changes the bell and wakes everyone who waits for it. */
export function ringBell(words: Int32Array<SharedArrayBuffer>, bell: number): void {
  Atomics.add(words, bell, 1);
  Atomics.notify(words, bell);
}
