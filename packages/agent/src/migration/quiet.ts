/**
 * Gives back what migrations took, once none has been under way for a while.
 *
 *   last migration ends --QUIET_MS--> surplus threads end, --QUIET_MS--> the C library's free pages
 *                                     the others collect
 *   a grant comes: not now
 *
 * Digests, manifests, staging buffers are dead then, but a thread that sleeps does not collect, and what
 * has been freed lies between what has not. Together it is 25 MiB after a hundred moves, and would be
 * more on a host that sees many guests of many sizes; a thread that only many channels need holds ten,
 * and five descriptors. Either step stops threads for milliseconds: a guest under way would feel it.
 *
 * Main thread only; one an agent.
 */
import { giveBack } from '../guest/memory-pool.ts';
import { libraryFunction } from '../libc.ts';
import { endSurplusThreads } from '../thread.ts';
import { WARM_THREADS } from '../warm-threads.ts';

/** Longer than from one move of a drain to the next. */
const QUIET_MS = 1000;

type MallocTrim = (keepBytes: number) => number;

/** malloc_trim(3), or why there is none: other C libraries have other allocators. */
const mallocTrim = libraryFunction<MallocTrim>('int malloc_trim(size_t keep_bytes)');

const STEPS: readonly (() => void)[] = [
  () => {
    void endSurplusThreads(WARM_THREADS);
    giveBack();
  },
  () => {
    if (typeof mallocTrim !== 'string') mallocTrim(0);
  },
];

export class Quiet {
  readonly #steps: readonly (() => void)[];
  #timer: NodeJS.Timeout | undefined;

  /** @param steps what is done, one after each pause */
  constructor(steps = STEPS) {
    this.#steps = steps;
  }

  /** No migration is under way any more. */
  begin(): void {
    this.end();
    this.#later(0);
  }

  /** One is, or the agent ends. */
  end(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #later(step: number): void {
    if (step === this.#steps.length) return this.end();
    const act = () => {
      this.#steps[step]!();
      this.#later(step + 1);
    };
    this.#timer = setTimeout(act, QUIET_MS).unref();
  }
}
