/** Memory is given back when no migration is under way, and never while one is. */
import assert from 'node:assert/strict';
import { beforeEach, mock, test } from 'node:test';
import { Migrations } from '../src/migration/manager.ts';
import { Quiet } from '../src/migration/quiet.ts';
import { until } from './support/agent-parts.ts';
import type { FakeCoordinator } from './support/fake-coordinator.ts';
import { grant } from './support/grants.ts';
import { startAgent } from './support/running-agent.ts';

let done: string[] = [];
let quiet: Quiet;

beforeEach(() => {
  done = [];
  quiet = new Quiet([
    { afterMs: 1000, migrations: 1, act: () => done.push('threads') },
    { afterMs: 0, migrations: 3, act: () => done.push('collect') },
    { afterMs: 500, migrations: 1, act: () => done.push('trim') },
  ]);
  mock.timers.reset();
  mock.timers.enable({ apis: ['setTimeout'] });
});

function migrated(times: number): void {
  for (let i = 0; i < times; i++) quiet.ended();
  quiet.begin();
}

/** Step by step: a mocked timer that is set in one tick first counts in the next. */
function pass(ms: number): void {
  for (let passed = 0; passed < ms; passed += 100) mock.timers.tick(100);
}

test('one step after another, each after its pause, once', () => {
  migrated(3);
  pass(900);
  assert.deepEqual(done, []);
  pass(200);
  assert.deepEqual(done, ['threads', 'collect']);
  pass(600);
  assert.deepEqual(done, ['threads', 'collect', 'trim']);
  pass(10_000);
  assert.equal(done.length, 3);
});

test('a step that is for several migrations waits for them', () => {
  migrated(2);
  pass(2000);
  assert.deepEqual(done, ['threads', 'trim']);
  migrated(1);
  pass(2000);
  assert.deepEqual(done, ['threads', 'trim', 'threads', 'collect', 'trim']);
  migrated(1);
  pass(2000);
  assert.deepEqual(done.slice(5), ['threads', 'trim']);
});

test('a migration that begins puts off what is left', () => {
  migrated(3);
  pass(1300);
  quiet.end();
  pass(10_000);
  assert.deepEqual(done, ['threads', 'collect']);
});

test('the pause counts from the last end', () => {
  migrated(1);
  pass(900);
  migrated(1);
  pass(900);
  assert.deepEqual(done, []);
  pass(100);
  assert.deepEqual(done, ['threads']);
});

test('it begins when the last of several migrations has ended, and a grant ends it', async (t) => {
  mock.timers.reset();
  const said = {
    ended: () => done.push('ended'),
    begin: () => done.push('begin'),
    end: () => done.push('end'),
  };
  const { coordinator } = await startAgent(t, [], (agent) => new Migrations(agent, said));
  const cancel = (migration: string) =>
    coordinator.send({ type: 'cancelMigration', migration, reason: 'a test' });

  await coordinator.ask(grant('first'));
  await coordinator.ask(grant('second'));
  assert.deepEqual(done, ['end', 'end']);

  cancel('first');
  await until('the first is over', () => isOver(coordinator, 'first'));
  assert.deepEqual(done, ['end', 'end', 'ended']);

  cancel('second');
  await until('the second is over', () => isOver(coordinator, 'second'));
  assert.deepEqual(done, ['end', 'end', 'ended', 'ended', 'begin']);

  await coordinator.ask(grant('third'));
  assert.equal(done.at(-1), 'end');
});

function isOver(coordinator: FakeCoordinator, migration: string): boolean {
  return coordinator
    .all('phase')
    .some((said) => said.migration === migration && said.phase === 'dropped');
}
