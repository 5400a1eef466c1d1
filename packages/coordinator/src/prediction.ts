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
}

export interface Prediction {
  readonly totalMs: number;
  readonly downtimeMs: number;
}

/** Before the first move on a pair of hosts: loopback or a 10 Gbit/s link. */
export const BANDWIDTH_UNKNOWN_BYTES_PER_S = 1.2e9;
/** First touch of the target's memory, per byte (0.3 to 2 GB/s where it was measured). */
const RESERVE_BYTES_PER_S = 1e9;

export function predict(input: PredictionInput): Prediction {
  const bandwidth = input.bandwidthBytesPerS;
  const transferMs = (bytes: number) => (bytes / bandwidth) * 1000;
  const reservedMs = (input.memoryBytes / RESERVE_BYTES_PER_S) * 1000;
  const set = input.workingSetBytes > 0 ? input.workingSetBytes : input.memoryBytes;

  const reports: RoundReport[] = [];
  let throttlePermille = 0;
  let totalMs = reservedMs;
  let toSend = input.mode === 'postcopy' ? 0 : input.memoryBytes;
  let remaining = input.memoryBytes;
  for (let round = 0; round < ROUNDS_LIMIT_DEFAULT; round++) {
    const durationMs = transferMs(toSend);
    const dirty = input.dirtyBytesPerS * (1 - throttlePermille / 1000);
    if (input.mode !== 'postcopy') {
      remaining = Math.min(dirty * (durationMs / 1000), set, input.memoryBytes);
    }
    totalMs += durationMs;
    reports.push(imagined(round, toSend, durationMs, remaining, dirty, bandwidth));
    const decision = decide({ ...input, reports, throttlePermille });
    if (decision.action !== 'again') {
      const isPostcopy = decision.action === 'postcopy';
      const downtimeMs = SWITCHOVER_FIXED_MS + (isPostcopy ? 0 : transferMs(remaining));
      return { totalMs: totalMs + SWITCHOVER_FIXED_MS + transferMs(remaining), downtimeMs };
    }
    throttlePermille = decision.throttlePermille;
    toSend = remaining;
  }
  return { totalMs, downtimeMs: SWITCHOVER_FIXED_MS + transferMs(remaining) };
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
