/**
 * What the demo moves, in which order: each guest round all hosts in each mode, the last hybrid move of
 * kv and of the workload one that cannot converge. Linux comes after them, alone. Pure.
 */
import type { MigrateRequest, Mode } from '@godwit/protocol';

const MIB = 1024 ** 2;

export const MODES: readonly Mode[] = ['precopy', 'postcopy', 'hybrid'];

/** As the result has it: a Linux is a machine too, but not one of our own programs. */
export type MoveKind = 'machine' | 'workload' | 'linux';

export interface PlannedMove {
  readonly request: MigrateRequest & { mode: Mode };
  readonly kind: MoveKind;
  /** Pages are dirtied faster than the link carries them: only post-copy can end this move. */
  readonly isRace: boolean;
}

export interface Scale {
  readonly hosts: readonly string[];
  readonly workloadBytes: number;
  readonly hotBytes: number;
}

export const KV = 'kv';
export const WORKLOAD = 'mem';
export const LINUX = 'linux';
export const KV_BYTES = 64 * MIB;
export const LINUX_BYTES = 256 * MIB;
const GUESTS: Readonly<Record<MoveKind, string>> = {
  machine: KV,
  workload: WORKLOAD,
  linux: LINUX,
};
/** The workload's rate, but for its race. */
export const RATE_MIBPS = 50;
export const RACE_RATE_MIBPS = null;

/**
 * Races. kv dirties most of its 8 MiB table each second while the client hammers it; the workload writes
 * its hot set as fast as it can. Each link is capped so that a whole round takes longer than dirtying
 * the same pages again, and the allowed downtime is too short for what is left, even for the few pages
 * of a guest that a busy machine holds back.
 */
const RACE: Readonly<
  Record<Exclude<MoveKind, 'linux'>, { maxBandwidthBytesPerS: number; maxDowntimeMs: number }>
> = {
  machine: { maxBandwidthBytesPerS: 4 * MIB, maxDowntimeMs: 5 },
  workload: { maxBandwidthBytesPerS: 320 * MIB, maxDowntimeMs: 5 },
};

export function fullScale(hosts: readonly string[]): Scale {
  return { hosts, workloadBytes: 1024 * MIB, hotBytes: 64 * MIB };
}

/** For tests and slow machines: a smaller workload, moved there and back once in each mode. */
export function quickScale(hosts: readonly string[]): Scale {
  return { hosts: hosts.slice(0, 2), workloadBytes: 128 * MIB, hotBytes: 32 * MIB };
}

export function plan(scale: Scale): PlannedMove[] {
  const kinds = ['machine', 'workload'] as const;
  return MODES.flatMap((mode) => kinds.flatMap((kind) => tour(mode, kind, scale)));
}

export function linuxPlan(scale: Scale): PlannedMove[] {
  return MODES.flatMap((mode) => tour(mode, 'linux', scale));
}

/** Once round the hosts, from the first back to the first. */
function tour(mode: Mode, kind: MoveKind, scale: Scale): PlannedMove[] {
  const { hosts } = scale;
  return hosts.map((_, hop) => {
    const guest = GUESTS[kind];
    const request = { guest, to: hosts[(hop + 1) % hosts.length]!, mode, verify: true };
    const isLast = hop === hosts.length - 1;
    if (kind === 'linux' || mode !== 'hybrid' || !isLast) return { kind, isRace: false, request };
    return { kind, isRace: true, request: { ...request, ...RACE[kind] } };
  });
}
