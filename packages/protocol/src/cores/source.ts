/**
 * The source's half of a migration: which phase follows which, and whether the guest may run here.
 *
 * Pure data; the agent's source runner performs the effects and feeds back what happened. The other
 * halves are target.ts and coordinator.ts; diagram and full listing: CORES.md.
 *
 * Point of no return: `sendRun`. Until it is sent the source may take the guest back by asking; from
 * then on only a message or a verdict gives it back, and no deadline does. The other road to
 * `released` is a verdict for the target, and it sends no RUN: from `asking` on RUN is never sent,
 * because the target may have been told by the coordinator to drop what it holds.
 *
 * `complete` is the source's own knowledge: the missing-page bitmap of its HANDOVER was empty.
 */

import type { Row, State, Table } from './core.ts';
import { defineCore } from './core.ts';

const PHASES = {
  preparing: { guest: 'here', what: 'offered to the target, which reserves memory' },
  rounds: { guest: 'here', what: 'rounds go out while the guest runs' },
  stopping: {
    guest: 'stopped',
    isBlackout: true,
    what: 'harts stop, last harvest, the rest goes out',
  },
  offered: { guest: 'stopped', isBlackout: true, what: 'HANDOVER is out, LANDED is awaited' },
  cancelling: { guest: 'stopped', what: 'CANCEL is out, REFUSED is awaited; sends no RUN' },
  asking: { guest: 'stopped', what: 'DECIDE(source) is out, the verdict is awaited; sends no RUN' },
  released: {
    guest: 'stopped',
    isBlackout: true,
    what: 'in doubt: RUN is out, or the verdict is the target',
  },
  serving: { guest: 'frozen', what: 'the guest runs at the target and misses pages held here' },
  freed: { guest: 'absent', what: 'the guest is at the target, its memory here given back' },
  kept: { guest: 'here', what: 'the guest stayed' },
  ended: { guest: 'stopped', what: 'the guest ended by itself before it was handed over' },
  lost: { guest: 'frozen', what: 'the target ran it and died; a stale image is held for a person' },
} as const;

const EVENTS = {
  accepted: 'ACCEPT: the target has the memory, reserved and touched',
  roundDone: 'every page of the round is landed: the barrier came back on all channels',
  policyRound: 'the coordinator wants another round',
  policyThrottle: 'the coordinator wants the harts throttled and another round',
  policySwitch: 'the coordinator wants the switchover: stop and copy, or post-copy',
  policyGiveUp: 'the coordinator gives the migration up',
  stoppedComplete: 'harts stopped, the last pages under way: nothing will be missing at the target',
  stoppedMissing: 'harts stopped and pages withheld for post-copy: some will be missing',
  landedGood: 'LANDED, and its digest is equal (or none was asked for)',
  landedBad: 'LANDED with an unequal digest',
  running: 'RUNNING, from the target or through the coordinator: the guest runs there',
  allPresent: 'ALL_PRESENT, from the target or through the coordinator: no page is missing there',
  refused: 'REFUSED, from the target or through the coordinator: it never will run it',
  verdictSource: 'VERDICT source',
  verdictTarget: 'VERDICT target',
  superseded: 'the coordinator: this epoch is closed, another owner has a higher one',
  undecided: 'an answer to a question that decides nothing: no verdict, or landed and waiting',
  peerLost: 'the control link to the target is lost: closed, reset, or silent too long',
  peerBack: 'the control link to the same incarnation of the target is back',
  coordinatorLost: 'the link to the coordinator is lost',
  coordinatorBack: 'the link to the coordinator is back',
  deadline: 'the deadline of this phase passed; started anew on entry and at each passing',
  cancel: 'a person or the coordinator wants the migration cancelled',
  guestEnded: 'the guest powered off or crashed by itself',
  guestDiscard: 'a person discards the image held here',
  targetDiedNotRan: 'proof: the incarnation of the target is dead and never journalled RAN',
  targetDiedRan:
    'proof: the incarnation of the target is dead and had journalled RAN (or may have)',
  targetDiscarded: 'a person fenced the target and discards whatever it did',
} as const;

const EFFECTS = {
  startRound: 'harvest the dirty log (round 0: all pages) and let the channels pull the round',
  throttle: 'slow the harts down as the coordinator said',
  reportRound: 'tell the coordinator pages, bytes, duration and dirty rate of the last round',
  stopHarts: 'stop all harts and quiesce the devices; notes the last instruction',
  sendRest: 'last harvest, then send the rest (or withhold it for post-copy), end with barriers',
  sendHandover: 'HANDOVER, epoch + 1, with the missing-page bitmap (empty when complete)',
  sendRun: 'RUN: the point of no return',
  sendCancel: 'CANCEL to the target, if it can be reached',
  decideSource: 'DECIDE(source) to the coordinator, now or as soon as it can be reached',
  queryPeer: 'QUERY to the target, if it can be reached',
  queryCoordinator: 'QUERY to the coordinator, if it can be reached',
  reconnect: 'make the control link to the target again, with back-off, until the phase is left',
  serve: 'register the post-copy key and answer READs; harmless when done already',
  push: 'push the pages that are missing, faults first',
  journalKept: 'journal that the guest runs here at epoch + 2, before any hart starts',
  resumeAtEpochPlus2: 'start the harts here again, at epoch + 2',
  resumeAtSameEpoch: 'start the harts here again; the epoch was never offered',
  endTransfer: 'close the page channels, revoke the keys, lift the throttle',
  free: 'give the memory of the guest back',
  keepStaleImage: 'keep memory and state, marked stale, never run; a person decides',
  reportKept: 'tell the coordinator that the guest stayed, with epoch and reason',
  reportFreed: 'tell the coordinator that the memory here was given back',
  reportDiscarded: 'tell the coordinator that a person discarded the image held here',
  reportEnded: 'tell the coordinator that the guest ended by itself (guest.ended)',
  reportLost: 'tell the coordinator that the guest is lost, with the evidence',
} as const;

const CONDITIONS = {
  complete: (facts: SourceFacts) => facts.complete,
  missing: (facts: SourceFacts) => !facts.complete,
} as const;

export type SourcePhase = keyof typeof PHASES;
export type SourceEvent = keyof typeof EVENTS;
export type SourceEffect = keyof typeof EFFECTS;
export type SourceFacts = { readonly complete: boolean };
export type SourceCondition = keyof typeof CONDITIONS;
export type SourceState = State<SourcePhase, SourceFacts>;
export type SourceRow = Row<SourcePhase, SourceEvent, SourceEffect, SourceFacts, SourceCondition>;

/** HANDOVER is out: the guest comes back under an epoch the target was never given. */
const TAKE_BACK = ['journalKept', 'resumeAtEpochPlus2', 'endTransfer', 'reportKept'] as const;
/** HANDOVER never went out: nobody else can have heard of the epoch. */
const GO_ON = ['resumeAtSameEpoch', 'endTransfer', 'reportKept'] as const;
const FREE = ['endTransfer', 'free', 'reportFreed'] as const;
const LOSE = ['endTransfer', 'keepStaleImage', 'reportLost'] as const;

/** HANDOVER is out and nobody here knows who runs the guest. */
const IN_DOUBT = ['offered', 'cancelling', 'asking', 'released'] as const;

// biome-ignore format: a table
const ROWS: readonly SourceRow[] = [
  // Before the guest is stopped: whatever goes wrong, it runs on as if nothing had been.
  { at: 'preparing', on: 'accepted', to: 'rounds', effects: ['startRound'],
    why: 'the target has room: round 0' },
  { at: 'rounds', on: 'roundDone', effects: ['reportRound'],
    why: 'decisions are made at round ends, by the coordinator' },
  { at: 'rounds', on: 'policyRound', effects: ['startRound'],
    why: 'another round pays' },
  { at: 'rounds', on: 'policyThrottle', effects: ['throttle', 'startRound'],
    why: 'another round pays only if the guest writes less' },
  { at: 'rounds', on: 'coordinatorBack', effects: ['reportRound'],
    why: 'a restarted coordinator decides on the last report' },
  { at: ['preparing', 'rounds'], on: ['refused', 'peerLost', 'targetDiedNotRan'], to: 'kept',
    effects: ['endTransfer', 'reportKept'],
    why: 'the target is out; the guest was never stopped' },
  { at: ['preparing', 'rounds'], on: ['cancel', 'policyGiveUp', 'deadline'], to: 'kept',
    effects: ['sendCancel', 'endTransfer', 'reportKept'],
    why: 'given up here; the guest was never stopped' },
  { at: ['preparing', 'rounds', 'stopping'], on: 'guestEnded', to: 'ended',
    effects: ['sendCancel', 'endTransfer', 'reportEnded'],
    why: 'there is no running guest to move' },

  // Stopping: the guest stands still, but HANDOVER is not out, so there is no doubt.
  { at: 'rounds', on: 'policySwitch', to: 'stopping', effects: ['stopHarts', 'sendRest'],
    why: 'what remains fits the downtime, or pages are to be pulled later' },
  { at: 'stopping', on: 'stoppedComplete', to: 'offered', set: { complete: true },
    effects: ['sendHandover'], why: 'the last pages are under way, and the target waits for them' },
  { at: 'stopping', on: 'stoppedMissing', to: 'offered', set: { complete: false },
    effects: ['sendHandover'], why: 'post-copy: the bitmap says what is missing' },
  { at: 'stopping', on: ['refused', 'peerLost', 'targetDiedNotRan'], to: 'kept', effects: GO_ON,
    why: 'the target is out before it was handed anything' },
  { at: 'stopping', on: ['cancel', 'policyGiveUp', 'deadline'], to: 'kept',
    effects: ['sendCancel', ...GO_ON], why: 'given up before anything was handed over' },

  // Offered: the only phase that sends RUN.
  { at: 'offered', on: 'landedGood', when: 'complete', to: 'released', effects: ['sendRun'],
    why: 'the target holds all of it; point of no return' },
  { at: 'offered', on: 'landedGood', when: 'missing', to: 'released', effects: ['serve', 'sendRun'],
    why: 'the first READ may overtake RUNNING, so the pages are served before RUN' },
  { at: 'offered', on: ['landedBad', 'cancel', 'policyGiveUp'], to: 'cancelling',
    effects: ['sendCancel'], why: 'REFUSED will come back; from here no RUN, on a late LANDED either' },
  { at: ['offered', 'cancelling'], on: 'peerLost', to: 'asking',
    effects: ['decideSource', 'reconnect'], why: 'the answer may be lost: ask who owns it' },
  { at: ['offered', 'cancelling'], on: 'deadline', to: 'asking', effects: ['decideSource', 'queryPeer'],
    why: 'a deadline starts a question, and decides nothing' },

  // Asking: from here on this end never sends RUN.
  { at: 'asking', on: 'verdictSource', to: 'kept', effects: [...TAKE_BACK, 'sendCancel'],
    why: 'durable: the target can be given no other answer; CANCEL spares it the question' },
  { at: 'asking', on: 'verdictTarget', to: 'released', effects: ['queryPeer'],
    why: 'the target asked first; keep everything until RUNNING or REFUSED' },
  { at: 'asking', on: ['deadline', 'coordinatorBack'], effects: ['decideSource', 'queryPeer'],
    why: 'no answer yet: ask both again' },
  { at: 'asking', on: 'cancel', effects: ['sendCancel'],
    why: 'REFUSED may come sooner than the verdict' },

  // Released: RUN is out, or the verdict is the target. Never DECIDE(source) from here.
  { at: 'released', on: 'verdictSource', to: 'kept', effects: TAKE_BACK,
    why: 'only a target that renounced can have written it' },
  { at: 'released', on: 'peerLost', effects: ['reconnect', 'queryCoordinator'],
    why: 'it may run there or not: ask, never decide' },
  { at: 'released', on: ['deadline', 'coordinatorBack'], effects: ['queryPeer', 'queryCoordinator'],
    why: 'still in doubt: ask again' },
  { at: ['asking', 'released'], on: 'peerBack', effects: ['queryPeer'],
    why: 'what it said in between is lost' },
  { at: 'asking', on: 'peerLost', effects: ['reconnect'],
    why: 'the question is out already; the peer may still answer first' },
  { at: ['asking', 'released'], on: 'superseded', when: 'complete', to: 'freed', effects: FREE,
    why: 'the guest went on from the target long ago, and nothing was missing there' },
  { at: ['asking', 'released'], on: 'superseded', when: 'missing', to: 'lost', effects: LOSE,
    why: 'another owner, yet pages were never pulled from here: a person decides' },

  // The answers that end the doubt, whatever was asked.
  { at: IN_DOUBT, on: 'running', when: 'complete', to: 'freed', effects: FREE,
    why: 'it runs there and nothing is missing' },
  { at: IN_DOUBT, on: 'running', when: 'missing', to: 'serving', effects: ['serve', 'push'],
    why: 'it runs there and pages are still here' },
  { at: [...IN_DOUBT, 'serving'], on: 'allPresent', to: 'freed', effects: FREE,
    why: 'it runs there and has everything' },
  { at: IN_DOUBT, on: ['refused', 'targetDiedNotRan', 'targetDiscarded'], to: 'kept',
    effects: TAKE_BACK, why: 'that target never ran it and never will (or a person discards it)' },
  { at: [...IN_DOUBT, 'serving'], on: 'targetDiedRan', to: 'lost', effects: LOSE,
    why: 'what it did since is gone; nothing restarts by itself' },

  // Serving: no timer and no lost peer frees a page.
  { at: 'serving', on: 'peerLost', effects: ['reconnect'],
    why: 'the target may run and need the pages' },
  { at: 'serving', on: 'peerBack', effects: ['serve', 'push', 'queryPeer'],
    why: 'goes on from the page states; ALL_PRESENT may have been lost' },
  { at: 'serving', on: ['deadline', 'coordinatorBack'], effects: ['queryPeer', 'queryCoordinator'],
    why: 'ALL_PRESENT or a proof may have been lost' },
  { at: 'serving', on: 'targetDiedNotRan', to: 'lost', effects: LOSE,
    why: 'RUNNING was seen, so the journal is wrong: a power failure took its last line' },
  { at: 'serving', on: 'superseded', to: 'lost', effects: LOSE,
    why: 'another owner, yet pages were never pulled from here: a person decides' },
  { at: ['serving', 'lost'], on: 'targetDiscarded', to: 'kept', effects: TAKE_BACK,
    why: 'a person chose the image from before the switchover' },
  { at: ['serving', 'lost'], on: 'guestDiscard', to: 'freed',
    effects: ['endTransfer', 'free', 'reportDiscarded'], why: 'a person gives the image up' },

  // The end: said again to a coordinator that was away.
  { at: 'kept', on: 'coordinatorBack', effects: ['reportKept'], why: 'it may not have heard' },
  { at: 'freed', on: 'coordinatorBack', effects: ['reportFreed'], why: 'it may not have heard' },
  { at: 'ended', on: 'coordinatorBack', effects: ['reportEnded'], why: 'it may not have heard' },
  { at: 'lost', on: 'coordinatorBack', effects: ['reportLost'], why: 'it may not have heard' },
];

const IGNORING: Table<
  SourcePhase,
  SourceEvent,
  SourceEffect,
  SourceFacts,
  SourceCondition
>['ignoring'] = [
  {
    at: ['cancelling', 'asking'],
    on: ['landedGood', 'landedBad'],
    why: 'late LANDED: RUN is never sent once the guest was claimed back',
  },
  { at: ['released'], on: ['landedGood', 'landedBad'], why: 'RUN is out already' },
  {
    at: ['released', 'serving', 'freed'],
    on: ['cancel', 'policyGiveUp'],
    why: 'past the point of no return',
  },
  { at: ['cancelling'], on: ['cancel', 'policyGiveUp'], why: 'CANCEL is out already' },
  { at: ['released'], on: ['verdictTarget'], why: 'a verdict is no proof that it runs' },
  { at: ['released'], on: ['guestDiscard'], why: 'in doubt: the target may need the pages' },
  { at: ['serving'], on: ['refused', 'verdictSource'], why: 'RUNNING was seen; this is older' },
  { at: ['kept'], on: ['refused', 'verdictSource'], why: 'late, and known' },
  { at: ['kept'], on: ['running'], why: 'never two: the product walk shows it cannot happen' },
  { at: ['freed'], on: ['running', 'allPresent'], why: 'said twice, direct and through another' },
  {
    at: [...IN_DOUBT, 'serving'],
    on: ['guestEnded'],
    why: 'no hart runs here; an end before the stop travels in the machine state',
  },
  {
    at: ['preparing', 'rounds', 'stopping', ...IN_DOUBT, 'serving'],
    on: ['coordinatorLost'],
    why: 'the coordinator is not on the path; coordinatorBack asks again',
  },
  { at: IN_DOUBT, on: ['undecided'], why: 'no answer is not an answer' },
];

export const SOURCE = defineCore({
  role: 'source',
  initial: { phase: 'preparing', complete: false } as SourceState,
  phases: PHASES,
  events: EVENTS,
  effects: EFFECTS,
  conditions: CONDITIONS,
  rows: ROWS,
  ignoring: IGNORING,
} as Table<SourcePhase, SourceEvent, SourceEffect, SourceFacts, SourceCondition>);
