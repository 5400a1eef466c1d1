/**
 * npm run bench -- linux: downtime of an idle Linux over loopback, beside QEMU in the same run.
 *
 *   npm run bench -- linux [--json --pairs 15 --warm-up 10 --memory 256MiB --qemu-memory 512M]
 *
 * An alternation is one move of ours in pre-copy and one in post-copy, then one of QEMU's in each of its two
 * modes, with the same kernel. Downtime is from the last instruction at the source to the first at the
 * target; for QEMU from the STOP to the RESUME event. Moves of the warm-up are not counted: V8 compiles
 * what runs often while it runs. Nor is one before each alternation: the peer warms memory that lay idle
 * before each of its moves, and ours lay idle meanwhile. The peer's scripts take no guest below 512 MiB;
 * memory that an idle guest never touched costs neither side downtime. Whole runs (15 alternations or
 * more) write docs/results/linux.md.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { ApiClient, findLinux, LinuxGuest, parseSize, splitDowntime } from '@godwit/cli';
import type { Mode } from '@godwit/protocol';
import { Cluster } from './cluster.ts';
import type { Steps } from './downtime-steps.ts';
import { linuxMarkdown, linuxTable } from './linux-text.ts';
import { qemuRuns, requireQemu } from './qemu.ts';
import { median } from './statistics.ts';

const WHOLE_PAIRS = 15;
const OUR_MODES = ['precopy', 'postcopy'] as const satisfies readonly Mode[];
/** The peer's names; its post-copy starts at once, as ours does. */
const QEMU_MODES = { plain: 'plain', postcopy: 'postcopy-now' } as const;
const QEMU_SCENARIO = 'idle-zero';

/** Milliseconds, one for each counted move. */
export interface Samples {
  readonly godwit: Record<(typeof OUR_MODES)[number], number[]>;
  readonly qemu: Record<keyof typeof QEMU_MODES, number[]>;
  readonly steps: Record<(typeof OUR_MODES)[number], Steps[]>;
}

export async function linux(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      json: { type: 'boolean', default: false },
      pairs: { type: 'string', default: String(WHOLE_PAIRS) },
      'warm-up': { type: 'string', default: '10' },
      memory: { type: 'string', default: '256MiB' },
      'qemu-memory': { type: 'string', default: '512M' },
    },
  });
  requireQemu();
  const pairs = Number(values.pairs);
  const run = { pairs, memory: values.memory, qemuMemory: values['qemu-memory'] };
  const samples = await measured(run, Number(values['warm-up']));
  if (pairs >= WHOLE_PAIRS) {
    writeFileSync(
      new URL('../docs/results/linux.md', import.meta.url),
      linuxMarkdown(samples, run),
    );
  }
  console.log(values.json ? JSON.stringify(result(samples)) : linuxTable(samples));
}

export interface LinuxRun {
  readonly pairs: number;
  readonly memory: string;
  readonly qemuMemory: string;
}

async function measured(run: LinuxRun, warmUp: number): Promise<Samples> {
  const samples: Samples = {
    godwit: { precopy: [], postcopy: [] },
    qemu: { plain: [], postcopy: [] },
    steps: { precopy: [], postcopy: [] },
  };
  const cluster = await Cluster.start({ agents: 2 });
  let guest: LinuxGuest | undefined;
  try {
    guest = await boot(cluster, run.memory);
    for (let turn = 0; turn < warmUp; turn++)
      for (const mode of OUR_MODES) await move(cluster, mode);
    for (let pair = 0; pair < run.pairs; pair++) {
      await move(cluster, 'precopy');
      for (const mode of OUR_MODES) add(samples, mode, await move(cluster, mode));
      await qemuMoves(samples, run.qemuMemory);
    }
    if (guest.errors.length > 0) throw new Error(guest.errors.join('; '));
    return samples;
  } finally {
    await guest?.close();
    await cluster.close();
  }
}

async function boot(cluster: Cluster, memory: string): Promise<LinuxGuest> {
  const image = await findLinux(process.env, cluster.imageDirectory);
  const api = new ApiClient({ url: cluster.url });
  const what = { name: 'linux', image, memoryBytes: parseSize(memory) };
  return (await LinuxGuest.boot({ api, host: 'a', ...what })).guest;
}

async function move(cluster: Cluster, mode: Mode) {
  const { host } = await cluster.guest('linux');
  const to = host === 'a' ? 'b' : 'a';
  const { state, error, result } = await cluster.migrate({ guest: 'linux', to, mode });
  if (result === undefined) throw new Error(`${mode} ${state}: ${error?.message}`);
  return result;
}

type Moved = Awaited<ReturnType<typeof move>>;

function add(samples: Samples, mode: (typeof OUR_MODES)[number], moved: Moved): void {
  samples.godwit[mode].push(moved.downtimeMs);
  samples.steps[mode].push(splitDowntime(moved));
  console.error(`godwit ${mode}: ${moved.downtimeMs.toFixed(2)} ms`);
}

async function qemuMoves(samples: Samples, memory: string): Promise<void> {
  const { plain, postcopy } = QEMU_MODES;
  for (const { mode, downtimeMs } of await qemuRuns(QEMU_SCENARIO, [plain, postcopy], memory)) {
    samples.qemu[mode === plain ? 'plain' : 'postcopy'].push(downtimeMs);
    console.error(`qemu ${mode}: ${downtimeMs.toFixed(2)} ms`);
  }
}

function result({ godwit, qemu }: Samples) {
  const of = (times: readonly number[]) => ({ downtimeMs: Math.round(median(times) * 100) / 100 });
  return {
    godwit: { precopy: of(godwit.precopy), postcopy: of(godwit.postcopy) },
    qemu: { plain: of(qemu.plain), postcopy: of(qemu.postcopy) },
  };
}
