/**
 * Random numbers from a seed, the same on every machine: a failed case is named by its seed.
 */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** 32 random bits: a Weyl sequence through murmur3's finaliser. */
  word(): number {
    this.#state = (this.#state + 0x9e3779b9) >>> 0;
    let value = this.#state;
    value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
    value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35);
    return (value ^ (value >>> 16)) >>> 0;
  }

  /** Integer from `low` to `high`, both possible. */
  between(low: number, high: number): number {
    return low + (this.word() % (high - low + 1));
  }

  /** True once in `count` times. */
  oneIn(count: number): boolean {
    return this.word() % count === 0;
  }

  pick<T>(from: readonly [T, ...T[]] | readonly T[]): T {
    return from[this.word() % from.length] as T;
  }

  doubleword(): bigint {
    return (BigInt(this.word()) << 32n) | BigInt(this.word());
  }
}
