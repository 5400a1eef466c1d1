/** Words against the protocol's delivery tables: each effect becomes the event the cores expect. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  COORDINATOR,
  COORDINATOR_TO_SOURCE,
  COORDINATOR_TO_TARGET,
  type CoordinatorEffect,
  decodeMessage,
  encodeMessage,
  type Message,
  type Side,
} from '@godwit/protocol';
import { wordsFor } from '../src/migrations/migration-words.ts';

const MATTER = {
  migration: 'm-0001',
  guest: 'g',
  epoch: 8,
  owner: { host: 'c', epoch: 9 },
  evidence: 'killed by SIGKILL',
};

const VERDICTS = {
  source: 'verdictSource',
  target: 'verdictTarget',
  superseded: 'superseded',
} as const;

/** The strongest event an end reads from a message. */
function heard(message: Message, by: Side): string {
  switch (message.type) {
    case 'cancelMigration':
      return 'cancel';
    case 'verdict':
      return VERDICTS[message.owner];
    case 'proof':
      if (message.dead === 'source') return 'sourceDied';
      if (message.discarded) return 'targetDiscarded';
      return message.ran ? 'targetDiedRan' : 'targetDiedNotRan';
    case 'answer':
      if (by === 'source' && message.allPresentSeen) return 'allPresent';
      if (by === 'source' && message.runningSeen) return 'running';
      if (by === 'source' && message.refusedSeen) return 'refused';
      return message.verdict === 'none' ? 'undecided' : VERDICTS[message.verdict];
    default:
      return message.type;
  }
}

describe('what the coordinator says', () => {
  for (const [side, deliveries] of [
    ['source', COORDINATOR_TO_SOURCE],
    ['target', COORDINATOR_TO_TARGET],
  ] as const) {
    for (const [effect, event] of Object.entries(deliveries)) {
      it(`${effect} is ${event} at the ${side}`, () => {
        const words = wordsFor(effect as CoordinatorEffect, MATTER, side);
        assert.equal(words?.to, side);
        const message = decodeMessage(encodeMessage(words.message), 'agent', 'coordinator');
        assert.equal(heard(message, side), event);
      });
    }
  }

  it('says nothing for effects that no delivery table has', () => {
    for (const effect of Object.keys(COORDINATOR.effects) as CoordinatorEffect[]) {
      const isDelivered = effect in COORDINATOR_TO_SOURCE || effect in COORDINATOR_TO_TARGET;
      assert.equal(wordsFor(effect, MATTER, 'source') !== undefined, isDelivered, effect);
    }
  });

  it('has nobody to answer when nobody asked', () => {
    assert.equal(wordsFor('answerTarget', MATTER, undefined), undefined);
  });
});
