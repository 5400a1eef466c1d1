/**
 * What a page costs, by the size of the guest and by how many move at once.
 *
 * An idle, incompressible guest goes to and fro by pre-copy between two agents as processes. Time is
 * the transfer's own, without reserving and touching the target's memory; CPU is both daemons' over
 * the same moves, and is what other work on the machine disturbs least.
 */
import { readFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import type { Migration } from '@godwit/protocol';
import { Cluster } from './cluster.ts';
import { median } from './statistics.ts';

const MIB = 2 ** 20;
const PAGE_BYTES = 4096;
/** USER_HZ of every Linux that runs Node. */
const TICKS_PER_SECOND = 100;
/** A sample moves at least this much. */
const SAMPLE_BYTES = 1024 * MIB;
/**
 * Sizes take turns between the same two agents, so that a noisy minute meets all of them. The first
 * turns move some 30 GB and are not counted: the engine goes on to compile the send loop for 8 GB,
 * which a small guest that came first would pay for.
 */
const WARM_TURNS = 2;
const SIZE_TURNS = 6;
/** Daemons that use less than this in so long a look rest; after so many looks they need not. */
const QUIET_CORES = 0.1;
const QUIET_LOOK_MS = 200;
const QUIET_LOOKS_MAX = 50;
/** Each number of moves at once goes to and fro so often, in turns, after a first time. */
const COUNT_TURNS = 4;

export interface SizeFigures {
  readonly mib: number;
  readonly pages: number;
  readonly moves: number;
  /** Median over the moves. */
  readonly moveMs: number;
  /** The same, for each page of the guest. */
  readonly usPerPage: number;
  /** Of all moves, reserving and first touch included. */
  readonly cpuUsPerPage: number;
}

/** Medians over the samples. */
export interface CountFigures {
  readonly atOnce: number;
  readonly mib: number;
  /** From the first request until the last has ended. */
  readonly totalMs: number;
  readonly gbps: number;
  /** Of the guests of one sample. */
  readonly worstDowntimeMs: number;
  /** The first time so many moved: threads start, memory is touched for the first time. */
  readonly firstMs: number;
}

export async function scaleSizes(sizes: readonly number[]): Promise<SizeFigures[]> {
  const cluster = await Cluster.start({ agents: 2 });
  try {
    for (const mib of sizes) await create(cluster, nameOf(mib), mib);
    const samples = new Map<number, SizeSample[]>(sizes.map((mib) => [mib, []]));
    for (let turn = 0; turn < WARM_TURNS + SIZE_TURNS; turn++) {
      for (const mib of sizes) {
        const sample = await sizeSample(cluster, mib);
        if (turn >= WARM_TURNS) samples.get(mib)!.push(sample);
      }
    }
    return sizes.map((mib) => sizeFigures(mib, samples.get(mib)!));
  } finally {
    await cluster.close();
  }
}

interface SizeSample {
  /** Of each move. */
  readonly times: readonly number[];
  readonly cpuSeconds: number;
}

/** Moves a guest to and fro until enough bytes went. */
async function sizeSample(cluster: Cluster, mib: number): Promise<SizeSample> {
  const moves = Math.max(2, Math.ceil(SAMPLE_BYTES / (mib * MIB)));
  const times: number[] = [];
  await quiet(cluster);
  const before = cpuSeconds(cluster);
  for (let i = 0; i < moves; i++) {
    const { result } = await move(cluster, nameOf(mib));
    times.push(result?.transferMs ?? Number.NaN);
  }
  return { times, cpuSeconds: cpuSeconds(cluster) - before };
}

function sizeFigures(mib: number, samples: readonly SizeSample[]): SizeFigures {
  const pages = (mib * MIB) / PAGE_BYTES;
  const times = samples.flatMap((sample) => sample.times);
  const cpu = samples.reduce((sum, sample) => sum + sample.cpuSeconds, 0);
  const moveMs = median(times);
  const usPerPage = (moveMs * 1000) / pages;
  const figures = { usPerPage, cpuUsPerPage: (cpu * 1e6) / (times.length * pages) };
  return { mib, pages, moves: times.length, moveMs, ...figures };
}

function nameOf(mib: number): string {
  return `m${mib}`;
}

export async function scaleCounts(counts: readonly number[], mib: number): Promise<CountFigures[]> {
  const cluster = await Cluster.start({ agents: 2 });
  try {
    // The limits of the queue are not what is measured here.
    await cluster.post('/v1/limits', { perHost: 16, perCluster: 16 });
    const names = Array.from({ length: Math.max(...counts) }, (_, i) => `g${i}`);
    for (const name of names) await create(cluster, name, mib);
    const first = new Map<number, CountSample>();
    const samples = new Map<number, CountSample[]>(counts.map((atOnce) => [atOnce, []]));
    for (let turn = 0; turn <= COUNT_TURNS; turn++) {
      for (const atOnce of counts) {
        const moving = names.slice(0, atOnce);
        const there = await countSample(cluster, moving);
        const back = await countSample(cluster, moving);
        if (turn === 0) first.set(atOnce, there);
        else samples.get(atOnce)!.push(there, back);
        console.error({ atOnce, there, back });
      }
    }
    return counts.map((atOnce) => {
      const of = (pick: (sample: CountSample) => number) => median(samples.get(atOnce)!.map(pick));
      const figures = { totalMs: of((s) => s.totalMs), gbps: of((s) => s.gbps) };
      const worstDowntimeMs = of((s) => s.worstDowntimeMs);
      return { atOnce, mib, ...figures, worstDowntimeMs, firstMs: first.get(atOnce)!.totalMs };
    });
  } finally {
    await cluster.close();
  }
}

type CountSample = Pick<CountFigures, 'totalMs' | 'gbps' | 'worstDowntimeMs'>;

/** Moves all of them at once to the other host. */
async function countSample(cluster: Cluster, names: readonly string[]): Promise<CountSample> {
  const startMs = performance.now();
  const ended = await Promise.all(names.map((name) => move(cluster, name)));
  const totalMs = performance.now() - startMs;
  const bytes = ended.reduce((sum, { result }) => sum + (result?.bytes ?? 0), 0);
  const downtimes = ended.map(({ result }) => result?.downtimeMs ?? Number.NaN);
  return { totalMs, gbps: bytes / totalMs / 1e6, worstDowntimeMs: Math.max(...downtimes) };
}

async function create(cluster: Cluster, name: string, mib: number): Promise<void> {
  const workload = { pattern: 'idle', content: 'random' } as const;
  await cluster.createGuest({
    name,
    kind: 'workload',
    memoryBytes: mib * MIB,
    host: 'a',
    workload,
  });
}

async function move(cluster: Cluster, name: string): Promise<Migration> {
  const { host } = await cluster.guest(name);
  const to = host === 'a' ? 'b' : 'a';
  const ended = await cluster.migrate({ guest: name, to, mode: 'precopy' });
  if (ended.state === 'completed') return ended;
  throw new Error(`migration ${ended.state}: ${ended.error?.message}`);
}

/** Waits until the daemons rest: the memory of the guest that moved last is wiped in the background. */
async function quiet(cluster: Cluster): Promise<void> {
  for (let i = 0; i < QUIET_LOOKS_MAX; i++) {
    const before = cpuSeconds(cluster);
    await setTimeout(QUIET_LOOK_MS);
    if (cpuSeconds(cluster) - before <= QUIET_CORES * (QUIET_LOOK_MS / 1000)) return;
  }
}

/** User and system time of both daemons so far. */
function cpuSeconds(cluster: Cluster): number {
  let ticks = 0;
  for (const name of cluster.hosts.keys()) {
    const stat = readFileSync(`/proc/${cluster.daemonPid(name)}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks / TICKS_PER_SECOND;
}
