/**
 * One migration in words: its outcome, why each step was taken, prediction against measurement.
 * Pure; used by `migration show` and at the end of `guest migrate`.
 */
import type { Migration, RoundReport } from '@godwit/protocol';
import { downtimeRows } from './downtime.ts';
import {
  bytesText,
  countText,
  durationText,
  linkText,
  rateText,
  stallText,
  timeText,
} from './format.ts';
import { ACTIONS, timelineLines } from './timeline.ts';

export function headText(m: Migration): string {
  const channels = `${m.channels} ${m.channels === 1 ? 'channel' : 'channels'}`;
  return `${m.guest}  ${m.source} -> ${m.target}  ${m.mode}  ${channels}  ${m.id}`;
}

/** "round 0   1.00 GiB   zero 12 %   0.41 s   2.5 GB/s   dirty 50 MiB/s, 21 MiB remain   next round" */
export function roundText(m: Migration, round: RoundReport, pageBytes: number): string {
  const zero = round.pages === 0 ? 0 : Math.round((100 * round.zeroPages) / round.pages);
  const action = m.decisions.find((decision) => decision.round === round.round)?.action;
  const cells = [
    `round ${round.round}`.padEnd(8),
    bytesText(round.pages * pageBytes).padStart(9),
    `zero ${String(zero).padStart(3)} %`,
    durationText(round.durationMs).padStart(8),
    linkText(round.bandwidthBytesPerS).padStart(9),
    `dirty ${rateText(round.dirtyBytesPerS)}, ${bytesText(round.remainingPages * pageBytes)} remain`,
  ];
  if (action !== undefined) cells.push(`=> ${ACTIONS[action] ?? action}`);
  return `  ${cells.join('  ')}`;
}

/** The last lines of a migration that ended; empty while it has not. */
export function outcomeLines(m: Migration): string[] {
  const r = m.result;
  if (m.state === 'completed' && r !== undefined) {
    const predicted = m.prediction ? ` (predicted ${number(m.prediction.downtimeMs)})` : '';
    const verified = r.verified ? '   verified' : '';
    const lines = [
      `done in ${durationText(r.totalMs)}   downtime ${stallText(r.downtimeMs)}${predicted}   ` +
        `${bytesText(r.bytes)} moved${verified}`,
      `  ${stepsText(r)}`,
    ];
    if (r.faults > 0) lines.push(`  ${faultText(r)}`);
    return lines;
  }
  if (m.state === 'cancelled') return [`cancelled; ${m.guest} runs on at ${m.source}`];
  return [];
}

/** "last pages 1.1 · state 0.3 · landed 0.6 · run 1.2 · rest 0.2 ms; before it stop 0.2" */
function stepsText(r: NonNullable<Migration['result']>): string {
  const cells = downtimeRows(r).map(([title, ms]) => `${title} ${number(ms)}`);
  return `${cells.join(' · ')} ms; before it stop ${number(r.steps.stopMs)}`;
}

function faultText(r: NonNullable<Migration['result']>): string {
  const p50 = durationText(r.faultP50Us / 1000);
  const p99 = durationText(r.faultP99Us / 1000);
  return `${countText(r.faults)} faults, p50 ${p50}, p99 ${p99}, longest stall ${stallText(r.longestStallMs)}`;
}

const STEP_BAR_CELLS = 30;

/** The blackout split into its steps, the longest with the longest bar. */
function downtimeLines(result: NonNullable<Migration['result']>): string[] {
  const { downtimeMs, steps } = result;
  const rows = downtimeRows(result);
  const longestMs = Math.max(...rows.map(([, ms]) => ms));
  const bar = (ms: number) => '#'.repeat(Math.round((STEP_BAR_CELLS * ms) / (longestMs || 1)));
  return [
    `downtime         ${stallText(downtimeMs)}; before it ${stallText(steps.stopMs)} to stop the harts`,
    ...rows.map(([title, ms]) =>
      `  ${title.padEnd(14)} ${stallText(ms).padStart(8)}  ${bar(ms)}`.trimEnd(),
    ),
  ];
}

/** The whole page that `migration show` prints. */
export function migrationText(m: Migration): string {
  const tookMs = (m.endedAtMs ?? Date.now()) - m.startedAtMs;
  const blocks = [
    `${m.id}  ${m.guest}  ${m.source} -> ${m.target}  ${m.mode}  ${m.state}  ` +
      `${timeText(m.startedAtMs)} (${durationText(m.result?.totalMs ?? tookMs)})`,
    ...waitLines(m),
    ...errorLines(m),
    ...decisionLines(m),
    ...resultLines(m),
    ...timelineLines(m),
  ];
  return `${blocks.join('\n')}\n`;
}

/** Why it did not come to its end, and what a person can do about it. */
function errorLines({ error }: Migration): string[] {
  if (error === undefined) return [];
  const hint = error.hint === undefined ? [] : [`                 hint: ${error.hint}`];
  return [`failed           ${error.message} (${error.code})`, ...hint];
}

/** What it waits for, or how long it waited when that was worth the name. */
function waitLines({ queue, priority, drain, queuedAtMs, startedAtMs }: Migration): string[] {
  const by = drain === undefined ? '' : `   for ${drain}`;
  if (queue !== undefined) {
    const place = `${queue.position} of ${queue.of}, priority ${priority}`;
    return [`waits            ${place}${by}: ${queue.reason}`];
  }
  const waitedMs = startedAtMs - queuedAtMs;
  return waitedMs < 100 ? [] : [`waited           ${durationText(waitedMs)} in line${by}`];
}

function decisionLines(m: Migration): string[] {
  if (m.decisions.length === 0) return [];
  const rows = m.decisions.map((decision) => {
    const action = ACTIONS[decision.action] ?? decision.action;
    // The policy's sentence may begin with the very action.
    const reason = decision.reason.replace(`${action}: `, '');
    return `  after round ${String(decision.round).padEnd(3)} ${action}: ${reason}`;
  });
  return ['why each step', ...rows];
}

function resultLines(m: Migration): string[] {
  const lines: string[] = [];
  const r = m.result;
  if (m.prediction !== undefined) {
    const was = (text: string, predicted: number, measured: number | undefined) =>
      measured === undefined || measured === 0
        ? text
        : `${text} (was ${durationText(measured)}, ${error(predicted, measured)})`;
    const { totalMs, downtimeMs } = m.prediction;
    const total = was(`total ${durationText(totalMs)}`, totalMs, r?.totalMs);
    const downtime = was(`downtime ${stallText(downtimeMs)}`, downtimeMs, r?.downtimeMs);
    lines.push(`prediction       ${total}   ${downtime}`);
    if (m.prediction.verifyMs > 0) {
      lines.push(`                 of both ${durationText(m.prediction.verifyMs)} for --verify`);
    }
    lines.push(...m.prediction.basis.map((basis) => `                 from ${basis}`));
  }
  if (r === undefined) return lines;
  const sentTwice = Math.max(0, r.pages - m.memoryBytes / 4096);
  lines.push(
    `pages            ${countText(r.pages)} in ${r.rounds} rounds; ${countText(r.zeroPages)} zero; ` +
      `sent again ${countText(sentTwice)}`,
    `bytes            ${bytesText(r.bytes)} at ${linkText(r.gbps * 1e9)}; ` +
      `${bytesText(r.copiedBytes)} copied in user space`,
    `time             reserve ${durationText(r.reservedMs)}, transfer ${durationText(r.transferMs)}` +
      `${m.verify ? `, verify ${durationText(r.verifyMs)}` : ''}`,
    ...downtimeLines(r),
  );
  if (r.faults > 0) lines.push(`post-copy        ${faultText(r)}`);
  lines.push(`verified         ${r.verified ? 'yes, every page' : 'not asked for (--verify)'}`);
  return lines;
}

function error(predicted: number, measured: number): string {
  const percent = Math.round((100 * (predicted - measured)) / measured);
  return `${percent >= 0 ? '+' : ''}${percent} %`;
}

function number(ms: number): string {
  return ms >= 100 ? ms.toFixed(0) : ms.toFixed(1);
}
