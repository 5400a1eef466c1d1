/**
 * How long each phase of a source may take before it asks, and what it was waiting for then.
 *
 * A deadline starts a question and decides nothing (design rule 6); what was waited for is the reason a
 * person reads when the answer is that the guest stays.
 */
import {
  ASK_AGAIN_MS,
  CONNECT_DEADLINE_MS,
  GodwitError,
  RESERVE_DEADLINE_MS,
  type SourcePhase,
  STOP_DEADLINE_MS,
} from '@godwit/protocol';
import { SERVING_ASK_AGAIN_MS } from '../migration/migration-base.ts';
import type { SourceFigures } from './source-figures.ts';

type Deadline = number | ((figures: SourceFigures, unsentPages: number) => number);

const DEADLINES_MS: { readonly [phase in SourcePhase]?: Deadline } = {
  preparing: RESERVE_DEADLINE_MS + CONNECT_DEADLINE_MS,
  stopping: (figures, unsentPages) => STOP_DEADLINE_MS + figures.expectedMs(unsentPages),
  offered: (figures) => figures.offerDeadlineMs,
  cancelling: (figures) => figures.offerDeadlineMs,
  asking: ASK_AGAIN_MS,
  released: ASK_AGAIN_MS,
  serving: SERVING_ASK_AGAIN_MS,
};

const AWAITED: { readonly [phase in SourcePhase]?: string } = {
  preparing: 'the target, offered the guest',
  stopping: 'the guest, told to stop',
  offered: 'the target, asked whether all has landed',
};

/**
 * @param known the figures so far and how many pages are to be sent; not asked for in `preparing`
 * @returns milliseconds; undefined: the phase has no end of its own
 */
export function sourceDeadlineMs(
  phase: SourcePhase,
  known: () => { figures: SourceFigures; unsentPages: number },
): number | undefined {
  const deadline = DEADLINES_MS[phase];
  if (typeof deadline !== 'function') return deadline;
  const { figures, unsentPages } = known();
  return deadline(figures, unsentPages);
}

/** Why the guest stays, if it does; undefined where a deadline only repeats a question. */
export function overdueError(phase: SourcePhase, afterMs: number): GodwitError | undefined {
  const what = AWAITED[phase];
  if (what === undefined) return undefined;
  return new GodwitError('request.timed_out', { what, afterMs: Math.round(afterMs) });
}
