/** A deadline that passes is named: what the source waited for, before what follows from it. */
import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { SOURCE, type SourcePhase, type SourceState } from '@godwit/protocol';
import { CoreRunner } from '../src/migration/core-runner.ts';
import { overdueError, sourceDeadlineMs } from '../src/source/source-deadlines.ts';
import { SourceFigures } from '../src/source/source-figures.ts';

const PHASES = Object.keys(SOURCE.phases) as SourcePhase[];
const known = () => ({ figures: new SourceFigures(), unsentPages: 5 });

test('a phase has a deadline where its table has a row for one, but for rounds, which the policy ends', () => {
  for (const phase of PHASES) {
    const { ignored } = SOURCE.step({ ...SOURCE.initial, phase } as SourceState, 'deadline');
    const isTimed = sourceDeadlineMs(phase, known) !== undefined;
    assert.equal(isTimed, !ignored && phase !== 'rounds', phase);
  }
});

test('what is waited for has a name wherever the guest may stay because of it', () => {
  const named = PHASES.filter((phase) => overdueError(phase, 1) !== undefined);
  assert.deepEqual(named, ['preparing', 'stopping', 'offered']);
  const error = overdueError('offered', 512.4);
  assert.equal(error?.code, 'request.timed_out');
  assert.equal(error?.message, 'the target, asked whether all has landed: no answer after 512 ms');
});

test('the first phase is timed before there are figures', () => {
  const none = () => assert.fail('not there yet');
  assert.ok(sourceDeadlineMs('preparing', none as never)! > 0);
});

test('the runner hears what was overdue before the effects of the deadline', () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  const heard: string[] = [];
  const runner = new CoreRunner(
    SOURCE,
    {
      perform: (effect) => heard.push(effect),
      entered: (phase) => heard.push(`entered ${phase}`),
      ignored: () => {},
      failed: (_effect, error) => assert.fail(String(error)),
      deadlineMs: (phase) => (phase === 'preparing' ? 100 : undefined),
      overdue: (phase, afterMs) => heard.push(`${phase} took longer than ${afterMs} ms`),
    },
    undefined,
  );
  mock.timers.tick(99);
  assert.deepEqual(heard, []);
  mock.timers.tick(1);
  assert.equal(heard[0], 'preparing took longer than 100 ms');
  assert.ok(heard.length > 2 && heard.at(-1) === 'entered kept');
  runner.stop();
  mock.timers.reset();
});
