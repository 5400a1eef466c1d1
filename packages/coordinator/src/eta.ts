/**
 * How much longer: a figure for people that does not grow and comes with its range.
 *
 *   progress (4 times a second), round reports --> [eta] --> milliseconds left, range, percent
 *
 * Pure: the caller passes the time. An estimate that jumps up teaches people to ignore it, so a
 * worse outlook holds the figure where it is and widens the range instead. One thing is news enough to
 * begin anew: the rounds were given up for post-copy, and everything left is pulled from now on.
 */
import { wallSpanMs } from './wall-clock.ts';

export interface EtaInput {
  /** `pull`: the guest runs at the target, or will without another round. */
  readonly course: 'rounds' | 'pull';
  readonly nowMs: number;
  /** Bytes still due in this round or pull. */
  readonly dueBytes: number;
  /** Bytes expected to be sent after it: dirtied meanwhile, later rounds. */
  readonly laterBytes: number;
  /** Current rate; 0: not known, nothing is said. */
  readonly bytesPerS: number;
}

export interface Eta {
  readonly startedAtMs: number;
  readonly course: EtaInput['course'];
  readonly etaMs?: number;
  readonly etaRangeMs?: [number, number];
  readonly percent: number;
  /** Lowest and highest rate seen, for the range. */
  readonly slowest: number;
  readonly fastest: number;
}

/** @param startedAtMs when the migration was asked for */
export function startEta(startedAtMs: number): Eta {
  return {
    startedAtMs,
    course: 'rounds',
    percent: 0,
    slowest: Number.POSITIVE_INFINITY,
    fastest: 0,
  };
}

/** The next figure; `etaMs` is at most the one before of its course, `percent` at least. */
export function advanceEta(eta: Eta, input: EtaInput): Eta {
  if (!(input.bytesPerS > 0)) return eta;
  const slowest = Math.min(eta.slowest, input.bytesPerS);
  const fastest = Math.max(eta.fastest, input.bytesPerS);
  const bytes = input.dueBytes + input.laterBytes;
  const outlookMs = (bytes / input.bytesPerS) * 1000;
  const before = input.course === eta.course ? eta.etaMs : undefined;
  const etaMs = Math.min(outlookMs, before ?? Number.POSITIVE_INFINITY);
  const elapsedMs = wallSpanMs(input.nowMs - eta.startedAtMs, 0);
  const share = elapsedMs + etaMs > 0 ? elapsedMs / (elapsedMs + etaMs) : 0;
  return {
    startedAtMs: eta.startedAtMs,
    course: input.course,
    etaMs,
    // What is due for certain at the best rate seen; everything at the worst.
    etaRangeMs: [
      Math.min(etaMs, (input.dueBytes / fastest) * 1000),
      Math.max(outlookMs, (bytes / slowest) * 1000),
    ],
    // 100 is for a migration that is over.
    percent: Math.min(99, Math.max(eta.percent, Math.floor(share * 100))),
    slowest,
    fastest,
  };
}
