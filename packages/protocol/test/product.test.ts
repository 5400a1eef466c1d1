/**
 * Rules 1 and 2 of the design, over the product of the three tables. Goal: no interleaving of
 * messages, lost links, deadlines, cancels and one fault ends with two running guests, with none, or
 * with a page that nobody has. Method: all states are enumerated (walk.ts); then rows are mutated, and
 * the walk must notice: a check that cannot fail shows nothing.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CoordinatorRow } from '../src/cores/coordinator.ts';
import { defineCore } from '../src/cores/core.ts';
import { COORDINATOR, SOURCE, TARGET } from '../src/cores/mod.ts';
import type { SourceRow } from '../src/cores/source.ts';
import type { TargetRow } from '../src/cores/target.ts';
import { bottomStates, type Rule, type Walk, walk } from './walk.ts';
import type { Cores, Settings } from './walk-state.ts';

const CORES: Cores = { source: SOURCE, target: TARGET, coordinator: COORDINATOR };

function explain({ broken }: Walk): string {
  return [...broken].map(([rule, way]) => `${rule}:\n  ${way.join('\n  ')}`).join('\n');
}

for (const postcopy of [false, true]) {
  for (const heal of [false, true]) {
    const name = `${postcopy ? 'post-copy' : 'pre-copy'}, ${heal ? 'healing' : 'not healing'}`;
    test(`one fault, ${name}: never two, never none, no lost write, all come to an end`, (t) => {
      const settings: Settings = { cores: CORES, postcopy, heal, faults: 1, cancel: false };
      const result = walk({ ...settings, liveness: true });
      assert.equal(result.broken.size, 0, explain(result));
      t.diagnostic(`${result.states} states`);
    });
  }
}

test('one fault and a cancel at any time, healing: the same', (t) => {
  const settings: Settings = { cores: CORES, postcopy: false, heal: true, faults: 1, cancel: true };
  const result = walk({ ...settings, liveness: true });
  assert.equal(result.broken.size, 0, explain(result));
  t.diagnostic(`${result.states} states`);
});

for (const postcopy of [false, true]) {
  test(`a killed target is discarded by a person, ${postcopy ? 'post-copy' : 'pre-copy'}`, () => {
    const settings: Settings = { cores: CORES, postcopy, heal: true, faults: 1, cancel: false };
    const result = walk({ ...settings, killsOnly: true, discards: true, liveness: true });
    assert.equal(result.broken.size, 0, explain(result));
  });
}

// ---------------------------------------------------------------------------------- mutations

type AnyRow = SourceRow | TargetRow | CoordinatorRow;

/**
 * The rows with `changed` in front of every row that stands for the same phase and event: pairs that
 * it takes over are taken out of the others.
 */
function mutated<R extends AnyRow>(rows: readonly R[], changed: R): R[] {
  const split = rows.flatMap((row) => {
    const at = [row.at].flat() as string[];
    const on = [row.on].flat() as string[];
    if (!at.includes(changed.at as string) || !on.includes(changed.on as string)) return [row];
    if (row.when !== undefined && changed.when !== undefined && row.when !== changed.when)
      return [row];
    return [
      { ...row, at: at.filter((phase) => phase !== changed.at) },
      { ...row, at: [changed.at], on: on.filter((event) => event !== changed.on) },
    ] as R[];
  });
  return [...split, changed];
}

const inSource = (row: SourceRow): Cores => ({
  ...CORES,
  source: defineCore({ ...SOURCE, ignoring: [], rows: mutated(SOURCE.rows, row) }),
});
const inTarget = (row: TargetRow): Cores => ({
  ...CORES,
  target: defineCore({ ...TARGET, ignoring: [], rows: mutated(TARGET.rows, row) }),
});
const inCoordinator = (row: CoordinatorRow): Cores => ({
  ...CORES,
  coordinator: defineCore({ ...COORDINATOR, ignoring: [], rows: mutated(COORDINATOR.rows, row) }),
});

const RUN = ['journalRan', 'startHarts', 'sendRunning', 'sendAllPresent'] as const;

/**
 * Each with settings under which the unmutated tables are walked above without an error (kills alone
 * are a part of that walk).
 */
const MUTATIONS: readonly {
  readonly name: string;
  readonly cores: Cores;
  readonly breaks: Rule;
  readonly postcopy?: boolean;
  readonly heal?: boolean;
  readonly cancel?: boolean;
  readonly killsOnly?: boolean;
}[] = [
  {
    name: 'source sends RUN on a late LANDED after it asked',
    cores: inSource({
      at: 'asking',
      on: 'landedGood',
      to: 'released',
      effects: ['sendRun'],
      why: '',
    }),
    breaks: 'never two',
  },
  {
    name: 'source asks for the guest although RUN is out',
    cores: inSource({
      at: 'released',
      on: 'deadline',
      to: 'asking',
      effects: ['decideSource'],
      why: '',
    }),
    breaks: 'never two',
  },
  {
    name: 'source takes a deadline for an answer',
    cores: inSource({
      at: 'released',
      on: 'deadline',
      to: 'kept',
      effects: ['journalKept', 'resumeAtEpochPlus2', 'reportKept'],
      why: '',
    }),
    breaks: 'never two',
  },
  {
    name: 'source frees its pages because the target is out of reach',
    cores: inSource({
      at: 'serving',
      on: 'peerLost',
      to: 'freed',
      effects: ['free', 'reportFreed'],
      why: '',
    }),
    breaks: 'no page lost',
    postcopy: true,
  },
  {
    name: 'source frees on a verdict, before RUNNING',
    cores: inSource({
      at: 'asking',
      on: 'verdictTarget',
      to: 'freed',
      effects: ['free', 'reportFreed'],
      why: '',
    }),
    breaks: 'no page lost',
  },
  {
    name: 'source does not take REFUSED for an answer once RUN is out',
    cores: inSource({ at: 'released', on: 'refused', effects: [], why: '' }),
    breaks: 'never none',
  },
  {
    name: 'source goes on with its image although the dead target had run it',
    cores: inSource({
      at: 'released',
      on: 'targetDiedRan',
      to: 'kept',
      effects: ['journalKept', 'resumeAtEpochPlus2', 'reportKept'],
      why: '',
    }),
    breaks: 'no lost write',
  },
  {
    name: 'target runs on HANDOVER, without waiting for RUN',
    cores: inTarget({
      at: 'landing',
      on: 'manifestComplete',
      to: 'running',
      set: { complete: true },
      effects: RUN,
      why: '',
    }),
    breaks: 'never two',
  },
  {
    name: 'a dropped target comes back on a late RUN',
    cores: inTarget({ at: 'dropped', on: 'run', to: 'running', effects: RUN, why: '' }),
    breaks: 'never two',
    postcopy: true,
  },
  {
    name: 'target does not renounce when only the source is in reach',
    cores: inTarget({ at: 'asking', on: 'deadline', when: 'onlyPeer', effects: [], why: '' }),
    breaks: 'never none',
    heal: false,
  },
  {
    name: 'target drops on a CANCEL although it asked for the verdict',
    cores: inTarget({
      at: 'asking',
      on: 'cancel',
      to: 'dropped',
      effects: ['drop', 'sendRefused'],
      why: '',
    }),
    breaks: 'never none',
    cancel: true,
    killsOnly: true,
  },
  {
    name: 'coordinator: the last writer wins',
    cores: inCoordinator({
      at: 'verdictSource',
      on: 'decideTarget',
      to: 'verdictTarget',
      effects: ['record', 'answerTarget'],
      why: '',
    }),
    breaks: 'never two',
  },
  {
    name: 'coordinator keeps the proof to itself that a dead target never ran it',
    cores: inCoordinator({
      at: 'granted',
      on: 'targetDiedNotRan',
      when: 'sourceAlive',
      effects: [],
      why: '',
    }),
    breaks: 'never none',
  },
  {
    name: 'coordinator calls a question that crossed the end superseded',
    cores: inCoordinator({
      at: 'moved',
      on: 'decideTarget',
      effects: ['answerSuperseded'],
      why: '',
    }),
    breaks: 'never none',
  },
];

for (const {
  name,
  cores,
  breaks,
  postcopy = false,
  heal = true,
  cancel = false,
  killsOnly = false,
} of MUTATIONS) {
  test(`mutation: ${name}: caught as "${breaks}"`, () => {
    const result = walk({ cores, postcopy, heal, cancel, killsOnly, faults: 1, liveness: true });
    assert.deepEqual([...result.broken.keys()], [breaks], explain(result));
  });
}

test('bottom components: a loop that can be left is none, a loop that cannot is one', () => {
  assert.deepEqual(bottomStates([[1], [0, 2], [3], [2]]).sort(), [2, 3]);
  assert.deepEqual(bottomStates([[1, 2], [], []]).sort(), [1, 2]);
});
