/**
 * Before this host ends: its guests go elsewhere, if there is an elsewhere.
 *
 *   SIGTERM -> [leaving] --leaving--> coordinator, which cordons the host and drains it
 *                  ^--leave {moved, left, isOver}-- coordinator
 *
 * Asks and waits; it decides nothing about a guest. It is over when no guest is held here any more,
 * when the coordinator says that it can do no more, when there is no coordinator for a while, or
 * when the time is up. What is left then ends with the host, and the log names it. A coordinator that
 * restarts meanwhile is asked again at its welcome. Main thread only.
 */
import type { Message } from '@godwit/protocol';
import type { CoordinatorLink } from './coordinator-link.ts';
import type { GuestTable } from './guest/guest-table.ts';
import type { Log } from './log.ts';

/** How long a coordinator may be away: longer than one takes to be started again. */
const NO_LINK_MS = 10_000;
const LOOK_MS = 100;

export interface LeavingParts {
  readonly link: CoordinatorLink;
  readonly guests: GuestTable;
  readonly log: Log;
}

/**
 * Resolves when this host may end; never rejects.
 *
 * @param limitMs of all the waiting
 * @param signal ends the waiting at once
 */
export async function leave(
  { link, guests, log }: LeavingParts,
  limitMs: number,
  signal: AbortSignal,
): Promise<void> {
  const beganAtMs = performance.now();
  let lastLinkAtMs = beganAtMs;
  let said: Message<'leave'> | undefined;
  const held = () =>
    [...guests.values()]
      .filter(({ state }) => state !== 'stopped' && state !== 'ended' && state !== 'lost')
      .map(({ name }) => name);
  const ask = () => link.send({ type: 'leaving' });
  const hear = (message: Message) => {
    if (message.type !== 'leave') return;
    const { moved, left, note } = message;
    if (moved !== said?.moved || left !== said.left) log.info({ moved, left }, `leaving: ${note}`);
    said = message;
  };
  /** Why the waiting is over; undefined: it is not. */
  const over = (): string | undefined => {
    const nowMs = performance.now();
    if (link.connected) lastLinkAtMs = nowMs;
    if (held().length === 0) return 'every guest is elsewhere';
    if (signal.aborted) return 'asked to end at once';
    if (said?.isOver) return said.note;
    if (nowMs - beganAtMs > limitMs) return `${limitMs / 1000} s are over`;
    if (nowMs - lastLinkAtMs > NO_LINK_MS) return 'no coordinator to move them';
    return undefined;
  };
  link.on('message', hear);
  link.on('up', ask);
  log.info({ guests: held().length, limitMs }, 'leaving: guests go elsewhere first');
  ask();
  let why = over();
  for (; why === undefined; why = over()) await pause(LOOK_MS, signal);
  link.off('message', hear);
  link.off('up', ask);
  const left = held();
  if (left.length > 0) log.warn({ left, why }, 'leaving: these guests end with this host');
  else log.info({ why }, 'leaving: done');
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done);
  });
}
