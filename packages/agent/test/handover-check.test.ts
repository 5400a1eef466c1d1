/** What a target looks at before it says LANDED, and when: nothing may land any more behind a digest. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Message } from '@godwit/protocol';
import type { Guest } from '../src/guest/guest.ts';
import { handoverDigest } from '../src/migration/digest.ts';
import { checkHandover } from '../src/target/handover-check.ts';
import type { TargetChannels } from '../src/target/target-channels.ts';

const PAGES = 64;

/** A target that holds `landed` pages of each round; notes what is done with it, in order. */
function target(landed: readonly number[]) {
  const done: string[] = [];
  const channels = {
    landedIn: (rounds: number) => landed.slice(0, rounds),
    verify: async () => void done.push('hashes'),
  };
  const guest = { memory: { pages: PAGES }, adoptState: () => void done.push('state') };
  return {
    done,
    channels: channels as unknown as TargetChannels,
    guest: guest as unknown as Guest,
  };
}

function handover(manifest: number[]): Message<'handover'> {
  const state = new Uint8Array([1, 2, 3]);
  const digest = handoverDigest(state, new SharedArrayBuffer(PAGES * 8), undefined);
  const said = { manifest, missing: new Uint8Array(0), state, digest };
  return said as unknown as Message<'handover'>;
}

test('pages are hashed only when nothing can land any more', async () => {
  const { done, channels, guest } = target([PAGES]);
  const revoked = Promise.withResolvers<void>();
  const check = { handover: handover([PAGES]), guest, channels, verify: true };
  const checked = checkHandover({ ...check, revoked: revoked.promise });
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(done, ['state']);
  revoked.resolve();
  assert.equal((await checked).missing, undefined);
  assert.deepEqual(done, ['state', 'hashes']);
});

test('a refusal waits for it as well, and names what was short', async () => {
  const { done, channels, guest } = target([PAGES, 3]);
  const revoked = Promise.withResolvers<void>();
  const check = { handover: handover([PAGES, 4]), guest, channels, verify: false };
  let isRefused = false;
  const refused = assert.rejects(checkHandover({ ...check, revoked: revoked.promise }), {
    code: 'migration.refused',
    message: /round 1 brought 3 pages, the manifest says 4/,
  });
  void refused.then(() => {
    isRefused = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(isRefused, false);
  revoked.resolve();
  await refused;
  assert.deepEqual(done, []);
});
