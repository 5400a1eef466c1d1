/**
 * Effects that throw. Goal: our own mistake costs one migration, and ends it by its table; where the table
 * has no way out the process ends before anything more is done. Method: the real tables, effects that fail.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { SOURCE, type SourceEffect } from '@godwit/protocol';
import { CoreRunner } from '../src/migration/core-runner.ts';

/** A source whose effects are written down; those named throw. */
function source(failing: readonly SourceEffect[]) {
  const heard: string[] = [];
  const runner = new CoreRunner(
    SOURCE,
    {
      perform: (effect) => {
        if (failing.includes(effect)) throw new Error(`no ${effect}`);
        heard.push(effect);
      },
      entered: (phase) => heard.push(`entered ${phase}`),
      ignored: () => {},
      failed: (effect, error) => heard.push(`${effect} failed: ${(error as Error).message}`),
      deadlineMs: () => undefined,
      overdue: () => {},
    },
    undefined,
  );
  return { runner, heard };
}

test('a word that cannot be said is a lost message: what follows it is done', () => {
  const { runner, heard } = source(['sendCancel', 'reportRound']);
  for (const event of ['accepted', 'roundDone', 'policySwitch', 'cancel'] as const) {
    runner.dispatch(event);
  }
  assert.deepEqual(heard.slice(-5), [
    'sendCancel failed: no sendCancel',
    'resumeAtSameEpoch',
    'endTransfer',
    'reportKept',
    'entered kept',
  ]);
  assert.ok(heard.includes('reportRound failed: no reportRound'));
});

test('a deed that fails before anything was handed over ends the migration: the guest goes on here', () => {
  const { runner, heard } = source(['sendRest']);
  for (const event of ['accepted', 'roundDone', 'policySwitch'] as const) runner.dispatch(event);
  assert.equal(runner.phase, 'kept');
  assert.deepEqual(heard.slice(-7), [
    'sendRest failed: no sendRest',
    'entered stopping',
    'sendCancel',
    'resumeAtSameEpoch',
    'endTransfer',
    'reportKept',
    'entered kept',
  ]);
});

test('RAN that cannot be journalled ends the process before a hart starts', () => {
  const file = new URL('support/unjournalled-core.ts', import.meta.url);
  const { status, stdout, stderr } = spawnSync(process.execPath, [fileURLToPath(file)], {
    encoding: 'utf8',
  });
  assert.notEqual(status, 0);
  assert.match(stderr, /no space/);
  assert.equal(stdout.trim().split('\n').at(-1), 'journalRan');
});
