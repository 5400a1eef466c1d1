/**
 * The cases of `npm run crash`: every step of a switchover, of a round, of post-copy, of a cancel, a
 * refusal and a guest's end that is reached without a fault, times who is struck there, times how.
 *
 * A step is `role:phase:effect` of the cores' tables, the phase being the one the row leads to; with
 * `#n` the n-th time it is reached. One that no longer exists is never reached, which is a violation;
 * one that is new is in a scenario, or in crash-exemptions.ts with the reason (test/crash-steps.test.ts).
 */
import type { MigrateRequest } from '@godwit/protocol';
import { randomBelow } from './random.ts';

const MIB = 2 ** 20;

export type Victim = 'source' | 'target' | 'coordinator';
export type Fault = 'kill' | 'stop';

/** What a person asks for, or the guest does, while the move stands still at another step before. */
export interface Meanwhile {
  readonly at: string;
  readonly what: 'cancel' | 'stop' | 'powerOff';
}

export interface Scenario {
  readonly request: Pick<
    MigrateRequest,
    'mode' | 'maxBandwidthBytesPerS' | 'maxDowntimeMs' | 'throttle'
  >;
  /** A step at which the other end stands still too, so that the deadlines ask their questions. */
  readonly held?: string;
  readonly meanwhile?: Meanwhile;
  /** The target can never run it: the guest is at the source or, once that was killed, lost. */
  readonly stays?: true;
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
      'coordinator:running:answerTarget',
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
    steps: [
      'coordinator:complete:record',
      'coordinator:complete:answerTarget',
      'coordinator:complete:tellSourceAllPresent',
    ],
  },
  completePulled: {
    request: { mode: 'postcopy' },
    held: 'source:freed:free',
    steps: ['coordinator:complete:record', 'coordinator:complete:tellSourceAllPresent'],
  },
  // Pages trickle: the question that is asked every second comes in the middle of them.
  pulling: {
    request: { mode: 'postcopy', maxBandwidthBytesPerS: 2 * MIB },
    steps: [
      'source:serving:queryPeer',
      'source:serving:queryCoordinator',
      'coordinator:running:answerRunning',
      'target:running:queryCoordinator',
    ],
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
  // The target is late with RUNNING: the source asks who runs it.
  lateRunning: {
    request: { mode: 'precopy' },
    held: 'target:running:journalRan',
    steps: [
      'source:released:queryPeer',
      'source:released:queryCoordinator',
      'coordinator:granted:answerNone',
    ],
  },
  // The target is late with LANDED: the source asks for its guest back.
  lateLanded: {
    request: { mode: 'precopy' },
    held: 'target:landed:sendLanded',
    steps: [
      'source:asking:decideSource',
      'source:asking:queryPeer',
      'coordinator:verdictSource:record',
      'coordinator:verdictSource:answerSource',
      'source:kept:journalKept',
      'source:kept:resumeAtEpochPlus2',
      'source:kept:sendCancel',
      'source:kept:reportKept',
      'coordinator:kept:record',
    ],
  },
  // The guest writes as fast as the link carries: it is slowed down.
  throttled: {
    request: {
      mode: 'precopy',
      maxBandwidthBytesPerS: 8 * MIB,
      maxDowntimeMs: 50,
      throttle: true,
    },
    steps: ['source:rounds:throttle'],
  },
  cancelInRound: {
    request: { mode: 'precopy' },
    meanwhile: { at: 'source:rounds:startRound', what: 'cancel' },
    stays: true,
    steps: [
      'coordinator:granted:sendCancel',
      'source:kept:sendCancel',
      'source:kept:endTransfer',
      'target:dropped:drop',
      'target:dropped:sendRefused',
    ],
  },
  cancelAtStop: {
    request: { mode: 'precopy' },
    meanwhile: { at: 'source:stopping:stopHarts', what: 'cancel' },
    stays: true,
    steps: ['source:kept:resumeAtSameEpoch'],
  },
  cancelOffered: {
    request: { mode: 'precopy' },
    meanwhile: { at: 'source:offered:sendHandover', what: 'cancel' },
    steps: ['source:cancelling:sendCancel', 'target:dropped:drop'],
  },
  cancelAsking: {
    request: { mode: 'precopy' },
    held: 'target:landed:sendLanded',
    meanwhile: { at: 'source:asking:decideSource', what: 'cancel' },
    steps: ['source:asking:sendCancel'],
  },
  // The source is late with RUN and pages are missing: the target refuses what it could not run alone.
  refusal: {
    request: { mode: 'postcopy' },
    held: 'source:released:sendRun',
    stays: true,
    steps: [
      'target:dropped:decideSource',
      'target:dropped:sendRefused',
      'coordinator:refused:record',
      'coordinator:refused:tellSourceRefused',
    ],
  },
  // The guest powers itself off in a round: nobody runs it any more.
  powerOff: {
    request: { mode: 'precopy' },
    meanwhile: { at: 'source:rounds:startRound', what: 'powerOff' },
    steps: [
      'source:ended:sendCancel',
      'source:ended:endTransfer',
      'source:ended:reportEnded',
      'coordinator:ended:record',
      'coordinator:ended:carryOutLatched',
    ],
  },
  // A person stops the guest while it is moved: whoever owns it afterwards does.
  stopInRound: {
    request: { mode: 'precopy' },
    meanwhile: { at: 'source:rounds:startRound', what: 'stop' },
    steps: ['coordinator:granted:latchRequest', 'coordinator:moved:carryOutLatched'],
  },
  stopAtVerdictSource: {
    request: { mode: 'precopy' },
    held: 'target:landed:sendLanded',
    meanwhile: { at: 'coordinator:verdictSource:answerSource', what: 'stop' },
    steps: ['coordinator:verdictSource:latchRequest', 'coordinator:kept:carryOutLatched'],
  },
  stopAtVerdictTarget: {
    request: { mode: 'precopy' },
    held: 'source:released:sendRun',
    meanwhile: { at: 'coordinator:verdictTarget:answerTarget', what: 'stop' },
    steps: ['coordinator:verdictTarget:latchRequest'],
  },
  stopRefused: {
    request: { mode: 'postcopy' },
    held: 'source:released:sendRun',
    meanwhile: { at: 'coordinator:refused:record', what: 'stop' },
    stays: true,
    steps: ['coordinator:refused:latchRequest'],
  },
  stopWhilePulled: {
    request: { mode: 'postcopy', maxBandwidthBytesPerS: 8 * MIB },
    meanwhile: { at: 'coordinator:running:tellSourceRunning', what: 'stop' },
    steps: ['coordinator:running:latchRequest'],
  },
  stopComplete: {
    request: { mode: 'precopy' },
    held: 'source:freed:free',
    meanwhile: { at: 'coordinator:complete:record', what: 'stop' },
    steps: ['coordinator:complete:latchRequest'],
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
