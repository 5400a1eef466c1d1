/** What the coordinator hears of a switchover: nothing while the guest stands still, then all, in order. */
import assert from 'node:assert/strict';
import { beforeEach, mock, test } from 'node:test';
import {
  type Message,
  SOURCE,
  TARGET,
  type TargetCondition,
  type TargetEffect,
  type TargetEvent,
  type TargetFacts,
  type TargetPhase,
} from '@godwit/protocol';
import type { Agent } from '../src/agent.ts';
import { MigrationBase } from '../src/migration/migration-base.ts';

const GRANT = { migration: 'm', role: 'target', epoch: 1, spec: { name: 'g' } };
/** What the coordinator is told, and `(heartbeat)` where the agent is to send one. */
let told: string[] = [];

const log = { child: () => log, info() {}, debug() {}, warn() {} };
const agent = {
  log,
  metrics: { said() {} },
  link: {
    send: (message: Message) =>
      void told.push(message.type === 'phase' ? message.phase : message.type),
  },
  changed: () => void told.push('(heartbeat)'),
} as unknown as Agent;

/** A target that performs nothing: only what it says is looked at. */
class Silent extends MigrationBase<
  TargetPhase,
  TargetEvent,
  TargetEffect,
  TargetFacts,
  TargetCondition
> {
  constructor() {
    super(agent, GRANT as Message<'grant'>, TARGET, undefined);
  }

  protected perform(): void {}
  protected onPeer(): void {}
  protected deadlineMs(): undefined {}
  report(): never {
    throw new Error('not asked for');
  }

  hear(...events: TargetEvent[]): void {
    for (const event of events) this.core.dispatch(event);
  }

  say(): void {
    const figures = { missingPages: 0, atMs: 0 };
    this.tellCoordinator({ type: 'running', ...this.about(), ...figures });
  }

  end(): void {
    this.endCore();
  }
}

beforeEach(() => {
  told = [];
  mock.timers.reset();
  mock.timers.enable({ apis: ['setTimeout'] });
});

test('the blackout is from the stop at the source to the first instruction at the target', () => {
  const blackout = ({ phases }: typeof SOURCE | typeof TARGET) =>
    Object.entries(phases).flatMap(([name, { isBlackout }]) => (isBlackout ? [name] : []));
  assert.deepEqual(blackout(SOURCE), ['stopping', 'offered', 'released']);
  assert.deepEqual(blackout(TARGET), ['landed', 'running']);
});

test('phases before the blackout are told as they are entered', () => {
  const target = new Silent();
  target.hear('reserved');
  assert.deepEqual(told, ['landing', '(heartbeat)']);
  target.end();
});

test('those of the blackout come before whatever is said next, in order, each once', () => {
  const target = new Silent();
  target.hear('reserved', 'handover', 'manifestComplete', 'run');
  assert.deepEqual(told.splice(0), ['landing', '(heartbeat)']);
  target.say();
  assert.deepEqual(told.splice(0), ['landed', 'running', '(heartbeat)', 'running']);
  mock.timers.tick(1000);
  assert.deepEqual(told, []);
  target.end();
});

test('a blackout in trouble is told of without being asked', () => {
  const target = new Silent();
  target.hear('reserved', 'handover', 'manifestComplete');
  told = [];
  mock.timers.tick(49);
  assert.deepEqual(told, []);
  mock.timers.tick(1);
  assert.deepEqual(told, ['landed', '(heartbeat)']);
  target.hear('peerLost');
  assert.deepEqual(told.slice(2), ['asking', '(heartbeat)']);
  target.end();
});

test('nothing is said after the end', () => {
  const target = new Silent();
  target.hear('reserved', 'handover', 'manifestComplete');
  target.end();
  told = [];
  mock.timers.tick(1000);
  assert.deepEqual(told, []);
});
