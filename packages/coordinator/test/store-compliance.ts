/**
 * What every store must do, as one suite: an implementation's test calls it with a way to make one.
 *
 *   storeCompliance('sqlite', async () => ({ store, reopen, dispose }))
 *
 * The rules are those of src/store/store.ts; the last part runs random transactions against a store
 * and against a model that is a map, and compares everything that can be seen.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { GodwitError } from '@godwit/protocol';
import fc from 'fast-check';
import {
  ABSENT,
  ALL_KEYS as ALL,
  type Change,
  compareKeys,
  isWithin,
  type Range,
  type Store,
  withPrefix,
} from '../src/store/store.ts';

export interface Subject {
  readonly store: Store;
  /** Closes it and opens it again, as the next coordinator would. */
  reopen(): Promise<Store>;
  dispose(): Promise<void>;
}

export function storeCompliance(name: string, make: () => Promise<Subject>): void {
  const having = (test: (store: Store, subject: Subject) => Promise<void>) => async () => {
    const subject = await make();
    try {
      await test(subject.store, subject);
    } finally {
      await subject.dispose();
    }
  };
  describe(`${name}: transactions`, () => transactions(having));
  describe(`${name}: ranges`, () => ranges(having));
  describe(`${name}: watches`, () => watches(having));
  describe(`${name}: leases`, () => leases(having));
  describe(`${name}: restarts`, () => restarts(having));
  it(
    `${name}: is like a map with a history`,
    having((store, subject) => likeTheModel(store, subject)),
  );
}

type Having = (test: (store: Store, subject: Subject) => Promise<void>) => () => Promise<void>;

const isCode = (code: string) => (thrown: unknown) =>
  thrown instanceof GodwitError && thrown.code === code;
const put = (store: Store, key: string, value: string, lease?: string) =>
  store.transact([], [{ key, value, ...(lease !== undefined && { lease }) }]);
const keysOf = async (store: Store, range = ALL) =>
  (await store.range(range)).entries.map((entry) => entry.key);

function transactions(having: Having): void {
  it(
    'commit when every comparison holds, and then all of it',
    having(async (store) => {
      const absent = { key: 'a', revision: ABSENT };
      const first = await store.transact([absent], [{ key: 'a', value: '1' }]);
      assert.deepEqual(first, { isCommitted: true, revision: 1 });
      const writes = [
        { key: 'a', value: '2' },
        { key: 'b', value: '2' },
      ];
      const refused = await store.transact(
        [
          { key: 'a', revision: 1 },
          { key: 'b', revision: 1 },
        ],
        writes,
      );
      assert.deepEqual(refused, { isCommitted: false, revision: 1 });
      assert.deepEqual(await keysOf(store), ['a']);
      assert.equal((await store.transact([{ key: 'a', revision: 1 }], writes)).isCommitted, true);
      assert.equal((await store.transact([{ key: 'a', revision: 1 }], writes)).isCommitted, false);
    }),
  );

  it(
    'take effect in the order of the calls, each with a revision of its own',
    having(async (store) => {
      const outcomes = await Promise.all([
        put(store, 'a', '1'),
        store.transact([{ key: 'a', revision: 1 }], [{ key: 'a', value: '2' }]),
        store.transact([{ key: 'a', revision: 1 }], [{ key: 'a', value: 'late' }]),
        put(store, 'b', '3'),
      ]);
      assert.deepEqual(
        outcomes.map((each) => [each.isCommitted, each.revision]),
        [
          [true, 1],
          [true, 2],
          [false, 2],
          [true, 3],
        ],
      );
      assert.equal(store.revision, 3);
      assert.equal((await store.range(ALL)).entries[0]?.value, '2');
    }),
  );

  it(
    'that change nothing make no revision',
    having(async (store) => {
      await store.transact([], []);
      await store.transact([], [{ key: 'a', value: undefined }]);
      assert.equal(store.revision, 0);
    }),
  );

  it(
    'of many writers on one key lose no update',
    having(async (store) => {
      const increment = async (): Promise<void> => {
        const { entries } = await store.range(withPrefix('n'));
        const value = String(Number(entries[0]?.value ?? '0') + 1);
        const seen = { key: 'n', revision: entries[0]?.revision ?? ABSENT };
        const { isCommitted } = await store.transact([seen], [{ key: 'n', value }]);
        if (!isCommitted) await increment();
      };
      await Promise.all(Array.from({ length: 20 }, increment));
      assert.equal((await store.range(ALL)).entries[0]?.value, '20');
    }),
  );
}

function ranges(having: Having): void {
  it(
    'are in the order of code points, whatever the keys are',
    having(async (store) => {
      const keys = ['b/2', 'a/é', 'a/1', 'a/\u{1f600}', 'a/\uffee', 'b/1', 'a', 'a/"', 'a/%'];
      await store.transact(
        [],
        keys.map((key) => ({ key, value: '0' })),
      );
      assert.deepEqual(await keysOf(store), keys.toSorted(compareKeys));
      assert.deepEqual(await keysOf(store, withPrefix('b/')), ['b/1', 'b/2']);
      assert.equal((await keysOf(store, withPrefix('a/'))).length, 6);
    }),
  );

  it(
    'can be read in pages that miss nothing',
    having(async (store) => {
      const keys = Array.from({ length: 7 }, (_, i) => `k/${i}`);
      for (const key of keys) await put(store, key, key);
      const seen: string[] = [];
      for (let from = 'k/', isWhole = false; !isWhole; ) {
        const page = await store.range({ from, to: 'k0' }, 3);
        seen.push(...page.entries.map((entry) => entry.key));
        from = `${seen.at(-1)}\0`;
        ({ isWhole } = page);
      }
      assert.deepEqual(seen, keys);
    }),
  );
}

function watches(having: Having): void {
  it(
    'tell each change of their range once, in order, before its promise is kept',
    having(async (store) => {
      const seen: Change[] = [];
      const end = store.watch(withPrefix('a/'), store.revision, (change) => seen.push(change));
      await put(store, 'b/1', '0');
      assert.equal(seen.length, 0);
      await put(store, 'a/1', '1');
      assert.equal(seen.length, 1);
      await store.transact([], [{ key: 'a/1', value: undefined }]);
      assert.deepEqual(
        seen.map((change) => [change.revision, change.entry?.value]),
        [
          [2, '1'],
          [3, undefined],
        ],
      );
      end();
      await put(store, 'a/1', '2');
      assert.equal(seen.length, 2);
    }),
  );

  it(
    'begin at an earlier revision and go on from there',
    having(async (store) => {
      for (let i = 1; i <= 5; i++) await put(store, `k/${i}`, '0');
      const seen: number[] = [];
      store.watch(ALL, 3, ({ revision }) => seen.push(revision));
      await put(store, 'k/6', '0');
      assert.deepEqual(seen, [4, 5, 6]);
    }),
  );

  it(
    'cannot begin before what is compacted, and entries stay',
    having(async (store) => {
      for (let i = 1; i <= 5; i++) await put(store, `k/${i}`, '0');
      store.compact(3);
      assert.equal(store.compactedRevision, 3);
      assert.throws(() => store.watch(ALL, 2, () => {}), isCode('store.compacted'));
      const seen: number[] = [];
      store.watch(ALL, 3, ({ revision }) => seen.push(revision));
      assert.equal((await keysOf(store)).length, 5);
      await put(store, 'k/6', '0');
      assert.deepEqual(seen, [4, 5, 6]);
      store.compact(99);
      assert.equal(store.compactedRevision, store.revision, 'the future is not forgotten');
    }),
  );

  it(
    'forget the oldest by themselves rather than grow',
    having(async (store) => {
      const value = 'x'.repeat(1024 * 1024);
      for (let i = 0; i < 40; i++) await put(store, 'k', value);
      assert.ok(store.compactedRevision > 0);
      assert.ok(store.compactedRevision < 40);
    }),
  );
}

function leases(having: Having): void {
  const gone = (store: Store, key: string) =>
    new Promise<Change>((resolve) => {
      store.watch(withPrefix(key), store.revision, (change) => {
        if (change.entry === undefined) resolve(change);
      });
    });

  it(
    'end by themselves, and all their keys with them in one transaction',
    having(async (store) => {
      const other = await store.grantLease(60_000);
      await put(store, 'c', '1', other);
      const lease = await store.grantLease(100);
      const both = ['a', 'b'].map((key) => ({ key, value: '1', lease }));
      await store.transact([], both);
      const [a, b] = await Promise.all([gone(store, 'a'), gone(store, 'b')]);
      assert.equal(a.revision, b.revision);
      assert.deepEqual(await keysOf(store), ['c']);
      await assert.rejects(store.keepAlive(lease), isCode('store.lease_gone'));
      await assert.rejects(put(store, 'd', '1', lease), isCode('store.lease_gone'));
    }),
  );

  it(
    'that are kept alive have their whole time again',
    having(async (store) => {
      const order: string[] = [];
      const kept = await store.grantLease(500);
      const left = await store.grantLease(500);
      await store.transact(
        [],
        [
          { key: 'kept', value: '1', lease: kept },
          { key: 'left', value: '1', lease: left },
        ],
      );
      store.watch(ALL, store.revision, ({ key }) => order.push(key));
      await store.keepAlive(kept);
      await Promise.all([gone(store, 'kept'), gone(store, 'left')]);
      assert.deepEqual(order, ['left', 'kept'], 'the elder was kept alive after the younger');
    }),
  );

  it(
    'can be given back, and let go of keys that were written without them since',
    having(async (store) => {
      const lease = await store.grantLease(60_000);
      await put(store, 'a', '1', lease);
      await put(store, 'b', '1', lease);
      await put(store, 'b', '2');
      await store.revokeLease(lease);
      assert.deepEqual(await keysOf(store), ['b']);
      await store.revokeLease(lease);
    }),
  );
}

function restarts(having: Having): void {
  it(
    'keep the id, the entries and the revision, and raise the term',
    having(async (store, subject) => {
      const { id, term } = store;
      await put(store, 'k', '1');
      const again = await subject.reopen();
      assert.deepEqual([again.id, again.term, again.revision], [id, term + 1, 1]);
      assert.deepEqual((await again.range(ALL)).entries, [{ key: 'k', value: '1', revision: 1 }]);
    }),
  );

  it(
    'commit what was asked for before the close',
    having(async (store, subject) => {
      const asked = put(store, 'k', '1');
      const again = await subject.reopen();
      assert.equal((await asked).isCommitted, true);
      assert.deepEqual(await keysOf(again), ['k']);
    }),
  );

  it(
    'give leases their whole time again',
    having(async (store, subject) => {
      const lease = await store.grantLease(60_000);
      await put(store, 'k', '1', lease);
      const again = await subject.reopen();
      await again.keepAlive(lease);
      await again.revokeLease(lease);
      assert.deepEqual(await keysOf(again), []);
    }),
  );
}

// ------------------------------------------------------------------------------------ the model

interface Step {
  readonly compares: { key: string; isTrue: boolean }[];
  readonly writes: { key: string; value: string | undefined }[];
  readonly isAwaited: boolean;
}

const key = fc.constantFrom('a', 'a/1', 'a/2', 'b', 'b/\u{1f600}', 'b/\uffee');
const step: fc.Arbitrary<Step> = fc.record({
  compares: fc.array(fc.record({ key, isTrue: fc.boolean() }), { maxLength: 2 }),
  writes: fc.uniqueArray(fc.record({ key, value: fc.option(fc.string(), { nil: undefined }) }), {
    maxLength: 3,
    selector: (write) => write.key,
  }),
  isAwaited: fc.boolean(),
});

/** Every revision's changes, and what they add up to. */
class Model {
  readonly entries = new Map<string, { value: string; revision: number }>();
  readonly changes: Change[] = [];
  revision: number;

  constructor(revision: number) {
    this.revision = revision;
  }

  transact({ compares, writes }: Step): boolean {
    if (compares.some((compare) => !compare.isTrue)) return false;
    const revision = this.revision + 1;
    for (const { key, value } of writes) {
      if (value === undefined && !this.entries.delete(key)) continue;
      if (value !== undefined) this.entries.set(key, { value, revision });
      const entry = value === undefined ? undefined : { key, value, revision };
      this.changes.push({ key, revision, entry });
      this.revision = revision;
    }
    return true;
  }

  range(range: Range) {
    return [...this.entries]
      .filter(([key]) => isWithin(range, key))
      .map(([key, entry]) => ({ key, ...entry }))
      .sort((x, y) => compareKeys(x.key, y.key));
  }
}

async function likeTheModel(store: Store, subject: Subject): Promise<void> {
  let now = store;
  const steps = fc.array(step, { maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(
      steps,
      fc.nat(20),
      fc.constantFrom('a/', 'b', 'a'),
      async (all, from, prefix) => {
        await now.transact(
          [],
          (await keysOf(now)).map((each) => ({ key: each, value: undefined })),
        );
        const model = new Model(now.revision);
        const range = withPrefix(prefix);
        const seen: Change[] = [];
        now.watch(range, now.revision, (change) => seen.push(change));
        const before = now.revision;
        await runSteps(now, model, all);
        assert.equal(now.revision, model.revision);
        assert.deepEqual((await now.range(range)).entries, model.range(range));
        const told = model.changes.filter((change) => isWithin(range, change.key));
        assert.deepEqual(seen, told);
        const late: Change[] = [];
        const after = Math.min(before + from, now.revision);
        now.watch(range, after, (change) => late.push(change))();
        assert.deepEqual(
          late,
          told.filter((change) => change.revision > after),
        );
        now = await subject.reopen();
        assert.deepEqual((await now.range(range)).entries, model.range(range));
      },
    ),
    { numRuns: 60 },
  );
}

/** Comparisons that hold name the revision the model has; others one that never was. */
async function runSteps(store: Store, model: Model, steps: readonly Step[]): Promise<void> {
  const outcomes: Promise<void>[] = [];
  for (const each of steps) {
    const compares = each.compares.map(({ key, isTrue }) => ({
      key,
      revision: isTrue ? (model.entries.get(key)?.revision ?? ABSENT) : 1e9,
    }));
    const isCommitted = model.transact(each);
    const { revision } = model;
    const checked = store
      .transact(compares, each.writes)
      .then((outcome) => assert.deepEqual(outcome, { isCommitted, revision }));
    outcomes.push(checked);
    if (each.isAwaited) await checked;
  }
  await Promise.all(outcomes);
}
