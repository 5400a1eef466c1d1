/**
 * Where each guest of a drain stands, from what the records say now.
 *
 *   drain, its guests, its migrations --> [drain rows] --> a row each, and who is to be planned
 *
 * Pure, and the whole memory of a drain: nothing else says how far it is, so a coordinator that
 * starts again in the middle finds it exactly where the guests are. A restore is the same thing the
 * other way round: `home` tells when a guest is where it belongs.
 */
import { type Drain, GodwitError, type GuestState, type Migration } from '@godwit/protocol';
import type { DrainRecord, GuestRecord } from '../records.ts';
import { DRAIN_ATTEMPTS_MAX } from './limits.ts';
import type { PlanGuest } from './planner.ts';

export type DrainRow = Drain['guests'][number];

export interface DrainInput {
  readonly drain: Pick<DrainRecord, 'host' | 'kind' | 'away'> & { readonly id?: string };
  readonly guests: readonly {
    readonly record: GuestRecord;
    /** As people see it: `doubt` and `unreachable` are not in the record. */
    readonly state: GuestState;
  }[];
  /** Of this drain, oldest first; others that concern its guests may be among them. */
  readonly migrations: readonly Migration[];
}

export interface DrainStanding {
  readonly rows: DrainRow[];
  /** Guests that wait for a place; each has a row `blocked` until it has one. */
  readonly toPlan: readonly PlanGuest[];
}

export function standingOf({ drain, guests, migrations }: DrainInput): DrainStanding {
  const newest = new Map<string, Migration>();
  const failures = new Map<string, number>();
  for (const each of migrations) {
    newest.set(each.guest, each);
    // A target that was cordoned while the move waited says nothing about the guest.
    const isFailure =
      each.drain === drain.id && each.state === 'failed' && each.error?.code !== 'host.cordoned';
    if (isFailure) failures.set(each.guest, (failures.get(each.guest) ?? 0) + 1);
  }
  const rows: DrainRow[] = [];
  const toPlan: PlanGuest[] = [];
  for (const { record, state } of guests) {
    const { name, memoryBytes } = record.spec;
    const migration = newest.get(name);
    const said = rowOf(drain, record, state, migration, failures.get(name) ?? 0);
    if (said === undefined) continue;
    const { plan, ...row } = said;
    const of = migration?.drain === drain.id || row.state === 'moving' || row.state === 'queued';
    rows.push({
      guest: name,
      memoryBytes,
      ...row,
      ...(migration && of && drain.id !== undefined && { migration: migration.id }),
    });
    if (plan !== undefined) toPlan.push(plan);
  }
  return { rows, toPlan };
}

type Said = Omit<DrainRow, 'guest' | 'memoryBytes' | 'migration'> & { plan?: PlanGuest };

function rowOf(
  drain: DrainInput['drain'],
  record: GuestRecord,
  state: GuestState,
  migration: Migration | undefined,
  failures: number,
): Said | undefined {
  if (state === 'lost') return { state: 'lost', why: record.evidence ?? 'no evidence' };
  if (record.migration !== undefined) return underWay(record, state, migration);
  if (record.queued !== undefined) {
    const target = migration?.target;
    return { state: 'queued', ...(target !== undefined && { target }), ...waitsFor(migration) };
  }
  const isHere = record.host === drain.host;
  const isDone = drain.kind === 'drain' ? !isHere : isHere;
  if (isDone) return { state: 'moved', target: record.host };
  if (state === 'ended' || state === 'stopped') {
    return {
      state: 'stays',
      why: `it is ${state}: nothing runs there; godwit guest rm ${record.spec.name}`,
    };
  }
  const isMine = migration !== undefined && migration.drain === drain.id;
  if (isMine && migration.state === 'cancelled') {
    return { state: 'blocked', code: 'cancelled', why: `a person cancelled ${migration.id}` };
  }
  if (failures >= DRAIN_ATTEMPTS_MAX) {
    const last = migration?.error?.message ?? 'no reason known';
    return { state: 'blocked', code: 'failed', why: `${failures} moves failed, the last: ${last}` };
  }
  const plan = toPlanOf(drain, record, state);
  const { code, why } = plan.kept ?? { code: 'no_room', why: 'has no place yet' };
  return { state: 'blocked', code, why, plan };
}

function underWay(record: GuestRecord, state: GuestState, migration: Migration | undefined): Said {
  const target = migration && { target: migration.target };
  if (state === 'doubt') {
    const why = `in doubt: godwit guest show ${record.spec.name}`;
    return { state: 'blocked', code: 'doubt', ...target, why };
  }
  if (state === 'unreachable') {
    return { state: 'blocked', code: 'unreachable', ...target, why: 'a host it needs is silent' };
  }
  return { state: 'moving', ...target };
}

function waitsFor(migration: Migration | undefined): { why?: string } {
  const reason = migration?.queue?.reason;
  return reason === undefined ? {} : { why: reason };
}

function toPlanOf(
  { kind, host }: DrainInput['drain'],
  record: GuestRecord,
  state: GuestState,
): PlanGuest {
  const { name, memoryBytes } = record.spec;
  const guest = { name, memoryBytes, host: record.host, ...(kind === 'restore' && { only: host }) };
  if (state === 'unreachable') {
    const { message } = new GodwitError('host.unreachable', { host: record.host });
    return { ...guest, kept: { code: 'unreachable', why: message } };
  }
  if (state === 'creating')
    return { ...guest, kept: { code: 'creating', why: 'it is being made' } };
  return guest;
}

/** Where the drain as a whole stands. */
export interface DrainCounts {
  readonly underWay: number;
  readonly moved: number;
  readonly left: number;
  readonly movedBytes: number;
  readonly totalBytes: number;
}

export function countsOf(rows: readonly DrainRow[]): DrainCounts {
  const of = (...states: DrainRow['state'][]) => rows.filter(({ state }) => states.includes(state));
  const bytes = (some: readonly DrainRow[]) => some.reduce((sum, row) => sum + row.memoryBytes, 0);
  const moved = of('moved');
  return {
    underWay: of('moving', 'queued').length,
    moved: moved.length,
    left: of('blocked', 'lost').length,
    movedBytes: bytes(moved),
    totalBytes: bytes(of('moved', 'moving', 'queued', 'blocked')),
  };
}
