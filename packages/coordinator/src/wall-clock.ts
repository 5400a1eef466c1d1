/**
 * Spans between two readings of the wall clock, which somebody may have set in between.
 *
 *   records (startedAtMs), now --> [wall clock] --> how long a move or a drain took
 *
 * Deadlines and silence are measured by the monotonic clock and never come here. What is measured over
 * a restart of the coordinator has the wall clock only, and this is where nonsense ends. Pure.
 */

/** Longer than a coordinator is away while a move goes on without it. */
const AWAY_MAX_MS = 24 * 3_600_000;

/**
 * @param shownMs one reading minus the other
 * @param leastMs it cannot be less
 * @param otherwiseMs what is known by another clock, for a span that cannot be
 */
export function wallSpanMs(shownMs: number, leastMs: number, otherwiseMs: number): number {
  const wasSet = shownMs < leastMs || shownMs > otherwiseMs + AWAY_MAX_MS;
  return wasSet ? otherwiseMs : shownMs;
}
