/**
 * npm run bench -- drain [--json]: empties a host of 20 guests of 64 MiB, half of them writing, with
 * the coordinator killed in the middle, and brings them back.
 *
 *   cluster of three --drain--> [kill -9 of the coordinator] --goes on--> audits --restore--> audits
 *
 * Says how long it took and how long it was predicted to take, and checks while it goes on what must
 * hold: no host and no cluster over its limit, every guest in one place, no write lost.
 * The test of the same name runs it small.
 */
import type { AuditResult, Drain, DrainPlan, Host, Migration, MoveLimits } from '@godwit/protocol';
import { Cluster } from './cluster.ts';

const MIB = 2 ** 20;
const LIMIT_MS = 240_000;

export interface DrainCase {
  readonly guests: number;
  readonly memoryMiB: number;
  /** Every second guest writes at this rate. */
  readonly rateMiBps: number;
  /** Of the guests moved, when the coordinator is killed; absent: it is not. */
  readonly killAt?: number;
  /** One guest is moved to and fro first, so that the prediction rests on something. */
  readonly isMeasured?: boolean;
  /** Slows the moves down, so that a kill comes in the middle. */
  readonly maxBandwidthBytesPerS?: number;
}

export interface DrainFigures {
  readonly limits: MoveLimits;
  readonly plan: DrainPlan;
  readonly drain: Drain;
  readonly drainMs: number;
  readonly restore: Drain;
  readonly restoreMs: number;
  /** Highest number of moves seen at once. */
  readonly atOnce: { readonly host: number; readonly cluster: number };
  readonly wrong: readonly string[];
}

const nameOf = (i: number) => `g${String(i).padStart(2, '0')}`;

export async function drainCase(cluster: Cluster, work: DrainCase): Promise<DrainFigures> {
  await createGuests(cluster, work);
  if (work.isMeasured) {
    // One move there and back, so that the prediction rests on something.
    for (const to of ['b', 'a']) await cluster.migrate({ guest: nameOf(0), to });
  }
  const limits = await cluster.get<MoveLimits>('/v1/limits');
  const { maxBandwidthBytesPerS = 0 } = work;
  const request = { maxBandwidthBytesPerS };
  const plan = await cluster.post<DrainPlan>('/v1/hosts/a/drain/plan', request);
  const sampler = new Sampler(cluster);
  const beganAtMs = performance.now();
  await cluster.post<Drain>('/v1/hosts/a/drain', request);
  if (work.killAt !== undefined) await killInTheMiddle(cluster, work.killAt);
  const drain = await ended(cluster);
  const drainMs = performance.now() - beganAtMs;
  const wrong = await audits(cluster, work.guests);
  const left = (await cluster.get<Host>('/v1/hosts/a')).guests;
  if (left > 0) wrong.push(`${left} guests are on host a after its drain`);

  const backAtMs = performance.now();
  await cluster.post<Drain>('/v1/hosts/a/restore', {});
  const restore = await ended(cluster);
  const restoreMs = performance.now() - backAtMs;
  await sampler.close();
  wrong.push(...sampler.wrong(limits), ...(await audits(cluster, work.guests)));
  const { atOnce } = sampler;
  return { limits, plan, drain, drainMs, restore, restoreMs, atOnce, wrong };
}

async function createGuests(cluster: Cluster, work: DrainCase): Promise<void> {
  for (let i = 0; i < work.guests; i++) {
    const isWriting = i % 2 === 1;
    await cluster.createGuest({
      name: nameOf(i),
      kind: 'workload',
      memoryBytes: work.memoryMiB * MIB,
      host: 'a',
      workload: {
        pattern: isWriting ? 'hotset' : 'idle',
        content: 'random',
        ...(isWriting && { rateMiBps: work.rateMiBps, hotBytes: (work.memoryMiB * MIB) / 4 }),
      },
    });
  }
}

async function killInTheMiddle(cluster: Cluster, moved: number): Promise<void> {
  await cluster.until(
    `${moved} guests moved`,
    async () => {
      const { guests } = await cluster.get<Drain>('/v1/hosts/a/drain');
      return guests.filter(({ state }) => state === 'moved').length >= moved;
    },
    LIMIT_MS,
  );
  const child = cluster.coordinator.process;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await gone;
  await cluster.startCoordinator();
}

async function ended(cluster: Cluster): Promise<Drain> {
  let last: Drain | undefined;
  await cluster.until(
    () => `it ends: ${JSON.stringify(last)}`,
    async () => {
      last = await cluster.get<Drain>('/v1/hosts/a/drain');
      return last.endedAtMs !== undefined;
    },
    LIMIT_MS,
  );
  return last as Drain;
}

async function audits(cluster: Cluster, guests: number): Promise<string[]> {
  const wrong: string[] = [];
  for (let i = 0; i < guests; i++) {
    const audit = await cluster.post<AuditResult>(`/v1/guests/${nameOf(i)}/audit`);
    if (!audit.ok) wrong.push(`${nameOf(i)}: ${audit.why}`);
  }
  return wrong;
}

/** Looks at the moves under way again and again; a coordinator that is away is no finding. */
class Sampler {
  readonly atOnce = { host: 0, cluster: 0 };
  readonly #cluster: Cluster;
  readonly #loop: Promise<void>;
  #isOpen = true;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
    this.#loop = this.#look();
  }

  async close(): Promise<void> {
    this.#isOpen = false;
    await this.#loop;
  }

  wrong(limits: MoveLimits): string[] {
    const { host, cluster } = this.atOnce;
    return [
      ...(host > limits.perHost ? [`${host} moves at one host, ${limits.perHost} allowed`] : []),
      ...(cluster > limits.perCluster ? [`${cluster} moves, ${limits.perCluster} allowed`] : []),
    ];
  }

  async #look(): Promise<void> {
    while (this.#isOpen) {
      const moves = await this.#cluster
        .get<Migration[]>('/v1/migrations?open=true')
        .catch((): Migration[] => []);
      const begun = moves.filter(({ state }) => state !== 'queued');
      const byHost = new Map<string, number>();
      for (const host of begun.flatMap(({ source, target }) => [source, target])) {
        byHost.set(host, (byHost.get(host) ?? 0) + 1);
      }
      this.atOnce.cluster = Math.max(this.atOnce.cluster, begun.length);
      this.atOnce.host = Math.max(this.atOnce.host, ...byHost.values());
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

export async function drain(args: string[]): Promise<void> {
  const cluster = await Cluster.start({ agents: 3, memory: '3GiB' });
  try {
    const work = { guests: 20, memoryMiB: 64, rateMiBps: 16, killAt: 5, isMeasured: true };
    const f = await drainCase(cluster, work);
    const { guests: _guests, ...about } = f.drain;
    if (args.includes('--json')) {
      const { drainMs, restoreMs, atOnce, wrong, plan, restore } = f;
      const figures = { drainMs, predictedMs: plan.predictedMs, restoreMs, atOnce, wrong };
      console.log(JSON.stringify({ ...figures, drain: about.state, restore: restore.state }));
    } else {
      const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;
      const [low, high] = f.plan.predictedRangeMs.map(seconds);
      console.log(
        `drain    ${f.drain.state}, ${seconds(f.drainMs)} with the coordinator killed in the middle ` +
          `(predicted ${seconds(f.plan.predictedMs)}, ${low}..${high})\n` +
          `restore  ${f.restore.state}, ${seconds(f.restoreMs)}\n` +
          `at once  ${f.atOnce.host} moves a host of ${f.limits.perHost}, ` +
          `${f.atOnce.cluster} in the cluster of ${f.limits.perCluster}`,
      );
    }
    if (f.wrong.length > 0 || f.drain.state !== 'completed' || f.restore.state !== 'completed') {
      throw new Error(['what must hold does not:', ...f.wrong].join('\n  '));
    }
  } finally {
    await cluster.close();
  }
}
