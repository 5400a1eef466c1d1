/**
 * npm run bench -- machine: how fast the machine is, beside qemu-system-riscv64 with the same programs in
 * the same run.
 *
 *   npm run bench -- machine [--json --pairs 5 --no-boot]
 *
 * A sample is one process that runs one program alone; ours and QEMU's alternate, and the median counts.
 * The programs print `begin` and `end INSTRUCTIONS CHECKSUM` (packages/machine/guests/bench.h): the time
 * is from one line's arrival to the other's, so neither side's start counts. The number of instructions
 * is ours for both: QEMU does not count them, and the checksums say that it ran the same.
 *
 * Both boot the same Linux as well, an image of this machine or of GODWIT_GUEST_IMAGE: from the start of
 * the process to the line with which its init hands over to the shell. `--no-boot` leaves that out. Whole
 * runs (5 alternations or more, with the boot) write docs/results/machine.md.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { findLinux } from '@godwit/cli';
import { guestImagePath, SPEED_PROGRAMS, type SpeedProgram } from '@godwit/machine';
import { machineMarkdown, machineTable } from './machine-text.ts';
import { requireProgram } from './programs.ts';
import { median } from './statistics.ts';

const GODWIT = fileURLToPath(new URL('../packages/cli/bin/godwit.js', import.meta.url));
const QEMU = 'qemu-system-riscv64';
const MEMORY_MIB = 128;
const WHOLE_PAIRS = 5;
/** Crypto self-tests are half of a boot, and measure nothing that this is about. */
const APPEND = 'console=ttyS0 cryptomgr.notests';
const READY = /^(godwit: ready|GUEST-READY)/m;
/** Only a hang reaches it. */
const DEADLINE_MS = 180_000;

type Engine = 'godwit' | 'qemu';
const ENGINES: readonly Engine[] = ['godwit', 'qemu'];
export type Measure = SpeedProgram | 'bootMs';
export type Samples = Record<Engine, Partial<Record<Measure, number[]>>>;

interface Kernel {
  readonly image: string;
  readonly initrd: string;
  /** For people. */
  readonly name: string;
}

export async function machine(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      json: { type: 'boolean', default: false },
      pairs: { type: 'string', default: String(WHOLE_PAIRS) },
      'no-boot': { type: 'boolean', default: false },
    },
  });
  requireProgram(QEMU, 'qemu-system-misc');
  const pairs = Number(values.pairs);
  const importInto = mkdtempSync(join(tmpdir(), 'godwit-bench-'));
  try {
    const kernel = values['no-boot'] ? undefined : await kernelOf(importInto);
    const samples = await measured(pairs, kernel);
    if (kernel !== undefined && pairs >= WHOLE_PAIRS) {
      const file = new URL('../docs/results/machine.md', import.meta.url);
      writeFileSync(file, machineMarkdown(samples, pairs, kernel.name));
    }
    const [godwit, qemu] = ENGINES.map((engine) => medians(samples[engine]));
    console.log(values.json ? JSON.stringify({ godwit, qemu }) : machineTable(samples));
  } finally {
    rmSync(importInto, { recursive: true, force: true });
  }
}

/** @throws CommandError: no Linux is here, with how to get one; Error: the image has no initrd */
async function kernelOf(importInto: string): Promise<Kernel> {
  const { store, manifest } = await findLinux(process.env, importInto);
  const { kernel, initrd, name, source } = manifest;
  if (initrd === undefined) throw new Error(`image ${name} has no initrd, so no shell; --no-boot`);
  return {
    image: store.blobPath(kernel.sha256),
    initrd: store.blobPath(initrd.sha256),
    // Without the digest of the package that it came from.
    name: [name, source.kernel?.replace(/ sha256:.*/, '')].filter(Boolean).join(', '),
  };
}

async function measured(pairs: number, kernel: Kernel | undefined): Promise<Samples> {
  const samples: Samples = { godwit: {}, qemu: {} };
  for (let pair = 0; pair < pairs; pair++) {
    for (const program of SPEED_PROGRAMS) await speedPair(program, samples);
    if (kernel !== undefined) await bootPair(kernel, samples);
    process.stderr.write(`pair ${pair + 1} of ${pairs}\n`);
  }
  return samples;
}

async function speedPair(program: SpeedProgram, samples: Samples): Promise<void> {
  const elf = guestImagePath(program);
  const ours = await timed(['godwit', elf]);
  const theirs = await timed(['qemu', elf]);
  if (ours.checksum !== theirs.checksum) {
    throw new Error(`${program}: checksum ${ours.checksum} here, ${theirs.checksum} on QEMU`);
  }
  add(samples.godwit, program, ours.instructions / ours.seconds / 1e6);
  add(samples.qemu, program, ours.instructions / theirs.seconds / 1e6);
}

async function timed([engine, elf]: readonly [Engine, string]) {
  const child = start(
    engine,
    engine === 'godwit' ? ['machine', 'run', elf] : ['-bios', 'none', '-m', '64M', '-kernel', elf],
  );
  const begin = await child.line(/^begin$/m);
  const end = await child.line(/^end (\d+) ([0-9a-f]{16})$/m);
  await child.end();
  const seconds = (end.atMs - begin.atMs) / 1000;
  return { seconds, instructions: Number(end.found[1]), checksum: end.found[2] };
}

async function bootPair({ image, initrd }: Kernel, samples: Samples): Promise<void> {
  const files = ['--kernel', image, '--initrd', initrd, '--append', APPEND];
  const ours = ['machine', 'run', '--clock', 'host', '--memory', `${MEMORY_MIB}MiB`, ...files];
  const memory = ['-m', `${MEMORY_MIB}M`];
  const theirs = [...memory, '-kernel', image, '-initrd', initrd, '-append', APPEND];
  for (const engine of ENGINES) {
    const beganMs = performance.now();
    const child = start(engine, engine === 'godwit' ? ours : theirs);
    const { atMs } = await child.line(READY);
    await child.end();
    add(samples[engine], 'bootMs', atMs - beganMs);
  }
}

/** A process whose output is waited for, line by line. */
function start(engine: Engine, args: readonly string[]) {
  const quiet = ['-display', 'none', '-serial', 'stdio', '-monitor', 'none'];
  const command = engine === 'godwit' ? process.execPath : QEMU;
  const all = engine === 'godwit' ? [GODWIT, ...args] : ['-machine', 'virt', ...quiet, ...args];
  const child: ChildProcess = spawn(command, all, { stdio: ['ignore', 'pipe', 'ignore'] });
  const exited = once(child, 'exit');
  const deadline = setTimeout(() => child.kill('SIGKILL'), DEADLINE_MS);
  let text = '';
  let hear = Promise.withResolvers<void>();
  child.stdout!.setEncoding('latin1').on('data', (more: string) => {
    text += more.replaceAll('\r', '');
    hear.resolve();
  });
  child.stdout!.on('close', () => hear.reject(new Error(`${engine} ended: ${text.slice(-300)}`)));
  return {
    async line(pattern: RegExp) {
      for (;;) {
        const found = pattern.exec(text);
        if (found !== null) return { found, atMs: performance.now() };
        await hear.promise;
        hear = Promise.withResolvers();
      }
    },
    async end() {
      hear.promise.catch(() => {});
      child.kill('SIGKILL');
      await exited;
      clearTimeout(deadline);
    },
  };
}

function add(into: Partial<Record<Measure, number[]>>, measure: Measure, value: number): void {
  into[measure] = [...(into[measure] ?? []), value];
}

function medians(samples: Partial<Record<Measure, number[]>>): Record<string, number> {
  const entries = Object.entries(samples).map(([name, values]) => [name, round(median(values))]);
  return Object.fromEntries(entries);
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
