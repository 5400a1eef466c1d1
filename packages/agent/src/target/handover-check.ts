/**
 * Whether what landed is the guest that HANDOVER speaks of.
 *
 *   HANDOVER -> [check: missing bitmap, machine state, pages of each round, digest] -> LANDED | REFUSED
 *
 * It is part of the blackout. HANDOVER overtakes the last pages, so the machine state is put in place while
 * they land; then the barriers of all rounds are waited for, and the end of the rounds' key. A round that
 * is short when its barriers are here lost pages with a channel: the source sends those in one more round,
 * and HANDOVER again.
 */
import { setTimeout } from 'node:timers/promises';
import { makeBitmap, popcount } from '@godwit/machine';
import { GodwitError, LANDED_DEADLINE_MS, type Message } from '@godwit/protocol';
import type { Guest } from '../guest/guest.ts';
import { handoverDigest } from '../migration/digest.ts';
import type { TargetChannels } from './target-channels.ts';

export interface CheckedHandover {
  /** Pages that are not here in their newest bytes; undefined when none. */
  readonly missing: Uint32Array | undefined;
  readonly digest: string;
}

/** Pages of each round, as HANDOVER says; said again when a channel died in the last one. */
export class Manifest {
  #pages: readonly number[];
  #next = Promise.withResolvers<void>();

  constructor(pages: readonly number[]) {
    this.#pages = pages;
  }

  get pages(): readonly number[] {
    return this.#pages;
  }

  /** Resolves at the next `amend`. */
  get amended(): Promise<void> {
    return this.#next.promise;
  }

  amend(pages: readonly number[]): void {
    this.#pages = pages;
    this.#next.resolve();
    this.#next = Promise.withResolvers();
  }
}

export interface HandoverCheck {
  readonly handover: Message<'handover'>;
  readonly guest: Guest;
  readonly channels: TargetChannels;
  readonly manifest: Manifest;
  /** No page may be missing: there is no channel by which to ask for one. */
  readonly complete: boolean;
  /** Settles when no page can land under the rounds' key any more. */
  readonly revoke: () => Promise<void>;
  readonly verify: boolean;
}

/** How long a manifest may stay short after its barriers: the source hears of both at the same time. */
const AMENDED_WITHIN_MS = LANDED_DEADLINE_MS;

/**
 * Hashes wait for the end of the key: no late byte may change what the digest speaks of.
 *
 * @throws GodwitError `migration.refused` (a round is short, pages would be missing for ever),
 *   `wire.truncated` (bitmap), `state.version`, `state.corrupt`, `migration.digest`, and what broke a channel
 */
export async function checkHandover(check: HandoverCheck): Promise<CheckedHandover> {
  const { handover, guest, channels, revoke, verify, complete } = check;
  let missing: Uint32Array | undefined;
  try {
    missing = missingOf(handover.missing, guest.memory.pages);
    if (complete && missing !== undefined) throw refused(popcount(missing));
    guest.adoptState(handover.state);
    await satisfied(check);
  } finally {
    await revoke();
  }
  const hashes = verify ? await channels.verify(present(missing)) : undefined;
  const digest = handoverDigest(handover.state, hashes, missing);
  if (digest !== handover.digest) {
    throw new GodwitError('migration.digest', { expected: handover.digest, found: digest });
  }
  return { missing, digest };
}

function refused(missing: number): GodwitError {
  const why = `${missing} pages would be missing, and a pre-copy has no faults channel`;
  return new GodwitError('migration.refused', { why });
}

/** The pages that are here; null for all. */
function present(missing: Uint32Array | undefined): Uint32Array | null {
  return missing === undefined ? null : missing.map((word) => ~word);
}

async function satisfied({ channels, manifest }: HandoverCheck): Promise<void> {
  for (;;) {
    const { pages, amended } = manifest;
    await channels.barriersOf(pages.length);
    const why = shortOf(pages, channels.landedIn(pages.length));
    if (why === undefined) return;
    const late = new AbortController();
    const refused = setTimeout(AMENDED_WITHIN_MS, undefined, { signal: late.signal }).then(() => {
      throw new GodwitError('migration.refused', { why });
    });
    await Promise.race([amended, refused]).finally(() => late.abort());
  }
}

/** The first round that brought fewer pages than it should have, in words. */
function shortOf(manifest: readonly number[], perRound: readonly number[]): string | undefined {
  // More is legal: a channel that died may have landed pages it could not acknowledge.
  const round = manifest.findIndex((pages, at) => (perRound[at] ?? 0) < pages);
  if (round < 0) return undefined;
  return `round ${round} brought ${perRound[round] ?? 0} pages, the manifest says ${manifest[round]}`;
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
