/**
 * npm run oracle:linux: a boot that is interrupted at random instructions, each time written to a file and
 * gone on with by a fresh process, is the boot that nobody interrupted.
 *
 *   npm run oracle:linux [-- --points 1000 --seed 1 --json]
 *
 *   reference   one process, which looks at each point: digest of RAM and machine state
 *   plain       `godwit machine run`: digest, instructions and console bytes at the end
 *   chain       for each point a `godwit machine run --restore` up to it, `--checkpoint` there
 *
 * By the instruction clock all three are the same boot, bit for bit: every digest, and every byte on the
 * console. GODWIT_GUEST_IMAGE names a directory with `Image` and `initrd-tiny.cpio.gz`, which powers off as
 * soon as it is up; without it the image is one of this machine's, told to do so on its command line.
 */
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CommandError, findLinux, printError, processIo } from '@godwit/cli';
import { APPEND_DEFAULT } from '@godwit/images';
import {
  digest,
  GuestMemory,
  guestEnd,
  loadLinux,
  loadMachine,
  memoryMap,
  NO_LIMIT,
  stopAtInstruction,
} from '@godwit/machine';
import { flagsOf } from './flags.ts';
import { randomBelow } from './random.ts';

const GODWIT = fileURLToPath(new URL('../packages/cli/bin/godwit.js', import.meta.url));
const MIB = 2 ** 20;
const MEMORY_MIB = 128;
/** As `machine run` seeds a boot that is to be repeatable. */
const SEED = new Uint8Array(32).fill(1);
/** Several boots' worth: one that does not power off is given up. */
const INSTRUCTIONS_MAX = 5_000_000_000;
const CONSOLE_BYTES_MAX = 16 * MIB;
/** Memory, where there is such a file system: a thousand checkpoints need no disk. */
const SCRATCH = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
const SAY_EVERY = 100;

interface Boot {
  readonly kernel: string;
  readonly initrd: string;
  readonly append: string;
}

export interface OracleOptions {
  readonly points: number;
  readonly seed: number;
  readonly say: (line: string) => void;
  readonly signal?: AbortSignal;
}

export interface OracleResult {
  readonly points: number;
  /** What was not as in the boot that nobody interrupted; empty: nothing. */
  readonly differences: readonly string[];
  /** Of the whole boot. */
  readonly instructions: number;
}

export async function linuxOracle(options: OracleOptions): Promise<OracleResult> {
  const { seed, say, signal } = options;
  const directory = mkdtempSync(join(SCRATCH, 'godwit-oracle-'));
  try {
    const boot = await bootOf(directory);
    const plain = await run(bootArgs(boot), signal);
    say(`plain: ${plain.instructions} instructions, digest ${plain.digest}`);
    const points = pointsOf(options.points, plain.instructions, seed);
    const reference = lookAt(boot, points);
    say(`reference: the digest at each of ${points.length} points is known`);
    const chain = new Chain(directory, boot, signal);
    const differences: string[] = [];
    for (const [i, point] of points.entries()) {
      const found = await chain.to(point);
      if (found !== reference.digests[i]) differences.push(`digest at instruction ${point}`);
      if ((i + 1) % SAY_EVERY === 0) say(`${i + 1} points, ${differences.length} differences`);
    }
    differences.push(...ends(plain, reference.last, await chain.end()));
    return { points: points.length, differences, instructions: plain.instructions };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** One process: what it printed, and what the machine was when it ended. */
export interface Ran {
  readonly instructions: number;
  readonly digest: string;
  readonly console: string;
}

/** Compares the ends: of the plain boot, of the one that was looked at, of the one that was interrupted. */
export function ends(plain: Ran, reference: string, chain: Ran): string[] {
  const differences: string[] = [];
  if (plain.digest !== reference) differences.push('digest of two boots that nobody interrupted');
  if (plain.digest !== chain.digest) differences.push('digest at the end');
  if (plain.instructions !== chain.instructions) differences.push('instructions at the end');
  if (plain.console !== chain.console) differences.push('console bytes');
  return differences;
}

/** A boot in many processes, each of which goes on from the file that the one before it wrote. */
class Chain {
  readonly #directory: string;
  readonly #boot: Boot;
  readonly #signal: AbortSignal | undefined;
  #links = 0;
  #console = '';

  constructor(directory: string, boot: Boot, signal: AbortSignal | undefined) {
    this.#directory = directory;
    this.#boot = boot;
    this.#signal = signal;
  }

  /** @returns the digest there */
  async to(point: number): Promise<string> {
    const from = this.#from();
    const file = this.#file(this.#links + 1);
    const there = ['--checkpoint-at', point, '--checkpoint', file, '--stop-at', point].map(String);
    const ran = await this.#run([...from, ...there]);
    rmSync(this.#file(this.#links), { force: true });
    this.#links += 1;
    return ran.digest;
  }

  async end(): Promise<Ran> {
    const ran = await this.#run(this.#from());
    return { ...ran, console: this.#console };
  }

  async #run(args: readonly string[]): Promise<Ran> {
    const ran = await run(args, this.#signal);
    this.#console += ran.console;
    return ran;
  }

  #from(): readonly string[] {
    return this.#links === 0 ? bootArgs(this.#boot) : ['--restore', this.#file(this.#links)];
  }

  #file(link: number): string {
    return join(this.#directory, `point-${link}`);
  }
}

async function bootOf(directory: string): Promise<Boot> {
  const named = process.env.GODWIT_GUEST_IMAGE;
  if (named) {
    const files = { kernel: join(named, 'Image'), initrd: join(named, 'initrd-tiny.cpio.gz') };
    return { ...files, append: APPEND_DEFAULT };
  }
  const { store, manifest } = await findLinux(process.env, join(directory, 'images'));
  const { kernel, initrd, append } = manifest;
  if (initrd === undefined) throw new Error(`image ${manifest.name} has no initrd`);
  const path = ({ sha256 }: { sha256: string }) => store.blobPath(sha256);
  return { kernel: path(kernel), initrd: path(initrd), append: `${append} godwit.poweroff` };
}

function bootArgs({ kernel, initrd, append }: Boot): readonly string[] {
  const files = ['--kernel', kernel, '--initrd', initrd, '--append', append];
  return [...files, '--memory', `${MEMORY_MIB}MiB`, '--clock', 'instructions'];
}

/** A fresh process. With --json its stderr is the console, byte for byte. */
function run(args: readonly string[], signal: AbortSignal | undefined): Promise<Ran> {
  const bound = ['--max-instructions', String(INSTRUCTIONS_MAX)];
  const all = [GODWIT, 'machine', 'run', ...args, ...bound, '--digest', '--json'];
  const options = { encoding: 'latin1', maxBuffer: CONSOLE_BYTES_MAX, signal } as const;
  return new Promise((resolve, reject) => {
    const child = execFile(process.execPath, all, options, (error, stdout, stderr) => {
      if (error) return reject(new Error(`${args.join(' ')}: ${stderr.slice(-500)}`));
      const said = JSON.parse(stdout) as { instructions: number; digest: string };
      resolve({ ...said, console: stderr });
    });
    child.stdin?.end();
  });
}

/** Different instructions of the boot, rising. */
function pointsOf(count: number, end: number, seed: number): number[] {
  const next = randomBelow(seed);
  const points = new Set<number>();
  while (points.size < Math.min(count, end - 1)) points.add(1 + next(end - 1));
  return [...points].sort((a, b) => a - b);
}

/** The same boot in this process, which stands still at each point and goes on. */
function lookAt(boot: Boot, points: readonly number[]): { digests: string[]; last: string } {
  const guest = GuestMemory.create({ ramBytes: MEMORY_MIB * MIB, harts: 1 });
  const [kernel, initrd] = [readFileSync(boot.kernel), readFileSync(boot.initrd)];
  loadLinux(guest, { kernel, initrd, bootargs: boot.append, seed: SEED, clock: 'instructions' });
  const machine = loadMachine(guest.memory);
  guest.setControl(memoryMap.CONTROL_RUN, memoryMap.RUN_GO);
  const digests = points.map((point) => {
    stopAtInstruction(guest, BigInt(point));
    while (machine.run(0, NO_LIMIT, false) !== 'stop-at');
    return digest(guest);
  });
  stopAtInstruction(guest, undefined);
  while (guestEnd(guest) === undefined) machine.run(0, NO_LIMIT, false);
  return { digests, last: digest(guest) };
}

async function main(): Promise<number> {
  const values = flagsOf('oracle:linux', {
    points: { type: 'string', default: '1000' },
    seed: { type: 'string', default: '1' },
    json: { type: 'boolean', default: false },
  });
  const stop = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop.abort());
  try {
    const { points, differences, instructions } = await linuxOracle({
      points: Number(values.points),
      seed: Number(values.seed),
      say: (line) => console.error(line),
      signal: stop.signal,
    });
    for (const difference of differences) console.error(`error: ${difference} is another`);
    const count = differences.length;
    if (values.json) console.log(JSON.stringify({ points, differences: count, instructions }));
    else console.log(`${points} points, ${count} differences, ${instructions} instructions`);
    return count === 0 ? 0 : 1;
  } catch (error) {
    printError(processIo(), CommandError.from(error), false);
    return CommandError.from(error).exit;
  }
}

if (import.meta.main) process.exitCode = await main();
