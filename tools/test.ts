/**
 * `npm test`: every test of the repository with Node's own runner, two files at a time.
 *
 *   npm test                                   everything
 *   npm test -- packages/cli                   the files whose path contains this
 *   npm test -- --test-name-pattern=console    options go to Node
 *
 * Two at a time because the tests start whole clusters: more would measure the machine's patience.
 */
import { spawn } from 'node:child_process';
import { globSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const PATTERNS = [
  'packages/*/test/**/*.test.ts',
  'demo/test/**/*.test.ts',
  'bench/test/**/*.test.ts',
  'tools/**/*.test.ts',
];
const CONCURRENCY = 2;
/** No single file may keep the rest waiting for ever. */
const FILE_DEADLINE_MS = 300_000;

const given = process.argv.slice(2);
const options = given.filter((argument) => argument.startsWith('-'));
const filters = given.filter((argument) => !argument.startsWith('-'));

const files = globSync(PATTERNS, { cwd: ROOT })
  .filter((file) => filters.length === 0 || filters.some((filter) => file.includes(filter)))
  .toSorted();
if (files.length === 0) {
  process.stderr.write(`error: no test file matches ${filters.join(', ')}\n`);
  process.exit(1);
}

const defaults = [`--test-concurrency=${CONCURRENCY}`, `--test-timeout=${FILE_DEADLINE_MS}`];
const child = spawn(process.execPath, ['--test', ...defaults, ...options, ...files], {
  cwd: ROOT,
  stdio: 'inherit',
  // Each file is a process of its own, and each would strip the types of the same sources again.
  env: { NODE_COMPILE_CACHE: join(ROOT, 'node_modules/.cache/godwit'), ...process.env },
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal));
child.on('exit', (code, signal) => {
  process.exit(code ?? 128 + (signal ? constants.signals[signal] : 0));
});
