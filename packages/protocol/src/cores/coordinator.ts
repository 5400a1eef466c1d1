/**
 * The coordinator's record of one migration: who owns (guest, epoch), and what may still be said.
 *
 * Pure data; the coordinator's migration runner performs the effects and feeds back what happened.
 * The other halves are source.ts and target.ts; diagram and full listing: CORES.md.
 *
 * The coordinator is not on the path of a switchover. It grants it beforehand, hears how it went,
 * and answers in doubt: the first DECIDE is the verdict for ever, RUNNING counts as a verdict for the
 * target, and REFUSED (a target's last word) overrules a verdict that named it. Every row that
 * changes the state has `record`: the new state is durable before anything is said about it. So a
 * restart needs no memory but the record; what happened meanwhile comes with the agents' inventories,
 * turned into these same events.
 *
 * `sourceDead`: there is proof that the source's incarnation died; only the target can save the guest.
 */

import type { Row, State, Table } from './core.ts';
import { defineCore } from './core.ts';

const PHASES = {
  granted: { guest: 'absent', what: 'open, no verdict; prepares, moves or switches over' },
  verdictSource: { guest: 'absent', what: 'the verdict is the source' },
  verdictTarget: { guest: 'absent', what: 'the verdict is the target; it was not seen running' },
  refused: {
    guest: 'absent',
    what: 'the target renounced, died without running it, or is discarded',
  },
  running: { guest: 'absent', what: 'the target runs it; pages may be missing there' },
  complete: { guest: 'absent', what: 'the target has every page; the source has not freed yet' },
  moved: { guest: 'absent', what: 'settled: the target owns the guest' },
  kept: { guest: 'absent', what: 'settled: the source owns the guest' },
  ended: { guest: 'absent', what: 'settled: the guest ended by itself at the source' },
  lost: { guest: 'absent', what: 'settled: lost, with the evidence' },
} as const;

const EVENTS = {
  roundReported: 'the source reports the end of a round',
  decideSource: 'DECIDE(source), from either end',
  decideTarget: 'DECIDE(target), from the target',
  query: 'QUERY, from either end',
  running: 'RUNNING, from the target',
  allPresent: 'ALL_PRESENT, from the target',
  refused: 'REFUSED, from the target (or: its incarnation does not know this migration)',
  kept: 'the source: the guest stayed',
  freed: 'the source: memory given back, because the guest runs at the target with all pages',
  discarded: 'the source: a person discarded the image it held',
  ended: 'the source: the guest ended by itself',
  lostReported: 'source or target: the guest is lost',
  targetDiedNotRan: 'proof: the incarnation of the target is dead and never journalled RAN',
  targetDiedRan:
    'proof: the incarnation of the target is dead and had journalled RAN (or may have)',
  targetDiscarded: 'a person fenced the target and discards whatever it did',
  sourceDied: 'proof: the incarnation of the source is dead',
  cancel: 'a person cancels',
  guestRequest: 'a person asks for stop, rm or pause of the guest',
  restarted: 'this coordinator started anew and read the record',
} as const;

const EFFECTS = {
  record: 'write the new state durably; every effect after it waits for that',
  askPolicy: 'let the policy decide on the report; record and send the decision with its reason',
  sendCancel: 'CANCEL to the source, which knows whether it is still legal',
  answerNone: 'answer: no verdict',
  answerSource: 'answer with VERDICT source',
  answerTarget: 'answer with VERDICT target',
  answerRunning: 'answer: RUNNING was seen',
  answerAllPresent: 'answer: ALL_PRESENT was seen',
  answerRefused: 'answer: REFUSED was seen, or the target died without running it',
  answerSourceDied: 'answer with the proof that the source is dead',
  answerTargetDied: 'answer with the proof that the target died after it ran',
  answerSuperseded: 'answer: closed, owner X has epoch n',
  tellSourceRunning: 'RUNNING to the source',
  tellSourceAllPresent: 'ALL_PRESENT to the source',
  tellSourceRefused: 'REFUSED to the source',
  tellSourceTargetDiedNotRan: 'the proof to the source: dead, never ran it',
  tellSourceTargetDiedRan: 'the proof to the source: dead, had run it',
  tellSourceTargetDiscarded: "the person's word to the source",
  tellTargetSourceDied: 'the proof to the target',
  latchRequest: 'keep the request for the owner, durably',
  carryOutLatched: 'send what was latched to the owner',
  reportLost: 'say `lost` with the evidence, wherever the guest is shown',
  takeUp: 'go on where the record stands; agents that come back say the rest',
} as const;

const CONDITIONS = {
  sourceAlive: (facts: CoordinatorFacts) => !facts.sourceDead,
  sourceDead: (facts: CoordinatorFacts) => facts.sourceDead,
} as const;

export type CoordinatorPhase = keyof typeof PHASES;
export type CoordinatorEvent = keyof typeof EVENTS;
export type CoordinatorEffect = keyof typeof EFFECTS;
export type CoordinatorFacts = { readonly sourceDead: boolean };
export type CoordinatorCondition = keyof typeof CONDITIONS;
export type CoordinatorState = State<CoordinatorPhase, CoordinatorFacts>;
export type CoordinatorRow = Row<
  CoordinatorPhase,
  CoordinatorEvent,
  CoordinatorEffect,
  CoordinatorFacts,
  CoordinatorCondition
>;

const OPEN = [
  'granted',
  'verdictSource',
  'verdictTarget',
  'refused',
  'running',
  'complete',
] as const;
const SETTLED = ['moved', 'kept', 'ended', 'lost'] as const;
const SETTLE = ['record', 'carryOutLatched'] as const;
const LOSE = ['record', 'reportLost', 'carryOutLatched'] as const;

// biome-ignore format: a table
const ROWS: readonly CoordinatorRow[] = [
  // Open, nothing decided.
  { at: 'granted', on: 'roundReported', effects: ['askPolicy'],
    why: 'decisions are made at round ends only' },
  { at: 'granted', on: 'cancel', effects: ['sendCancel'],
    why: 'legal until RUN, and only the source knows' },
  { at: OPEN, on: 'guestRequest', effects: ['latchRequest'],
    why: 'carried out by the owner, once it is known who that is' },
  { at: OPEN, on: 'restarted', effects: ['takeUp'],
    why: 'the record says where it stands' },

  // The verdict: first writer wins, and asking again gives the same answer.
  { at: 'granted', on: 'decideSource', when: 'sourceAlive', to: 'verdictSource',
    effects: ['record', 'answerSource'], why: 'the first DECIDE is the verdict' },
  { at: 'granted', on: 'decideTarget', to: 'verdictTarget', effects: ['record', 'answerTarget'],
    why: 'the first DECIDE is the verdict' },
  { at: 'granted', on: 'query', when: 'sourceAlive', effects: ['answerNone'],
    why: 'a question decides nothing' },
  { at: 'verdictSource', on: ['decideSource', 'decideTarget', 'query'], effects: ['answerSource'],
    why: 'decided before' },
  { at: 'verdictTarget', on: ['decideSource', 'decideTarget', 'query'], effects: ['answerTarget'],
    why: 'decided before' },
  { at: 'refused', on: ['decideSource', 'decideTarget', 'query'], effects: ['answerRefused'],
    why: 'only the source is left' },

  // The target renounces, or dies without having run it.
  { at: ['granted', 'verdictSource', 'verdictTarget'], on: 'refused', when: 'sourceAlive',
    to: 'refused', effects: ['record', 'tellSourceRefused'],
    why: 'the last word of this target: it overrules a verdict that names it' },
  { at: ['granted', 'verdictTarget'], on: 'targetDiedNotRan', when: 'sourceAlive', to: 'refused',
    effects: ['record', 'tellSourceTargetDiedNotRan'], why: 'it never ran it and never will' },
  { at: ['granted', 'verdictTarget', 'running', 'complete', 'lost'], on: 'targetDiscarded',
    when: 'sourceAlive', to: 'refused', effects: ['record', 'tellSourceTargetDiscarded'],
    why: 'a person takes the image the source holds' },
  { at: 'refused', on: ['freed', 'discarded'], to: 'lost', effects: LOSE,
    why: 'a person discarded the target, and the source had freed its image by then' },

  // The target runs it.
  { at: ['granted', 'verdictTarget'], on: 'running', to: 'running',
    effects: ['record', 'answerTarget', 'tellSourceRunning'],
    why: 'RUNNING implies the verdict target; the source may have missed it' },
  { at: ['granted', 'verdictTarget', 'running'], on: 'allPresent', when: 'sourceAlive',
    to: 'complete', effects: ['record', 'answerTarget', 'tellSourceAllPresent'],
    why: 'ALL_PRESENT implies RUNNING' },
  { at: ['granted', 'verdictTarget', 'running'], on: 'allPresent', when: 'sourceDead', to: 'moved',
    effects: [...SETTLE, 'answerTarget'], why: 'nothing is left at the source to free' },
  { at: ['running', 'complete', 'moved'], on: 'running', effects: ['answerTarget'],
    why: 'said again: acknowledged again' },
  { at: ['complete', 'moved'], on: 'allPresent', effects: ['answerTarget'],
    why: 'said again: acknowledged again' },
  { at: 'running', on: ['decideSource', 'decideTarget', 'query'], when: 'sourceAlive',
    effects: ['answerRunning'], why: 'it runs there' },
  { at: 'running', on: ['decideSource', 'decideTarget', 'query'], when: 'sourceDead',
    effects: ['answerSourceDied'], why: 'only the target can ask' },
  { at: 'complete', on: ['decideSource', 'decideTarget', 'query'], effects: ['answerAllPresent'],
    why: 'the source may free its pages' },

  // The source says how it ended there.
  { at: ['granted', 'verdictTarget', 'running', 'complete'], on: 'freed', to: 'moved',
    effects: SETTLE, why: 'the source frees only what the target has and runs' },
  { at: ['granted', 'verdictSource', 'verdictTarget', 'refused', 'lost'], on: 'kept', to: 'kept',
    effects: SETTLE, why: 'the source runs it, by an answer that only one end can get' },
  { at: ['granted', 'verdictSource', 'refused'], on: 'ended', to: 'ended', effects: SETTLE,
    why: 'guest.ended: there was nothing left to move' },
  { at: 'running', on: 'discarded', to: 'lost', effects: [...LOSE, 'tellTargetSourceDied'],
    why: 'a person gave up pages that the target misses' },
  { at: 'complete', on: 'discarded', to: 'moved', effects: SETTLE,
    why: 'a person gave up what the target has anyway' },

  // Deaths, proved.
  { at: ['granted', 'verdictTarget', 'running'], on: 'sourceDied', set: { sourceDead: true },
    effects: ['record', 'tellTargetSourceDied'],
    why: 'a complete target may run it; an incomplete one will say what it misses' },
  { at: ['verdictSource', 'refused'], on: 'sourceDied', to: 'lost', set: { sourceDead: true },
    effects: LOSE, why: 'the owner died with the only copy' },
  { at: 'complete', on: 'sourceDied', to: 'moved', set: { sourceDead: true }, effects: SETTLE,
    why: 'nothing is left at the source to free' },
  { at: 'granted', on: 'decideSource', when: 'sourceDead', to: 'lost',
    effects: [...LOSE, 'answerSource'], why: 'the target renounces and the source is dead' },
  { at: 'granted', on: 'query', when: 'sourceDead', effects: ['answerSourceDied'],
    why: 'only the target can ask' },
  { at: ['granted', 'verdictTarget'], on: ['refused', 'targetDiedNotRan'], when: 'sourceDead',
    to: 'lost', effects: LOSE, why: 'nobody is left who holds it' },
  { at: ['granted', 'verdictTarget', 'running'], on: 'targetDiscarded', when: 'sourceDead',
    to: 'lost', effects: LOSE, why: 'nobody is left who holds it' },
  { at: ['granted', 'verdictTarget', 'running', 'complete'], on: 'targetDiedRan', to: 'lost',
    effects: [...LOSE, 'tellSourceTargetDiedRan'], why: 'what it did since is gone' },
  { at: ['running', 'complete'], on: 'targetDiedNotRan', to: 'lost',
    effects: [...LOSE, 'tellSourceTargetDiedRan'],
    why: 'RUNNING was seen, so the journal is wrong: a power failure took its last line' },
  { at: ['granted', 'verdictSource', 'verdictTarget', 'refused', 'running', 'complete'],
    on: 'lostReported', to: 'lost', effects: LOSE, why: 'an end has the evidence' },

  // Settled: the epoch is closed, and is never anybody's again.
  { at: 'moved', on: ['decideSource', 'decideTarget', 'query'], effects: ['answerAllPresent'],
    why: 'a question that crossed the end: the target still owns it under this very epoch' },
  { at: ['kept', 'ended'], on: ['decideSource', 'decideTarget', 'query'],
    effects: ['answerSuperseded'], why: 'closed; the owner has a higher epoch' },
  { at: 'lost', on: 'decideTarget', effects: ['answerSuperseded'],
    why: 'closed; a target that never ran it drops it' },
  { at: 'lost', on: ['decideSource', 'query'], when: 'sourceAlive', effects: ['answerTargetDied'],
    why: 'the source holds the stale image until a person decides' },
  { at: 'lost', on: ['decideSource', 'query'], when: 'sourceDead', effects: ['answerSourceDied'],
    why: 'only the target can ask' },
];

const IGNORING: Table<
  CoordinatorPhase,
  CoordinatorEvent,
  CoordinatorEffect,
  CoordinatorFacts,
  CoordinatorCondition
>['ignoring'] = [
  {
    at: ['verdictSource', 'verdictTarget', 'refused', 'running', 'complete'],
    on: ['cancel'],
    why: 'decided already',
  },
  {
    at: ['verdictSource', 'verdictTarget', 'refused', 'running', 'complete', ...SETTLED],
    on: ['roundReported'],
    why: 'the rounds are over',
  },
  {
    at: ['verdictSource', 'refused', 'kept'],
    on: ['running', 'allPresent'],
    why: 'cannot be: the walk shows it',
  },
  {
    at: ['verdictSource'],
    on: ['targetDiedNotRan', 'targetDiedRan'],
    why: 'the guest is the source anyway',
  },
  { at: ['refused', 'kept', 'lost'], on: ['refused'], why: 'said twice, or late' },
  { at: ['kept', 'ended', 'moved', 'lost'], on: ['freed'], why: 'said twice, or late' },
  { at: ['running', 'complete'], on: ['kept'], why: 'cannot be: the walk shows it' },
  {
    at: ['moved', 'kept'],
    on: ['sourceDied', 'targetDiedRan', 'targetDiedNotRan'],
    why: 'a death of the owner is no matter of a settled migration',
  },
  {
    at: [...SETTLED],
    on: ['guestRequest', 'cancel', 'restarted'],
    why: 'no migration is open',
  },
];

export const COORDINATOR = defineCore({
  role: 'coordinator',
  initial: { phase: 'granted', sourceDead: false } as CoordinatorState,
  phases: PHASES,
  events: EVENTS,
  effects: EFFECTS,
  conditions: CONDITIONS,
  rows: ROWS,
  ignoring: IGNORING,
} as Table<
  CoordinatorPhase,
  CoordinatorEvent,
  CoordinatorEffect,
  CoordinatorFacts,
  CoordinatorCondition
>);

/** The migration is closed and the guest free for another one. */
export function isSettled(phase: CoordinatorPhase): boolean {
  return (SETTLED as readonly CoordinatorPhase[]).includes(phase);
}
