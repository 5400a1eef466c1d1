/**
 * npm run crash: kills and stops real processes at every step of a switchover, and looks at who runs
 * the guest afterwards.
 *
 *   npm run crash [-- --sample N --seed S --only REGEXP --jobs N --json]
 *
 * A case is (scenario, step, victim, fault), see crash-cases.ts. The runner that reaches the step
 * stands still there (fault points, named after the rows of the cores' tables) and says so; only then
 * the victim gets SIGKILL, or SIGSTOP for ten seconds, and the step is released. A case whose step was
 * never reached is a violation. Afterwards exactly one host must run the guest and the next migration
 * must work, or the guest is `lost` because the process that held its only pages was killed, with that
 * evidence; and all memory is free again once the guest is removed. All the while a census asks the
 * agents behind the coordinator's back who executes the guest (census.ts).
 *
 * Cases share a cluster as long as they pass, so each also finds what the ones before have left.
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type GuestDetail, type Host, UNREACHABLE_MS } from '@godwit/protocol';
import { Census } from './census.ts';
import { Cluster } from './cluster.ts';
import { allCases, type Case, caseName, SCENARIOS, sampled, type Victim } from './crash-cases.ts';
import { flagsOf } from './flags.ts';

const MIB = 2 ** 20;
const STOP_MS = 10_000;
/** Into a stop: by now the silent host is called unreachable, and who can run on does. */
const LOOK_MS = UNREACHABLE_MS + 2_000;
const SETTLE_MS = 40_000;
const STEP_MS = 60_000;
/** Two heartbeats without a change: it has settled. */
const QUIET_MS = 1_100;

const HOST_OF = { source: 'a', target: 'b' } as const;

export interface CrashResult {
  cases: number;
  violations: string[];
  lostByDesign: number;
  slowestSettleMs: number;
}

/** Runs the cases, `jobs` of them at a time, each job on a cluster of its own. */
export async function crash(
  cases: readonly Case[],
  jobs: number,
  say: (line: string) => void,
): Promise<CrashResult> {
  const result: CrashResult = { cases: 0, violations: [], lostByDesign: 0, slowestSettleMs: 0 };
  const left = [...cases];
  const work = async () => {
    const bench = new Bench();
    for (let one = left.shift(); one !== undefined; one = left.shift()) {
      result.cases += 1;
      try {
        const { isLost, settleMs } = await bench.run(one);
        result.lostByDesign += isLost ? 1 : 0;
        result.slowestSettleMs = Math.max(result.slowestSettleMs, settleMs);
        say(
          `ok    ${caseName(one)}: ${isLost ? 'lost by design' : 'runs'} after ${Math.round(settleMs)} ms`,
        );
      } catch (error) {
        result.violations.push(`${caseName(one)}: ${(error as Error).message}`);
        say(`FAIL  ${caseName(one)}: ${(error as Error).message}`);
        await bench.close();
      }
    }
    await bench.close();
  };
  await Promise.all(Array.from({ length: Math.min(jobs, cases.length) }, work));
  return result;
}

/**
 * Clusters start one after another: four daemons each, and a processor that compiles all of them at once
 * starves those that are up of their heartbeats.
 */
let starting: Promise<unknown> = Promise.resolve();

function startCluster(): Promise<Cluster> {
  const start = () =>
    Cluster.start({ agents: 3, testFaults: true, env: { GODWIT_TEST_POISON: '1' } });
  const started = starting.then(start, start);
  starting = started;
  return started;
}

/** One cluster and the case that runs on it. */
class Bench {
  #cluster: Cluster | undefined;
  #cases = 0;

  async run(one: Case): Promise<{ isLost: boolean; settleMs: number }> {
    this.#cluster ??= await startCluster();
    const cluster = this.#cluster;
    const guest = `g${++this.#cases}`;
    await cluster.createGuest({
      name: guest,
      kind: 'workload',
      memoryBytes: 16 * MIB,
      host: HOST_OF.source,
      workload: { pattern: 'uniform', content: 'random', rateMiBps: 8 },
    });
    const census = new Census(cluster, guest);
    try {
      return await new Attempt(cluster, guest, census, one).run();
    } catch (error) {
      if (process.env.GODWIT_CRASH_LOGS) {
        console.error(`=== ${caseName(one)}`);
        for (const name of ['coordinator', 'a', 'b', 'c'])
          console.error(`--- ${name}\n${cluster.logTail(name, 60)}`);
      }
      throw error;
    } finally {
      await census.close();
    }
  }

  async close(): Promise<void> {
    await this.#cluster?.close();
    this.#cluster = undefined;
  }
}

class Attempt {
  readonly #cluster: Cluster;
  readonly #guest: string;
  readonly #census: Census;
  readonly #case: Case;

  constructor(cluster: Cluster, guest: string, census: Census, one: Case) {
    this.#cluster = cluster;
    this.#guest = guest;
    this.#census = census;
    this.#case = one;
  }

  async run(): Promise<{ isLost: boolean; settleMs: number }> {
    await this.#runsOn('a', performance.now());
    const release = await this.#holdAtStep();
    const struck = this.#strike();
    release();
    const startedMs = performance.now();
    await struck;
    const guest = await this.#settled();
    const settleMs = performance.now() - startedMs;
    const isLost = guest.state === 'lost';
    if (isLost) this.#mayBeLost(guest);
    else {
      await this.#runsOn(guest.host, performance.now());
      await this.#nextMigration(guest.host);
      await this.#cluster.post(`/v1/guests/${this.#guest}/stop`);
    }
    this.#census.check();
    await this.#leavesNothing();
    return { isLost, settleMs };
  }

  // ------------------------------------------------------------------------- the fault

  /** Starts the migration and waits until the step is reached; returns what lets it go on. */
  async #holdAtStep(): Promise<() => void> {
    const cluster = this.#cluster;
    const { scenario, step } = this.#case;
    const { request, held } = SCENARIOS[scenario] as (typeof SCENARIOS)[string];
    const armed = [step, ...(held === undefined ? [] : [held])].map((name) => {
      const dir = this.#stateDirOf(name);
      rmSync(join(dir, 'at-step'), { force: true });
      writeFileSync(join(dir, 'fault-point'), name);
      return join(dir, 'fault-point');
    });
    // Held before it is recorded, or its coordinator killed: the answer may never come.
    const asked = cluster.post('/v1/migrations', { guest: this.#guest, to: 'b', ...request });
    let refusal: Error | undefined;
    asked.catch((error) => {
      refusal = error;
    });
    const reached = join(this.#stateDirOf(step), 'at-step');
    await cluster.until(
      () => `the step ${step} is reached ${refusal?.message ?? ''}`,
      () => existsSync(reached) && readFileSync(reached, 'utf8') === step,
      STEP_MS,
    );
    return () => {
      for (const path of armed) rmSync(path, { force: true });
    };
  }

  #stateDirOf(step: string): string {
    const role = step.split(':')[0] as Victim;
    return (role === 'coordinator' ? this.#cluster.coordinator : this.#cluster.host(HOST_OF[role]))
      .stateDir;
  }

  /** @returns when the victim is back, or is being started again by its supervisor */
  async #strike(): Promise<void> {
    const { victim, fault } = this.#case;
    const cluster = this.#cluster;
    if (victim === 'coordinator') {
      const child = cluster.coordinator.process;
      if (fault === 'stop') return this.#stopFor(child.pid as number);
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGKILL');
      await ended;
      return cluster.startCoordinator();
    }
    const pid = cluster.daemonPid(HOST_OF[victim]);
    if (fault === 'stop') return this.#stopFor(pid);
    process.kill(pid, 'SIGKILL');
    const before = cluster.host(HOST_OF[victim]).ready.length;
    await cluster.until(
      'the daemon is back',
      () => cluster.host(HOST_OF[victim]).ready.length > before,
      SETTLE_MS,
    );
  }

  async #stopFor(pid: number): Promise<void> {
    process.kill(pid, 'SIGSTOP');
    try {
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      await this.#lookWhileStopped();
      await new Promise((resolve) => setTimeout(resolve, STOP_MS - LOOK_MS));
    } finally {
      process.kill(pid, 'SIGCONT');
    }
  }

  /** The guest executes somewhere, or the coordinator says that it does not know that it does. */
  async #lookWhileStopped(): Promise<void> {
    if (this.#census.since(performance.now() - 2_000).length > 0) return;
    if (this.#case.victim === 'coordinator') throw new Error('nobody runs it without coordinator');
    const { state } = await this.#cluster.guest(this.#guest);
    if (!['unreachable', 'doubt', 'lost'].includes(state))
      throw new Error(`called ${state} while nobody runs it`);
  }

  // ---------------------------------------------------------------------- afterwards

  /** Waits until one host runs the guest and no migration is open, or it is lost. */
  async #settled(): Promise<GuestDetail> {
    let last: GuestDetail | undefined;
    let quietSinceMs = 0;
    await this.#cluster.until(
      () => `it settles; last seen ${JSON.stringify(last && summaryOf(last))}`,
      async () => {
        last = await this.#cluster.guest(this.#guest);
        const running = last.holders.filter(
          (holder) => holder.reachable && holder.report?.state === 'running',
        );
        const isAtRest =
          (last.state === 'running' && running.length === 1 && last.migration === undefined) ||
          last.state === 'lost';
        if (!isAtRest) quietSinceMs = 0;
        else if (quietSinceMs === 0) quietSinceMs = performance.now();
        return isAtRest && performance.now() - quietSinceMs > QUIET_MS;
      },
      SETTLE_MS,
    );
    return last as GuestDetail;
  }

  /** That host executes it, seen from outside, and no other host does. */
  async #runsOn(host: string, sinceMs: number): Promise<void> {
    await this.#cluster.until(
      `the guest gets on at ${host}`,
      () => this.#census.since(sinceMs).some((advance) => advance.host === host),
      10_000,
    );
    const others = this.#census.since(sinceMs).filter((advance) => advance.host !== host);
    if (others.length > 0) throw new Error(`it runs at ${others[0]?.host} beside ${host}`);
  }

  #mayBeLost(guest: GuestDetail): void {
    const { fault, victim } = this.#case;
    if (fault !== 'kill' || victim === 'coordinator')
      throw new Error(`lost although nobody was killed: ${guest.evidence}`);
    if (!guest.evidence?.includes(HOST_OF[victim]))
      throw new Error(`lost without evidence: ${guest.evidence}`);
  }

  async #nextMigration(host: string): Promise<void> {
    await this.#cluster.until('every host is connected', async () => {
      const hosts = await this.#cluster.get<Host[]>('/v1/hosts');
      return hosts.every(({ state }) => state === 'connected');
    });
    const ended = await this.#cluster.migrate(
      { guest: this.#guest, to: host === 'c' ? 'a' : 'c', mode: 'hybrid', verify: true },
      30_000,
    );
    if (ended.state !== 'completed')
      throw new Error(`the next migration ${ended.state}: ${ended.error?.message}`);
    const audit = await this.#cluster.post<{ ok: boolean; why?: string }>(
      `/v1/guests/${this.#guest}/audit`,
    );
    if (!audit.ok) throw new Error(`audit after it: ${audit.why ?? 'wrong pages'}`);
  }

  /** Removes the guest: no host keeps any of its memory, and every host is there for the next case. */
  async #leavesNothing(): Promise<void> {
    await this.#cluster.request('DELETE', `/v1/guests/${this.#guest}`);
    let last: Host[] = [];
    await this.#cluster.until(
      () =>
        `all memory is free: ${last.map((h) => `${h.name} ${h.state} ${h.memoryBytes - h.freeBytes}`)}`,
      async () => {
        last = await this.#cluster.get<Host[]>('/v1/hosts');
        return last.every((h) => h.state === 'connected' && h.freeBytes === h.memoryBytes);
      },
    );
  }
}

function summaryOf({ state, host, epoch, holders, migration }: GuestDetail): object {
  return { state, host, epoch, migration, holders: holders.map((h) => `${h.host}: ${h.says}`) };
}

async function main(): Promise<void> {
  const values = flagsOf('crash', {
    sample: { type: 'string' },
    seed: { type: 'string', default: '1' },
    only: { type: 'string', default: '' },
    jobs: { type: 'string', default: '2' },
    json: { type: 'boolean', default: false },
  });
  const wanted = new RegExp(values.only);
  const chosen = allCases().filter((one) => wanted.test(caseName(one)));
  const cases = values.sample
    ? sampled(chosen, Number(values.sample), Number(values.seed))
    : chosen;
  const { violations, ...figures } = await crash(cases, Number(values.jobs), (line) =>
    console.error(line),
  );
  const slowestSettleMs = Math.round(figures.slowestSettleMs);
  if (values.json) {
    console.log(JSON.stringify({ ...figures, violations: violations.length, slowestSettleMs }));
  } else {
    console.log(
      `${figures.cases} cases, ${violations.length} violations, ${figures.lostByDesign} lost by design, slowest ${slowestSettleMs} ms`,
    );
  }
  process.exitCode = violations.length === 0 && figures.cases > 0 ? 0 : 1;
}

if (process.argv[1] === new URL(import.meta.url).pathname) await main();
