/**
 * The coordinator under 1,000 agents and 10,000 guests: how long they take to register, what
 * heartbeats cost it, how fast it answers, how much memory it takes, how long a restart takes.
 *
 *   [this process: agents, a client] <--sockets--> coordinator as a process of its own
 *
 * The agents are simulated (simulated-agents.ts), the connections and the coordinator are real. CPU
 * is the coordinator's own user and system time; other work on the machine slows answers down but
 * not that. The first seconds after the last guest was made are left out, then a quiet interval
 * is taken in which nothing but heartbeats happens.
 */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Guest, Host } from '@godwit/protocol';
import { Cluster } from './cluster.ts';
import { SimulatedAgent } from './simulated-agents.ts';
import { median } from './statistics.ts';

const GODWIT = fileURLToPath(new URL('../packages/cli/bin/godwit.js', import.meta.url));
const run = promisify(execFile);
const MIB = 2 ** 20;
/** USER_HZ of every Linux that runs Node. */
const TICKS_PER_SECOND = 100;
const AT_ONCE = 64;
const ASKED = 15;

export interface CoordinatorFigures {
  readonly agents: number;
  readonly guests: number;
  readonly registerMs: number;
  readonly createMs: number;
  /** User and system seconds a second, while nothing but heartbeats arrives. */
  readonly heartbeatCores: number;
  readonly rssMiB: number;
  /** The API's answer, read and parsed. */
  readonly guestLsMs: number;
  /** `godwit guest ls` as a process: Node's start, the modules, the answer, the table. */
  readonly guestLsCommandMs: number;
  /** The same command's own user and system time, on average: what other work on the machine disturbs least. */
  readonly guestLsCommandCpuMs: number;
  readonly hostLsMs: number;
  readonly drainPlanMs: number;
  /** From the start of the process until every agent is connected again. */
  readonly restartMs: number;
}

export interface CoordinatorScale {
  readonly agents: number;
  readonly guests: number;
  readonly quietS: number;
}

export async function scaleCoordinator(scale: CoordinatorScale): Promise<CoordinatorFigures> {
  const cluster = await Cluster.start({ agents: 0 });
  const agents = Array.from(
    { length: scale.agents },
    (_, i) => new SimulatedAgent(`h${i}`, { port: 10_000 + i }),
  );
  try {
    const registerMs = await timed(() => forEach(agents, (agent) => agent.connect(cluster.url)));
    const createMs = await timed(() => createGuests(cluster, scale));
    await pause(3);
    const heartbeatCores = await cpuDuring(cluster, scale.quietS);
    const guestLsMs = await answerMs(() => cluster.get('/v1/guests'));
    const cpuBefore = endedChildrenCpuMs();
    const guestLsCommandMs = await answerMs(() => guestLs(cluster.url, scale.guests));
    const guestLsCommandCpuMs = (endedChildrenCpuMs() - cpuBefore) / ASKED;
    const hostLsMs = await answerMs(() => cluster.get('/v1/hosts'));
    const drainPlanMs = await answerMs(() => cluster.post('/v1/hosts/h0/drain/plan'));
    const guests = (await cluster.get<Guest[]>('/v1/guests')).filter(
      (guest) => guest.state === 'running',
    );
    if (guests.length !== scale.guests) throw new Error(`only ${guests.length} guests run`);
    const rssMiB = rssOf(cluster);
    const restartMs = await restart(cluster, agents);
    return {
      ...{ agents: scale.agents, guests: scale.guests, registerMs, createMs },
      ...{ heartbeatCores, rssMiB, guestLsMs, guestLsCommandMs, guestLsCommandCpuMs },
      ...{ hostLsMs, drainPlanMs, restartMs },
    };
  } finally {
    for (const agent of agents) agent.close();
    await cluster.close();
  }
}

async function createGuests(cluster: Cluster, { agents, guests }: CoordinatorScale): Promise<void> {
  const numbers = Array.from({ length: guests }, (_, i) => i);
  await forEach(numbers, async (i) => {
    await cluster.createGuest({
      name: `g${i}`,
      kind: 'workload',
      memoryBytes: 64 * MIB,
      host: `h${i % agents}`,
      workload: { pattern: 'idle', content: 'zero' },
    });
  });
}

async function guestLs(url: string, guests: number): Promise<void> {
  const { stdout } = await run(process.execPath, [GODWIT, 'guest', 'ls', '--coordinator', url], {
    maxBuffer: 64 * MIB,
  });
  const lines = stdout.split('\n').length - 2;
  if (lines !== guests) throw new Error(`guest ls shows ${lines} guests`);
}

/** A kill -9 of the coordinator; the agents dial again as real ones do. */
async function restart(cluster: Cluster, agents: readonly SimulatedAgent[]): Promise<number> {
  const exited = new Promise((resolve) => cluster.coordinator.process.once('exit', resolve));
  cluster.coordinator.process.kill('SIGKILL');
  await exited;
  return timed(async () => {
    await cluster.startCoordinator();
    await forEach(agents, (agent) => agent.connect(cluster.url));
    await cluster.until('all are connected', async () => {
      const hosts = await cluster.get<Host[]>('/v1/hosts');
      return hosts.every((host) => host.state === 'connected');
    });
  });
}

async function answerMs(ask: () => Promise<unknown>): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < ASKED; i++) times.push(await timed(ask));
  return median(times);
}

async function cpuDuring(cluster: Cluster, seconds: number): Promise<number> {
  const [before, startMs] = [cpuSeconds(cluster), performance.now()];
  await pause(seconds);
  return ((cpuSeconds(cluster) - before) * 1000) / (performance.now() - startMs);
}

function cpuSeconds(cluster: Cluster): number {
  const [user = 0, system = 0] = cpuTicks(cluster.coordinator.process.pid!);
  return (user + system) / TICKS_PER_SECOND;
}

/** Of the processes that this one has started and that have ended. */
function endedChildrenCpuMs(): number {
  const [, , user = 0, system = 0] = cpuTicks('self');
  return ((user + system) * 1000) / TICKS_PER_SECOND;
}

/** User and system time of a process, then of its ended children (proc(5): utime to cstime). */
function cpuTicks(pid: number | 'self'): number[] {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields.slice(11, 15).map(Number);
}

function rssOf(cluster: Cluster): number {
  const status = readFileSync(`/proc/${cluster.coordinator.process.pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024;
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now();
  await work();
  return performance.now() - startMs;
}

/** Some at a time, so that the driver measures the coordinator and not its own queue. */
async function forEach<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const left = items[Symbol.iterator]();
  const worker = async (): Promise<void> => {
    for (const item of left) await work(item);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

const pause = (seconds: number) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));
