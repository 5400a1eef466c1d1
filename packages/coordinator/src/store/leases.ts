/**
 * When leases end: deadlines in memory, by the monotonic clock.
 *
 *   grant, keep alive --> [leases] --expired--> the store deletes the lease and its keys
 *
 * That a lease exists is durable and the store's matter; how long it still has is not, so that
 * neither a wrong clock nor an hour of being shut down ends one.
 */

interface Held {
  readonly ttlMs: number;
  readonly timer: NodeJS.Timeout;
}

export class Leases {
  readonly #held = new Map<string, Held>();
  readonly #expired: (lease: string) => void;

  constructor(expired: (lease: string) => void) {
    this.#expired = expired;
  }

  has(lease: string): boolean {
    return this.#held.has(lease);
  }

  hold(lease: string, ttlMs: number): void {
    const timer = setTimeout(() => this.#expired(lease), ttlMs);
    // A store that is open for its leases only need not keep the process.
    timer.unref();
    this.#held.set(lease, { ttlMs, timer });
  }

  /** @returns false when it has ended */
  keepAlive(lease: string): boolean {
    this.#held.get(lease)?.timer.refresh();
    return this.#held.has(lease);
  }

  drop(lease: string): void {
    clearTimeout(this.#held.get(lease)?.timer);
    this.#held.delete(lease);
  }

  clear(): void {
    for (const lease of [...this.#held.keys()]) this.drop(lease);
  }
}
