/**
 * The target's half of a migration: when pages become a guest, and when that guest may run.
 *
 * Pure data; the agent's target runner performs the effects and feeds back what happened. The other
 * halves are source.ts and coordinator.ts; diagram and full listing: CORES.md.
 *
 * The target runs on RUN or on a verdict for it, and on nothing else; RAN is journalled before the
 * first hart starts, so that a dead target can be asked. To renounce is always safe, and final:
 * `dropped` is never left, and it answers everything with REFUSED. That is what lets the source take
 * REFUSED for an answer even against a verdict that named the target.
 *
 * Facts: `complete`: no page was missing at HANDOVER, or all have come since. `peer` and
 * `coordinator`: the link to that end stands. An overdue answer of the coordinator counts as its
 * link lost (the runner closes the link), or a stopped coordinator would hold the guest in doubt.
 */

import type { Row, State, Table } from './core.ts';
import { defineCore } from './core.ts';

const PHASES = {
  preparing: { guest: 'absent', what: 'memory is being reserved and touched' },
  landing: { guest: 'absent', what: 'pages land while the guest runs at the source' },
  landed: { guest: 'stopped', isBlackout: true, what: 'LANDED is out, RUN is awaited' },
  asking: { guest: 'stopped', what: 'DECIDE(target) is out; RUN or the verdict is awaited' },
  running: {
    guest: 'here',
    isBlackout: true,
    what: 'the guest runs here; incomplete: harts may park for a page',
  },
  done: { guest: 'here', what: 'the guest runs here, all pages present, the coordinator knows' },
  dropped: { guest: 'absent', what: 'renounced for ever; answers REFUSED' },
  lost: { guest: 'frozen', what: 'pages died with the source, or the guest has another owner' },
} as const;

const EVENTS = {
  reserved: 'the memory is reserved and touched',
  reserveFailed: 'the offer cannot be accepted: no room, version, feature, machine model',
  handover: 'HANDOVER arrived, well formed',
  manifestComplete: 'HANDOVER, all barriers, manifest satisfied, state decodes: nothing is missing',
  manifestMissing: 'the same, and the bitmap names missing pages',
  manifestBad: 'manifest not satisfied, digest wrong, or the machine state does not decode',
  run: 'RUN',
  cancel: 'CANCEL',
  query: 'QUERY, from the source or the coordinator',
  verdictSource: 'VERDICT source',
  verdictTarget: 'VERDICT target, as an answer or as the acknowledgement of RUNNING, ALL_PRESENT',
  superseded: 'the coordinator: this epoch is closed, another owner has a higher one',
  undecided: 'an answer of the coordinator that decides nothing',
  allPresent: 'the last missing page landed (and its hash was right)',
  peerLost: 'the control link to the source is lost: closed, reset, or silent too long',
  peerBack: 'the control link to the same incarnation of the source is back',
  coordinatorLost: 'the link to the coordinator is lost, or its answer is overdue',
  coordinatorBack: 'the link to the coordinator is back',
  deadline: 'the deadline of this phase passed; started anew on entry and at each passing',
  sourceDied: 'proof: the incarnation of the source is dead, or its image was discarded',
  guestEnded: 'the guest powered off or crashed by itself',
  guestDiscard: 'a person discards the image held here',
} as const;

const EFFECTS = {
  sendAccept: 'ACCEPT, with regions and keys for the rounds',
  checkManifest: 'wait for the barriers of all channels, then compare with the manifest',
  clearMissing: 'clear *present* for every page of the missing-page bitmap',
  revokeRoundsKey: 'revoke the key of the rounds: nothing lands under it any more',
  sendLanded: 'LANDED, with the digest and whether nothing is missing',
  decideTarget: 'DECIDE(target) to the coordinator, now or as soon as it can be reached',
  decideSource: 'DECIDE(source) to the coordinator, now or as soon as it can be reached',
  journalRan: 'journal RAN, before any hart starts',
  startHarts: 'start the harts at epoch + 1; notes the first instruction',
  sendRunning: 'RUNNING to source and coordinator, whoever can be reached',
  sendAllPresent: 'ALL_PRESENT to source and coordinator, whoever can be reached',
  sendRefused: 'REFUSED to source and coordinator, whoever can be reached',
  answerUndecided: 'answer a QUERY with the phase: nothing is decided here',
  requestMissing: 'pull the missing pages, parked harts first; wake each hart as its page lands',
  parkFaulting: 'let harts that need a missing page stay parked; the others run on',
  reconnect: 'make the control link to the source again, with back-off, until the phase is left',
  queryCoordinator: 'QUERY to the coordinator, if it can be reached',
  stopHarts: 'stop all harts',
  drop: 'close the page channels, then give the memory back',
  free: 'give the memory of the stale image back',
  keepStaleImage: 'keep memory and state, marked stale, never run; a person decides',
  latchEnd: 'remember that the guest ended; carried out when all pages are present',
  carryOutLatched: 'carry out what was latched, if anything was',
  reportLost: 'tell the coordinator that the guest is lost, with the evidence',
} as const;

const CONDITIONS = {
  complete: (facts: TargetFacts) => facts.complete,
  missing: (facts: TargetFacts) => !facts.complete,
  peer: (facts: TargetFacts) => facts.peer,
  noPeer: (facts: TargetFacts) => !facts.peer,
  coordinator: (facts: TargetFacts) => facts.coordinator,
  noCoordinator: (facts: TargetFacts) => !facts.coordinator,
  onlyPeer: (facts: TargetFacts) => facts.peer && !facts.coordinator,
  alone: (facts: TargetFacts) => !facts.peer && !facts.coordinator,
} as const;

export type TargetPhase = keyof typeof PHASES;
export type TargetEvent = keyof typeof EVENTS;
export type TargetEffect = keyof typeof EFFECTS;
export type TargetFacts = {
  readonly complete: boolean;
  readonly peer: boolean;
  readonly coordinator: boolean;
};
export type TargetCondition = keyof typeof CONDITIONS;
export type TargetState = State<TargetPhase, TargetFacts>;
export type TargetRow = Row<TargetPhase, TargetEvent, TargetEffect, TargetFacts, TargetCondition>;

const RUN = ['journalRan', 'startHarts', 'sendRunning'] as const;
const DROP = ['drop', 'sendRefused'] as const;
const LOSE = ['stopHarts', 'keepStaleImage', 'reportLost'] as const;

// biome-ignore format: a table
const ROWS: readonly TargetRow[] = [
  // Pages land. Nothing here is a guest yet, so the way out is always to drop.
  { at: 'preparing', on: 'reserved', to: 'landing', effects: ['sendAccept'],
    why: 'the memory is there and warm' },
  { at: 'preparing', on: 'reserveFailed', to: 'dropped', effects: DROP,
    why: 'refused before a page was sent, with the reason' },
  { at: 'landing', on: 'handover', effects: ['checkManifest'],
    why: 'HANDOVER may overtake pages on other channels' },
  { at: 'landing', on: 'manifestComplete', to: 'landed', set: { complete: true },
    effects: ['revokeRoundsKey', 'sendLanded'], why: 'all pages are here and stay as they are' },
  { at: 'landing', on: 'manifestMissing', to: 'landed', set: { complete: false },
    effects: ['clearMissing', 'revokeRoundsKey', 'sendLanded'],
    why: 'a page that landed and was dirtied since is not present' },
  { at: 'landing', on: 'manifestBad', to: 'dropped', effects: DROP,
    why: 'this image is not the guest' },
  { at: ['preparing', 'landing'], on: ['peerLost', 'sourceDied', 'deadline', 'cancel'],
    to: 'dropped', effects: DROP, why: 'the source has the guest; nothing to ask' },

  // Landed: waits for RUN. Complete, it may ask for the guest; incomplete, it only may renounce.
  { at: ['landed', 'asking'], on: 'run', when: 'complete', to: 'running',
    effects: [...RUN, 'sendAllPresent'], why: 'the source gave it away' },
  { at: 'landed', on: 'run', when: 'missing', to: 'running',
    effects: ['journalRan', 'requestMissing', 'startHarts', 'sendRunning'],
    why: 'the source gave it away; RUNNING lets it push, so pages must be able to land before' },
  { at: 'landed', on: 'peerLost', when: 'complete', to: 'asking', set: { peer: false },
    effects: ['decideTarget', 'reconnect'], why: 'RUN may be lost: ask who owns it' },
  { at: 'landed', on: 'sourceDied', when: 'complete', to: 'asking', set: { peer: false },
    effects: ['decideTarget'], why: 'the only whole copy may be here: ask' },
  { at: 'landed', on: 'deadline', when: 'complete', to: 'asking', effects: ['decideTarget'],
    why: 'a deadline starts a question, and decides nothing' },
  { at: 'landed', on: ['peerLost', 'sourceDied', 'deadline'], when: 'missing', to: 'dropped',
    effects: ['decideSource', ...DROP], why: 'without the source it could not run: renounce' },
  { at: 'landed', on: 'cancel', to: 'dropped', effects: DROP,
    why: 'before RUN: to renounce is always safe' },

  // Asking: always complete.
  { at: 'asking', on: 'verdictTarget', to: 'running', effects: [...RUN, 'sendAllPresent'],
    why: 'durable: the source can be given no other answer' },
  { at: 'asking', on: ['verdictSource', 'superseded'], to: 'dropped', effects: DROP,
    why: 'the guest is not ours' },
  { at: 'asking', on: 'coordinatorLost', when: 'peer', to: 'dropped', effects: DROP,
    why: 'nobody can answer, and the source is in reach: renounce, so that it goes on' },
  { at: 'asking', on: 'peerBack', when: 'noCoordinator', to: 'dropped', set: { peer: true },
    effects: DROP, why: 'the same, in the other order' },
  { at: 'asking', on: 'deadline', when: 'onlyPeer', to: 'dropped', effects: DROP,
    why: 'the same, when the coordinator was away before' },
  { at: 'asking', on: 'coordinatorLost', when: 'noPeer', set: { coordinator: false }, effects: [],
    why: 'nobody is in reach: whoever comes first decides' },
  { at: 'asking', on: 'peerBack', when: 'coordinator', set: { peer: true }, effects: [],
    why: 'the question is out' },
  { at: 'asking', on: 'coordinatorBack', set: { coordinator: true }, effects: ['decideTarget'],
    why: 'the question or its answer may be lost' },
  { at: 'asking', on: 'deadline', when: 'coordinator', effects: ['decideTarget'],
    why: 'no answer yet: ask again' },
  { at: 'asking', on: 'deadline', when: 'alone', effects: ['reconnect'],
    why: 'nobody to ask: keep trying' },
  { at: 'asking', on: 'peerLost', set: { peer: false }, effects: ['reconnect'],
    why: 'the coordinator is asked already' },
  { at: 'asking', on: 'sourceDied', set: { peer: false }, effects: [],
    why: 'only the verdict can come now' },
  { at: ['preparing', 'landing', 'landed'], on: 'coordinatorLost', set: { coordinator: false },
    effects: [], why: 'not on the path; remembered for a question' },
  { at: ['preparing', 'landing', 'landed'], on: 'coordinatorBack', set: { coordinator: true },
    effects: [], why: 'not on the path; remembered for a question' },
  { at: ['preparing', 'landing', 'landed', 'asking'], on: 'query', effects: ['answerUndecided'],
    why: 'RUN or a verdict is what counts' },

  // Running. RUNNING is said again to whoever may have missed it.
  { at: 'running', on: 'allPresent', when: 'missing', set: { complete: true },
    effects: ['sendAllPresent', 'carryOutLatched'], why: 'the source may free its pages' },
  { at: 'running', on: 'verdictTarget', when: 'complete', to: 'done', effects: [],
    why: 'the coordinator has it on record' },
  { at: 'running', on: 'peerLost', when: 'missing', effects: ['parkFaulting', 'reconnect'],
    why: 'the pages are there still: the source frees none because of a lost link' },
  { at: 'running', on: 'peerLost', when: 'complete', effects: ['reconnect'],
    why: 'the source may not know yet' },
  { at: 'running', on: 'peerBack', when: 'missing', effects: ['sendRunning', 'requestMissing'],
    why: 'goes on from the page states' },
  { at: 'running', on: 'deadline', when: 'missing', effects: ['queryCoordinator', 'requestMissing'],
    why: 'pages or a proof may be overdue' },
  { at: 'running', on: 'coordinatorBack', when: 'missing', effects: ['sendRunning', 'queryCoordinator'],
    why: 'it may not know, and it may know that the source is dead' },
  { at: 'running', on: ['query', 'cancel'], when: 'missing', effects: ['sendRunning'],
    why: 'it runs here' },
  { at: 'running', on: ['query', 'cancel', 'peerBack', 'coordinatorBack', 'deadline'],
    when: 'complete', effects: ['sendRunning', 'sendAllPresent'], why: 'they may not know yet' },
  { at: 'running', on: 'sourceDied', when: 'missing', to: 'lost', effects: LOSE,
    why: 'pages that nobody has any more' },
  { at: 'running', on: 'superseded', to: 'lost', effects: LOSE,
    why: 'fenced while out of reach: another owner runs it' },
  { at: 'running', on: 'guestEnded', when: 'missing', effects: ['latchEnd'],
    why: 'the image is made whole first' },
  { at: 'done', on: ['query', 'cancel', 'peerBack'], effects: ['sendRunning', 'sendAllPresent'],
    why: 'the source may not know yet' },

  // Dropped: final. Whatever comes, the answer is REFUSED.
  { at: 'dropped', effects: ['sendRefused'], why: 'nothing brings it back',
    on: ['handover', 'run', 'cancel', 'query', 'verdictTarget', 'peerBack', 'coordinatorBack'] },
  { at: 'dropped', on: 'reserved', effects: ['drop'],
    why: 'the memory came after the end' },
  { at: 'lost', on: ['query', 'coordinatorBack'], effects: ['reportLost'],
    why: 'it may not have heard' },
  { at: 'lost', on: 'guestDiscard', effects: ['free', 'reportLost'],
    why: 'a person gives the image up' },
];

const IGNORING: Table<
  TargetPhase,
  TargetEvent,
  TargetEffect,
  TargetFacts,
  TargetCondition
>['ignoring'] = [
  {
    at: ['asking'],
    on: ['cancel'],
    why: 'the verdict decides: dropping now could waste the only whole copy, were the source dead',
  },
  { at: ['preparing', 'landing'], on: ['run'], why: 'RUN without LANDED: the peer is broken' },
  { at: ['landed', 'asking'], on: ['handover'], why: 'one HANDOVER a migration' },
  { at: ['landed'], on: ['verdictTarget', 'verdictSource'], why: 'this end has not asked' },
  { at: ['landed', 'asking'], on: ['guestDiscard'], why: 'not ours to discard yet' },
  { at: ['asking'], on: ['undecided'], why: 'no answer is not an answer' },
  { at: ['running', 'done'], on: ['run'], why: 'runs already, by the verdict' },
  { at: ['running', 'done'], on: ['verdictSource'], why: 'cannot be: the walk shows it' },
  {
    at: ['running', 'done'],
    on: ['coordinatorLost'],
    why: 'a coordinator that is down pauses nobody',
  },
  { at: ['done'], on: ['peerLost', 'sourceDied'], why: 'nothing is needed from the source' },
  { at: ['done'], on: ['superseded'], why: 'about an older migration; epochs fence the guest' },
  { at: ['dropped'], on: ['verdictSource', 'peerLost', 'sourceDied'], why: 'renounced already' },
  { at: ['lost'], on: ['peerBack'], why: 'a source proved dead does not come back' },
];

export const TARGET = defineCore({
  role: 'target',
  initial: { phase: 'preparing', complete: false, peer: true, coordinator: true } as TargetState,
  phases: PHASES,
  events: EVENTS,
  effects: EFFECTS,
  conditions: CONDITIONS,
  rows: ROWS,
  ignoring: IGNORING,
} as Table<TargetPhase, TargetEvent, TargetEffect, TargetFacts, TargetCondition>);
