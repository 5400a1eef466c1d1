/**
 * The longest time without a sign of life, as seen by somebody outside the migration.
 *
 * The guest's own clock may stand still with it, and the agents measure themselves; this one only
 * looks at when answers arrive here.
 */

export class GapMeter {
  #lastAtMs = performance.now();
  #longestMs = 0;

  /** A sign of life. */
  mark(atMs = performance.now()): void {
    this.#longestMs = Math.max(this.#longestMs, atMs - this.#lastAtMs);
    this.#lastAtMs = atMs;
  }

  /** Forgets earlier gaps; one that is under way counts on. */
  begin(): void {
    this.#longestMs = 0;
  }

  /** Longest gap since `begin`, the current one included. */
  end(atMs = performance.now()): number {
    return Math.max(this.#longestMs, atMs - this.#lastAtMs);
  }
}
