/**
 * The layout's rules, as tests: who may import whom, how long a file may be, that each says what it is
 * for, and that the documents name files that exist.
 */
import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** Arrows between packages; what is not drawn does not exist. Demo and benchmarks come last. */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  protocol: [],
  machine: [],
  images: ['protocol'],
  agent: ['protocol', 'machine', 'images'],
  coordinator: ['protocol'],
  cli: ['protocol', 'machine', 'images'],
  console: ['protocol'],
  simulator: ['protocol'],
  demo: ['protocol', 'machine', 'images', 'cli'],
  bench: ['protocol', 'machine', 'images', 'cli'],
  tools: ['protocol'],
};
/** Inside the agent: both ends of a migration stand on the same ground and never on each other. */
const STRANGERS: readonly (readonly [string, string])[] = [
  ['packages/agent/src/source/', 'packages/agent/src/target/'],
  ['packages/agent/src/target/', 'packages/agent/src/source/'],
];
const LINES_MAX = 500;
/** Tables that would lose their point if they were cut: one row for each thing there is. */
const TABLES: ReadonlySet<string> = new Set([
  'packages/protocol/src/messages.ts',
  'packages/protocol/src/errors.ts',
]);

interface Source {
  readonly path: string;
  readonly text: string;
  /** The package or top-level folder it belongs to. */
  readonly home: string;
  readonly isTest: boolean;
  readonly imports: readonly string[];
}

const FILES = globSync(
  [
    'packages/*/{src,test,model,bin,assembly,guests}/**/*.{ts,js}',
    'packages/*/*.mjs',
    '{demo,bench,tools}/**/*.ts',
  ],
  { cwd: ROOT },
)
  .filter((path) => !path.includes('node_modules') && !path.includes('/build/'))
  .toSorted()
  .map(readSource);

describe('arrows', () => {
  it('between packages are only those drawn', () => {
    check((file) =>
      file.imports
        .filter((target) => target.startsWith('@godwit/'))
        .filter((target) => {
          const name = target.slice('@godwit/'.length).split('/')[0]!;
          return name !== file.home && !ARROWS[file.home]?.includes(name);
        })
        .map((target) => `imports ${target}`),
    );
  });

  // Apart from mod.ts, for worker threads: the schemas load a library, and few need all of the machine.
  const apart = ['@godwit/protocol/http-api', '@godwit/machine/memory'];

  it('lead to a package by its name, which is its mod.ts', () => {
    check((file) =>
      file.imports.filter((target) => {
        if (target.startsWith('@godwit/'))
          return !apart.includes(target) && target.split('/').length > 2;
        return target.startsWith('.') && homeOf(resolved(file, target)) !== file.home;
      }),
    );
  });

  it('never join source and target', () => {
    check((file) =>
      STRANGERS.flatMap(([from, to]) =>
        file.path.startsWith(from)
          ? file.imports.filter(
              (target) => target.startsWith('.') && resolved(file, target).startsWith(to),
            )
          : [],
      ),
    );
  });

  it('never lead from production to a test', () => {
    check((file) =>
      file.isTest ? [] : file.imports.filter((target) => resolved(file, target).includes('/test/')),
    );
  });

  it('lead to files that exist', () => {
    check((file) =>
      file.imports
        .filter((target) => target.startsWith('.') && /\.(ts|js|mjs)$/.test(target))
        .filter((target) => !existsSync(join(ROOT, resolved(file, target)))),
    );
  });
});

describe('every file', () => {
  it('says at its head what it is for', () => {
    check((file) => (/^(#!.*\n)?\/\*\*/.test(file.text) ? [] : ['has no header comment']));
  });

  it(`has at most ${LINES_MAX} lines`, () => {
    check((file) => {
      const lines = file.text.split('\n').length - 1;
      return lines > LINES_MAX && !TABLES.has(file.path) ? [`has ${lines} lines`] : [];
    });
  });

  it('is finished', () => {
    const unfinished = new RegExp(
      `\\b(${['TO', 'FIX', 'XX'].map((x, i) => x + ['DO', 'ME', 'X'][i]).join('|')})\\b`,
    );
    check((file) => (unfinished.test(file.text) ? ['has an open end'] : []));
  });
});

describe('documents', () => {
  it('name only files that exist', () => {
    const named = /(?<![\w/@.-])(?:packages|demo|bench|tools|docs)\/[\w./*-]*[\w*]/g;
    const wrong: string[] = [];
    for (const document of ['ARCHITECTURE.md', 'README.md', 'SPECIFICATION.md']) {
      const path = join(ROOT, document);
      // A document that is not written yet names nothing wrong.
      if (!existsSync(path)) continue;
      for (const [name] of readFileSync(path, 'utf8').matchAll(named)) {
        if (globSync(name, { cwd: ROOT }).length === 0) wrong.push(`${document} names ${name}`);
      }
    }
    assert.deepEqual(wrong, []);
  });
});

/** Runs a rule over every file; the message is the list of all breaches. */
function check(rule: (file: Source) => readonly string[]): void {
  const breaches = FILES.flatMap((file) => rule(file).map((what) => `${file.path}: ${what}`));
  assert.deepEqual(breaches, []);
}

function readSource(path: string): Source {
  const text = readFileSync(join(ROOT, path), 'utf8');
  return {
    path,
    text,
    home: homeOf(path),
    isTest: path.includes('/test/') || path.endsWith('.test.ts'),
    imports: importsOf(text),
  };
}

function homeOf(path: string): string {
  const [first, second] = path.split('/');
  return first === 'packages' ? second! : first!;
}

function resolved(file: Source, target: string): string {
  return target.startsWith('.') ? normalize(join(dirname(file.path), target)) : target;
}

/** Static and dynamic imports, re-exports, and the worker files a thread is started from. */
function importsOf(text: string): string[] {
  const patterns = [
    /^\s*(?:import|export)\b[^'"`;]*?\bfrom\s+['"]([^'"]+)['"]/gm,
    /^\s*import\s+['"]([^'"]+)['"]/gm,
    /\bimport\(\s*['"]([^'"]+)['"]\s*\)/g,
    /new Worker\(\s*new URL\(\s*['"]([^'"]+)['"]/g,
  ];
  return patterns.flatMap((pattern) => [...text.matchAll(pattern)].map((match) => match[1]!));
}
