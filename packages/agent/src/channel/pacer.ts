/**
 * Holds a channel to its share of `--max-bandwidth`: a token bucket that may go into debt.
 *
 * A frame is let go when the bucket is not in debt and its bytes are taken afterwards, so the rate is
 * exact over any time in which a few frames go out, whatever their size. The bucket is as small as
 * the event loop's timers allow: what has been saved up goes out in one burst.
 */
import { FRAME_PAGES_MAX, PAGE_BYTES } from '@godwit/protocol';

/** How much sending time may be saved up: some turns of a timer that is exact to 1 ms. */
const BURST_MS = 10;

export class Pacer {
  #bytesPerMs = 0;
  #tokens = 0;
  #filledAtMs = 0;

  /** @param bytesPerSecond 0 for no limit */
  setRate(bytesPerSecond: number, nowMs: number): void {
    this.#bytesPerMs = bytesPerSecond / 1000;
    this.#tokens = 0;
    this.#filledAtMs = nowMs;
  }

  /** Largest frame that does not by itself break the rate within 100 ms. */
  get framePagesMax(): number {
    if (this.#bytesPerMs === 0) return FRAME_PAGES_MAX;
    const pages = Math.floor((this.#bytesPerMs * BURST_MS) / PAGE_BYTES);
    return Math.min(Math.max(pages, 1), FRAME_PAGES_MAX);
  }

  /** Milliseconds until the next frame may go; 0 = now. */
  waitMs(nowMs: number): number {
    if (this.#bytesPerMs === 0) return 0;
    const earned = (nowMs - this.#filledAtMs) * this.#bytesPerMs;
    this.#tokens = Math.min(this.#tokens + earned, this.#bytesPerMs * BURST_MS);
    this.#filledAtMs = nowMs;
    return this.#tokens >= 0 ? 0 : Math.max(1, Math.ceil(-this.#tokens / this.#bytesPerMs));
  }

  spend(bytes: number): void {
    this.#tokens -= bytes;
  }
}
