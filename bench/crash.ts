/**
 * npm run crash: kills and stops real processes at every step of a switchover, and looks at who runs
 * the guest afterwards.
 *
 *   npm run crash [-- --sample N --seed S --only TEXT --json]
 *
 * A case is (mode, step, victim, fault). The runner that reaches the step stands still there (fault
 * points, named after the rows of the cores' tables) and says so; only then the victim gets SIGKILL,
 * or SIGSTOP for ten seconds, and the step is released. A case whose step was never reached is a
 * violation. Afterwards exactly one host must run the guest and the next migration must work, or the
 * guest is `lost` because the process that held its only pages was killed, with that evidence.
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { GuestDetail, Mode } from '@godwit/protocol';
import { Cluster } from './cluster.ts';

const MIB = 2 ** 20;
const STOP_MS = 10_000;
const SETTLE_MS = 40_000;
const STEP_MS = 20_000;

type Victim = 'source' | 'target' | 'coordinator';
type Fault = 'kill' | 'stop';

/** Steps of the tables that each mode passes, and the end that stands at them. */
const STEPS: { readonly [mode in 'precopy' | 'postcopy']: readonly string[] } = {
  precopy: [
    'source:rounds:startRound',
    'source:rounds:reportRound',
    'source:stopping:stopHarts',
    'source:stopping:sendRest',
    'source:offered:sendHandover',
    'target:landing:checkManifest',
    'target:landed:revokeRoundsKey',
    'target:landed:sendLanded',
    'source:released:sendRun',
    'target:running:journalRan',
    'target:running:startHarts',
    'target:running:sendRunning',
    'target:running:sendAllPresent',
    'source:freed:free',
    'source:freed:reportFreed',
  ],
  postcopy: [
    'source:stopping:sendRest',
    'source:offered:sendHandover',
    'target:landed:clearMissing',
    'target:landed:sendLanded',
    'source:released:serve',
    'source:released:sendRun',
    'target:running:journalRan',
    'target:running:startHarts',
    'target:running:sendRunning',
    'target:running:requestMissing',
    'source:serving:push',
    'target:running:sendAllPresent',
    'source:freed:free',
  ],
};

export interface Case {
  mode: Mode;
  step: string;
  victim: Victim;
  fault: Fault;
}

export interface CrashResult {
  cases: number;
  violations: string[];
  lostByDesign: number;
  slowestSettleMs: number;
}

export function allCases(): Case[] {
  return (['precopy', 'postcopy'] as const).flatMap((mode) =>
    STEPS[mode].flatMap((step) =>
      (['source', 'target', 'coordinator'] as const).flatMap((victim) =>
        (['kill', 'stop'] as const).map((fault) => ({ mode, step, victim, fault })),
      ),
    ),
  );
}

/** Every n-th case from an offset, so that a sample reaches all steps, victims and faults. */
export function sampled(cases: Case[], count: number, seed: number): Case[] {
  const stride = cases.length / Math.min(count, cases.length);
  const list: Case[] = [];
  for (let i = 0; i < Math.min(count, cases.length); i++) {
    list.push(cases[Math.floor(i * stride + seed * 7) % cases.length] as Case);
  }
  return list;
}

export async function crash(cases: Case[], say: (line: string) => void): Promise<CrashResult> {
  const result: CrashResult = { cases: 0, violations: [], lostByDesign: 0, slowestSettleMs: 0 };
  for (const one of cases) {
    const name = `${one.mode} ${one.step} ${one.fault} ${one.victim}`;
    result.cases += 1;
    try {
      const { isLost, settleMs } = await runCase(one);
      result.lostByDesign += isLost ? 1 : 0;
      result.slowestSettleMs = Math.max(result.slowestSettleMs, settleMs);
      say(`ok    ${name}: ${isLost ? 'lost by design' : 'runs'} after ${Math.round(settleMs)} ms`);
    } catch (error) {
      result.violations.push(`${name}: ${(error as Error).message}`);
      say(`FAIL  ${name}: ${(error as Error).message}`);
    }
  }
  return result;
}

async function runCase(one: Case): Promise<{ isLost: boolean; settleMs: number }> {
  const cluster = await Cluster.start({
    agents: 3,
    testFaults: true,
    env: { GODWIT_TEST_POISON: '1' },
  });
  try {
    await cluster.createGuest({
      name: 'g',
      kind: 'workload',
      memoryBytes: 16 * MIB,
      host: 'a',
      workload: { pattern: 'uniform', content: 'random', rateMiBps: 8 },
    });
    await cluster.until(
      'the guest runs',
      async () => (await cluster.guest('g')).state === 'running',
    );
    const release = await holdAt(cluster, one);
    const restart = strike(cluster, one);
    release();
    const struckAt = performance.now();
    await restart;
    const isLost = await settled(cluster, one);
    const settleMs = performance.now() - struckAt;
    if (!isLost) await nextMigration(cluster);
    return { isLost, settleMs };
  } catch (error) {
    if (process.env.GODWIT_CRASH_LOGS) {
      for (const name of ['coordinator', 'a', 'b'])
        console.error(`--- ${name}\n${cluster.logTail(name, 40)}`);
    }
    throw error;
  } finally {
    await cluster.close();
  }
}

/** Starts the migration and waits until the step is reached; returns what lets it go on. */
async function holdAt(cluster: Cluster, { step, mode }: Case): Promise<() => void> {
  const dir = cluster.host(step.startsWith('source') ? 'a' : 'b').stateDir;
  const armed = join(dir, 'fault-point');
  writeFileSync(armed, step);
  await cluster.post('/v1/migrations', { guest: 'g', to: 'b', mode });
  const reached = join(dir, 'at-step');
  await cluster.until(
    `the step ${step} is reached`,
    () => existsSync(reached) && readFileSync(reached, 'utf8') === step,
    STEP_MS,
  );
  return () => rmSync(armed, { force: true });
}

/** @returns when the victim is back: its supervisor or the test has started it again */
async function strike(cluster: Cluster, { victim, fault }: Case): Promise<void> {
  if (victim === 'coordinator') {
    const child = cluster.coordinator.process;
    if (fault === 'stop') return stopFor(child.pid as number);
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
    return cluster.startCoordinator();
  }
  const pid = cluster.daemonPid(victim === 'source' ? 'a' : 'b');
  if (fault === 'stop') return stopFor(pid);
  process.kill(pid, 'SIGKILL');
}

async function stopFor(pid: number): Promise<void> {
  process.kill(pid, 'SIGSTOP');
  await new Promise((resolve) => setTimeout(resolve, STOP_MS));
  process.kill(pid, 'SIGCONT');
}

/** Waits until one host runs the guest, or it is lost. @returns whether it is lost */
async function settled(cluster: Cluster, one: Case): Promise<boolean> {
  let last: GuestDetail | undefined;
  let quietSince = 0;
  await cluster.until(
    () =>
      `it settles; last seen ${JSON.stringify(last && { state: last.state, host: last.host, epoch: last.epoch, holders: last.holders.map((h) => h.says) })}`,
    async () => {
      last = await cluster.guest('g');
      const running = last.holders.filter(
        (holder) => holder.reachable && holder.report?.state === 'running',
      );
      if (running.length > 1)
        throw new Error(`two hosts run it: ${running.map((h) => h.host).join(', ')}`);
      const isAtRest =
        (last.state === 'running' && running.length === 1 && last.migration === undefined) ||
        last.state === 'lost';
      if (!isAtRest) quietSince = 0;
      else if (quietSince === 0) quietSince = performance.now();
      // two heartbeats without a change
      return isAtRest && performance.now() - quietSince > 1100;
    },
    SETTLE_MS,
  );
  const guest = last as GuestDetail;
  if (guest.state !== 'lost') {
    await advances(cluster);
    return false;
  }
  if (one.fault !== 'kill' || one.victim === 'coordinator')
    throw new Error(`lost although nobody was killed: ${guest.evidence}`);
  if (!guest.evidence) throw new Error('lost without evidence');
  return true;
}

/** The guest that is said to run does run: its count of writes grows. */
async function advances(cluster: Cluster): Promise<void> {
  const { writes } = await cluster.guest('g');
  await cluster.until(
    'the guest writes on',
    async () => (await cluster.guest('g')).writes > writes,
    10_000,
  );
}

async function nextMigration(cluster: Cluster): Promise<void> {
  const { host } = await cluster.guest('g');
  const ended = await cluster.migrate(
    { guest: 'g', to: host === 'c' ? 'a' : 'c', mode: 'hybrid', verify: true },
    30_000,
  );
  if (ended.state !== 'completed')
    throw new Error(`the next migration ${ended.state}: ${ended.error?.message}`);
  const audit = await cluster.post<{ ok: boolean; why?: string }>('/v1/guests/g/audit');
  if (!audit.ok) throw new Error(`audit after it: ${audit.why ?? 'wrong pages'}`);
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const { values } = parseArgs({
    options: {
      sample: { type: 'string' },
      seed: { type: 'string', default: '1' },
      only: { type: 'string', default: '' },
      json: { type: 'boolean', default: false },
    },
  });
  const chosen = allCases().filter((one) =>
    `${one.mode} ${one.step} ${one.fault} ${one.victim}`.includes(values.only),
  );
  const cases = values.sample
    ? sampled(chosen, Number(values.sample), Number(values.seed))
    : chosen;
  const { violations, ...figures } = await crash(cases, (line) => console.error(line));
  if (values.json) console.log(JSON.stringify({ ...figures, violations: violations.length }));
  else
    console.log(
      `${figures.cases} cases, ${violations.length} violations, ${figures.lostByDesign} lost by design, slowest ${Math.round(figures.slowestSettleMs)} ms`,
    );
  process.exitCode = violations.length === 0 ? 0 : 1;
}
