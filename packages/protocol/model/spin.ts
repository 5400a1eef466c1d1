/**
 * Runs spin on one model with one set of flags: generate the verifier, compile it, search all states.
 *
 * spin(1) turns a model into a C program (pan), gcc compiles it. Everything is made in a directory of
 * its own that is removed again. A search that was not exhaustive is an error, never a result.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface Search {
  readonly states: number;
  /** The assertion that was violated, by its name in the model; undefined: none. */
  readonly violated: string | undefined;
}

/** The program and the Debian package it comes with. */
const TOOLS = [
  ['spin', 'spin', '-V'],
  ['gcc', 'gcc', '--version'],
] as const;

/** Deeper than any path of these models; pan says so if it is not, and that is an error here. */
const DEPTH_MAX = 10_000;
/** A hundred times what the largest search takes; only a broken installation takes longer. */
const SEARCH_MS_MAX = 600_000;

/** The Debian packages that are missing on this machine. */
export function missingPackages(): string[] {
  return TOOLS.filter(
    ([program, , option]) => spawnSync(program, [option]).error !== undefined,
  ).map(([, debian]) => debian);
}

/**
 * Searches all states of `model` (a file of this directory) under `flags`.
 * Throws Error if spin, gcc or the search itself fails.
 */
export function search(model: string, flags: readonly string[]): Search {
  const directory = mkdtempSync(join(tmpdir(), 'godwit-model-'));
  try {
    const file = fileURLToPath(new URL(model, import.meta.url));
    execFileSync('spin', ['-a', ...flags, file], { cwd: directory, encoding: 'utf8' });
    // Many faults make many states: there the optimiser earns its own time back.
    const optimise = flags.some((flag) => flag.startsWith('-DFAULTS')) ? '-O2' : '-O0';
    execFileSync('gcc', [optimise, '-DSAFETY', '-w', '-o', 'pan', 'pan.c'], { cwd: directory });
    // -E: an end that waits for ever is judged by the model's own assertions.
    const output = execFileSync('./pan', ['-E', `-m${DEPTH_MAX}`], {
      cwd: directory,
      encoding: 'utf8',
      timeout: SEARCH_MS_MAX,
    });
    return readSearch(output, `${model} ${flags.join(' ')}`);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function readSearch(output: string, what: string): Search {
  const states = /(\d+) states, stored/.exec(output)?.[1];
  const errors = /errors: (\d+)/.exec(output)?.[1];
  const cut = /max search depth too small|out of memory|truncated/i.exec(output)?.[0];
  if (states === undefined || errors === undefined || cut !== undefined) {
    throw new Error(`${what}: the search was not exhaustive: ${cut ?? output.slice(0, 400)}`);
  }
  const violated = /assertion violated (\S+)/.exec(output)?.[1];
  if (violated === undefined && errors !== '0') {
    throw new Error(`${what}: an error that is no violated assertion: ${output.slice(0, 400)}`);
  }
  return { states: Number(states), violated };
}
