/**
 * How many bytes a page channel keeps under way in a round: enough for the link, and no more.
 *
 *   sent, acknowledged -> [delivery window] -> page channel's pump
 *
 * Credit (CREDIT_BYTES) bounds what a target may have to swallow; it is far more than a short link
 * needs, and what is too much waits in socket buffers that then do not fit the processor's caches: the
 * same gigabyte costs up to a quarter more (docs/decisions/0002-data-path.md). So the window follows the
 * link as TCP Vegas does: while an answer takes as long as the quickest one did, nothing queues and the
 * window may double; when it takes twice as long the window is right.
 *
 * Pure: times are handed in. One a queue pair.
 */
import { CREDIT_BYTES, FRAME_PAYLOAD_BYTES_MAX } from '@godwit/protocol';

/**
 * On a short link two frames under way are enough: one is landing while the next is written. A channel
 * alone needs both; several have the other frame on another channel, and each that waits for its own to
 * land leaves the processors to those that have work.
 */
const FRAMES_MIN = 1;
const FRAMES_MIN_ALONE = 2;
/** Share of a new estimate: one slow turn of a thread is no longer link. */
const SMOOTHING = 1 / 8;

/** What was known when a frame was sent. */
export interface SentMark {
  readonly atMs: number;
  readonly delivered: number;
}

export class DeliveryWindow {
  readonly #bytesMin: number;
  #bytes: number;
  #delivered = 0;
  #quickestMs = Number.POSITIVE_INFINITY;

  /** @param alone no other channel sends beside this one */
  constructor(alone: boolean) {
    this.#bytesMin = (alone ? FRAMES_MIN_ALONE : FRAMES_MIN) * FRAME_PAYLOAD_BYTES_MAX;
    this.#bytes = this.#bytesMin;
  }

  /** Bytes that should be under way, between the least and the whole credit. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether a request may go too: the better half of it must fit, or the window would round down. */
  admits(underWayBytes: number, requestBytes: number): boolean {
    return underWayBytes + requestBytes / 2 <= this.#bytes;
  }

  sent(nowMs: number): SentMark {
    return { atMs: nowMs, delivered: this.#delivered };
  }

  /** So many bytes have landed, the last of them in the frame with this mark. */
  acknowledged(mark: SentMark, bytes: number, nowMs: number): void {
    this.#delivered += bytes;
    const tookMs = nowMs - mark.atMs;
    if (tookMs <= 0) return;
    this.#quickestMs = Math.min(this.#quickestMs, tookMs);
    const landedMeanwhile = this.#delivered - mark.delivered;
    const wanted = (2 * landedMeanwhile * this.#quickestMs) / tookMs;
    const next = this.#bytes + (wanted - this.#bytes) * SMOOTHING;
    this.#bytes = Math.min(Math.max(next, this.#bytesMin), CREDIT_BYTES);
  }
}
