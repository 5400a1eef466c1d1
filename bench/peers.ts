/**
 * npm run bench -- peers: four scenarios through QEMU and through us, on loopback, alternating in one run.
 *
 *   npm run bench -- peers [--quick --json --pairs 7 --memory-mib 1024]
 *
 *   scenario       QEMU's guest (Linux)                      ours (a workload)
 *   idle-random    3/4 of its RAM random bytes               as many random bytes as QEMU has to send
 *   idle-zero      freshly booted                            RAM of zeros
 *   dirty50of256   50 MiB/s over 256 MiB                     the same
 *   dirtymax64     64 MiB as fast as a vCPU can              the same
 *
 * Ours writes 1 MiB/s where the scenario says idle: its count of writes is the heartbeat that is watched
 * from outside, as QEMU's guest prints one on its console, and for as long after the move as the peer's
 * is: a stall that comes late counts on both sides. A pair is one move in each of its modes by either side;
 * the mode with the least median total stands for its side, and all of them are told below. The result is
 * docs/results/peers.md and .svg; that of --quick (one pair, half of the memory), or of fewer pairs than a
 * whole run has, goes to peers-quick.md and .svg beside them, which are not kept.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { followPulse, GapMeter, splitDowntime } from '@godwit/cli';
import type { CreateGuestRequest, Mode } from '@godwit/protocol';
import { Cluster } from './cluster.ts';
import { medianSteps, type Steps } from './downtime-steps.ts';
import { markdown, svg } from './peers-text.ts';
import { type QemuRun, qemuRuns, requireQemu } from './qemu.ts';
import { median } from './statistics.ts';

const MIB = 2 ** 20;
/** The peer's guest is watched for so long after its move. */
const WATCHED_AFTER_MS = 1000;
const MODES: readonly Mode[] = ['precopy', 'postcopy', 'hybrid'];
/**
 * The peer's best mode differs by scenario: plain, more streams, post-copy that lets faults overtake. Its
 * scripts know more; each mode would add a minute or two to a whole run for each scenario.
 */
const QEMU_MODES = ['plain', 'multifd4', 'preempt-r1'];
const WHOLE = { pairs: 7, memoryMiB: 1024 } as const;
const QUICK = { pairs: 1, memoryMiB: 512 } as const;
/** What Linux itself needs beside the random bytes, as the peer's count of sent bytes shows. */
const LINUX_BYTES = 56 * MIB;

type Workload = NonNullable<CreateGuestRequest['workload']>;

interface Scenario {
  readonly name: string;
  memoryBytes(peerBytes: number): number;
  readonly workload: Omit<Workload, 'seed'>;
}

const BEAT = { pattern: 'uniform', rateMiBps: 1, hotBytes: 65_536 } as const;
const all = (bytes: number) => bytes;

const SCENARIOS: readonly Scenario[] = [
  {
    name: 'idle-random',
    memoryBytes: (bytes) => (bytes * 3) / 4 + LINUX_BYTES,
    workload: { ...BEAT, content: 'random' },
  },
  { name: 'idle-zero', memoryBytes: all, workload: { ...BEAT, content: 'zero' } },
  {
    name: 'dirty50of256',
    memoryBytes: all,
    workload: { pattern: 'uniform', content: 'zero', rateMiBps: 50, hotBytes: 256 * MIB },
  },
  {
    name: 'dirtymax64',
    memoryBytes: all,
    workload: { pattern: 'uniform', content: 'zero', hotBytes: 64 * MIB },
  },
];

export interface Side {
  readonly mode: string;
  readonly totalMs: number;
  readonly downtimeMs: number;
  readonly outsideGapMs: number;
}

interface OurSide extends Side {
  readonly steps: Steps;
}

export interface PeerResult {
  readonly name: string;
  readonly link: 'loopback';
  readonly godwit: Side;
  readonly qemu: Side;
  /** Every mode that either side tried, medians, the quickest first. */
  readonly modes: { readonly godwit: readonly Side[]; readonly qemu: readonly Side[] };
  /** Where the downtime of each of our modes went. */
  readonly steps: readonly { readonly mode: string; readonly cells: readonly string[] }[];
}

export async function peers(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      json: { type: 'boolean', default: false },
      quick: { type: 'boolean', default: false },
      pairs: { type: 'string' },
      'memory-mib': { type: 'string' },
    },
  });
  requireQemu();
  const usual = values.quick ? QUICK : WHOLE;
  const memoryMiB = Number(values['memory-mib'] ?? usual.memoryMiB);
  const pairs = Number(values.pairs ?? usual.pairs);
  const scenarios: PeerResult[] = [];
  for (const scenario of SCENARIOS) scenarios.push(await measured(scenario, pairs, memoryMiB));
  const isWhole = pairs >= WHOLE.pairs && memoryMiB >= WHOLE.memoryMiB;
  const name = isWhole ? 'peers' : 'peers-quick';
  const text = markdown(scenarios, { pairs, memoryMiB, isWhole, picture: `${name}.svg` });
  const results = new URL('../docs/results/', import.meta.url);
  writeFileSync(new URL(`${name}.md`, results), text);
  writeFileSync(new URL(`${name}.svg`, results), svg(scenarios));
  console.log(values.json ? JSON.stringify({ scenarios }) : text);
}

async function measured(scenario: Scenario, pairs: number, memoryMiB: number): Promise<PeerResult> {
  const { name } = scenario;
  const cluster = await Cluster.start({ agents: 2 });
  try {
    await cluster.createGuest({
      name: 'guest',
      kind: 'workload',
      memoryBytes: scenario.memoryBytes(memoryMiB * MIB),
      workload: { ...scenario.workload, seed: 1 },
      host: 'a',
    });
    // Both hosts have touched the memory before, as the peer's scripts see to on their side.
    for (const mode of MODES) await move(cluster, mode, name);
    const [ours, theirs]: [OurSide[], QemuRun[]] = [[], []];
    for (let pair = 0; pair < pairs; pair++) {
      for (const mode of MODES) ours.push(...(await move(cluster, mode, name)));
      for (const run of await qemuRuns(name, QEMU_MODES, `${memoryMiB}M`)) {
        theirs.push(say(name, 'qemu', run));
      }
    }
    const modes = { godwit: byMode(ours), qemu: byMode(theirs) };
    const steps = modes.godwit.map(({ mode }) => {
      const moves = ours.filter((side) => side.mode === mode);
      return { mode, cells: medianSteps(moves.map((side) => side.steps)) };
    });
    const [godwit, qemu] = [best(modes.godwit), best(modes.qemu)];
    return { name, link: 'loopback', godwit, qemu, modes, steps };
  } finally {
    await cluster.close();
  }
}

/**
 * Moves the guest to the other host, its heartbeat watched from outside. Nothing when the mode gave up:
 * pre-copy does, where the guest writes faster than the link carries.
 */
async function move(cluster: Cluster, mode: Mode, scenario: string): Promise<OurSide[]> {
  const { host } = await cluster.guest('guest');
  const controls = [...cluster.hosts.keys()].map((name) => cluster.controlAddress(name));
  const over = new AbortController();
  const meter = new GapMeter();
  const pulse = followPulse('guest', controls, {}, meter, over.signal);
  try {
    const to = host === 'a' ? 'b' : 'a';
    const ended = await cluster.migrate({ guest: 'guest', to, mode });
    if (ended.result === undefined) {
      console.error(`${scenario} godwit ${mode}: ${ended.error?.message}`);
      return [];
    }
    await new Promise((resolve) => setTimeout(resolve, WATCHED_AFTER_MS));
    const { totalMs, downtimeMs } = ended.result;
    const steps = splitDowntime(ended.result);
    const side = { mode, totalMs, downtimeMs, outsideGapMs: meter.end(), steps };
    return [say(scenario, 'godwit', side)];
  } finally {
    over.abort();
    await pulse;
  }
}

function say<T extends Side>(scenario: string, who: string, side: T): T {
  const { mode, totalMs, downtimeMs, outsideGapMs } = side;
  console.error(
    `${scenario} ${who} ${mode}: total ${totalMs.toFixed(0)} ms, downtime ${downtimeMs.toFixed(1)} ms, ` +
      `outside gap ${outsideGapMs.toFixed(0)} ms`,
  );
  return side;
}

/** Medians of each mode, that of the least total first. */
function byMode(sides: readonly Side[]): Side[] {
  const modes = [...new Set(sides.map((side) => side.mode))].map((mode) => {
    const of = (key: 'totalMs' | 'downtimeMs' | 'outsideGapMs') =>
      median(sides.filter((side) => side.mode === mode).map((side) => side[key]));
    return {
      mode,
      totalMs: of('totalMs'),
      downtimeMs: of('downtimeMs'),
      outsideGapMs: of('outsideGapMs'),
    };
  });
  return modes.sort((a, b) => a.totalMs - b.totalMs);
}

function best([first]: readonly Side[]): Side {
  if (first === undefined) throw new Error('not one migration of the scenario came to its end');
  return first;
}
