/**
 * What former moves have measured, for the predictions of the next: link rates and digest rates.
 *
 *   settled migrations --learn--> [measurements] --rate and where it comes from--> prediction
 *
 * Only the newest figure of a pair of hosts is kept: links change, and an average over last week
 * predicts last week. Nothing measured yet is said, never passed off as a figure. Memory only: what is
 * known at a start comes from the records.
 */
import { type GuestReport, type Migration, PAGE_BYTES } from '@godwit/protocol';

/** Before the first move: loopback or a 10 Gbit/s link. */
export const BANDWIDTH_UNKNOWN_BYTES_PER_S = 1.2e9;
/** Before the first move with --verify: one thread of an ordinary core. */
export const HASH_UNKNOWN_BYTES_PER_S = 2e9;
/** Before the first move: starting threads and sockets at both ends. */
export const SETUP_UNKNOWN_MS = 200;
/** First touch of the target's memory (0.3 to 2 GB/s where it was measured). */
export const RESERVE_UNKNOWN_BYTES_PER_S = 1e9;
/** A guest that came to its host this recently has not been sampled there (agents look twice a second). */
const UNSAMPLED_MS = 1_500;
/** Guests whose last move is remembered; beyond it the oldest are forgotten. */
const GUESTS_MAX = 16_384;

export interface Measured {
  readonly value: number;
  /** For people. */
  readonly basis: string;
}

interface Seen {
  readonly value: number;
  readonly where: string;
}

/** How a guest wrote while it last moved. */
interface Move {
  readonly id: string;
  readonly endedAtMs: number;
  readonly dirtyBytesPerS: number;
}

export class Measurements {
  readonly #moves = new Map<string, Move>();
  #setup: Seen | undefined;
  #reserving: Seen | undefined;
  readonly #byPair = new Map<string, Seen>();
  #newest: Seen | undefined;
  #hashing: Seen | undefined;

  /** Views from the oldest to the newest; a move that did not complete teaches nothing. */
  learn(view: Migration): void {
    const { result, source, target, id, memoryBytes, maxBandwidthBytesPerS } = view;
    if (result === undefined) return;
    this.#remember(view);
    this.#learnSetup(view);
    // A cap measures the cap.
    const rate = maxBandwidthBytesPerS > 0 ? 0 : rateOf(view);
    if (rate > 0) {
      const seen = { value: rate, where: `between ${source} and ${target} (${id})` };
      this.#byPair.set(pair(source, target), seen);
      this.#newest = seen;
    }
    if (view.verify && result.verifyMs > 0) {
      const value = (memoryBytes / result.verifyMs) * 1000;
      this.#hashing = { value, where: `at ${source} (${id})` };
    }
  }

  /** Bytes a second. */
  bandwidth(source: string, target: string): Measured {
    const seen = this.#byPair.get(pair(source, target));
    if (seen) return { value: seen.value, basis: `${rate(seen.value)}, measured ${seen.where}` };
    const elsewhere = this.#newest;
    if (elsewhere === undefined) {
      const value = BANDWIDTH_UNKNOWN_BYTES_PER_S;
      return { value, basis: `${rate(value)} assumed: nothing was measured yet` };
    }
    const { value, where } = elsewhere;
    return { value, basis: `${rate(value)}, measured ${where}; not on this pair of hosts yet` };
  }

  /** Bytes a second of digests. */
  hashing(): Measured {
    const seen = this.#hashing;
    const value = seen?.value ?? HASH_UNKNOWN_BYTES_PER_S;
    const basis = seen ? `measured ${seen.where}` : 'assumed: nothing was verified yet';
    return { value, basis: `digests ${rate(value)}, ${basis}` };
  }

  /** How the guest writes, as its agent sees it. @param report what the owner last said of it */
  dirtying(report: GuestReport | undefined, host: string) {
    const dirtyBytesPerS = report?.dirtyBytesPerS ?? 0;
    const workingSetBytes = (report?.workingSetPages ?? 0) * PAGE_BYTES;
    const move = report && this.#moves.get(report.spec.name);
    const cameAtMs = Math.max(report?.createdAtMs ?? 0, move?.endedAtMs ?? 0);
    const hasWritten = dirtyBytesPerS > 0 || workingSetBytes > 0;
    // Two machines' clocks: years apart says no more than that it is not a second.
    const isSampled = hasWritten || Math.abs(Date.now() - cameAtMs) > UNSAMPLED_MS;
    if (report !== undefined && isSampled) {
      const set = `${Math.round(workingSetBytes / 1048576)} MiB`;
      const basis = `dirty ${rate(dirtyBytesPerS)}, working set ${set}, measured at ${host}`;
      return { dirtyBytesPerS, workingSetBytes, basis };
    }
    if (move !== undefined) {
      const basis = `dirty ${rate(move.dirtyBytesPerS)}, as ${move.id} saw it; not measured at ${host} yet`;
      return { dirtyBytesPerS: move.dirtyBytesPerS, workingSetBytes: 0, basis };
    }
    const basis = 'dirty rate not measured yet: taken for an idle guest';
    return { dirtyBytesPerS: 0, workingSetBytes: 0, basis };
  }

  /** What a move costs beside its pages: threads, sockets, hand-over, giving memory back. */
  setup(): { setupMs: number; reserveBytesPerS: number; basis: string } {
    const setupMs = this.#setup?.value ?? SETUP_UNKNOWN_MS;
    const reserveBytesPerS = this.#reserving?.value ?? RESERVE_UNKNOWN_BYTES_PER_S;
    const basis =
      this.#setup === undefined
        ? 'assumed: nothing was moved yet'
        : `measured ${this.#setup.where}`;
    return {
      ...{ setupMs, reserveBytesPerS },
      basis: `set-up ${Math.round(setupMs)} ms, first touch ${rate(reserveBytesPerS)}, ${basis}`,
    };
  }

  #learnSetup({ result, memoryBytes, target, id }: Migration): void {
    if (result === undefined) return;
    const { totalMs, transferMs, reservedMs, downtimeMs, steps } = result;
    // The stop counts once: its last pages are transfer already.
    const stoppedMs = Math.max(0, downtimeMs - steps.lastPagesMs);
    const setupMs = totalMs - transferMs - reservedMs - stoppedMs;
    if (setupMs > 0) this.#setup = { value: setupMs, where: `at ${target} (${id})` };
    if (reservedMs > 0) {
      this.#reserving = { value: (memoryBytes / reservedMs) * 1000, where: `at ${target} (${id})` };
    }
  }

  #remember({ guest, id, endedAtMs = 0, rounds }: Migration): void {
    const dirtyBytesPerS = rounds.at(-1)?.dirtyBytesPerS ?? 0;
    this.#moves.delete(guest);
    this.#moves.set(guest, { id, endedAtMs, dirtyBytesPerS });
    const [oldest] = this.#moves.keys();
    if (this.#moves.size > GUESTS_MAX && oldest !== undefined) this.#moves.delete(oldest);
  }
}

/** Of its first round, which has the most bytes; a post-copy move has only its pull. */
function rateOf({ rounds, result }: Migration): number {
  const [first] = rounds;
  if (first !== undefined && first.pages > 0) return first.bandwidthBytesPerS;
  return (result?.gbps ?? 0) * 1e9;
}

function pair(a: string, b: string): string {
  return a < b ? `${a} ${b}` : `${b} ${a}`;
}

function rate(bytesPerS: number): string {
  return bytesPerS >= 1e9
    ? `${(bytesPerS / 1e9).toFixed(1)} GB/s`
    : `${(bytesPerS / 1e6).toFixed(1)} MB/s`;
}
