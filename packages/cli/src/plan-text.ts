/**
 * Plans and drains in words: what would move where, what it costs, what keeps the rest. Pure.
 */
import type { Drain, DrainPlan, MovePlan } from '@godwit/protocol';
import { bytesText, countText, durationText, stallText } from './format.ts';
import { table } from './output.ts';

/** `guest migrate --dry-run` */
export function movePlanText(plan: MovePlan): string {
  const { prediction: p } = plan;
  const verify = p.verifyMs > 0 ? ` (of it ${stallText(p.verifyMs)} for --verify)` : '';
  const lines = [
    `${plan.guest}  ${plan.source} -> ${plan.target}  ${plan.mode}  ${bytesText(plan.memoryBytes)}`,
    `  would take ${durationText(p.totalMs)}, downtime ${stallText(p.downtimeMs)}${verify}`,
    `  would send ${bytesText(p.bytes)} in ${p.rounds} ${p.rounds === 1 ? 'round' : 'rounds'}`,
    ...p.basis.map((basis) => `  from  ${basis}`),
    ...(plan.waits === undefined ? [] : [`  waits ${plan.waits}`]),
    'nothing was moved',
  ];
  return `${lines.join('\n')}\n`;
}

/** `host drain --dry-run`, and what `host drain` says before it begins. */
export function drainPlanText(plan: DrainPlan): string {
  const { moves, blocked, stays, host, kind } = plan;
  const rows = moves.map(({ guest, source, target, memoryBytes, prediction }) => [
    guest,
    `${source} -> ${target}`,
    bytesText(memoryBytes),
    durationText(prediction.totalMs),
    stallText(prediction.downtimeMs),
    '',
  ]);
  const kept = blocked.map(({ guest, memoryBytes, code, why }) => [
    guest,
    'blocked',
    bytesText(memoryBytes),
    '-',
    '-',
    `${code}: ${why}`,
  ]);
  const still = stays.map(({ guest, why }) => [guest, 'stays', '-', '-', '-', why]);
  const header = ['GUEST', 'MOVE', 'MEMORY', 'TIME', 'DOWNTIME', 'WHY'];
  const all = [...rows, ...kept, ...still];
  const body = all.length === 0 ? '' : table(header, all);
  const [low, high] = plan.predictedRangeMs.map(durationText);
  const what = kind === 'drain' ? `empty host ${host}` : `bring guests back to host ${host}`;
  const cost =
    moves.length === 0
      ? 'nothing to move'
      : `${counted(moves.length, 'move')}, ${bytesText(plan.bytes)}, ` +
        `about ${durationText(plan.predictedMs)}${low === high ? '' : ` (${low}..${high})`}`;
  const rest = blocked.length === 0 ? '' : `; ${counted(blocked.length, 'guest')} blocked`;
  return `${body}${what}: ${cost}${rest}\n`;
}

/** One line while it goes on. */
export function drainProgressText(drain: Drain): string {
  const of = (state: Drain['guests'][number]['state']) =>
    drain.guests.filter((row) => row.state === state).length;
  const blocked = of('blocked') + of('lost');
  const parts = [
    `${Math.floor(drain.percent)} %`.padStart(5),
    `${countText(of('moved'))} moved`,
    `${countText(of('moving'))} moving`,
    `${countText(of('queued'))} waiting`,
    ...(blocked > 0 ? [`${countText(blocked)} blocked`] : []),
  ];
  if (drain.etaMs !== undefined) {
    const [low, high] = (drain.etaRangeMs ?? [drain.etaMs, drain.etaMs]).map(durationText);
    const range = low === high ? '' : ` (${low}..${high})`;
    parts.push(`about ${durationText(drain.etaMs)} left${range}`);
  }
  return parts.join('  ');
}

/** `host drains` */
export function drainTable(drains: readonly Drain[]): string {
  return table(
    ['HOST', 'WHAT', 'STATE', 'DONE', 'MOVED', 'LEFT', 'BLOCKED', 'TIME LEFT', 'ID'],
    drains.map((drain) => {
      const of = (...states: Drain['guests'][number]['state'][]) =>
        countText(drain.guests.filter(({ state }) => states.includes(state)).length);
      return [
        drain.host,
        drain.by === 'agent' ? `${drain.kind}, leaving` : drain.kind,
        drain.state,
        `${Math.floor(drain.percent)} %`,
        of('moved'),
        of('moving', 'queued'),
        of('blocked', 'lost'),
        drain.etaMs === undefined ? '-' : durationText(drain.etaMs),
        drain.id,
      ];
    }),
  );
}

/** What a drain came to: one line for each guest that is not where it should be, then the sum. */
export function drainOutcomeText(drain: Drain): string {
  const left = drain.guests.filter(({ state }) => state === 'blocked' || state === 'lost');
  const stays = drain.guests.filter(({ state }) => state === 'stays');
  const lines = [...left, ...stays].map(({ guest, state, code, why }) => {
    return `  ${guest}  ${code ?? state}: ${why ?? 'no reason known'}\n`;
  });
  const moved = drain.guests.filter(({ state }) => state === 'moved').length;
  const tookMs = (drain.endedAtMs ?? Date.now()) - drain.startedAtMs;
  const took = `${counted(moved, 'guest')} moved, ${bytesText(drain.movedBytes)}, in ${durationText(tookMs)}`;
  return `${lines.join('')}${drain.kind} of host ${drain.host} ${drain.state}: ${took}\n`;
}

function counted(count: number, what: string): string {
  return `${countText(count)} ${what}${count === 1 ? '' : 's'}`;
}
