/**
 * npm run soak:linux: an unmodified Linux moved many times in a row while it is used, all modes mixed.
 *
 *   npm run soak:linux [-- --moves 100 --seed 1 --memory 256MiB --json]
 *
 * The Linux is the image that `godwit image pull` made, or GODWIT_GUEST_IMAGE names a directory with `Image`
 * and `initrd.cpio.gz`. What is checked is in packages/cli/src/linux-guest.ts: checksums of 64 MiB, every
 * console line once and in order, a sleeper that wakes, and a kernel log without complaint.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  ApiClient,
  CommandError,
  findLinux,
  LinuxGuest,
  type LinuxImage,
  parseSize,
  printError,
  processIo,
} from '@godwit/cli';
import type { Mode } from '@godwit/protocol';
import { Cluster } from './cluster.ts';
import { flagsOf } from './flags.ts';
import { randomBelow } from './random.ts';
import { median, percentile } from './statistics.ts';

const MODES: readonly Mode[] = ['precopy', 'postcopy', 'hybrid'];
/** A guest that uses its console is moved at any moment of what it does. */
const PAUSE_MS_MAX = 500;

interface LinuxSoakResult {
  readonly moves: number;
  readonly bootMs: number;
  readonly errors: readonly string[];
  readonly downtimeMs: { readonly median: number; readonly p99: number };
  /** How far each loop in the guest came. */
  readonly counts: Readonly<Record<string, number>>;
}

interface LinuxSoakOptions {
  readonly image: LinuxImage;
  readonly moves: number;
  readonly seed: number;
  readonly memoryBytes: number;
  readonly say: (line: string) => void;
}

async function linuxSoak(options: LinuxSoakOptions): Promise<LinuxSoakResult> {
  const { image, moves, seed, memoryBytes, say } = options;
  const cluster = await Cluster.start({ agents: 3, env: { GODWIT_TEST_POISON: '1' } });
  let guest: LinuxGuest | undefined;
  try {
    const api = new ApiClient({ url: cluster.url });
    const where = { api, name: 'linux', host: 'a' };
    const booted = await LinuxGuest.boot({ ...where, image, memoryBytes });
    guest = booted.guest;
    say(`booted in ${Math.round(booted.bootMs)} ms`);
    await guest.load();
    const next = randomBelow(seed);
    const downtimes: number[] = [];
    for (let move = 0; move < moves; move++) {
      const downtimeMs = await oneMove(cluster, guest, move, next, say);
      if (downtimeMs !== undefined) downtimes.push(downtimeMs);
      await new Promise((resolve) => setTimeout(resolve, next(PAUSE_MS_MAX)));
    }
    await guest.verdict();
    const { errors, counts } = guest;
    const downtimeMs = { median: median(downtimes), p99: percentile(downtimes, 0.99) };
    return { moves, bootMs: Math.round(booted.bootMs), errors, downtimeMs, counts };
  } finally {
    await guest?.close();
    await cluster.close();
  }
}

async function oneMove(
  cluster: Cluster,
  guest: LinuxGuest,
  move: number,
  next: (below: number) => number,
  say: (line: string) => void,
): Promise<number | undefined> {
  const { host } = await cluster.guest(guest.name);
  const to = [...cluster.hosts.keys()].filter((other) => other !== host)[next(2)]!;
  const mode = MODES[move % MODES.length]!;
  const { state, error, result } = await cluster.migrate({ guest: guest.name, to, mode });
  const figures = result && `${result.downtimeMs.toFixed(1)} ms down, ${result.faults} faults`;
  say(
    `${move + 1} ${host}->${to} ${mode} ${state} ${figures ?? ''} ${JSON.stringify(guest.counts)}`,
  );
  if (state === 'completed') return result?.downtimeMs;
  guest.errors.push(`move ${move + 1} ${mode}: ${state} ${error?.message ?? ''}`);
  return undefined;
}

function print({ errors, downtimeMs, counts, ...rest }: LinuxSoakResult, isJson: boolean): void {
  for (const error of errors) console.error(`error: ${error}`);
  if (isJson) {
    console.log(JSON.stringify({ ...rest, errors: errors.length, downtimeMs, counts }));
    return;
  }
  const down = `downtime ${downtimeMs.median.toFixed(1)} ms, p99 ${downtimeMs.p99.toFixed(1)} ms`;
  console.log(`${rest.moves} moves, ${errors.length} errors, ${down}, ${JSON.stringify(counts)}`);
}

async function main(): Promise<number> {
  const values = flagsOf('soak:linux', {
    moves: { type: 'string', default: '100' },
    seed: { type: 'string', default: '1' },
    memory: { type: 'string', default: '256MiB' },
    json: { type: 'boolean', default: false },
  });
  // Before anything starts: without a Linux there is nothing to move.
  const directory = mkdtempSync(join(tmpdir(), 'godwit-images-'));
  try {
    const result = await linuxSoak({
      image: await findLinux(process.env, directory),
      moves: Number(values.moves),
      seed: Number(values.seed),
      memoryBytes: parseSize(values.memory),
      say: (line) => console.error(line),
    });
    print(result, values.json);
    return result.errors.length === 0 ? 0 : 1;
  } catch (error) {
    printError(processIo(), CommandError.from(error), false);
    return CommandError.from(error).exit;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

process.exitCode = await main();
