/**
 * The core's effects as messages: what is said to whom, word for word.
 *
 *   core effect --> [words] --> verdict | answer | proof --> the source or the target
 *
 * Pure. One table, so that the runner cannot say two things for one effect; `delivery.ts` of the
 * protocol package says which event each becomes at the other end.
 */
import type { CoordinatorEffect, Message, Side } from '@godwit/protocol';

/** What the words are about. */
export interface Matter {
  readonly migration: string;
  readonly guest: string;
  /** The epoch that was offered to the target. */
  readonly epoch: number;
  readonly owner: { readonly host: string; readonly epoch: number };
  readonly evidence: string;
}

type Answer = Message<'answer'>;
type Knowledge = Partial<Omit<Answer, 'type' | 'migration' | 'guest' | 'epoch'>>;

function about({ migration, guest, epoch }: Matter) {
  return { migration, guest, epoch };
}

function answer(matter: Matter, knowledge: Knowledge): Answer {
  return {
    type: 'answer',
    ...about(matter),
    verdict: 'none',
    runningSeen: false,
    allPresentSeen: false,
    refusedSeen: false,
    peerDeath: 'none',
    evidence: matter.evidence,
    ...knowledge,
  };
}

function verdict(matter: Matter, owner: Message<'verdict'>['owner']): Message<'verdict'> {
  return {
    type: 'verdict',
    ...about(matter),
    owner,
    ...(owner === 'superseded' && {
      ownerHost: matter.owner.host,
      ownerEpoch: matter.owner.epoch,
    }),
  };
}

function proof(matter: Matter, dead: Side, ran: boolean, discarded = false): Message<'proof'> {
  return { type: 'proof', ...about(matter), dead, ran, evidence: matter.evidence, discarded };
}

type Words = (matter: Matter, to: Side) => Message;

const RUNNING = { verdict: 'target', runningSeen: true } as const;
const ALL_PRESENT = { ...RUNNING, allPresentSeen: true } as const;
const REFUSED = { verdict: 'source', refusedSeen: true } as const;

const WORDS: { readonly [effect in CoordinatorEffect]?: Words } = {
  sendCancel: (matter) => ({
    type: 'cancelMigration',
    migration: matter.migration,
    reason: 'cancelled by a person',
  }),
  answerNone: (matter) => answer(matter, {}),
  answerSource: (matter) => verdict(matter, 'source'),
  answerTarget: (matter) => verdict(matter, 'target'),
  answerRunning: (matter) => answer(matter, RUNNING),
  answerAllPresent: (matter) => answer(matter, ALL_PRESENT),
  // A target told of its own refusal or death was fenced: for it the epoch is closed.
  answerRefused: (matter, to) =>
    to === 'source' ? answer(matter, REFUSED) : verdict(matter, 'superseded'),
  answerSourceDied: (matter) => proof(matter, 'source', true),
  answerTargetDied: (matter, to) =>
    to === 'source' ? proof(matter, 'target', true) : verdict(matter, 'superseded'),
  answerSuperseded: (matter) => verdict(matter, 'superseded'),
  tellSourceRunning: (matter) => answer(matter, RUNNING),
  tellSourceAllPresent: (matter) => answer(matter, ALL_PRESENT),
  tellSourceRefused: (matter) => answer(matter, REFUSED),
  tellSourceTargetDiedNotRan: (matter) => proof(matter, 'target', false),
  tellSourceTargetDiedRan: (matter) => proof(matter, 'target', true),
  tellSourceTargetDiscarded: (matter) => proof(matter, 'target', true, true),
  tellTargetSourceDied: (matter) => proof(matter, 'source', true),
};

/**
 * The message for an effect and the end it goes to; undefined when the effect says nothing.
 *
 * @param asker whose message is being answered
 */
export function wordsFor(
  effect: CoordinatorEffect,
  matter: Matter,
  asker: Side | undefined,
): { to: Side; message: Message } | undefined {
  const words = WORDS[effect];
  if (words === undefined) return undefined;
  const to = addressee(effect, asker);
  return to && { to, message: words(matter, to) };
}

function addressee(effect: CoordinatorEffect, asker: Side | undefined): Side | undefined {
  if (effect === 'sendCancel' || effect.startsWith('tellSource')) return 'source';
  if (effect.startsWith('tellTarget')) return 'target';
  return asker;
}
