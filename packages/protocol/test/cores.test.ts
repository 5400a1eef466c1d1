/**
 * Properties of each core's table alone. Goal: a table that can be read, with no dead name in it and
 * no state in which two rows speak. Method: the tables are small, so every state and event is tried.
 * The three together: product.test.ts.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Core, Facts } from '../src/cores/core.ts';
import {
  COORDINATOR,
  COORDINATOR_TO_SOURCE,
  COORDINATOR_TO_TARGET,
  SOURCE,
  SOURCE_TO_COORDINATOR,
  SOURCE_TO_TARGET,
  TARGET,
  TARGET_TO_COORDINATOR,
  TARGET_TO_SOURCE,
} from '../src/cores/mod.ts';

type AnyCore = Core<string, string, string, Facts, string>;
const CORES = [SOURCE, TARGET, COORDINATOR] as unknown as readonly AnyCore[];

/** Every combination of the core's facts, with every phase. */
function allStates(core: AnyCore) {
  const { phase: _, ...facts } = core.initial;
  const names = Object.keys(facts);
  return Object.keys(core.phases).flatMap((phase) =>
    Array.from({ length: 2 ** names.length }, (_unused, bits) => ({
      ...Object.fromEntries(names.map((name, i) => [name, ((bits >> i) & 1) === 1])),
      phase,
    })),
  );
}

const list = (one: string | readonly string[]) => (typeof one === 'string' ? [one] : one);

for (const core of CORES) {
  test(`${core.role}: every phase, event, effect and condition is used`, () => {
    const phases = new Set([core.initial.phase as string, ...core.rows.map((r) => r.to)]);
    assert.deepEqual(
      Object.keys(core.phases).filter((p) => !phases.has(p)),
      [],
    );
    const events = new Set([...core.rows, ...core.ignoring].flatMap((r) => list(r.on)));
    assert.deepEqual(
      Object.keys(core.events).filter((e) => !events.has(e)),
      [],
    );
    const effects = new Set(core.rows.flatMap((r) => r.effects));
    assert.deepEqual(
      Object.keys(core.effects).filter((e) => !effects.has(e)),
      [],
    );
    const conditions = new Set(core.rows.map((r) => r.when));
    assert.deepEqual(
      Object.keys(core.conditions).filter((c) => !conditions.has(c)),
      [],
    );
  });

  test(`${core.role}: in no state do two rows stand for one event`, () => {
    for (const state of allStates(core)) {
      for (const event of Object.keys(core.events)) {
        const rows = core.rows.filter(
          (r) =>
            list(r.at).includes(state.phase) &&
            list(r.on).includes(event) &&
            (r.when === undefined || core.conditions[r.when]!(state as unknown as Facts)),
        );
        assert.ok(rows.length <= 1, `${JSON.stringify(state)} ${event}`);
      }
    }
  });

  test(`${core.role}: every phase can be reached`, () => {
    const seen = new Set([JSON.stringify(core.initial)]);
    for (const text of seen) {
      for (const event of Object.keys(core.events)) {
        seen.add(JSON.stringify(core.step(JSON.parse(text), event).state));
      }
    }
    const phases = new Set([...seen].map((text) => JSON.parse(text).phase));
    assert.deepEqual([...phases].sort(), Object.keys(core.phases).sort());
  });

  test(`${core.role}: an event without a row changes nothing and is listed`, () => {
    const pairs = new Set(core.ignoredPairs().map(({ phase, event }) => `${phase} ${event}`));
    for (const state of allStates(core)) {
      for (const event of Object.keys(core.events)) {
        if (!pairs.has(`${state.phase} ${event}`)) continue;
        const step = core.step(state as never, event);
        assert.deepEqual(
          { ...step, why: '' },
          { state, effects: [], ignored: true, why: '' },
          `${state.phase} ${event}`,
        );
      }
    }
  });
}

test('the guest starts here exactly when harts are started, and stops when they are stopped', () => {
  const starts = ['resumeAtEpochPlus2', 'resumeAtSameEpoch', 'startHarts'];
  for (const core of CORES.slice(0, 2)) {
    for (const row of core.rows) {
      for (const phase of list(row.at)) {
        const before = core.phases[phase]!.guest === 'here';
        const after = core.phases[row.to ?? phase]!.guest === 'here';
        const where = `${core.role} ${phase} ${row.on}`;
        assert.equal(
          row.effects.some((e) => starts.includes(e)),
          !before && after,
          where,
        );
        if (before && !after && row.to !== 'ended')
          assert.ok(row.effects.includes('stopHarts'), where);
      }
    }
  }
});

test('what is journalled is journalled before the harts start', () => {
  for (const [core, journal, start] of [
    [SOURCE, 'journalKept', 'resumeAtEpochPlus2'],
    [TARGET, 'journalRan', 'startHarts'],
  ] as const) {
    for (const { effects } of core.rows) {
      const at = (effects as readonly string[]).indexOf(start);
      if (at >= 0) assert.ok((effects as readonly string[]).indexOf(journal) < at, effects.join());
      assert.equal(at >= 0, (effects as readonly string[]).includes(journal), effects.join());
    }
  }
});

test('RUN is sent in one phase only, on a good LANDED, and DECIDE(source) never after it', () => {
  const run = SOURCE.rows.filter((r) => r.effects.includes('sendRun'));
  assert.deepEqual(
    run.map((r) => [r.at, r.on, r.to]),
    [
      ['offered', 'landedGood', 'released'],
      ['offered', 'landedGood', 'released'],
    ],
  );
  for (const row of SOURCE.rows.filter((r) => r.effects.includes('decideSource'))) {
    for (const phase of list(row.at))
      assert.ok(['offered', 'cancelling', 'asking'].includes(phase));
    assert.equal(row.to ?? row.at, 'asking');
  }
});

test('cancel is answered in every phase before RUN', () => {
  for (const phase of ['preparing', 'rounds', 'stopping', 'offered', 'asking'] as const) {
    const { effects } = SOURCE.step({ phase, complete: true }, 'cancel');
    assert.ok(effects.includes('sendCancel'), phase);
  }
  assert.ok(SOURCE.step({ phase: 'released', complete: true }, 'cancel').ignored);
});

test('a dropped target is never left and answers REFUSED', () => {
  assert.ok(TARGET.isFinal('dropped'));
  const state = { phase: 'dropped', complete: true, peer: true, coordinator: true } as const;
  for (const event of [
    'handover',
    'run',
    'cancel',
    'query',
    'verdictTarget',
    'peerBack',
  ] as const) {
    assert.deepEqual(TARGET.step(state, event).effects, ['sendRefused'], event);
  }
});

test('the coordinator records before it says anything, and says the same again', () => {
  for (const row of COORDINATOR.rows) {
    if (row.to !== undefined || row.set !== undefined) assert.equal(row.effects[0], 'record');
  }
  for (const first of ['decideSource', 'decideTarget'] as const) {
    const { state, effects } = COORDINATOR.step(COORDINATOR.initial, first);
    const answer = effects.at(-1);
    for (const again of ['decideSource', 'decideTarget', 'query'] as const) {
      const step = COORDINATOR.step(state, again);
      assert.deepEqual([step.state, step.effects], [state, [answer]]);
    }
  }
});

test('no timer and no lost peer frees a page', () => {
  for (const row of SOURCE.rows.filter((r) => r.effects.includes('free'))) {
    for (const event of list(row.on)) {
      assert.ok(['running', 'allPresent', 'superseded', 'guestDiscard'].includes(event), event);
    }
  }
});

test('every effect that speaks to another end is an event there', () => {
  const speaks = /^(send|decide|report|query|answer|tell)/;
  for (const [core, ...deliveries] of [
    [SOURCE, SOURCE_TO_TARGET, SOURCE_TO_COORDINATOR],
    [TARGET, TARGET_TO_SOURCE, TARGET_TO_COORDINATOR],
    [COORDINATOR, COORDINATOR_TO_SOURCE, COORDINATOR_TO_TARGET],
  ] as const) {
    const heard = new Set(deliveries.flatMap((delivery) => Object.keys(delivery)));
    // `sendRest` moves pages, `reportLost` of the coordinator is for people.
    const silent = core.role === 'coordinator' ? ['reportLost'] : ['sendRest'];
    for (const effect of Object.keys(core.effects)) {
      const expected = speaks.test(effect) && !silent.includes(effect);
      assert.equal(heard.has(effect), expected, `${core.role}: ${effect}`);
    }
  }
});

/** Where one half is ignored on purpose: under the other condition nothing is to be done. */
const HALF_IGNORED: { readonly [pair: string]: string } = {
  'coordinator verdictSource refused': 'with a dead source it is lost already',
  'coordinator complete targetDiscarded': 'with a dead source it is moved already',
  'coordinator lost targetDiscarded': 'a dead source has no image to go back to',
  'target asking run': 'an incomplete target never asks',
  'target running allPresent': 'said once',
  'target running guestEnded': 'a complete guest ends like any other',
  'target running sourceDied': 'a complete guest needs nothing from the source',
  'target running verdictTarget': 'acknowledges RUNNING; ALL_PRESENT is still to come',
};

test('each condition of one pair leaves the rest to its opposite', () => {
  // With the facts given, either exactly one row stands for an event or none does in any state: a
  // pair that is answered under one condition and forgotten under the other would be a hole.
  const partial = CORES.flatMap((core) =>
    Object.keys(core.phases).flatMap((phase) =>
      Object.keys(core.events).flatMap((event) => {
        const states = allStates(core).filter((state) => state.phase === phase);
        const ignored = states.filter((state) => core.step(state as never, event).ignored).length;
        return ignored === 0 || ignored === states.length ? [] : [`${core.role} ${phase} ${event}`];
      }),
    ),
  );
  assert.deepEqual(partial.sort(), Object.keys(HALF_IGNORED).sort());
});
