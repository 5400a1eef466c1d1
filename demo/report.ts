/**
 * The demo's last screen: one table, one verdict line for each who watched, what to try next. Pure.
 */
import {
  auditText,
  bytesText,
  countText,
  durationText,
  linkText,
  stallText,
  table,
} from '@godwit/cli';
import type { AuditResult, Migration } from '@godwit/protocol';
import type { ClientVerdict } from './kv-traffic.ts';
import type { LinuxVerdict } from './linux-act.ts';
import type { MoveKind } from './plan.ts';

export interface MoveResult {
  readonly kind: MoveKind;
  readonly migration: Migration;
  readonly outsideGapMs: number;
  readonly isRace: boolean;
}

/** One row of the JSON result; the names are a promise to scripts. */
export interface MoveRecord {
  readonly guest: string;
  readonly kind: MoveKind;
  readonly mode: string;
  readonly rounds: number;
  readonly bytes: number;
  readonly gbps: number;
  readonly totalMs: number;
  readonly downtimeMs: number;
  readonly outsideGapMs: number;
  readonly faults: number;
  readonly verified: boolean;
}

export function recordOf({ kind, migration: m, outsideGapMs }: MoveResult): MoveRecord {
  const r = m.result;
  return {
    guest: m.guest,
    kind,
    mode: m.mode,
    rounds: r?.rounds ?? m.rounds.length,
    bytes: r?.bytes ?? 0,
    gbps: rounded(r?.gbps ?? 0),
    totalMs: rounded(r?.totalMs ?? 0),
    downtimeMs: rounded(r?.downtimeMs ?? 0),
    outsideGapMs: rounded(outsideGapMs),
    faults: r?.faults ?? 0,
    verified: r?.verified ?? false,
  };
}

/** Why this move is not what was promised, or nothing. */
export function complaint(result: MoveResult): string | undefined {
  const { migration: m, isRace } = result;
  const what = `${m.guest} ${m.source} -> ${m.target} ${m.mode}`;
  if (m.state !== 'completed') return `${what}: ${m.state}${m.error ? `: ${m.error.message}` : ''}`;
  if (!m.result?.verified) return `${what}: not verified`;
  if (isRace && m.result.faults === 0) return `${what}: could not converge, yet pulled no page`;
  return undefined;
}

export function moveTable(results: readonly MoveResult[]): string {
  const header = [
    'GUEST',
    'MOVE',
    'MODE',
    'ROUNDS',
    'MOVED',
    'RATE',
    'TOTAL',
    'DOWNTIME',
    'SEEN OUTSIDE',
    'LONGEST STALL',
    'FAULTS',
    'VERIFIED',
  ];
  return table(
    header,
    results.map((result) => {
      const { migration: m, isRace, outsideGapMs } = result;
      const r = m.result;
      return [
        m.guest,
        `${m.source} -> ${m.target}`,
        isRace ? `${m.mode} *` : m.mode,
        String(r?.rounds ?? m.rounds.length),
        bytesText(r?.bytes ?? 0),
        linkText((r?.gbps ?? 0) * 1e9),
        durationText(r?.totalMs ?? 0),
        stallText(r?.downtimeMs ?? 0),
        stallText(outsideGapMs),
        stallText(r?.longestStallMs ?? 0),
        countText(r?.faults ?? 0),
        r?.verified ? 'yes' : 'NO',
      ];
    }),
  );
}

export function verdictText(
  audit: AuditResult,
  client: ClientVerdict,
  linux: LinuxVerdict | undefined,
  complaints: readonly string[],
): string {
  const lines = [
    '* dirtied faster than its link was allowed to carry: only post-copy can end this',
    '',
    `auditor  ${auditText(audit).trimEnd()}`,
    `witness  heard ${countText(audit.witnessWrites)} writes; the workload has done ${countText(audit.writes)}`,
    `client   kv: ${countText(client.writes)} writes acknowledged, ${countText(client.reads)} reads, all as promised; ` +
      `${countText(client.keys)} keys read back, checksum equal, ${countText(client.blocks)} pages good`,
    ...(linux ? linuxLines(linux) : []),
    ...complaints.map((line) => `FAILED   ${line}`),
  ];
  return `${lines.join('\n')}\n`;
}

/** What the guest says of itself, and what its kernel does. */
function linuxLines(linux: LinuxVerdict): string[] {
  const { bootMs, memoryMiB, counts, longestSleepMs } = linux;
  const count = (loop: string) => countText(counts[loop] ?? 0);
  return [
    `linux    up in ${durationText(bootMs)} with ${memoryMiB} MiB: ${count('sum')} checksums of 64 MiB, ` +
      `${count('loop')} lines, ${count('woke')} wake-ups, none lost or twice; no complaint in dmesg`,
    `sleeper  by its own clock its longest second had ${durationText(longestSleepMs)}`,
  ];
}

export const TRY_NEXT = `
Try next:
  npx godwit up
  npx godwit guest create mem1 --workload hotset --memory 1GiB --host a && npx godwit guest migrate mem1 --to b
`;

function rounded(value: number): number {
  return Math.round(value * 1000) / 1000;
}
