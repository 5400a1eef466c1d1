/**
 * `npm test`: every test of the repository with Node's own runner.
 *
 *   npm test                                   everything
 *   npm test -- packages/cli                   the files whose path contains this
 *   npm test -- --test-name-pattern=console    options go to Node
 *
 * Files of the packages run two at a time, because many start processes: more would measure the machine's
 * patience. Those of bench and demo load whole clusters, whose switchovers have deadlines, with guests that
 * write as fast as they can; beside another they would measure it too, so they run by themselves.
 * At the end of each of the two runs stands what was skipped, and why.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { globSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const GROUPS = [
  { patterns: ['packages/*/test/**/*.test.ts', 'tools/**/*.test.ts'], concurrency: 2 },
  { patterns: ['bench/test/**/*.test.ts', 'demo/test/**/*.test.ts'], concurrency: 1 },
] as const;
/** No single file may keep the rest waiting for ever. */
const FILE_DEADLINE_MS = 300_000;

/** As Node shows them, and then what was skipped. */
const REPORTERS = ['spec', fileURLToPath(new URL('skipped.ts', import.meta.url))].flatMap(
  (reporter) => [`--test-reporter=${reporter}`, '--test-reporter-destination=stdout'],
);

const given = process.argv.slice(2);
const options = given.filter((argument) => argument.startsWith('-'));
const filters = given.filter((argument) => !argument.startsWith('-'));

const runs = GROUPS.map(({ patterns, concurrency }) => {
  const files = globSync([...patterns], { cwd: ROOT })
    .filter((file) => filters.length === 0 || filters.some((filter) => file.includes(filter)))
    .toSorted();
  return { files, concurrency };
}).filter(({ files }) => files.length > 0);
if (runs.length === 0) {
  process.stderr.write(`error: no test file matches ${filters.join(', ')}\n`);
  process.exit(1);
}

let runner: ChildProcess | undefined;
let ended: NodeJS.Signals | undefined;
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    ended = signal;
    runner?.kill(signal);
  });
}

/** @returns the exit code of Node's runner */
async function run({ files, concurrency }: (typeof runs)[number]): Promise<number> {
  const defaults = [
    ...(options.some((option) => option.startsWith('--test-reporter')) ? [] : REPORTERS),
    ...[`--test-concurrency=${concurrency}`, `--test-timeout=${FILE_DEADLINE_MS}`],
  ];
  runner = spawn(process.execPath, ['--test', ...defaults, ...options, ...files], {
    cwd: ROOT,
    stdio: 'inherit',
    env: {
      // Each file is a process of its own, and each would strip the types of the same sources again.
      NODE_COMPILE_CACHE: join(ROOT, 'node_modules/.cache/godwit'),
      // A target's memory is never zero by chance: a page that nobody sent is found.
      GODWIT_TEST_POISON: '1',
      ...process.env,
    },
  });
  const [code, signal] = (await once(runner, 'exit')) as [number | null, NodeJS.Signals | null];
  ended ??= signal ?? undefined;
  return code ?? 1;
}

let worst = 0;
for (const each of runs) {
  worst = Math.max(worst, await run(each));
  if (ended !== undefined) process.exit(128 + constants.signals[ended]);
}
process.exit(worst);
