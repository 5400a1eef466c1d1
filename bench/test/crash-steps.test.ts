/** The cases of `npm run crash` against the cores' tables: no step is left out without a reason. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { COORDINATOR, SOURCE, TARGET } from '@godwit/protocol';
import { SCENARIOS } from '../crash-cases.ts';
import { EXEMPTIONS } from '../crash-exemptions.ts';

/** Where the coordinator can be held beside its table (fault-points.ts). */
const BESIDE_THE_TABLE = ['coordinator:granted:open', 'coordinator:granted:sendDecision'];

interface AnyRow {
  readonly at: string | readonly string[];
  readonly to?: string;
  readonly effects: readonly string[];
}

function stepsOf({ role, rows }: { role: string; rows: readonly AnyRow[] }): string[] {
  return rows.flatMap(({ at, to, effects }) =>
    (to === undefined ? [at].flat() : [to]).flatMap((phase) =>
      effects.map((effect) => `${role}:${phase}:${effect}`),
    ),
  );
}

const inTables = new Set([SOURCE, TARGET, COORDINATOR].flatMap(stepsOf));
const inScenarios = new Set(
  Object.values(SCENARIOS).flatMap(({ steps }) =>
    steps.map((step) => step.split('#')[0] as string),
  ),
);
const exempt = EXEMPTIONS.flatMap(({ steps }) => steps);

test('every step of the tables is in a scenario or has a reason not to be', (t) => {
  t.diagnostic(`${inTables.size} steps, ${exempt.length} of them exempt`);
  const known = new Set([...inScenarios, ...exempt]);
  assert.deepEqual(
    [...inTables].filter((step) => !known.has(step)),
    [],
  );
});

test('every step of a scenario exists', () => {
  const known = new Set([...inTables, ...BESIDE_THE_TABLE]);
  const places = Object.values(SCENARIOS).flatMap(({ steps, held, meanwhile }) =>
    [...steps, held, meanwhile?.at].filter((step) => step !== undefined),
  );
  const unknown = places.filter((step) => !known.has(step.split('#')[0] as string));
  assert.deepEqual(unknown, []);
});

test('an exemption is a step, stands once and is not covered after all', () => {
  assert.deepEqual(
    exempt.filter((step) => !inTables.has(step)),
    [],
  );
  assert.deepEqual(
    exempt.filter((step) => inScenarios.has(step)),
    [],
  );
  assert.equal(new Set(exempt).size, exempt.length);
  assert.ok(EXEMPTIONS.every(({ why }) => why !== ''));
});
