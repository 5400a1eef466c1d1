/**
 * Whether what landed is the guest that HANDOVER speaks of.
 *
 *   HANDOVER -> [check: pages of each round, missing bitmap, machine state, digest] -> LANDED | REFUSED
 *
 * It is part of the blackout. The barriers of all rounds have come back to the source before it says
 * HANDOVER, so nothing is waited for here but the end of the rounds' key and, with --verify, the hashing
 * of the pages that are here.
 */
import { makeBitmap } from '@godwit/machine';
import { GodwitError, type Message } from '@godwit/protocol';
import type { Guest } from '../guest/guest.ts';
import { handoverDigest } from '../migration/digest.ts';
import type { TargetChannels } from './target-channels.ts';

export interface CheckedHandover {
  /** Pages that are not here in their newest bytes; undefined when none. */
  readonly missing: Uint32Array | undefined;
  readonly digest: string;
}

export interface HandoverCheck {
  readonly handover: Message<'handover'>;
  readonly guest: Guest;
  readonly channels: TargetChannels;
  /** Settled when no page can land under the rounds' key any more. */
  readonly revoked: Promise<void>;
  readonly verify: boolean;
}

/**
 * What can be looked at before the key of the rounds is revoked is: counts of pages only grow, and no page
 * is machine state. Hashes wait for it: no late byte may change what the digest speaks of.
 *
 * @throws GodwitError `migration.refused` (a round is short), `wire.truncated` (bitmap), `state.version`,
 *   `state.corrupt`, `migration.digest`
 */
export async function checkHandover(check: HandoverCheck): Promise<CheckedHandover> {
  const { handover, guest, channels, revoked, verify } = check;
  let missing: Uint32Array | undefined;
  try {
    const { manifest } = handover;
    checkManifest(manifest, channels.landedIn(manifest.length));
    missing = missingOf(handover.missing, guest.memory.pages);
    guest.adoptState(handover.state);
  } finally {
    await revoked;
  }
  let hashes: SharedArrayBuffer | undefined;
  if (verify) {
    hashes = new SharedArrayBuffer(guest.memory.pages * 8);
    await channels.verify(missing === undefined ? null : missing.map((word) => ~word), hashes);
  }
  const digest = handoverDigest(handover.state, hashes, missing);
  if (digest !== handover.digest) {
    throw new GodwitError('migration.digest', { expected: handover.digest, found: digest });
  }
  return { missing, digest };
}

function checkManifest(manifest: readonly number[], perRound: readonly number[]): void {
  manifest.forEach((pages, round) => {
    const landed = perRound[round] ?? 0;
    // More is legal: a channel that died may have landed pages it could not acknowledge.
    if (landed >= pages) return;
    const why = `round ${round} brought ${landed} pages, the manifest says ${pages}`;
    throw new GodwitError('migration.refused', { why });
  });
}

function missingOf(received: Uint8Array, pages: number): Uint32Array | undefined {
  if (received.length === 0) return undefined;
  const expectedBytes = Math.ceil(pages / 8);
  if (received.length !== expectedBytes) {
    const what = 'the missing-page bitmap';
    throw new GodwitError('wire.truncated', {
      what,
      expectedBytes,
      receivedBytes: received.length,
    });
  }
  const bitmap = makeBitmap(pages);
  new Uint8Array(bitmap.buffer).set(received);
  return bitmap;
}
