/**
 * Waiting for a hart's answer, a condition on shared words, from a thread that must not block for long (the
 * agent's main thread). Threads that may block use Atomics.wait.
 */

/** A wait looks again this often by itself: a ring that somebody forgot costs this and no more. */
const RECHECK_MS = 10;
/**
 * Before it gives itself up to the event loop the thread sleeps on the word for so long. A hart's answer is
 * nearer than that, and comes sooner to a thread that sleeps: one that goes on running keeps the hart it
 * has just woken from the processor they share (measured 250 us), and to be woken through the event loop
 * costs as much again.
 */
const SHORT_WAIT_MS = 0.15;

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
  const began = performance.now();
  if (waitShortly(words, bell, done, began)) return true;
  const deadline = began + limitMs;
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

function waitShortly(
  words: Int32Array<SharedArrayBuffer>,
  bell: number,
  done: () => boolean,
  began: number,
): boolean {
  for (;;) {
    const rung = Atomics.load(words, bell);
    if (done()) return true;
    const leftMs = SHORT_WAIT_MS - (performance.now() - began);
    if (leftMs <= 0) return false;
    Atomics.wait(words, bell, rung, leftMs);
  }
}

/** Changes the bell and wakes everyone who waits for it. */
export function ringBell(words: Int32Array<SharedArrayBuffer>, bell: number): void {
  Atomics.add(words, bell, 1);
  Atomics.notify(words, bell);
}
