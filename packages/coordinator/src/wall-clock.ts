/**
 * Spans between two readings of the wall clock, which somebody may have set in between.
 *
 *   records (startedAtMs), now --> [wall clock] --> how long a move or a drain took
 *
 * Deadlines and silence are measured by the monotonic clock and never come here. What is measured over
 * a restart of the coordinator has the wall clock only, and this is where nonsense ends. Pure.
 */

/** Longer than anything here takes; what a host claims beyond it teaches nobody. */
const SPAN_MAX_MS = 24 * 3_600_000;

/**
 * @param shownMs one reading minus the other
 * @param otherwiseMs what another clock says, a host's perhaps: heard only when ours shows nonsense
 */
export function wallSpanMs(shownMs: number, otherwiseMs: number): number {
  if (shownMs >= 0 && shownMs <= SPAN_MAX_MS) return shownMs;
  return Math.min(Math.max(0, otherwiseMs), SPAN_MAX_MS);
}
