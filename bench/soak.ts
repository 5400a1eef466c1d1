/**
 * npm run soak: many random moves in a row of a machine guest (`churn`) and of a workload that
 * dirties memory as fast as it can, all modes mixed, every move verified.
 *
 *   npm run soak [-- --moves 200 --seed 1 --json]
 *
 * After the warm-up moves the daemons must not grow: resident memory beyond the guests' own and
 * their pool, and open descriptors, are compared with what they were then. Both guests go back to where
 * they were then first: a guest has threads, and would only tell where it is. `churn` checks its own memory
 * and ends with an error when a word is wrong; the workload is audited at the end.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { guestImagePath } from '@godwit/machine';
import type { AuditResult, Host, Mode } from '@godwit/protocol';
import { Cluster } from './cluster.ts';
import { flagsOf } from './flags.ts';
import { randomBelow } from './random.ts';

const WARM_UP_MOVES = 20;
/** Enough for what a guest that is slowed down as far as can be still dirties, on a busy machine. */
const PRECOPY_DOWNTIME_MS = 2_000;
const RSS_GROWTH_MIB_MAX = 32;
/** Garbage comes and goes: the lowest of so many looks counts. */
const LOOKS = 7;
/** Longer than a heartbeat, which brings what a host says of itself; seven are longer than an agent's rest. */
const BETWEEN_LOOKS_MS = 2_000;
const MODES: Mode[] = ['precopy', 'postcopy', 'hybrid'];
const GUESTS = ['churn', 'writer'] as const;
const MIB = 1048576;

export interface SoakResult {
  moves: number;
  errors: string[];
  rssGrowthMiB: number;
  descriptorGrowth: number;
  poolMiB: number;
}

export async function soak(
  moves: number,
  seed: number,
  say: (line: string) => void,
): Promise<SoakResult> {
  const cluster = await Cluster.start({ agents: 3, env: { GODWIT_TEST_POISON: '1' } });
  const errors: string[] = [];
  try {
    const elf = readFileSync(guestImagePath('churn')).toString('base64');
    await cluster.createGuest({
      name: 'churn',
      kind: 'machine',
      memoryBytes: 64 * MIB,
      image: 'churn',
      elf,
      host: 'a',
    });
    const workload = { pattern: 'uniform', content: 'random', hotBytes: 0, seed } as const;
    await cluster.createGuest({
      name: 'writer',
      kind: 'workload',
      memoryBytes: 256 * MIB,
      workload,
      host: 'b',
    });
    const next = randomBelow(seed);
    let before: Usage[] = [];
    let homes: string[] = [];
    for (let move = 0; move < moves; move++) {
      errors.push(...(await oneMove(cluster, move, next, say)));
      if (move + 1 !== Math.min(WARM_UP_MOVES, moves)) continue;
      before = await usage(cluster);
      homes = await hostsOf(cluster);
    }
    errors.push(...(await goHome(cluster, homes)));
    const after = await usage(cluster);
    const hosts = await cluster.get<Host[]>('/v1/hosts');
    errors.push(...(await verdicts(cluster)));
    return {
      moves,
      errors,
      rssGrowthMiB: Math.round(
        Math.max(...after.map((now, i) => now.rssMiB - (before[i] as Usage).rssMiB)),
      ),
      descriptorGrowth: Math.max(
        ...after.map((now, i) => now.descriptors - (before[i] as Usage).descriptors),
      ),
      poolMiB: Math.round(hosts.reduce((sum, host) => sum + host.poolBytes, 0) / MIB),
    };
  } finally {
    await cluster.close();
  }
}

async function oneMove(
  cluster: Cluster,
  move: number,
  next: (below: number) => number,
  say: (line: string) => void,
): Promise<string[]> {
  const name = GUESTS[move % 2] as string;
  const { host } = await cluster.guest(name);
  const to = [...cluster.hosts.keys()].filter((other) => other !== host)[next(2)] as string;
  const mode = MODES[next(3)] as Mode;
  const ended = await cluster.migrate({
    guest: name,
    to,
    mode,
    verify: true,
    // Nothing else makes rounds converge on a guest that writes as fast as it can.
    throttle: mode === 'precopy',
    maxDowntimeMs: mode === 'precopy' ? PRECOPY_DOWNTIME_MS : 300,
    channels: 1 + next(3),
  });
  const figures = ended.result;
  say(
    `${move + 1} ${name} ${host}->${to} ${mode} ${ended.state} ${figures?.totalMs.toFixed(0)} ms ` +
      `down ${figures?.downtimeMs.toFixed(1)} ms faults ${figures?.faults} verified ${figures?.verified}`,
  );
  if (ended.state === 'completed' && figures?.verified) return [];
  const why = ended.error?.message ?? 'not verified';
  return [`move ${move + 1} ${name} ${mode}: ${ended.state} ${why}`];
}

async function hostsOf(cluster: Cluster): Promise<string[]> {
  return Promise.all(GUESTS.map(async (name) => (await cluster.guest(name)).host as string));
}

async function goHome(cluster: Cluster, homes: readonly string[]): Promise<string[]> {
  const errors: string[] = [];
  for (const [i, host] of (await hostsOf(cluster)).entries()) {
    const [guest, to] = [GUESTS[i] as string, homes[i] as string];
    if (host === to) continue;
    const ended = await cluster.migrate({ guest, to, mode: 'postcopy' });
    if (ended.state !== 'completed') errors.push(`${guest} home to ${to}: ${ended.state}`);
  }
  return errors;
}

async function verdicts(cluster: Cluster): Promise<string[]> {
  const errors: string[] = [];
  const audit = await cluster.post<AuditResult>('/v1/guests/writer/audit');
  if (!audit.ok) errors.push(`audit: ${audit.wrong} wrong pages ${audit.why ?? ''}`);
  const churn = await cluster.guest('churn');
  if (churn.state !== 'running')
    errors.push(`churn is ${churn.state} ${JSON.stringify(churn.end ?? {})}`);
  return errors;
}

interface Usage {
  /** Resident memory that neither a guest nor the pool accounts for. */
  readonly rssMiB: number;
  readonly descriptors: number;
}

/** Of each daemon, in the order of their names: the lowest of several looks. */
async function usage(cluster: Cluster): Promise<Usage[]> {
  const looks: Usage[][] = [];
  while (looks.length < LOOKS) {
    await new Promise((resolve) => setTimeout(resolve, BETWEEN_LOOKS_MS));
    const hosts = await cluster.get<Host[]>('/v1/hosts');
    looks.push([...cluster.hosts.keys()].map((name) => usageOf(cluster, name, hosts)));
  }
  return [...cluster.hosts.keys()].map((_name, i) => ({
    rssMiB: Math.min(...looks.map((look) => (look[i] as Usage).rssMiB)),
    descriptors: Math.min(...looks.map((look) => (look[i] as Usage).descriptors)),
  }));
}

/** Resident memory and descriptors as the kernel counts them, less what the host says is guests'. */
function usageOf(cluster: Cluster, name: string, hosts: readonly Host[]): Usage {
  const pid = cluster.daemonPid(name);
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const rssBytes = Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1024;
  const host = hosts.find((each) => each.name === name) as Host;
  const guestBytes = host.memoryBytes - host.freeBytes + host.poolBytes;
  return {
    rssMiB: (rssBytes - guestBytes) / MIB,
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
  };
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const values = flagsOf('soak', {
    moves: { type: 'string', default: '200' },
    seed: { type: 'string', default: '1' },
    json: { type: 'boolean', default: false },
  });
  const result = await soak(Number(values.moves), Number(values.seed), (line) =>
    console.error(line),
  );
  const { moves, errors, rssGrowthMiB, descriptorGrowth, poolMiB } = result;
  for (const error of errors) console.error(`error: ${error}`);
  if (!values.json) {
    console.log(
      `${moves} moves, ${errors.length} errors, memory +${rssGrowthMiB} MiB, descriptors +${descriptorGrowth}, pool ${poolMiB} MiB`,
    );
  } else {
    console.log(
      JSON.stringify({ moves, errors: errors.length, rssGrowthMiB, descriptorGrowth, poolMiB }),
    );
  }
  const isFlat = rssGrowthMiB <= RSS_GROWTH_MIB_MAX && descriptorGrowth <= 0;
  process.exitCode = errors.length === 0 && (isFlat || moves <= WARM_UP_MOVES) ? 0 : 1;
}
