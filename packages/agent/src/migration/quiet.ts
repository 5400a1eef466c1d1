/**
 * Gives back what migrations took, once none has been under way for a while.
 *
 *   last migration ends --QUIET_MS--> surplus threads end; after a number of migrations, the others
 *                                     collect --TRIM_MS--> the C library's free pages
 *   a grant comes: not now
 *
 * Digests, manifests, staging buffers are dead then, but a thread that sleeps does not collect, and what
 * has been freed lies between what has not. Together it is 25 MiB after a hundred moves, and would be
 * more on a host that sees many guests of many sizes; a thread that only many channels need holds ten,
 * and five descriptors. Each step stops threads for milliseconds: a guest under way would feel it. And a
 * thread that has collected has lost compiled code: the next downtime is a millisecond longer, and a dozen
 * moves are a seventh slower. So it is done when there is something to collect.
 *
 * Main thread only; one an agent.
 */
import { giveBack } from '../guest/memory-pool.ts';
import { libraryFunction } from '../libc.ts';
import { endSurplusThreads } from '../thread.ts';
import { WARM_THREADS } from '../warm-threads.ts';

/** Longer than from one move to the next where a person or a plan moves several. */
const QUIET_MS = 10_000;
/** What was collected is free by then. */
const TRIM_MS = 1_000;
/** They leave some four megabytes. */
const MIGRATIONS_PER_COLLECTION = 16;

type MallocTrim = (keepBytes: number) => number;

/** malloc_trim(3), or why there is none: other C libraries have other allocators. */
const mallocTrim = libraryFunction<MallocTrim>('int malloc_trim(size_t keep_bytes)');

interface Step {
  /** After the step before it. */
  readonly afterMs: number;
  /** Left out when fewer migrations have ended since it was done. */
  readonly migrations: number;
  act(): void;
}

const STEPS: readonly Step[] = [
  { afterMs: QUIET_MS, migrations: 1, act: () => void endSurplusThreads(WARM_THREADS) },
  { afterMs: 0, migrations: MIGRATIONS_PER_COLLECTION, act: giveBack },
  {
    afterMs: TRIM_MS,
    migrations: 1,
    act: () => {
      if (typeof mallocTrim !== 'string') mallocTrim(0);
    },
  },
];

export class Quiet {
  readonly #steps: readonly Step[];
  /** For each step, how many migrations have ended since it was done. */
  readonly #since: number[];
  #timer: NodeJS.Timeout | undefined;

  /** @param steps what is done, one after another, each after its own pause */
  constructor(steps = STEPS) {
    this.#steps = steps;
    this.#since = steps.map(() => 0);
  }

  /** A migration has ended. */
  ended(): void {
    for (let i = 0; i < this.#since.length; i++) this.#since[i]! += 1;
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

  #later(index: number): void {
    const step = this.#steps[index];
    if (step === undefined) return this.end();
    const act = () => {
      if (this.#since[index]! >= step.migrations) {
        this.#since[index] = 0;
        step.act();
      }
      this.#later(index + 1);
    };
    this.#timer = setTimeout(act, step.afterMs).unref();
  }
}
