/** Memory is given back when no migration is under way, and never while one is. */
import assert from 'node:assert/strict';
import { beforeEach, mock, test } from 'node:test';
import { Quiet } from '../src/migration/quiet.ts';

let done: string[] = [];
const quiet = new Quiet([() => done.push('collect'), () => done.push('trim')]);

beforeEach(() => {
  done = [];
  mock.timers.reset();
  mock.timers.enable({ apis: ['setTimeout'] });
});

test('one step after each pause, once', () => {
  quiet.begin();
  assert.deepEqual(done, []);
  mock.timers.tick(1000);
  assert.deepEqual(done, ['collect']);
  mock.timers.tick(1000);
  assert.deepEqual(done, ['collect', 'trim']);
  mock.timers.tick(10_000);
  assert.equal(done.length, 2);
});

test('a migration that begins puts off what is left', () => {
  quiet.begin();
  mock.timers.tick(1500);
  quiet.end();
  mock.timers.tick(10_000);
  assert.deepEqual(done, ['collect']);
});

test('the pause counts from the last end', () => {
  quiet.begin();
  mock.timers.tick(900);
  quiet.begin();
  mock.timers.tick(900);
  assert.deepEqual(done, []);
  mock.timers.tick(100);
  assert.deepEqual(done, ['collect']);
});
