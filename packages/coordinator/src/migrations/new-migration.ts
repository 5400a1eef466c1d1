/**
 * A migration before anything of it happened: its view, its prediction, its record in the line.
 *
 *   request, guest's record, what was measured --> [new migration] --> record, stage `queued`
 *
 * Pure but for the id and the capability, which are random.
 */
import { randomBytes, randomInt } from 'node:crypto';
import {
  COORDINATOR,
  type GuestReport,
  type Migration,
  type Prediction,
  type Priority,
} from '@godwit/protocol';
import type { migrateRequest } from '@godwit/protocol/http-api';
import type { Measurements } from '../measurements.ts';
import { predict } from '../prediction.ts';
import type { GuestRecord, MigrationRecord } from '../records.ts';

/** Crockford's base 32: nothing that reads like something else. */
const ID_ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

export type MoveRequest = ReturnType<typeof migrateRequest.parse>;

export function newId(prefix: string, isTaken: (id: string) => boolean): string {
  for (;;) {
    const letters = Array.from({ length: 4 }, () => ID_ALPHABET[randomInt(ID_ALPHABET.length)]);
    const id = `${prefix}-${letters.join('')}`;
    if (!isTaken(id)) return id;
  }
}

/** @param report what the guest's owner last said of it */
export function predictionFor(
  request: Omit<MoveRequest, 'guest'>,
  guest: GuestRecord,
  report: GuestReport | undefined,
  measured: Measurements,
): Prediction {
  const { mode, maxDowntimeMs, throttle, maxBandwidthBytesPerS: capBytesPerS, verify } = request;
  const link = measured.bandwidth(guest.host, request.to);
  const isCapped = capBytesPerS > 0 && capBytesPerS < link.value;
  const { basis: dirtying, ...writes } = measured.dirtying(report, guest.host);
  const { basis: setup, ...fixed } = measured.setup();
  const hashing = verify ? measured.hashing() : undefined;
  const cost = predict({
    mode,
    maxDowntimeMs,
    mayThrottle: throttle,
    memoryBytes: guest.spec.memoryBytes,
    ...writes,
    ...fixed,
    bandwidthBytesPerS: isCapped ? capBytesPerS : link.value,
    ...(hashing && { hashBytesPerS: hashing.value }),
  });
  const linkBasis = `link ${link.basis}${isCapped ? '; capped by --max-bandwidth' : ''}`;
  return { ...cost, basis: [dirtying, linkBasis, setup, ...(hashing ? [hashing.basis] : [])] };
}

export function newRecord(
  request: MoveRequest,
  guest: GuestRecord,
  about: {
    readonly id: string;
    readonly prediction: Prediction;
    readonly priority: Priority;
    readonly drain?: string | undefined;
    readonly ticket: MigrationRecord['ticket'];
  },
): MigrationRecord {
  const nowMs = Date.now();
  const view: Migration = {
    id: about.id,
    guest: request.guest,
    kind: guest.spec.kind,
    source: guest.host,
    target: request.to,
    mode: request.mode,
    state: 'queued',
    epoch: guest.epoch,
    channels: request.channels,
    maxBandwidthBytesPerS: request.maxBandwidthBytesPerS,
    maxDowntimeMs: request.maxDowntimeMs,
    throttle: request.throttle,
    verify: request.verify,
    memoryBytes: guest.spec.memoryBytes,
    priority: about.priority,
    ...(about.drain !== undefined && { drain: about.drain }),
    queuedAtMs: nowMs,
    startedAtMs: nowMs,
    sourcePhase: '',
    targetPhase: '',
    rounds: [],
    decisions: [],
    phases: [],
    prediction: about.prediction,
  };
  return {
    view,
    core: COORDINATOR.initial,
    stage: 'queued',
    ticket: about.ticket,
    capability: randomBytes(32).toString('hex'),
    sourceIncarnation: '',
    targetIncarnation: '',
    throttlePermille: 0,
    isCancelled: false,
    isStopLatched: false,
    reservedMs: 0,
    missingPages: 0,
    phaseHeardAtMs: nowMs,
  };
}
