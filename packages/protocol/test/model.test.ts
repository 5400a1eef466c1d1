/**
 * The spin models stand beside the tables: same names, and they still hold. CORES.md is what the
 * tables print. Where spin or gcc is missing the search is skipped and counted; the rest is not.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { coresDocument } from '../model/diagrams.ts';
import { missingPackages } from '../model/spin.ts';
import { COORDINATOR, SOURCE, TARGET } from '../src/cores/mod.ts';

const read = (path: string): string => readFileSync(new URL(path, import.meta.url), 'utf8');
const RUN = fileURLToPath(new URL('../model/run.ts', import.meta.url));

function runModel(options: readonly string[], env: NodeJS.ProcessEnv = process.env) {
  return spawnSync(process.execPath, [RUN, ...options], { encoding: 'utf8', env });
}

/** Names with the role's letter, in the model's declarations and in everything after them. */
function namesInModel(letter: string): { declared: string[]; used: string[] } {
  const text = read('../model/handover.pml').replaceAll(/\/\*[\s\S]*?\*\//g, '');
  const declarations = text.match(/^mtype = \{[^}]*\}/gm)?.join('\n') ?? '';
  const rest = text.replaceAll(/^mtype = \{[^}]*\}/gm, '');
  const pattern = new RegExp(`\\b${letter}_([a-zA-Z]+)\\b`, 'g');
  const names = (where: string) => [...new Set([...where.matchAll(pattern)].map((m) => m[1]!))];
  return { declared: names(declarations).sort(), used: names(rest) };
}

for (const [letter, core] of [
  ['s', SOURCE],
  ['t', TARGET],
  ['c', COORDINATOR],
] as const) {
  test(`model and table of the ${core.role} have the same phases`, () => {
    const { declared, used } = namesInModel(letter);
    assert.deepEqual(declared, Object.keys(core.phases).sort());
    for (const phase of declared) assert.ok(used.includes(phase), `${phase} is declared only`);
  });
}

test('every mutation flag of the models is run, and every one that is run exists', () => {
  const flags = (text: string) => [...new Set(text.match(/\bM_[A-Z_]+\b/g))].sort();
  const models = read('../model/handover.pml') + read('../model/safepoint.pml');
  assert.deepEqual(flags(read('../model/run.ts')), flags(models));
});

test('CORES.md is up to date (node packages/protocol/model/diagrams.ts --write)', () => {
  assert.equal(read('../CORES.md'), coresDocument());
});

const missing = missingPackages();

test('the models hold and every mutation is caught', {
  skip: missing.length > 0 ? `not installed: ${missing.join(', ')}` : false,
}, () => {
  const { status, stdout, stderr } = runModel(['--json', '--quick']);
  assert.equal(status, 0, stdout + stderr);
  const { states, violations, mutations } = JSON.parse(stdout.trimEnd().split('\n').at(-1)!);
  assert.ok(states > 0);
  assert.equal(violations, 0);
  assert.ok(mutations.length > 0);
  assert.ok(mutations.every((mutation: { caught: boolean }) => mutation.caught));
});

test('without spin and gcc the error names the packages', () => {
  const { status, stderr } = runModel([], { ...process.env, PATH: '' });
  assert.equal(status, 1);
  assert.match(stderr, /^error: .*spin.*gcc.*\nhint: apt-get install spin gcc\n$/);
});

test('an unknown option of the model command is an error of usage', () => {
  const { status, stderr } = runModel(['--jsno']);
  assert.equal(status, 2);
  assert.match(stderr, /^error: --jsno: unknown option\nhint: /);
});
