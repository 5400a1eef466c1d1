/**
 * What the coordinator's HTTP API takes: the bodies and the queries of its requests.
 *
 * One schema for the server's checks, the command line's types and the OpenAPI document. Strict: a
 * field that this release does not know is refused, because the caller expects something of it.
 */
import { z } from 'zod';
import {
  CHANNELS_DEFAULT,
  CHANNELS_MAX,
  COMMAND_LINE_CHARS_MAX,
  DOWNTIME_TARGET_MS_DEFAULT,
  GUEST_HARTS_MAX,
  MOVES_PER_CLUSTER_MAX,
  MOVES_PER_HOST_MAX,
  NAME_PATTERN,
} from '../limits.ts';

/** A guest's or a host's. */
export const name = z
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
  /** Where the program came from, for people; without a program: name or digest of an image. */
  image: z.string().max(256).optional(),
  /** The image itself, when the caller knows it better than by name. */
  imageDigest: z
    .string()
    .regex(/^[0-9a-f]{64}$/, 'a sha256 in hex')
    .optional(),
  /** The kernel's command line instead of the image's own. */
  append: z.string().max(COMMAND_LINE_CHARS_MAX).optional(),
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

/** How a guest is moved, whoever chooses where to. */
const moveOptions = {
  mode: z.enum(['precopy', 'postcopy', 'hybrid']).default('hybrid'),
  channels: z.int().min(1).max(CHANNELS_MAX).default(CHANNELS_DEFAULT),
  /** Bytes a second over all channels; 0 = no limit. */
  maxBandwidthBytesPerS: z.number().nonnegative().default(0),
  maxDowntimeMs: z.number().positive().default(DOWNTIME_TARGET_MS_DEFAULT),
  /** Slow the guest's harts down when rounds do not converge. */
  throttle: z.boolean().default(false),
  verify: z.boolean().default(false),
  /** Shares of the line in which moves wait: high gets 4 starts for one of normal, normal 4 of low. */
  priority: z.enum(['low', 'normal', 'high']).default('normal'),
};

export const migrateRequest = z.strictObject({ guest: name, to: name, ...moveOptions });
export type MigrateRequest = z.input<typeof migrateRequest>;

export const drainRequest = z.strictObject(moveOptions);
export type DrainRequest = z.input<typeof drainRequest>;

export const cordonRequest = z.strictObject({
  /** For the next person who wonders. */
  reason: z.string().max(256).default(''),
});
export type CordonRequest = z.input<typeof cordonRequest>;

/** What is absent stays as it is. */
export const limitsRequest = z.strictObject({
  perHost: z.int().min(1).max(MOVES_PER_HOST_MAX).optional(),
  perCluster: z.int().min(1).max(MOVES_PER_CLUSTER_MAX).optional(),
});
export type LimitsRequest = z.input<typeof limitsRequest>;

export const rateRequest = z.strictObject({ rateMiBps: z.number().nonnegative().nullable() });
export type RateRequest = z.input<typeof rateRequest>;

export const fenceRequest = z.strictObject({
  confirm: z.literal(true),
  discardTarget: z.boolean().default(false),
});
export type FenceRequest = z.input<typeof fenceRequest>;

export const migrationsQuery = z.strictObject({
  /** Only those of this guest. */
  guest: name.optional(),
  /** Only those of this drain or restore. */
  drain: z.string().max(16).optional(),
  /** `true`: only those under way or waiting. */
  open: z.enum(['true', 'false']).optional(),
});

export const checkpointRequest = z.strictObject({ checkpoint: name });
export type CheckpointRequest = z.input<typeof checkpointRequest>;

export const restoreGuestRequest = z.strictObject({
  /** The host whose file it is, and on which the guest is to run. */
  host: name,
  /** Another name for the guest. Absent: its own, when nobody runs it any more. */
  as: name.optional(),
});
export type RestoreGuestRequest = z.input<typeof restoreGuestRequest>;

export const discardRequest = z.strictObject({ host: name });
export type DiscardRequest = z.input<typeof discardRequest>;
