/**
 * The committed guest programs are what their sources build.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { differingGuests, installedToolchain, recordedToolchain } from '../guests/build.ts';

/** Why the sources cannot be compared with bin/ here, or false when they can. */
function buildSkip(): string | false {
  try {
    const [installed, recorded] = [installedToolchain(), recordedToolchain()];
    const same = installed.clang === recorded.clang && installed.lld === recorded.lld;
    return same ? false : `needs clang ${recorded.clang} and lld ${recorded.lld}`;
  } catch (error) {
    return (error as Error).message;
  }
}

test('the committed programs are byte for byte what the sources build', {
  skip: buildSkip(),
}, () => {
  assert.deepEqual(differingGuests(), []);
});
