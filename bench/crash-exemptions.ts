/**
 * The steps of the cores' tables at which `npm run crash` strikes nobody, each with the reason.
 *
 * A case has one fault, so a step that only another fault leads to is none of its places; the walk over
 * the product of the tables and the model (packages/protocol) take those. test/crash-steps.test.ts holds
 * this list and the scenarios against the tables.
 */
export interface Exemption {
  readonly why: string;
  readonly steps: readonly string[];
}

export const EXEMPTIONS: readonly Exemption[] = [
  {
    why: 'reached only once the link between the two ends is lost',
    steps: [
      'source:asking:reconnect',
      'source:released:reconnect',
      'source:serving:reconnect',
      'target:asking:reconnect',
      'target:running:parkFaulting',
      'target:running:reconnect',
    ],
  },
  {
    why: 'reached only once the target has died or was fenced',
    steps: [
      'source:lost:endTransfer',
      'source:lost:keepStaleImage',
      'source:lost:reportLost',
      'coordinator:refused:tellSourceTargetDiedNotRan',
      'coordinator:refused:tellSourceTargetDiscarded',
      'coordinator:lost:tellSourceTargetDiedRan',
      'coordinator:lost:answerTargetDied',
      'coordinator:lost:answerSuperseded',
    ],
  },
  {
    why: 'reached only once the source has died',
    steps: [
      'target:lost:stopHarts',
      'target:lost:keepStaleImage',
      'target:lost:reportLost',
      'coordinator:granted:record',
      'coordinator:granted:tellTargetSourceDied',
      'coordinator:granted:answerSourceDied',
      'coordinator:verdictTarget:tellTargetSourceDied',
      'coordinator:running:tellTargetSourceDied',
      'coordinator:running:answerSourceDied',
      'coordinator:lost:answerSource',
      'coordinator:lost:answerSourceDied',
    ],
  },
  {
    why: 'reached only once one end has died, or its pages were given up by a person',
    steps: [
      'coordinator:lost:record',
      'coordinator:lost:reportLost',
      'coordinator:lost:carryOutLatched',
      'coordinator:lost:tellTargetSourceDied',
      'source:freed:reportDiscarded',
      'target:lost:free',
    ],
  },
  {
    why: 'reached only by a coordinator that starts again: its end before is the fault',
    steps: [
      'coordinator:granted:takeUp',
      'coordinator:verdictSource:takeUp',
      'coordinator:verdictTarget:takeUp',
      'coordinator:refused:takeUp',
      'coordinator:running:takeUp',
      'coordinator:complete:takeUp',
    ],
  },
  {
    why: 'answers a word or question that is said again because its first answer was lost',
    steps: [
      'target:done:sendRunning',
      'target:done:sendAllPresent',
      'coordinator:refused:answerRefused',
      'coordinator:complete:answerAllPresent',
      'coordinator:moved:answerAllPresent',
      'coordinator:moved:answerTarget',
      'coordinator:kept:answerSuperseded',
      'coordinator:ended:answerSuperseded',
    ],
  },
  {
    why: 'says that nothing is decided here: changes no state at either end, and is asked for again',
    steps: [
      'target:landing:answerUndecided',
      'target:landed:answerUndecided',
      'target:asking:answerUndecided',
    ],
  },
  {
    why: 'no source asks before its HANDOVER, and then the target is past preparing',
    steps: ['target:preparing:answerUndecided'],
  },
  {
    why: 'an agent tells its migration of an end when the image is whole, and then nothing is latched',
    steps: ['target:running:latchEnd'],
  },
];
