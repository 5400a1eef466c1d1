/**
 * npm run crash: kills and stops real processes at every step of a move that no other fault has to lead
 * to, and looks at who runs the guest afterwards.
 *
 *   npm run crash [-- --sample N --seed S --only REGEXP --jobs N --json]
 *
 * A case is (scenario, step, victim, fault), see crash-cases.ts. The runner that reaches the step
 * stands still there (fault points, named after the rows of the cores' tables) and says so; only then
 * the victim gets SIGKILL, or SIGSTOP for ten seconds, and the step is released. A case whose step was
 * never reached is a violation. Afterwards exactly one host must run the guest and the next migration
 * must work, or the guest is `lost` because the process that held its only pages was killed, with that
 * evidence; and all memory is free again once the guest is removed. A guest whose move was cancelled or
 * refused runs where it was; one that has ended, or that a person was promised to have stopped, runs
 * nowhere. All the while a census asks the agents behind the coordinator's back who executes the guest
 * (census.ts).
 *
 * Cases share a cluster as long as they pass, so each also finds what the ones before have left.
 */
import { readFileSync } from 'node:fs';
import { guestImagePath } from '@godwit/machine';
import {
  type CreateGuestRequest,
  type GuestDetail,
  type Host,
  type Migration,
  UNREACHABLE_MS,
} from '@godwit/protocol';
import { Census } from './census.ts';
import { Cluster } from './cluster.ts';
import { allCases, type Case, caseName, SCENARIOS, type Scenario, sampled } from './crash-cases.ts';
import { HeldMove, HOST_OF } from './crash-step.ts';
import { flagsOf } from './flags.ts';

const MIB = 2 ** 20;
const STOP_MS = 10_000;
/** Into a stop: by now the silent host is called unreachable, and who can run on does. */
const LOOK_MS = UNREACHABLE_MS + 2_000;
const SETTLE_MS = 40_000;
/** Two heartbeats without a change: it has settled. */
const QUIET_MS = 1_100;

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
        const { state, settleMs } = await bench.run(one);
        result.lostByDesign += state === 'lost' ? 1 : 0;
        result.slowestSettleMs = Math.max(result.slowestSettleMs, settleMs);
        const how = state === 'lost' ? 'lost by design' : state;
        say(`ok    ${caseName(one)}: ${how} after ${Math.round(settleMs)} ms`);
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

interface Settled {
  readonly state: GuestDetail['state'];
  readonly settleMs: number;
}

function scenarioOf({ scenario }: Case): Scenario {
  return SCENARIOS[scenario] as Scenario;
}

/** One that writes and can be audited, or one that powers itself off when it is told to. */
function guestFor({ meanwhile }: Scenario, name: string): CreateGuestRequest {
  const common = { name, memoryBytes: 16 * MIB, host: HOST_OF.source };
  if (meanwhile?.what === 'powerOff') {
    const elf = readFileSync(guestImagePath('hello')).toString('base64');
    return { ...common, kind: 'machine', image: 'hello', elf };
  }
  const workload = { pattern: 'uniform', content: 'random', rateMiBps: 8 } as const;
  return { ...common, kind: 'workload', workload };
}

/** One cluster and the case that runs on it. */
class Bench {
  #cluster: Cluster | undefined;
  #cases = 0;

  async run(one: Case): Promise<Settled> {
    this.#cluster ??= await startCluster();
    const cluster = this.#cluster;
    const guest = `g${++this.#cases}`;
    await cluster.createGuest(guestFor(scenarioOf(one), guest));
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
  readonly #scenario: Scenario;
  readonly #move: HeldMove;

  constructor(cluster: Cluster, guest: string, census: Census, one: Case) {
    this.#cluster = cluster;
    this.#guest = guest;
    this.#census = census;
    this.#case = one;
    this.#scenario = scenarioOf(one);
    this.#move = new HeldMove(cluster, guest, this.#scenario);
  }

  async run(): Promise<Settled> {
    await this.#runsOn('a', performance.now());
    await this.#move.until(this.#case.step);
    const struck = this.#strike();
    this.#move.release();
    const startedMs = performance.now();
    await struck;
    const guest = await this.#settled();
    const settleMs = performance.now() - startedMs;
    const { state } = guest;
    if (state === 'lost') this.#mayBeLost(guest);
    else await this.#isWhereItShouldBe(guest);
    if (state === 'running') {
      await this.#runsOn(guest.host, performance.now());
      await this.#nextMigration(guest.host);
      await this.#cluster.post(`/v1/guests/${this.#guest}/stop`);
    } else if (state !== 'lost') {
      await this.#runsNowhere();
      if (guest.kind === 'workload') await this.#audit();
    }
    this.#census.check();
    await this.#leavesNothing();
    return { state, settleMs };
  }

  // ------------------------------------------------------------------------- the fault

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
    if (this.#case.victim === 'coordinator') {
      if (this.#scenario.meanwhile?.what === 'powerOff') return;
      throw new Error('nobody runs it without coordinator');
    }
    const { state } = await this.#cluster.guest(this.#guest);
    if (!['unreachable', 'doubt', 'lost', ...this.#restStates()].includes(state))
      throw new Error(`called ${state} while nobody runs it`);
  }

  // ---------------------------------------------------------------------- afterwards

  /** What becomes of a guest that nothing is lost of: a stop that nobody was promised may not be. */
  #restStates(): GuestDetail['state'][] {
    const what = this.#scenario.meanwhile?.what;
    if (what === 'powerOff') return ['ended'];
    if (what !== 'stop') return ['running'];
    return this.#move.isPromised ? ['stopped'] : ['stopped', 'running'];
  }

  /** Waits until one host runs the guest, or it is at rest, and no migration is open; or it is lost. */
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
        const hosts = last.state === 'running' ? 1 : 0;
        const isAtRest =
          last.state === 'lost' ||
          (this.#restStates().includes(last.state) &&
            running.length === hosts &&
            last.migration === undefined);
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

  async #isWhereItShouldBe({ host }: GuestDetail): Promise<void> {
    const { stays, meanwhile } = this.#scenario;
    if (stays && host !== HOST_OF.source) throw new Error(`it is at ${host}, and it was to stay`);
    if (meanwhile?.what !== 'cancel') return;
    const moves = await this.#cluster.get<Migration[]>(`/v1/migrations?guest=${this.#guest}`);
    const states = moves.map(({ state }) => state).join();
    // Past HANDOVER the target may have asked for the guest before the CANCEL came.
    const expected = host === HOST_OF.source ? 'cancelled' : 'completed';
    if (states !== expected) throw new Error(`cancelled, at ${host}, and the move is ${states}`);
  }

  async #runsNowhere(): Promise<void> {
    const sinceMs = performance.now();
    await new Promise((resolve) => setTimeout(resolve, QUIET_MS));
    const [advance] = this.#census.since(sinceMs);
    if (advance !== undefined) throw new Error(`it runs at ${advance.host} after its end`);
  }

  #mayBeLost(guest: GuestDetail): void {
    const { fault, victim } = this.#case;
    if (fault !== 'kill' || victim === 'coordinator')
      throw new Error(`lost although nobody was killed: ${guest.evidence}`);
    const isSourceOnly = this.#scenario.stays || this.#scenario.meanwhile?.what === 'powerOff';
    if (isSourceOnly && victim !== 'source')
      throw new Error(`lost with the target, which never was to run it: ${guest.evidence}`);
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
    await this.#audit();
  }

  async #audit(): Promise<void> {
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
