/**
 * What one step of the core changes in the records: the migration, and the owner of its guest.
 *
 *   (record, guest, next core state, what happened) --> [commit] --> record after, guest after
 *
 * Pure. The runner writes both in one transaction, so a restart never finds a verdict without its
 * owner or an owner without its verdict. This is the only place where a guest changes hands.
 */
import {
  type CoordinatorPhase,
  type CoordinatorState,
  GodwitError,
  isSettled,
  type Message,
  type Migration,
  type MigrationState,
} from '@godwit/protocol';
import type { GuestRecord, MigrationRecord } from '../records.ts';
import { wallSpanMs } from '../wall-clock.ts';

/** What came with the event, for the record. */
export interface Happened {
  readonly atMs: number;
  /** `kept`: the epoch the source runs it under. */
  readonly epoch?: number;
  readonly error?: GodwitError;
  readonly evidence?: string;
  /** Why the target will never run it. */
  readonly refusal?: string;
  readonly figures?: Message<'freed'>;
  /** When FREED was heard; until the step is recorded other records may have to be written. */
  readonly freedAtMs?: number;
  readonly missingPages?: number;
}

/** The migration's record after the step; its view changes when a phase is entered. */
export function recordAfter(
  record: MigrationRecord,
  core: CoordinatorState,
  happened: Happened,
): MigrationRecord {
  return {
    ...record,
    core,
    ...(happened.missingPages !== undefined && { missingPages: happened.missingPages }),
    ...(happened.refusal !== undefined && { refusal: happened.refusal }),
    view: core.phase === record.core.phase ? record.view : viewAfter(record, core.phase, happened),
  };
}

function viewAfter(
  record: MigrationRecord,
  phase: CoordinatorPhase,
  happened: Happened,
): Migration {
  const state = stateAfter(record, phase, happened);
  const { endedAtMs: _endedAtMs, error: _error, ...view } = record.view;
  if (!isSettled(phase)) return { ...view, state };
  const error = errorAfter(record, phase, happened);
  return {
    ...view,
    state,
    endedAtMs: happened.atMs,
    ...(error && {
      error: {
        code: error.code,
        message: error.message,
        ...(error.hint !== undefined && { hint: error.hint }),
      },
    }),
    ...(phase === 'moved' && happened.figures && { result: resultOf(record, happened) }),
  };
}

function stateAfter(
  record: MigrationRecord,
  phase: CoordinatorPhase,
  { missingPages }: Happened,
): MigrationState {
  switch (phase) {
    case 'granted':
    case 'refused':
      return record.view.state;
    case 'verdictSource':
    case 'verdictTarget':
      return 'switchover';
    case 'running':
      return (missingPages ?? record.missingPages) > 0 ? 'postcopy' : 'switchover';
    case 'complete':
      return record.view.state;
    case 'moved':
      return 'completed';
    case 'kept':
      return record.isCancelled ? 'cancelled' : 'failed';
    case 'ended':
      return 'failed';
    case 'lost':
      return 'lost';
  }
}

function errorAfter(
  record: MigrationRecord,
  phase: CoordinatorPhase,
  { error, evidence }: Happened,
): GodwitError | undefined {
  const { guest, id } = record.view;
  switch (phase) {
    case 'kept':
      if (record.isCancelled) return new GodwitError('migration.cancelled', { migration: id });
      if (error !== undefined && error.code !== 'migration.cancelled') return error;
      return whyKept(record);
    case 'ended':
      return new GodwitError('guest.ended', { guest });
    case 'lost':
      return new GodwitError('migration.lost', { guest, evidence: evidence ?? 'no evidence' });
    default:
      return undefined;
  }
}

/** The source took the guest back without a reason of its own; nobody had cancelled. */
function whyKept({ refusal, view }: MigrationRecord): GodwitError {
  if (refusal !== undefined) return new GodwitError('migration.refused', { why: refusal });
  const why = `the link between ${view.source} and ${view.target} was lost`;
  return new GodwitError('peer.unreachable', { address: view.target, why });
}

/** Whether the guest is still this migration's to give away, as it is until another restores or removes it. */
export function holdsGuest({ view }: MigrationRecord, guest: GuestRecord | undefined): boolean {
  return guest?.migration === view.id || guest?.lostIn === view.id;
}

/** Where the guest is once the record's phase was entered, and under which epoch. */
export function guestAfter(
  { view, core, targetIncarnation, sourceIncarnation, isStopLatched }: MigrationRecord,
  guest: GuestRecord,
  { epoch, evidence }: Happened,
): GuestRecord {
  const { migration: _migration, lostIn: _lostIn, ...free } = guest;
  const isStopWanted = isStopLatched ? { isStopWanted: true as const } : {};
  const open = isSettled(core.phase)
    ? { ...free, ...isStopWanted }
    : { ...free, migration: view.id };
  switch (core.phase) {
    case 'running':
    case 'complete':
    case 'moved': {
      const moved = { host: view.target, incarnation: targetIncarnation, epoch: view.epoch + 1 };
      // A guest that ended at the target before the source was freed has said so already.
      const state = guest.epoch > view.epoch ? guest.state : 'running';
      return { ...open, ...moved, state };
    }
    case 'kept': {
      const { evidence: _evidence, ...kept } = open;
      const owner = { host: view.source, incarnation: sourceIncarnation };
      return { ...kept, ...owner, epoch: epoch ?? view.epoch, state: 'running' };
    }
    case 'ended':
      return { ...open, state: 'ended' };
    case 'lost':
      return { ...open, state: 'lost', lostIn: view.id, evidence: evidence ?? 'no evidence' };
    default:
      return open;
  }
}

type Result = NonNullable<Migration['result']>;

function resultOf(record: MigrationRecord, { figures, atMs, freedAtMs }: Happened): Result {
  const freed = figures as Message<'freed'>;
  const { prediction } = record.view;
  // From the start to the source freed, on one clock: the coordinator's. The source's own is monotonic.
  const shownMs = (freedAtMs ?? atMs) - record.view.startedAtMs;
  const totalMs = wallSpanMs(shownMs, record.reservedMs + freed.totalMs);
  const { downtimeMs } = freed;
  return {
    ...(prediction && {
      predictionError: {
        totalMs: prediction.totalMs - totalMs,
        downtimeMs: prediction.downtimeMs - downtimeMs,
      },
    }),
    rounds: freed.rounds,
    pages: freed.pages,
    zeroPages: freed.zeroPages,
    bytes: freed.bytes,
    copiedBytes: freed.copiedBytes,
    gbps: gigabytesPerS(freed),
    totalMs,
    transferMs: freed.transferMs,
    reservedMs: record.reservedMs,
    downtimeMs,
    steps: freed.steps,
    clockOffsetMs: freed.clockOffsetMs,
    clockErrorMs: freed.clockErrorMs,
    verifyMs: freed.verifyMs,
    ...figuresOfTarget(record.presence),
  };
}

/** The view with the figures of an ALL_PRESENT that came after the end. */
export function withPresence(view: Migration, presence: Message<'allPresent'>): Migration {
  if (view.result === undefined) return view;
  return { ...view, result: { ...view.result, ...figuresOfTarget(presence) } };
}

/** A source may say anything: a span too short for its bytes is none. */
function gigabytesPerS({ bytes, transferMs }: Message<'freed'>): number {
  const rate = bytes / transferMs / 1e6;
  return Number.isFinite(rate) ? rate : 0;
}

function figuresOfTarget(presence: Message<'allPresent'> | undefined) {
  return {
    verified: presence?.verified ?? false,
    faults: presence?.faults ?? 0,
    faultP50Us: presence?.faultP50Us ?? 0,
    faultP99Us: presence?.faultP99Us ?? 0,
    longestStallMs: presence?.longestStallMs ?? 0,
  };
}
