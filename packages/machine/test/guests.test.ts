/**
 * The guest programs: built from their sources, and right on QEMU.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { differingGuests, installedToolchain, recordedToolchain } from '../guests/build.ts';
import { guestImagePath } from '../src/guest-images.ts';
import { kvDialogue } from './riscv/kv-dialogue.ts';
import { Qemu, qemuMissing } from './riscv/qemu.ts';

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

test('kv answers a scripted dialogue on QEMU', { skip: qemuMissing() }, async () => {
  const guest = new Qemu(guestImagePath('kv'), 32);
  try {
    const { said, expected } = await kvDialogue(guest, 1, 5);
    assert.deepEqual(said, expected);
  } finally {
    await guest.close();
  }
});
