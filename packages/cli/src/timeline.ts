/**
 * What happened in a migration, at both ends and at the coordinator, on one axis of time. Pure.
 *
 *   phases (source, target), decisions (coordinator) --> [timeline] --> lines of `migration show`
 *
 * Three machines, three clocks, and none is believed to show the right time. Each end stamps its phases
 * with its monotonic clock. The two ends compared those by pings over their own link (`clockOffsetMs`,
 * with its error), which puts the target on the source's axis. The source's axis is put on the
 * coordinator's by the message that took least: no phase can have happened after it was heard.
 */
import type { Migration } from '@godwit/protocol';
import { durationText } from './format.ts';

/** The policy's decisions in a person's words. */
export const ACTIONS: Readonly<Record<string, string>> = {
  again: 'next round',
  stopAndCopy: 'switch',
  postcopy: 'post-copy',
  giveUp: 'give up',
};

type Phase = Migration['phases'][number];

interface Entry {
  readonly atMs: number;
  readonly who: string;
  readonly what: string;
}

export function timelineLines(m: Migration): string[] {
  const entries = [...requested(m), ...phases(m), ...decisions(m), ...ended(m)];
  if (entries.length <= 1) return [];
  const rows = entries
    .toSorted((a, b) => a.atMs - b.atMs)
    .map(({ atMs, who, what }) => {
      const at = `+${durationText(Math.max(0, atMs - m.startedAtMs))}`;
      return `  ${at.padStart(9)}  ${who.padEnd(11)}  ${what}`;
    });
  return [`timeline         ${clocksText(m)}`, ...rows];
}

function requested({ startedAtMs, guest, target }: Migration): Entry[] {
  return [{ atMs: startedAtMs, who: 'coordinator', what: `asked to move ${guest} to ${target}` }];
}

function decisions(m: Migration): Entry[] {
  // Their reasons stand above the timeline.
  return m.decisions.map(({ atMs, round, action }) => ({
    atMs,
    who: 'coordinator',
    what: `after round ${round}: ${ACTIONS[action] ?? action}`,
  }));
}

function ended(m: Migration): Entry[] {
  if (m.endedAtMs === undefined) return [];
  return [{ atMs: m.endedAtMs, who: 'coordinator', what: m.state }];
}

function phases(m: Migration): Entry[] {
  const toCoordinatorMs = { source: delayLeast(m, 'source'), target: delayLeast(m, 'target') };
  const offsetMs = m.result?.clockOffsetMs;
  return m.phases.map((phase) => {
    const { role, phase: name, note } = phase;
    const isCompared = role === 'target' && offsetMs !== undefined && offsetMs !== 0;
    const ownMs = phase.atNs === undefined ? undefined : phase.atNs / 1e6;
    const shift = isCompared ? toCoordinatorMs.source : toCoordinatorMs[role];
    const atMs =
      ownMs === undefined || shift === undefined
        ? phase.atMs
        : ownMs - (isCompared ? offsetMs : 0) + shift;
    return { atMs, who: `${role} ${m[role]}`, what: note === '' ? name : `${name}: ${note}` };
  });
}

/** Coordinator's clock minus that end's monotonic one, too high by the least delay of a message. */
function delayLeast(m: Migration, role: Phase['role']): number | undefined {
  const seen = m.phases.flatMap((phase) =>
    phase.role === role && phase.atNs !== undefined && phase.heardAtMs !== undefined
      ? [phase.heardAtMs - phase.atNs / 1e6]
      : [],
  );
  return seen.length === 0 ? undefined : Math.min(...seen);
}

function clocksText({ result, source, target }: Migration): string {
  const { clockOffsetMs = 0, clockErrorMs } = result ?? {};
  if (clockOffsetMs === 0) return 'since the request; the clocks of the two ends were not compared';
  const within = clockErrorMs === undefined ? '' : ` (within ${clockErrorMs.toFixed(3)} ms)`;
  const sign = clockOffsetMs < 0 ? '-' : '+';
  const offset = `${sign}${Math.abs(clockOffsetMs).toFixed(3)} ms`;
  return `since the request; clock of ${target} minus clock of ${source}: ${offset}${within}`;
}
