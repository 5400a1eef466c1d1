/**
 * The priority of a thread that pushes pages, or lands pushed ones.
 *
 *   push begins -> yieldProcessor -> [nice 5] -> migration over -> reclaimProcessor -> next migration
 *
 * While pages are pushed the guest runs at the target and waits for the pages it touches. Where
 * processors are few, a push at full speed keeps them all busy and each fault waits for a turn at both
 * ends. So the push goes on in the time that harts, faults and the control of the handover leave. Rounds
 * are not slowed: there the guest does not wait for a page.
 *
 * Linux only, where a thread has a priority of its own (setpriority(2), NOTES). To raise it again takes
 * a right that a daemon need not have.
 */
import { getPriority, setPriority } from 'node:os';

/** A third of the share of a thread that does not yield: enough to go on beside guests that never rest. */
const BACKGROUND_NICE = 5;
const CALLING_THREAD = 0;

/** What the thread began with; undefined while it has not yielded. */
let ownNice: number | undefined;

/** From now on the calling thread runs when others leave it time. Calling it again changes nothing. */
export function yieldProcessor(): void {
  if (ownNice !== undefined || process.platform !== 'linux') return;
  const nice = getPriority(CALLING_THREAD);
  if (nice >= BACKGROUND_NICE) return;
  setPriority(CALLING_THREAD, BACKGROUND_NICE);
  ownNice = nice;
}

/** Back to what it was. @throws SystemError when that is not allowed: the thread is of no more use */
export function reclaimProcessor(): void {
  if (ownNice === undefined) return;
  setPriority(CALLING_THREAD, ownNice);
  ownNice = undefined;
}
