/**
 * What the coordinator's HTTP API gives.
 *
 *   guest-views.ts, agents.ts, migrations/ --these objects--> API, event stream --> people, consoles
 *
 * The schemas are strict here, so that a test notices a field that is in an answer and not in this
 * file. For a client the OpenAPI document says the opposite: more fields may come, ignore them.
 * Units stand in the names; `...AtMs` is Unix time in milliseconds.
 */
import { z } from 'zod';
import { downtimeSteps, guestReport, guestSpec, roundReport } from '../messages.ts';
import { fromField, fromFields } from './from-table.ts';

const count = z.int().min(0);
const bytes = z.int().min(0);
const atMs = z.int();
const text = z.string();
const kind = z.enum(['machine', 'workload']);
const side = z.enum(['source', 'target']);

export const status = z.strictObject({
  version: text,
  protocol: count.describe('Version of the wire between agents.'),
  term: count.describe('Number of this start of the coordinator; rises with each.'),
  storeId: text,
  storeRev: count,
  hosts: count,
  guests: count,
  openMigrations: count,
  uptimeS: z.number(),
  pid: count,
  stall: text
    .describe('Why nothing can be written at the moment; changes are refused until it is over.')
    .exactOptional(),
});
export type Status = z.infer<typeof status>;

export const cordon = z
  .strictObject({
    by: z.enum(['person', 'drain', 'agent']).describe('agent: it is leaving.'),
    reason: text,
    atMs,
  })
  .describe('It takes no guests, and who said so.');
export type Cordon = z.infer<typeof cordon>;

export const recovery = z.strictObject({
  state: z
    .enum(['none', 'refused', 'collecting'])
    .describe('refused: the store went back in time; collecting: a person had it recovered.'),
  reported: text.array().describe('Hosts that said what they hold.'),
  waitingFor: text.array().describe('Registered hosts that did not, and are not fenced.'),
  fenced: text.array(),
});
export type Recovery = z.infer<typeof recovery>;

export const health = z.strictObject({ ok: z.literal(true) });

export const host = z.strictObject({
  name: text,
  state: z
    .enum(['connected', 'unreachable', 'dead', 'fenced'])
    .describe('unreachable: silent for 5 s; dead: its end is proved; fenced: a person said so.'),
  address: text.describe('HOST:PORT by which the other agents reach it.'),
  incarnation: text.describe('One life of the agent process.'),
  pid: count,
  cores: count,
  memoryBytes: bytes.describe('For guests.'),
  freeBytes: bytes,
  rssBytes: bytes.describe('Resident memory of the agent process.'),
  poolBytes: bytes.describe('Of it: kept for the next guest.'),
  descriptors: count,
  guests: count,
  lastHeardAtMs: atMs,
  supervised: z.boolean().describe('Its supervisor is connected and would prove its end.'),
  cordon: cordon.exactOptional(),
  promisedBytes: bytes.describe(
    'Of freeBytes: for moves that wait or begin, and guests being made.',
  ),
  moves: count.describe('Under way, with this host as source or target.'),
  movesQueued: count,
});
export type Host = z.infer<typeof host>;

export const guestState = z
  .enum(['creating', 'running', 'stopped', 'ended', 'migrating', 'doubt', 'unreachable', 'lost'])
  .describe(
    'unreachable: its host is silent for 5 s; doubt: stopped, and only an answer says where it runs.',
  );
export type GuestState = z.infer<typeof guestState>;

const guestFields = {
  name: text,
  kind,
  host: text.describe('Its owner.'),
  state: guestState,
  epoch: count.describe('Fencing number; rises with every change of owner.'),
  memoryBytes: bytes,
  harts: count,
  clock: z.enum(['host', 'instructions']),
  image: text.exactOptional(),
  imageDigest: text.exactOptional().describe('The image it boots from.'),
  dirtyBytesPerS: z.number(),
  workingSetBytes: bytes,
  instructions: count,
  writes: count.describe('Workload: writes done, as last heard.'),
  witnessWrites: count.describe('Workload: the highest count ever heard.'),
  createdAtMs: atMs,
  migration: text.exactOptional().describe('Its open migration.'),
  queued: text.exactOptional().describe('The migration that waits in line for it.'),
  end: z.strictObject({ why: text, code: count }).exactOptional(),
  digest: text.exactOptional(),
  evidence: text
    .exactOptional()
    .describe('For lost and unreachable: what proves it, or since when it is silent.'),
};
export const guest = z.strictObject(guestFields);
export type Guest = z.infer<typeof guest>;

export const guestDetail = z.strictObject({
  ...guestFields,
  spec: fromField(guestSpec),
  holders: z
    .array(
      z.strictObject({
        host: text,
        incarnation: text,
        reachable: z.boolean(),
        silentMs: count,
        report: fromField(guestReport).exactOptional(),
        says: text,
      }),
    )
    .describe('Who holds what, as each side says itself.'),
  verdict: z.strictObject({ epoch: count, owner: z.enum(['source', 'target', 'none']) }),
  resolve: z.array(text).exactOptional().describe('Sentences and commands that resolve a doubt.'),
});
export type GuestDetail = z.infer<typeof guestDetail>;

export const auditResult = z.strictObject({
  guest: text,
  ok: z.boolean(),
  pages: count,
  wrong: count,
  writes: count,
  witnessWrites: count,
  durationMs: z.number(),
  why: text.exactOptional(),
});
export type AuditResult = z.infer<typeof auditResult>;

export const consoleAddress = z.strictObject({
  guest: text,
  host: text,
  url: text.describe("WebSocket of the owner's agent."),
  epoch: count,
});
export type ConsoleAddress = z.infer<typeof consoleAddress>;

export const checkpointResult = z.strictObject({
  guest: text,
  checkpoint: text,
  host: text,
  path: text.describe('The file, on that host.'),
  fileBytes: count,
  digest: text.describe('SHA-256 of its contents, which is also its last 32 bytes.'),
  pausedMs: z.number().describe('How long the guest stood.'),
  epoch: count,
});
export type CheckpointResult = z.infer<typeof checkpointResult>;

export const image = z.strictObject({
  digest: text.describe('sha256 of what boots: kernel, initrd, command line.'),
  names: z.array(text).describe('What hosts call it.'),
  hosts: z.array(text).describe('Connected hosts that hold it.'),
});
export type Image = z.infer<typeof image>;

export const lostGuests = z.strictObject({ lost: z.array(text) });
export const nothing = z.strictObject({});

export const migrationState = z.enum([
  'queued',
  'granting',
  'rounds',
  'switchover',
  'postcopy',
  'doubt',
  'completed',
  'failed',
  'cancelled',
  'lost',
]);
export type MigrationState = z.infer<typeof migrationState>;

const progress = z.strictObject({
  round: count,
  pagesSent: count,
  pagesTotal: count,
  bytes,
  bytesPerS: z.number(),
  faults: count,
  remainingPages: count,
  etaMs: z
    .number()
    .exactOptional()
    .describe(
      'Does not grow, but when rounds are given up for post-copy; absent until there is something to say.',
    ),
  etaRangeMs: z.tuple([z.number(), z.number()]).exactOptional(),
  percent: z.number(),
});

const result = z.strictObject({
  rounds: count,
  pages: count,
  zeroPages: count,
  bytes,
  copiedBytes: bytes.describe('Of the bytes: copied in user space on their way.'),
  gbps: z.number().describe('Gigabytes a second while pages were sent.'),
  totalMs: z.number().describe("From startedAtMs to the source freed, by the coordinator's clock."),
  predictionError: z
    .strictObject({ totalMs: z.number(), downtimeMs: z.number() })
    .exactOptional()
    .describe('Predicted minus measured.'),
  transferMs: z.number(),
  reservedMs: z.number().describe("Reserving and touching the target's memory."),
  downtimeMs: z
    .number()
    .describe('From the last instruction at the source to the first at the target.'),
  steps: fromField(downtimeSteps).describe('The downtime, split; milliseconds.'),
  clockOffsetMs: z
    .number()
    .describe("The target's monotonic clock minus the source's, as measured."),
  clockErrorMs: z.number().exactOptional().describe('At most so far is it from the truth.'),
  verifyMs: z.number(),
  verified: z.boolean(),
  faults: count,
  faultP50Us: z.number(),
  faultP99Us: z.number(),
  longestStallMs: z.number(),
});

const mode = z.enum(['precopy', 'postcopy', 'hybrid']);

export const priority = z.enum(['low', 'normal', 'high']);
export type Priority = z.infer<typeof priority>;

export const prediction = z.strictObject({
  totalMs: z.number().describe('From the start of the move, not counting the line.'),
  downtimeMs: z.number(),
  bytes: z.number(),
  rounds: count,
  verifyMs: z.number().describe('Of both times: digests of frozen pages.'),
  basis: z
    .array(text)
    .describe('What the figures rest on: measured where and when, or assumed for want of it.'),
});
export type Prediction = z.infer<typeof prediction>;

export const migration = z.strictObject({
  id: text,
  guest: text,
  kind,
  source: text,
  target: text,
  mode,
  state: migrationState,
  epoch: count.describe(
    'Before the move; the target runs it under epoch + 1, a source that keeps it under + 2.',
  ),
  channels: count,
  maxBandwidthBytesPerS: z.number(),
  maxDowntimeMs: z.number(),
  throttle: z.boolean(),
  verify: z.boolean(),
  memoryBytes: bytes,
  priority,
  drain: text.exactOptional().describe('The drain or restore it belongs to.'),
  queue: z
    .strictObject({ position: count, of: count, reason: text })
    .exactOptional()
    .describe('While it waits: its place in line, from 1, and what for.'),
  queuedAtMs: atMs.describe('When it was asked for.'),
  startedAtMs: atMs.describe('When it left the line; queuedAtMs while it waits.'),
  endedAtMs: atMs.exactOptional(),
  sourcePhase: text,
  targetPhase: text,
  rounds: z.array(fromFields(roundReport)),
  decisions: z.array(z.strictObject({ round: count, action: text, reason: text, atMs })),
  phases: z.array(
    z.strictObject({
      role: side,
      phase: text,
      atMs: z.number().describe("By that end's own clock."),
      atNs: count.exactOptional().describe('The same on its monotonic clock (see clockOffsetMs).'),
      heardAtMs: atMs.exactOptional().describe('When the coordinator heard of it, by its clock.'),
      note: text,
    }),
  ),
  progress: progress.exactOptional(),
  prediction: prediction.exactOptional(),
  result: result.exactOptional(),
  error: z.strictObject({ code: text, message: text, hint: text.exactOptional() }).exactOptional(),
});
export type Migration = z.infer<typeof migration>;

export const moveLimits = z
  .strictObject({ perHost: count, perCluster: count })
  .describe('Moves under way at once: with one host as source or target, and in the cluster.');
export type MoveLimits = z.infer<typeof moveLimits>;

export const movePlan = z.strictObject({
  guest: text,
  source: text,
  target: text,
  memoryBytes: bytes,
  mode,
  prediction,
  waits: text.exactOptional().describe('Why it would wait in line first.'),
});
export type MovePlan = z.infer<typeof movePlan>;

const drainKind = z.enum(['drain', 'restore']);

export const drainPlan = z.strictObject({
  host: text,
  kind: drainKind,
  moves: z.array(movePlan),
  blocked: z
    .array(z.strictObject({ guest: text, memoryBytes: bytes, code: text, why: text }))
    .describe(
      'Guests without a place or that cannot move now, and the constraint that keeps each.',
    ),
  stays: z
    .array(z.strictObject({ guest: text, why: text }))
    .describe('Guests that do not run any more.'),
  bytes: z.number(),
  predictedMs: z.number(),
  predictedRangeMs: z
    .tuple([z.number(), z.number()])
    .describe('Moves that overlap without slowing each other down; one after the other.'),
});
export type DrainPlan = z.infer<typeof drainPlan>;

export const drain = z.strictObject({
  id: text,
  host: text,
  kind: drainKind,
  by: z.enum(['person', 'agent']),
  state: z
    .enum(['moving', 'completed', 'incomplete', 'cancelled'])
    .describe('incomplete: nothing moves any more, and some guests are left.'),
  startedAtMs: atMs,
  endedAtMs: atMs.exactOptional(),
  guests: z.array(
    z.strictObject({
      guest: text,
      memoryBytes: bytes,
      state: z.enum(['queued', 'moving', 'moved', 'blocked', 'stays', 'lost']),
      target: text.exactOptional(),
      migration: text.exactOptional(),
      code: text.exactOptional().describe('Of a blocked one: the constraint, as in a plan.'),
      why: text.exactOptional(),
    }),
  ),
  movedBytes: bytes,
  totalBytes: bytes,
  percent: z.number(),
  etaMs: z
    .number()
    .exactOptional()
    .describe('From its own moves so far; before the first has ended, from the predictions.'),
  etaRangeMs: z.tuple([z.number(), z.number()]).exactOptional(),
});
export type Drain = z.infer<typeof drain>;

export const errorBody = z.strictObject({
  error: z.strictObject({
    code: text.describe('Stable; the table is in PROTOCOL.md.'),
    message: text.describe('One line, `what: why`.'),
    hint: text.exactOptional().describe('What to do next.'),
    detail: z.unknown().describe('The facts of the message, by code.'),
    exit: z.int().describe('Exit code of the command line.'),
  }),
});
export type ErrorBody = z.infer<typeof errorBody>;
