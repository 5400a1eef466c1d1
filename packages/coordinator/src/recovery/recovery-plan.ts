/**
 * What the records of a restored store must become, from what every host says it holds.
 *
 *   restored records, inventories, fenced hosts --> [plan] --> records to write, in one transaction
 *
 * Pure. The records are as old as the backup, the inventories are of now, so an inventory wins over
 * a record and, among inventories, the highest epoch. A verdict that was given after the backup and
 * acted upon shows in some inventory; one that nobody acted upon has had no effect. That holds only
 * once every registered host has reported or is fenced, which is the caller's to see to.
 *
 * A guest that is in a switchover is not decided here: its migration is taken up, or made anew from
 * what its ends report, and the ends' own questions settle it as after any restart.
 */
import { COORDINATOR, type GuestReport, isSettled, type MigrationReport } from '@godwit/protocol';
import type { GuestRecord, MigrationRecord } from '../records.ts';

/** What one host said it holds. */
export interface Inventory {
  readonly incarnation: string;
  readonly guests: readonly GuestReport[];
  readonly migrations: readonly MigrationReport[];
}

export interface RecoveryInput {
  readonly guests: ReadonlyMap<string, GuestRecord>;
  readonly migrations: ReadonlyMap<string, MigrationRecord>;
  readonly inventories: ReadonlyMap<string, Inventory>;
  /** Incarnation by host. */
  readonly fenced: ReadonlyMap<string, string>;
  readonly nowMs: number;
}

/** By name or id; undefined: the record is removed. */
export interface RecoveryPlan {
  readonly guests: ReadonlyMap<string, GuestRecord | undefined>;
  readonly migrations: ReadonlyMap<string, MigrationRecord | undefined>;
  readonly lost: readonly string[];
}

/** States in which a host is the owner; the others are ends of a migration, or stale images. */
const OWNED: readonly GuestReport['state'][] = ['running', 'stopped', 'ended'];
/** An end whose name nobody can tell any more. */
const UNKNOWN = 'unknown';

const NO_PREDICTION = { totalMs: 0, downtimeMs: 0, bytes: 0, rounds: 0, verifyMs: 0 };

interface End {
  readonly host: string;
  readonly incarnation: string;
  readonly report?: MigrationReport;
  readonly guest?: GuestReport | undefined;
}

interface Ends {
  source?: End;
  target?: End;
}

export function planRecovery(input: RecoveryInput): RecoveryPlan {
  const guests = new Map<string, GuestRecord | undefined>();
  const migrations = new Map<string, MigrationRecord | undefined>();
  const lost: string[] = [];
  const open = openMigrations(input);
  for (const [id, { view, core, stage }] of input.migrations) {
    // Nobody knows it any more: it is over, and what came of it is in the inventories.
    if (stage !== 'queued' && !isSettled(core.phase) && !open.has(id))
      migrations.set(id, undefined);
    if (open.has(id) && isSettled(core.phase)) open.delete(view.id);
  }
  const moving = new Map<string, MigrationRecord>();
  for (const [id, ends] of open) {
    const record = input.migrations.get(id) ?? madeAnew(id, ends, input);
    migrations.set(id, record);
    moving.set(record.view.guest, record);
  }
  const reported = [...input.inventories.values()].flatMap(({ guests }) => guests);
  const names = new Set([...input.guests.keys(), ...reported.map(({ spec }) => spec.name)]);
  for (const name of names) {
    const before = input.guests.get(name);
    const after = guestAfter(name, before, moving.get(name), input);
    if (after !== before) guests.set(name, after);
    if (after?.state === 'lost' && before?.state !== 'lost') lost.push(name);
  }
  return { guests, migrations, lost: lost.sort() };
}

function openMigrations({ inventories }: RecoveryInput): Map<string, Ends> {
  const open = new Map<string, Ends>();
  for (const [host, { incarnation, guests, migrations }] of inventories) {
    for (const report of migrations) {
      const guest = guests.find(({ spec }) => spec.name === report.guest);
      const end = { host, incarnation, report, guest };
      open.set(report.migration, { ...open.get(report.migration), [report.role]: end });
    }
  }
  return open;
}

/** A migration that began after the backup. */
function madeAnew(id: string, { source, target }: Ends, input: RecoveryInput): MigrationRecord {
  const known = (source ?? target) as End;
  const report = known.report as MigrationReport;
  const [away] = [...input.fenced].map(([host, incarnation]) => ({ host, incarnation }));
  const absent = away ?? { host: UNKNOWN, incarnation: '' };
  const from: End = source ?? absent;
  const to: End = target ?? absent;
  const spec = known.guest?.spec ?? input.guests.get(report.guest)?.spec;
  // The target is not among those who answered. Where the guest still runs at the source, or where
  // nobody is left who could have it, it has renounced; else the fence of its host decides.
  const hasRenounced = target === undefined && (source?.guest?.state === 'running' || !away);
  return {
    view: {
      id,
      guest: report.guest,
      kind: spec?.kind ?? 'workload',
      source: from.host,
      target: to.host,
      mode: 'hybrid',
      state: 'switchover',
      epoch: report.epoch - 1,
      channels: 1,
      maxBandwidthBytesPerS: 0,
      maxDowntimeMs: 300,
      throttle: false,
      verify: false,
      memoryBytes: spec?.memoryBytes ?? 0,
      priority: 'normal',
      queuedAtMs: input.nowMs,
      startedAtMs: input.nowMs,
      sourcePhase: source?.report?.phase ?? '',
      targetPhase: target?.report?.phase ?? '',
      rounds: [],
      decisions: [],
      phases: [],
      prediction: { ...NO_PREDICTION, basis: ['it began before the store was recovered'] },
    },
    core: {
      ...COORDINATOR.initial,
      ...(hasRenounced && { phase: 'refused' as const }),
      ...(source === undefined && { sourceDead: true }),
    },
    stage: 'granted',
    ticket: { flow: '', tag: 0 },
    // Only the two ends know it, and they have each other's word already.
    capability: '',
    sourceIncarnation: from.incarnation,
    targetIncarnation: to.incarnation,
    throttlePermille: 0,
    isCancelled: false,
    isStopLatched: false,
    reservedMs: 0,
    missingPages: 0,
    phaseHeardAtMs: input.nowMs,
  };
}

function guestAfter(
  name: string,
  before: GuestRecord | undefined,
  moving: MigrationRecord | undefined,
  { inventories, fenced, nowMs }: RecoveryInput,
): GuestRecord | undefined {
  const held = [...inventories].flatMap(([host, { incarnation, guests }]) =>
    guests
      .filter(({ spec }) => spec.name === name)
      .map((report) => ({ host, incarnation, report })),
  );
  held.sort((a, b) => b.report.epoch - a.report.epoch);
  const owner = held.find(({ report }) => OWNED.includes(report.state));
  const seen = owner ?? held[0];
  const {
    migration: _migration,
    evidence: _evidence,
    ...rest
  } = before ?? {
    spec: (seen as (typeof held)[number]).report.spec,
    createdAtMs: seen?.report.createdAtMs ?? nowMs,
    witnessWrites: 0,
    epoch: 0,
    host: '',
    incarnation: '',
    state: 'running' as const,
  };
  const heard = held.map(({ report }) => report.writes);
  const free = { ...rest, witnessWrites: Math.max(rest.witnessWrites, ...heard) };
  if (moving !== undefined) {
    const { id, source, epoch } = moving.view;
    const { sourceIncarnation: incarnation } = moving;
    return { ...free, host: source, incarnation, epoch, state: 'running', migration: id };
  }
  if (owner !== undefined) {
    const { host, incarnation, report } = owner;
    const state = report.state as 'running' | 'stopped' | 'ended';
    return { ...free, spec: report.spec, epoch: report.epoch, host, incarnation, state };
  }
  if (before === undefined || before.state === 'lost' || before.state === 'ended') return before;
  if (before.state === 'creating') return undefined;
  const why = fenced.has(before.host) ? `host ${before.host} is fenced` : 'no host holds it';
  return { ...free, state: 'lost', evidence: `the store was restored from a backup, and ${why}` };
}
