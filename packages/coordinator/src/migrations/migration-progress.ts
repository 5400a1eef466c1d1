/**
 * Progress of a migration for people, put together from what its two ends say.
 *
 * The source knows rounds, bytes and rate; the target knows faults and, once the guest runs there,
 * how many pages it still misses. Pure.
 */
import { type Message, type Migration, PAGE_BYTES, type Side } from '@godwit/protocol';
import type { EtaInput } from '../eta.ts';

export type Counts = Omit<NonNullable<Migration['progress']>, 'etaMs' | 'etaRangeMs' | 'percent'>;

const NOTHING: Counts = {
  round: 0,
  pagesSent: 0,
  pagesTotal: 0,
  bytes: 0,
  bytesPerS: 0,
  faults: 0,
  remainingPages: 0,
};

export function mergeProgress(
  before: Counts | undefined,
  from: Side,
  message: Message<'progress'>,
): Counts {
  const { type: _type, migration: _migration, ...said } = message;
  const { faults, remainingPages, pagesTotal } = said;
  if (from === 'target') return { ...(before ?? NOTHING), faults, remainingPages, pagesTotal };
  return { ...said, faults: before?.faults ?? 0 };
}

/** Bytes still due, and at what rate, for the estimate of the time left. */
export function dueBytes(
  view: Migration,
  progress: Counts,
  throttlePermille: number,
): Omit<EtaInput, 'nowMs'> {
  const last = view.rounds.at(-1);
  const bytesPerS = progress.bytesPerS > 0 ? progress.bytesPerS : (last?.bandwidthBytesPerS ?? 0);
  const isPull = view.decisions.some(({ action }) => action === 'postcopy');
  if (isPull || view.state === 'postcopy' || view.mode === 'postcopy') {
    const dueBytes = progress.remainingPages * PAGE_BYTES;
    return { course: 'pull', dueBytes, laterBytes: 0, bytesPerS };
  }
  const sentBefore = view.rounds.reduce((sum, round) => sum + round.pages, 0);
  const roundPages = last?.remainingPages ?? progress.pagesTotal;
  const sentNow = Math.max(0, progress.pagesSent - sentBefore);
  const due = Math.max(0, roundPages - sentNow) * PAGE_BYTES;
  const dirty = (last?.dirtyBytesPerS ?? 0) * (1 - throttlePermille / 1000);
  const laterBytes = bytesPerS > 0 ? Math.min(dirty * (due / bytesPerS), view.memoryBytes) : 0;
  return { course: 'rounds', dueBytes: due, laterBytes, bytesPerS };
}
