/**
 * What a target says of the pages it pulls: while they come, and once all are here.
 *
 *   target channels, guest -> [figures] -> progress, ALL_PRESENT -> coordinator
 *
 * Read from shared memory; main thread only.
 */
import { type GuestMemory, takeLongestStallUs } from '@godwit/machine';
import type { Message } from '@godwit/protocol';
import type { Guest } from '../guest/guest.ts';
import type { TargetChannels } from './target-channels.ts';

export function pullProgress(
  migration: string,
  memory: GuestMemory,
  channels: TargetChannels,
): Message<'progress'> {
  return {
    type: 'progress',
    migration,
    round: 0,
    pagesSent: 0,
    pagesTotal: memory.pages,
    bytes: 0,
    bytesPerS: 0,
    faults: channels.faultStats().count,
    remainingPages: channels.remaining(),
  };
}

/** Taken once: the longest stall starts anew with it. */
export function presentFigures(
  about: Pick<Message<'allPresent'>, 'migration' | 'guest' | 'epoch' | 'verified'>,
  guest: Guest,
  channels: TargetChannels | undefined,
): Message<'allPresent'> {
  const faults = channels?.faultStats() ?? { count: 0, p50Us: 0, p99Us: 0 };
  return {
    type: 'allPresent',
    ...about,
    faults: faults.count,
    faultP50Us: faults.p50Us,
    faultP99Us: faults.p99Us,
    longestStallMs: takeLongestStallUs(guest.memory) / 1000,
    atMs: Date.now(),
  };
}
