/**
 * The cases of `npm run crash`: every step of a switchover, of a round and of post-copy, times who
 * is struck there, times how.
 *
 * A step is `role:phase:effect` of the cores' tables, the phase being the one the row leads to; with
 * `#n` the n-th time it is reached. One that no longer exists is never reached, which is a violation,
 * so this list cannot fall behind the tables unnoticed.
 */
import type { MigrateRequest } from '@godwit/protocol';
import { randomBelow } from './random.ts';

const MIB = 2 ** 20;

export type Victim = 'source' | 'target' | 'coordinator';
export type Fault = 'kill' | 'stop';

interface Scenario {
  readonly request: Pick<MigrateRequest, 'mode' | 'maxBandwidthBytesPerS' | 'maxDowntimeMs'>;
  /** A step at which the other end stands still too, so that the deadlines ask their questions. */
  readonly held?: string;
  readonly steps: readonly string[];
}

export const SCENARIOS: { readonly [name: string]: Scenario } = {
  precopy: {
    request: { mode: 'precopy' },
    steps: [
      'coordinator:granted:open',
      'target:landing:sendAccept',
      'source:rounds:startRound',
      'source:rounds:reportRound',
      'coordinator:granted:askPolicy',
      'coordinator:granted:sendDecision',
      'source:stopping:stopHarts',
      'source:stopping:sendRest',
      'source:offered:sendHandover',
      'target:landing:checkManifest',
      'target:landed:revokeRoundsKey',
      'target:landed:sendLanded',
      'source:released:sendRun',
      'target:running:journalRan',
      'target:running:startHarts',
      'target:running:sendRunning',
      'target:running:sendAllPresent',
      'coordinator:running:record',
      'coordinator:running:tellSourceRunning',
      'source:freed:endTransfer',
      'source:freed:free',
      'source:freed:reportFreed',
      'coordinator:moved:record',
      'coordinator:moved:carryOutLatched',
    ],
  },
  // A link slow enough that one round is not the end of it.
  rounds: {
    request: { mode: 'precopy', maxBandwidthBytesPerS: 32 * MIB, maxDowntimeMs: 50 },
    steps: [
      'source:rounds:startRound#2',
      'source:rounds:reportRound#2',
      'coordinator:granted:sendDecision#2',
    ],
  },
  postcopy: {
    request: { mode: 'postcopy' },
    steps: [
      'source:stopping:stopHarts',
      'source:stopping:sendRest',
      'source:offered:sendHandover',
      'target:landing:checkManifest',
      'target:landed:clearMissing',
      'target:landed:revokeRoundsKey',
      'target:landed:sendLanded',
      'source:released:serve',
      'source:released:sendRun',
      'target:running:journalRan',
      'target:running:startHarts',
      'target:running:sendRunning',
      'target:running:requestMissing',
      'coordinator:running:record',
      'source:serving:serve',
      'source:serving:push',
      'target:running:sendAllPresent',
      'target:running:carryOutLatched',
      'source:freed:free',
      'source:freed:reportFreed',
      'coordinator:moved:record',
    ],
  },
  // The source's word may come before the target's; then there is nothing between running and moved.
  complete: {
    request: { mode: 'precopy' },
    held: 'source:freed:free',
    steps: ['coordinator:complete:record', 'coordinator:complete:tellSourceAllPresent'],
  },
  completePulled: {
    request: { mode: 'postcopy' },
    held: 'source:freed:free',
    steps: ['coordinator:complete:record', 'coordinator:complete:tellSourceAllPresent'],
  },
  // Pages trickle: the question that is asked every second comes in the middle of them.
  pulling: {
    request: { mode: 'postcopy', maxBandwidthBytesPerS: 2 * MIB },
    steps: ['source:serving:queryPeer', 'target:running:queryCoordinator'],
  },
  // The source is late with RUN: the target asks for the guest.
  lateRun: {
    request: { mode: 'precopy' },
    held: 'source:released:sendRun',
    steps: [
      'target:asking:decideTarget',
      'coordinator:verdictTarget:record',
      'coordinator:verdictTarget:answerTarget',
    ],
  },
  // The target is late with LANDED: the source asks for its guest back.
  lateLanded: {
    request: { mode: 'precopy' },
    held: 'target:landed:sendLanded',
    steps: [
      'source:asking:decideSource',
      'coordinator:verdictSource:record',
      'coordinator:verdictSource:answerSource',
      'source:kept:journalKept',
      'source:kept:resumeAtEpochPlus2',
      'source:kept:sendCancel',
      'source:kept:reportKept',
      'coordinator:kept:record',
    ],
  },
};

export interface Case {
  readonly scenario: string;
  readonly step: string;
  readonly victim: Victim;
  readonly fault: Fault;
}

export function caseName({ scenario, step, victim, fault }: Case): string {
  return `${scenario} ${step} ${fault} ${victim}`;
}

export function allCases(): Case[] {
  return Object.entries(SCENARIOS).flatMap(([scenario, { steps }]) =>
    steps.flatMap((step) =>
      (['source', 'target', 'coordinator'] as const).flatMap((victim) =>
        (['kill', 'stop'] as const).map((fault) => ({ scenario, step, victim, fault })),
      ),
    ),
  );
}

/** So many of them at random; the same seed gives the same sample. */
export function sampled(cases: readonly Case[], count: number, seed: number): Case[] {
  const next = randomBelow(seed);
  const left = [...cases];
  const chosen: Case[] = [];
  while (chosen.length < count && left.length > 0) {
    chosen.push(...left.splice(next(left.length), 1));
  }
  return chosen;
}
