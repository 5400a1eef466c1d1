/**
 * How an effect of one core becomes an event of another: the messages between the three tables.
 *
 * The runners send by messages.ts; this is the same, reduced to what the cores see. The product walk
 * and the simulator deliver by it. `landed` stands for landedGood, or landedBad when the digest that
 * came with it is not the source's own: only the source's runner can tell.
 */
import type { CoordinatorEffect, CoordinatorEvent } from './coordinator.ts';
import type { SourceEffect, SourceEvent } from './source.ts';
import type { TargetEffect, TargetEvent } from './target.ts';

type Deliveries<X extends string, To> = { readonly [effect in X]?: To };

/** Over the control link between the agents. */
export const SOURCE_TO_TARGET: Deliveries<SourceEffect, TargetEvent> = {
  sendHandover: 'handover',
  sendRun: 'run',
  sendCancel: 'cancel',
  queryPeer: 'query',
};

export const TARGET_TO_SOURCE: Deliveries<TargetEffect, SourceEvent> = {
  sendAccept: 'accepted',
  sendLanded: 'landedGood',
  sendRunning: 'running',
  sendAllPresent: 'allPresent',
  sendRefused: 'refused',
  answerUndecided: 'undecided',
};

export const SOURCE_TO_COORDINATOR: Deliveries<SourceEffect, CoordinatorEvent> = {
  reportRound: 'roundReported',
  decideSource: 'decideSource',
  queryCoordinator: 'query',
  reportKept: 'kept',
  reportFreed: 'freed',
  reportDiscarded: 'discarded',
  reportEnded: 'ended',
  reportLost: 'lostReported',
};

export const TARGET_TO_COORDINATOR: Deliveries<TargetEffect, CoordinatorEvent> = {
  decideTarget: 'decideTarget',
  decideSource: 'decideSource',
  queryCoordinator: 'query',
  sendRunning: 'running',
  sendAllPresent: 'allPresent',
  sendRefused: 'refused',
  reportLost: 'lostReported',
};

const WORDS: ReadonlySet<string> = new Set(
  [SOURCE_TO_TARGET, TARGET_TO_SOURCE, SOURCE_TO_COORDINATOR, TARGET_TO_COORDINATOR].flatMap(
    (table) => Object.keys(table),
  ),
);

/** An effect of an agent's table that only says something: when it fails it is a message that was lost. */
export function isWord(effect: string): boolean {
  return WORDS.has(effect);
}

/** `answer...` goes to the end whose message is being answered; `tellSource...` to the source. */
export const COORDINATOR_TO_SOURCE: Deliveries<CoordinatorEffect, SourceEvent> = {
  sendCancel: 'cancel',
  answerNone: 'undecided',
  answerSource: 'verdictSource',
  answerTarget: 'verdictTarget',
  answerRunning: 'running',
  answerAllPresent: 'allPresent',
  answerRefused: 'refused',
  answerTargetDied: 'targetDiedRan',
  answerSuperseded: 'superseded',
  tellSourceRunning: 'running',
  tellSourceAllPresent: 'allPresent',
  tellSourceRefused: 'refused',
  tellSourceTargetDiedNotRan: 'targetDiedNotRan',
  tellSourceTargetDiedRan: 'targetDiedRan',
  tellSourceTargetDiscarded: 'targetDiscarded',
};

/**
 * RUNNING seen is a verdict for the target. A target that is told of its own refusal or death has
 * been fenced while it was out of reach: its epoch is closed.
 */
export const COORDINATOR_TO_TARGET: Deliveries<CoordinatorEffect, TargetEvent> = {
  answerNone: 'undecided',
  answerSource: 'verdictSource',
  answerTarget: 'verdictTarget',
  answerRunning: 'verdictTarget',
  answerAllPresent: 'verdictTarget',
  answerRefused: 'superseded',
  answerSourceDied: 'sourceDied',
  answerTargetDied: 'superseded',
  answerSuperseded: 'superseded',
  tellTargetSourceDied: 'sourceDied',
};
