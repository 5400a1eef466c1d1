/** Rounds: every page lands, the newest wins, and long runs are not copied on the way. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { makeBitmap, PageStates, testBit } from '@godwit/machine';
import { PAGE_BYTES } from '@godwit/protocol';
import { endIdleThreads } from '../src/thread.ts';
import { allPages, MIB, NO_HASHES, openPair, sameBytes, scribble } from './channel-pair.ts';
import { NEEDS_LINUX, threadNames } from './support/thread-names.ts';

after(() => endIdleThreads());

test('three rounds bring the target to the same bytes', async (t) => {
  const pair = await openPair(t, 16 * MIB, 2);
  const { source, target, sending, landing, writeKey } = pair;
  source.ram().fill(0, 100 * PAGE_BYTES, 300 * PAGE_BYTES);
  const first = await sending.sendRound(0, allPages(source), writeKey);
  assert.equal(first.pages, source.pages);
  assert.equal(first.zeroPages, 200);
  assert.equal(first.copiedBytes, 0, 'runs of 16 pages and more go by reference');
  assert.equal(landing.landed().copiedBytes, 0, 'and land in place');
  const second = await sending.sendRound(1, scribble(source, 3), writeKey);
  assert.equal(second.pages, Math.ceil(source.pages / 3));
  assert.ok(second.copiedBytes > 0, 'scattered pages are gathered');
  const third = await sending.sendRound(2, makeBitmap(source.pages), writeKey);
  assert.equal(third.pages, 0);
  assert.deepEqual(landing.landedIn(2), [first.pages, second.pages]);
  assert.equal(sending.progress().pagesSent, first.pages + second.pages);
  await landing.barriersOf(3);
  const never = assert.rejects(landing.barriersOf(4), /the page channels were closed/);
  await pair.close();
  await never;
  assert.deepEqual([...pair.sourceFailures, ...pair.targetFailures], []);
  assert.ok(sameBytes(source, target));
});

test(
  'without a faults channel there is no port, and a thread less at each end',
  NEEDS_LINUX,
  async (t) => {
    const threads: string[][] = [];
    for (const faults of [true, false]) {
      await endIdleThreads();
      const pair = await openPair(t, MIB, 2, { faults });
      threads.push(threadNames().filter((name) => name.startsWith('faults')));
      assert.equal(pair.sending.faultsPort > 0, faults);
      await pair.sending.sendRound(0, allPages(pair.source), pair.writeKey);
      await pair.sending.attached('faults');
      await pair.landing.barriersOf(1);
      assert.ok(sameBytes(pair.source, pair.target));
      await pair.close();
      assert.deepEqual([...pair.sourceFailures, ...pair.targetFailures], []);
    }
    assert.deepEqual(threads, [['faults-client', 'faults-server'], []]);
  },
);

test('a page of zeros is written where a page landed before, also in a memory that began as zeros', async (t) => {
  const pair = await openPair(t, 4 * MIB, 2, { fresh: true });
  const { source, target, sending, landing, writeKey, landKey } = pair;
  // Zeros from the start, among runs that land in place and pages that are gathered.
  source.ram().fill(0, 200 * PAGE_BYTES, 400 * PAGE_BYTES);
  source.ram().fill(0, 501 * PAGE_BYTES, 502 * PAGE_BYTES);
  await sending.sendRound(0, allPages(source), writeKey);
  assert.ok(sameBytes(source, target));
  // Zeros where there were bytes: a stripe and more, and single pages.
  source.ram().fill(0, 0, 150 * PAGE_BYTES);
  for (let page = 600; page < 640; page += 3) source.page(page).fill(0);
  source.page(505).fill(0); // one that was gathered
  source.ram().fill(0, 768 * PAGE_BYTES); // the last stripes of the round, right before its barriers
  const { zeroPages } = await sending.sendRound(1, allPages(source), writeKey);
  assert.equal(zeroPages, 150 + 200 + 1 + 14 + 1 + 256);
  assert.ok(sameBytes(source, target), 'after a round');
  // The same for pages that are pushed, one of which never landed with a byte; there is nothing after them.
  const missing = makeBitmap(source.pages);
  for (const page of [250, 700, 701, 900]) missing[page >>> 5]! |= 1 << (page & 31);
  for (const page of [700, 701]) source.page(page).fill(0);
  await landing.revoke(writeKey);
  new PageStates(target).setAbsentFrom(missing);
  landing.startPostcopy({ missing, key: landKey, pageHashes: NO_HASHES });
  sending.startPush({ missing, key: landKey });
  await landing.allPresent;
  const written = landing.written()!;
  assert.ok(!testBit(written, 250) && !testBit(written, 399), 'zeros from first to last');
  for (let page = 0; page < target.pages; page++) {
    assert.ok(testBit(written, page) || target.page(page).every((byte) => byte === 0));
  }
  await pair.close();
  assert.deepEqual([...pair.sourceFailures, ...pair.targetFailures], []);
  assert.ok(sameBytes(source, target), 'after a push');
});

test('digests of both ends agree, and find one changed byte', async (t) => {
  const pair = await openPair(t, 4 * MIB, 2);
  const { source, target, sending, landing, writeKey } = pair;
  await sending.sendRound(0, allPages(source), writeKey);
  const ours = await sending.hashPages(null);
  target.ram()[700 * PAGE_BYTES + 1]! ^= 1;
  const theirs = await landing.verify(null);
  const differing = [];
  for (let page = 0; page < source.pages; page++) {
    if (ours[page] !== theirs[page]) differing.push(page);
  }
  assert.deepEqual(differing, [700]);
  await pair.close();
});

test('a round out of order is refused before anything is sent', async (t) => {
  const pair = await openPair(t, 1 * MIB, 1);
  const none = makeBitmap(pair.source.pages);
  await assert.rejects(pair.sending.sendRound(1, none, pair.writeKey), { code: 'internal' });
  await pair.close();
});
