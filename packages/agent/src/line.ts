/**
 * A waiting line: so many at a time, first come first served.
 *
 * For work that only gets slower when more of it runs at once, such as touching memory.
 */
export class Line {
  readonly #waiting: (() => void)[] = [];
  #free: number;

  /** @param atOnce at least 1 */
  constructor(atOnce: number) {
    this.#free = atOnce;
  }

  /** Does the work when it is its turn; settles as the work does, and a failure lets the next one in. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free += 1;
      else next();
    }
  }
}
