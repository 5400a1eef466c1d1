/**
 * Builds the guest programs: C and assembly here -> bin/*.elf, with clang and lld.
 *
 *   node build.ts           write bin/
 *   node build.ts --check   build into a temporary directory and compare byte for byte
 *
 * The built files are committed, so that nobody needs a cross compiler to run a guest. The output
 * depends on the sources and the compiler's version alone: no dates, paths, build ids or file
 * names go in. `bin/toolchain.json` records the version; with another one --check has nothing to
 * compare and says so.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const SOURCES = import.meta.dirname;
const BIN = join(SOURCES, 'bin');

const COMMON = ['start.S', 'platform.c', 'memory.c'];
const PROGRAMS = {
  hello: ['hello.c'],
  kv: ['kv.c', 'heap.c'],
  churn: ['churn.c'],
  sieve: ['sieve.c', 'bench.c'],
  sha256: ['sha256.c', 'bench.c'],
  mix: ['mix.c', 'bench.c'],
} as const satisfies { readonly [name: string]: readonly string[] };

const COMPILE = [
  '--target=riscv64-unknown-elf',
  '-march=rv64imac',
  '-mabi=lp64',
  '-mcmodel=medany',
  '-mno-relax', // lld 14 cannot relax, and rejects objects that ask for it
  '-msmall-data-limit=0', // no gp register set up; keeps constants in .rodata
  '-O2',
  '-std=c11',
  '-ffreestanding',
  '-ffunction-sections',
  '-Wall',
  '-Wextra',
  '-Werror',
];
// --discard-all drops local names; the global ones stay, `tohost` among them.
const LINK = ['-T', 'link.ld', '--gc-sections', '--discard-all', '--build-id=none'];

export interface Toolchain {
  readonly clang: string;
  readonly lld: string;
}

function toolVersion(command: string, debianPackage: string): string {
  let text: string;
  try {
    text = execFileSync(command, ['--version'], { encoding: 'utf8' });
  } catch (cause) {
    throw new Error(`${command} not found: install Debian package ${debianPackage}`, { cause });
  }
  const version = /(\d+\.\d+\.\d+)/.exec(text)?.[1];
  if (version === undefined) throw new Error(`${command} --version does not name a version`);
  return version;
}

/** Versions installed here. Throws an Error that names the Debian package when one is missing. */
export function installedToolchain(): Toolchain {
  return { clang: toolVersion('clang', 'clang'), lld: toolVersion('ld.lld', 'lld') };
}

/** Versions that built the committed files. */
export function recordedToolchain(): Toolchain {
  return JSON.parse(readFileSync(join(BIN, 'toolchain.json'), 'utf8')) as Toolchain;
}

/** Compiles and links every program into `directory`, as NAME.elf. */
export function buildGuests(directory: string): void {
  mkdirSync(directory, { recursive: true });
  const objects = mkdtempSync(join(tmpdir(), 'godwit-guests-'));
  try {
    const compile = (source: string): string => {
      const object = join(objects, `${source}.o`);
      execFileSync('clang', [...COMPILE, '-c', source, '-o', object], { cwd: SOURCES });
      return object;
    };
    const common = COMMON.map(compile);
    for (const [name, sources] of Object.entries(PROGRAMS)) {
      const own = sources.map(compile);
      const output = ['-o', join(directory, `${name}.elf`)];
      execFileSync('ld.lld', [...LINK, ...output, ...common, ...own], { cwd: SOURCES });
    }
  } finally {
    rmSync(objects, { recursive: true });
  }
}

/** Names of the programs whose committed file is not what the sources build. */
export function differingGuests(): string[] {
  const built = mkdtempSync(join(tmpdir(), 'godwit-guests-'));
  try {
    buildGuests(built);
    return Object.keys(PROGRAMS).filter((name) => {
      const file = `${name}.elf`;
      return !readFileSync(join(built, file)).equals(readFileSync(join(BIN, file)));
    });
  } finally {
    rmSync(built, { recursive: true });
  }
}

function main(): number {
  const { values } = parseArgs({ options: { check: { type: 'boolean', default: false } } });
  const installed = installedToolchain();
  if (!values.check) {
    buildGuests(BIN);
    writeFileSync(join(BIN, 'toolchain.json'), `${JSON.stringify(installed, null, 2)}\n`);
    return 0;
  }
  const recorded = recordedToolchain();
  if (installed.clang !== recorded.clang || installed.lld !== recorded.lld) {
    throw new Error(
      `built with clang ${recorded.clang} and lld ${recorded.lld}; ` +
        `clang ${installed.clang} and lld ${installed.lld} cannot be compared`,
    );
  }
  const differing = differingGuests();
  if (differing.length > 0) console.error(`error: not what the sources build: ${differing}`);
  return differing.length === 0 ? 0 : 1;
}

if (import.meta.main) {
  try {
    process.exitCode = main();
  } catch (error) {
    console.error(`error: ${(error as Error).message}`);
    process.exitCode = 1;
  }
}
