/**
 * What a migration will cost, said before its first round and kept in its record.
 *
 *   guest's dirty rate and working set, bandwidth of former moves --> [prediction] --> total, downtime
 *
 * It plays the rounds against the policy itself: each imagined round becomes a report, and the
 * policy decides as it will in earnest. So when the policy changes, the prediction follows.
 */
import { type Mode, PAGE_BYTES, ROUNDS_LIMIT_DEFAULT, type RoundReport } from '@godwit/protocol';
import { decide, SWITCHOVER_FIXED_MS } from './policy.ts';

export interface PredictionInput {
  readonly mode: Mode;
  readonly maxDowntimeMs: number;
  readonly mayThrottle: boolean;
  readonly memoryBytes: number;
  readonly dirtyBytesPerS: number;
  /** Pages written over and over; bounds what a round can leave. 0: not known. */
  readonly workingSetBytes: number;
  readonly bandwidthBytesPerS: number;
  /** At which the target touches its memory first. */
  readonly reserveBytesPerS: number;
  /** Beside pages and stop: threads, sockets, giving memory back. */
  readonly setupMs: number;
  /** At which one end makes digests of frozen pages; absent: nothing is verified. */
  readonly hashBytesPerS?: number;
}

export interface PredictedCost {
  readonly totalMs: number;
  readonly downtimeMs: number;
  /** Pages of all rounds and of the pull. */
  readonly bytes: number;
  readonly rounds: number;
  /** Part of downtime and total: digests at the source, then at the target. */
  readonly verifyMs: number;
}

export function predict(input: PredictionInput): PredictedCost {
  const transferMs = (bytes: number) => (bytes / input.bandwidthBytesPerS) * 1000;
  const rounds = playRounds(input);
  const { remainingBytes, action } = rounds;
  const isPostcopy = action === 'postcopy';
  const verifyMs = verifyTime(input, isPostcopy ? remainingBytes : 0);
  const stoppedMs = SWITCHOVER_FIXED_MS + verifyMs;
  const reservedMs = (input.memoryBytes / input.reserveBytesPerS) * 1000;
  const restMs = transferMs(remainingBytes);
  return {
    totalMs: input.setupMs + reservedMs + transferMs(rounds.bytes) + restMs + stoppedMs,
    downtimeMs: stoppedMs + (isPostcopy ? 0 : restMs),
    bytes: rounds.bytes + remainingBytes,
    rounds: rounds.count,
    verifyMs,
  };
}

/** The source makes digests of every page once the guest stands still; the target of what is there. */
function verifyTime({ hashBytesPerS, memoryBytes }: PredictionInput, missingBytes: number): number {
  if (hashBytesPerS === undefined) return 0;
  return ((2 * memoryBytes - missingBytes) / hashBytesPerS) * 1000;
}

/** Imagined rounds against the policy, until it decides on something else than another one. */
function playRounds(input: PredictionInput) {
  const bandwidth = input.bandwidthBytesPerS;
  const set = input.workingSetBytes > 0 ? input.workingSetBytes : input.memoryBytes;
  const reports: RoundReport[] = [];
  let throttlePermille = 0;
  let bytes = 0;
  let toSend = input.mode === 'postcopy' ? 0 : input.memoryBytes;
  let remainingBytes = input.memoryBytes;
  for (;;) {
    const durationMs = (toSend / bandwidth) * 1000;
    const dirty = input.dirtyBytesPerS * (1 - throttlePermille / 1000);
    if (input.mode !== 'postcopy') {
      remainingBytes = Math.min(dirty * (durationMs / 1000), set, input.memoryBytes);
    }
    bytes += toSend;
    const round = reports.length;
    reports.push(imagined(round, toSend, durationMs, remainingBytes, dirty, bandwidth));
    const { action, ...decision } = decide({ ...input, reports, throttlePermille });
    if (action !== 'again' || reports.length >= ROUNDS_LIMIT_DEFAULT) {
      return { action, bytes, remainingBytes, count: reports.length };
    }
    throttlePermille = decision.throttlePermille;
    toSend = remainingBytes;
  }
}

function imagined(
  round: number,
  bytes: number,
  durationMs: number,
  remainingBytes: number,
  dirtyBytesPerS: number,
  bandwidthBytesPerS: number,
): RoundReport {
  return {
    migration: '',
    round,
    pages: Math.ceil(bytes / PAGE_BYTES),
    zeroPages: 0,
    bytes,
    copiedBytes: 0,
    durationMs,
    remainingPages: Math.ceil(remainingBytes / PAGE_BYTES),
    dirtyBytesPerS,
    bandwidthBytesPerS,
  };
}
