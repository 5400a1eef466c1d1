/**
 * How many writes a workload hart owes at this moment. Pure: the clock is an argument.
 *
 * A rate is kept by counting from a base time, not by sleeping a fixed time, so that late wake-ups do
 * not slow it down. Too far behind (the hart was stopped, parked or short of CPU) the base is moved:
 * a guest does not race after a blackout to make up for it.
 *
 * Throttling makes a paced hart slower in proportion, as it would a guest that needs its whole CPU;
 * slept away alone, a throttle below 99 % would not be felt by a guest that hardly computes.
 */
import { type Pattern, UNLIMITED } from './spec.ts';

/** Shortest sleep: a timed wait takes about 1 ms anyway, and each wake costs. */
const QUANTUM_MS = 5;
/** More than this behind, the base moves. */
const BEHIND_MAX_MS = 100;
/** `write-burst`: a second's writes at once at the start of each second. */
const BURST_PERIOD_MS = 1000;
/** `write-burst` without a limit: so long at full speed, then as long a rest. */
const BURST_UNLIMITED_MS = 100;
/** Nothing to do until somebody rings. */
const IDLE_MS = 1000;

export class Pacer {
  readonly #pattern: Pattern;
  readonly #harts: number;
  #baseMs: number;
  #doneSinceBase = 0;
  #pagesPerMs = 0;
  #waitMs = IDLE_MS;

  constructor(pattern: Pattern, harts: number, nowMs: number) {
    this.#pattern = pattern;
    this.#harts = harts;
    this.#baseMs = nowMs;
  }

  /**
   * Writes due now; Infinity = as many as the hart can. 0: sleep `waitMs` and ask again.
   *
   * @param rate pages a second of the whole guest, or UNLIMITED
   * @param throttle parts of 1000 that the hart must rest
   */
  due(nowMs: number, rate: number, throttle: number): number {
    if (this.#pattern === 'idle' || rate === 0) return this.#rest(IDLE_MS);
    const bursts = this.#pattern === 'write-burst';
    if (rate === UNLIMITED) return bursts ? this.#dueInBurst(nowMs) : Number.POSITIVE_INFINITY;
    const pagesPerMs = (rate * (1000 - throttle)) / (1e6 * this.#harts);
    if (pagesPerMs !== this.#pagesPerMs) {
      this.#pagesPerMs = pagesPerMs;
      this.#rebase(nowMs);
    }
    return bursts ? this.#dueByPeriod(nowMs) : this.#dueByTime(nowMs);
  }

  did(writes: number): void {
    this.#doneSinceBase += writes;
  }

  /** How long to sleep after `due` was 0. */
  waitMs(): number {
    return this.#waitMs;
  }

  #dueByTime(nowMs: number): number {
    const elapsedMs = nowMs - this.#baseMs;
    const due = Math.floor(elapsedMs * this.#pagesPerMs) - this.#doneSinceBase;
    if (due > this.#pagesPerMs * BEHIND_MAX_MS + 1) {
      this.#rebase(nowMs - BEHIND_MAX_MS);
      return this.#dueByTime(nowMs);
    }
    if (due > 0) return due;
    const nextMs = (this.#doneSinceBase + 1) / this.#pagesPerMs - elapsedMs;
    return this.#rest(Math.min(Math.max(nextMs, QUANTUM_MS), IDLE_MS));
  }

  #dueByPeriod(nowMs: number): number {
    const perPeriod = this.#pagesPerMs * BURST_PERIOD_MS;
    const period = Math.floor((nowMs - this.#baseMs) / BURST_PERIOD_MS);
    const due = Math.floor((period + 1) * perPeriod) - this.#doneSinceBase;
    if (due > perPeriod + 1) {
      this.#rebase(nowMs);
      return this.#dueByPeriod(nowMs);
    }
    if (due > 0) return due;
    return this.#rest(this.#baseMs + (period + 1) * BURST_PERIOD_MS - nowMs);
  }

  #dueInBurst(nowMs: number): number {
    const phaseMs = (nowMs - this.#baseMs) % (2 * BURST_UNLIMITED_MS);
    if (phaseMs < BURST_UNLIMITED_MS) return Number.POSITIVE_INFINITY;
    return this.#rest(2 * BURST_UNLIMITED_MS - phaseMs);
  }

  #rest(waitMs: number): number {
    this.#waitMs = waitMs;
    return 0;
  }

  #rebase(baseMs: number): void {
    this.#baseMs = baseMs;
    this.#doneSinceBase = 0;
  }
}
