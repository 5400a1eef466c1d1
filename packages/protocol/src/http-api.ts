/**
 * What the coordinator's HTTP API takes and gives; one schema for the server's checks, the command
 * line's types and the documents.
 *
 *   GET    /v1/status                      Status
 *   GET    /v1/hosts                       Host[]
 *   GET    /v1/hosts/:host                 Host
 *   POST   /v1/hosts/:host/fence           FenceRequest -> { lost: string[] }
 *   GET    /v1/guests                      Guest[]
 *   GET    /v1/guests/:guest               GuestDetail
 *   POST   /v1/guests                      CreateGuestRequest -> Guest
 *   POST   /v1/guests/:guest/stop          -> Guest
 *   DELETE /v1/guests/:guest               -> {}
 *   POST   /v1/guests/:guest/discard       DiscardRequest -> {}
 *   POST   /v1/guests/:guest/audit         -> AuditResult
 *   POST   /v1/guests/:guest/rate          RateRequest -> Guest
 *   GET    /v1/guests/:guest/console       ConsoleAddress
 *   POST   /v1/migrations                  MigrateRequest -> Migration
 *   GET    /v1/migrations                  Migration[]      (?guest= ?open=true)
 *   GET    /v1/migrations/:id              Migration
 *   POST   /v1/migrations/:id/cancel       -> Migration
 *   GET    /v1/migrations/:id/watch        WebSocket; a Migration as JSON text at every change, closes when it ended
 *   POST   /v1/shutdown                    -> {}   every agent and then the coordinator end, with all guests
 *
 * Failures are `{ error: { code, message, hint?, detail, exit } }` with an HTTP status that goes
 * with the exit code (2 -> 400, 3 -> 404, 4 -> 409, 5 -> 503, 124 -> 504, 1 -> 500). With a
 * cluster token every request carries `Authorization: Bearer TOKEN`.
 */
import { z } from 'zod';
import {
  CHANNELS_DEFAULT,
  CHANNELS_MAX,
  DOWNTIME_TARGET_MS_DEFAULT,
  GUEST_HARTS_MAX,
  NAME_PATTERN,
} from './limits.ts';
import type { DowntimeSteps, GuestReport, GuestSpec, Mode, RoundReport, Side } from './messages.ts';

const name = z
  .string()
  .regex(NAME_PATTERN, 'lower-case letters, digits and dashes, 1 to 63 characters');

export const createGuestRequest = z.strictObject({
  name,
  kind: z.enum(['machine', 'workload']),
  memoryBytes: z.int().positive(),
  harts: z.int().min(1).max(GUEST_HARTS_MAX).default(1),
  clock: z.enum(['host', 'instructions']).default('host'),
  /** Absent: the connected host with the most free memory. */
  host: name.optional(),
  image: z.string().max(256).optional(),
  /** Machine: the program, base64. */
  elf: z.base64().optional(),
  stopAt: z.int().positive().optional(),
  workload: z
    .strictObject({
      pattern: z.enum(['idle', 'uniform', 'hotset', 'sequential', 'write-burst']),
      content: z.enum(['zero', 'random', 'compressible']),
      rateMiBps: z.number().nonnegative().optional(),
      hotBytes: z.int().nonnegative().default(0),
      seed: z.int().min(0).max(0xffff_ffff).default(1),
    })
    .optional(),
});
export type CreateGuestRequest = z.input<typeof createGuestRequest>;

export const migrateRequest = z.strictObject({
  guest: name,
  to: name,
  mode: z.enum(['precopy', 'postcopy', 'hybrid']).default('hybrid'),
  channels: z.int().min(1).max(CHANNELS_MAX).default(CHANNELS_DEFAULT),
  /** Bytes a second over all channels; 0 = no limit. */
  maxBandwidthBytesPerS: z.number().nonnegative().default(0),
  maxDowntimeMs: z.number().positive().default(DOWNTIME_TARGET_MS_DEFAULT),
  /** Slow the guest's harts down when rounds do not converge. */
  throttle: z.boolean().default(false),
  verify: z.boolean().default(false),
});
export type MigrateRequest = z.input<typeof migrateRequest>;

export const rateRequest = z.strictObject({ rateMiBps: z.number().nonnegative().nullable() });
export type RateRequest = z.input<typeof rateRequest>;

export const fenceRequest = z.strictObject({
  confirm: z.literal(true),
  discardTarget: z.boolean().default(false),
});
export type FenceRequest = z.input<typeof fenceRequest>;

export const discardRequest = z.strictObject({ host: name });
export type DiscardRequest = z.input<typeof discardRequest>;

export interface Status {
  version: string;
  protocol: number;
  term: number;
  storeId: string;
  storeRev: number;
  hosts: number;
  guests: number;
  openMigrations: number;
  uptimeS: number;
  pid: number;
}

export interface Host {
  name: string;
  state: 'connected' | 'unreachable' | 'dead' | 'fenced';
  address: string;
  incarnation: string;
  pid: number;
  cores: number;
  memoryBytes: number;
  freeBytes: number;
  rssBytes: number;
  poolBytes: number;
  descriptors: number;
  guests: number;
  lastHeardAtMs: number;
  supervised: boolean;
}

/** unreachable: its host is silent for 5 s; doubt: stopped, and only an answer says where it runs. */
export type GuestState =
  | 'creating'
  | 'running'
  | 'stopped'
  | 'ended'
  | 'migrating'
  | 'doubt'
  | 'unreachable'
  | 'lost';

export interface Guest {
  name: string;
  kind: GuestSpec['kind'];
  host: string;
  state: GuestState;
  epoch: number;
  memoryBytes: number;
  harts: number;
  clock: GuestSpec['clock'];
  image?: string;
  dirtyBytesPerS: number;
  workingSetBytes: number;
  instructions: number;
  /** Workload: writes done as last heard, and the highest count ever heard (the witness). */
  writes: number;
  witnessWrites: number;
  createdAtMs: number;
  migration?: string;
  end?: { why: string; code: number };
  digest?: string;
  /** For `lost` and `unreachable`: what proves it, or since when it is silent. */
  evidence?: string;
}

export interface GuestDetail extends Guest {
  spec: GuestSpec;
  /** Who holds what, as each side says itself; what `guest show` prints when in doubt. */
  holders: {
    host: string;
    incarnation: string;
    reachable: boolean;
    silentMs: number;
    report?: GuestReport;
    says: string;
  }[];
  verdict: { epoch: number; owner: Side | 'none' };
  /** Sentence and commands that resolve a doubt. */
  resolve?: string[];
}

export interface AuditResult {
  guest: string;
  ok: boolean;
  pages: number;
  wrong: number;
  writes: number;
  witnessWrites: number;
  durationMs: number;
  why?: string;
}

export interface ConsoleAddress {
  guest: string;
  host: string;
  /** WebSocket URL of the owner's agent. */
  url: string;
  epoch: number;
}

export type MigrationState =
  | 'granting'
  | 'rounds'
  | 'switchover'
  | 'postcopy'
  | 'doubt'
  | 'completed'
  | 'failed'
  | 'cancelled'
  | 'lost';

export interface Migration {
  id: string;
  guest: string;
  kind: GuestSpec['kind'];
  source: string;
  target: string;
  mode: Mode;
  state: MigrationState;
  /** Epoch before the move; the target runs under epoch + 1, a kept source under epoch + 2. */
  epoch: number;
  channels: number;
  maxBandwidthBytesPerS: number;
  maxDowntimeMs: number;
  throttle: boolean;
  verify: boolean;
  memoryBytes: number;
  startedAtMs: number;
  endedAtMs?: number;
  sourcePhase: string;
  targetPhase: string;
  rounds: RoundReport[];
  decisions: { round: number; action: string; reason: string; atMs: number }[];
  phases: { role: Side; phase: string; atMs: number; note: string }[];
  progress?: {
    round: number;
    pagesSent: number;
    pagesTotal: number;
    bytes: number;
    bytesPerS: number;
    faults: number;
    remainingPages: number;
    /** Never grows; absent until there is something to say. */
    etaMs?: number;
    etaRangeMs?: [number, number];
    percent: number;
  };
  prediction?: { totalMs: number; downtimeMs: number };
  result?: {
    rounds: number;
    pages: number;
    zeroPages: number;
    bytes: number;
    copiedBytes: number;
    gbps: number;
    totalMs: number;
    transferMs: number;
    reservedMs: number;
    downtimeMs: number;
    steps: DowntimeSteps;
    clockOffsetMs: number;
    verifyMs: number;
    verified: boolean;
    faults: number;
    faultP50Us: number;
    faultP99Us: number;
    longestStallMs: number;
  };
  error?: { code: string; message: string; hint?: string };
}
