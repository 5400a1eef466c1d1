/** What a target looks at before it says LANDED, and when: nothing may land any more behind a digest. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Message } from '@godwit/protocol';
import { pageHashes } from '../src/channel/page-hashes.ts';
import type { Guest } from '../src/guest/guest.ts';
import { handoverDigest } from '../src/migration/digest.ts';
import { checkHandover, type HandoverCheck, Manifest } from '../src/target/handover-check.ts';
import type { TargetChannels } from '../src/target/target-channels.ts';

const PAGES = 64;

/** A target that holds `landed` pages of each round; notes what is done with it, in order. */
function target(landed: number[]) {
  const done: string[] = [];
  const channels = {
    barriersOf: async (rounds: number) => void done.push(`barriers of ${rounds}`),
    landedIn: (rounds: number) => landed.slice(0, rounds),
    verify: async () => {
      done.push('hashes');
      return pageHashes(PAGES);
    },
  };
  const guest = { memory: { pages: PAGES }, adoptState: () => void done.push('state') };
  const revoked = Promise.withResolvers<void>();
  const revoke = () => {
    done.push('revoke');
    return revoked.promise;
  };
  const begin = (manifest: Manifest, verify: boolean, given: Partial<HandoverCheck> = {}) =>
    checkHandover({
      handover: handover(),
      manifest,
      complete: false,
      channels: channels as unknown as TargetChannels,
      guest: guest as unknown as Guest,
      revoke,
      verify,
      ...given,
    });
  return { done, begin, revoked };
}

function handover(): Message<'handover'> {
  const state = new Uint8Array([1, 2, 3]);
  const digest = handoverDigest(state, pageHashes(PAGES), undefined);
  return { missing: new Uint8Array(0), state, digest } as unknown as Message<'handover'>;
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test('pages are hashed only when nothing can land any more', async () => {
  const { done, begin, revoked } = target([PAGES]);
  const checked = begin(new Manifest([PAGES]), true);
  await turn();
  assert.deepEqual(done, ['state', 'barriers of 1', 'revoke']);
  revoked.resolve();
  assert.equal((await checked).missing, undefined);
  assert.deepEqual(done.slice(3), ['hashes']);
});

test('a short round is refused when nothing more is said, and when nothing can land any more', async () => {
  const { done, begin, revoked } = target([PAGES, 3]);
  let isRefused = false;
  const refused = assert.rejects(begin(new Manifest([PAGES, 4]), false), {
    code: 'migration.refused',
    message: /round 1 brought 3 pages, the manifest says 4/,
  });
  void refused.then(() => {
    isRefused = true;
  });
  while (!done.includes('revoke')) await turn();
  await turn();
  assert.equal(isRefused, false);
  revoked.resolve();
  await refused;
});

test('what a channel lost in the last round comes in one more, and HANDOVER says so', async () => {
  const landed = [PAGES, 3];
  const { done, begin, revoked } = target(landed);
  revoked.resolve();
  const manifest = new Manifest([PAGES, 5]);
  const checked = begin(manifest, true);
  await turn();
  assert.deepEqual(done, ['state', 'barriers of 2']);
  landed.push(2);
  manifest.amend([PAGES, 3, 2]);
  await checked;
  assert.deepEqual(done.slice(2), ['barriers of 3', 'revoke', 'hashes']);
});

test('a pre-copy that would leave pages behind is refused before the guest has a state', async () => {
  const { done, begin, revoked } = target([PAGES]);
  revoked.resolve();
  const missing = new Uint8Array(Math.ceil(PAGES / 8));
  missing[0] = 0b101;
  await assert.rejects(
    begin(new Manifest([PAGES]), false, { complete: true, handover: { ...handover(), missing } }),
    { code: 'migration.refused', message: /2 pages would be missing/ },
  );
  assert.deepEqual(done, ['revoke']);
});
