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
/** A guest this young has not been sampled yet (agents look twice a second). */
const UNSAMPLED_MS = 1_500;

export interface Measured {
  readonly value: number;
  /** For people. */
  readonly basis: string;
}

interface Seen {
  readonly value: number;
  readonly where: string;
}

export class Measurements {
  readonly #byPair = new Map<string, Seen>();
  #newest: Seen | undefined;
  #hashing: Seen | undefined;

  /** Views in the order of their ends; a move that did not complete teaches nothing. */
  learn(view: Migration): void {
    const { result, source, target, id, memoryBytes, maxBandwidthBytesPerS } = view;
    if (result === undefined) return;
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
    const isSampled =
      report !== undefined &&
      (dirtyBytesPerS > 0 || workingSetBytes > 0 || Date.now() - report.createdAtMs > UNSAMPLED_MS);
    const basis = isSampled
      ? `dirty ${rate(dirtyBytesPerS)}, working set ${Math.round(workingSetBytes / 1048576)} MiB, measured at ${host}`
      : 'dirty rate not measured yet: taken for an idle guest';
    return { dirtyBytesPerS, workingSetBytes, basis };
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
