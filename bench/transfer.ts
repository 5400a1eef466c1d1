/**
 * npm run bench -- transfer: bulk pre-copy of an idle, incompressible guest between two agents as
 * processes, beside iperf3 in the same run.
 *
 *   npm run bench -- transfer [--json --gib 1 --moves 4 --samples 3 --warm-up 12 --channels 1,2,4]
 *
 * One sample moves the guest to and fro (at least 4 GB). CPU is both daemons' user and system time
 * from the first round to the end; reserving and touching the target's memory comes before it and
 * is shown apart. Moves of the warm-up are not counted: they touch the memory of both hosts, and while V8
 * compiles what the channels' threads run often it takes the processors that a round wants (the first four
 * moves over two channels reach three quarters of the rate of the fortieth).
 *
 * Samples of us, of iperf3 and of bare sockets alternate, because the machine's speed drifts. iperf3 moves one
 * buffer that stays in the processor's caches; bare sockets (bare-sockets.ts) move as much memory as the guest
 * has, without a protocol. Both have the kernel's default congestion control, which may pace.
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import type { Migration } from '@godwit/protocol';
import { WebSocket } from 'ws';
import { type BareSample, bareSockets } from './bare-sockets.ts';
import { Cluster } from './cluster.ts';
import { type Iperf3Sample, iperf3 } from './iperf3.ts';
import { requireProgram } from './programs.ts';
import { median } from './statistics.ts';

const GIB = 2 ** 30;
/** USER_HZ of every Linux that runs Node. */
const TICKS_PER_SECOND = 100;

interface Sample {
  channels: number;
  gbps: number;
  cpuPerGB: number;
  downtimeMs: number;
  firstTouchMs: number;
}

export async function transfer(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      json: { type: 'boolean', default: false },
      moves: { type: 'string', default: '4' },
      samples: { type: 'string', default: '3' },
      'warm-up': { type: 'string', default: '12' },
      channels: { type: 'string', default: '1,2,4' },
      gib: { type: 'string', default: '1' },
    },
  });
  requireProgram('iperf3', 'iperf3');
  const counts = values.channels.split(',').map(Number);
  const bytes = Number(values.gib) * GIB;
  const moves = Number(values.moves);
  const cluster = await Cluster.start({ agents: 2 });
  const ours: Sample[] = [];
  const theirs: Iperf3Sample[] = [];
  const bare: BareSample[] = [];
  try {
    await cluster.createGuest({
      name: 'idle',
      kind: 'workload',
      memoryBytes: bytes,
      host: 'a',
      workload: { pattern: 'idle', content: 'random' },
    });
    await sample(cluster, Math.max(...counts), Number(values['warm-up']));
    for (let i = 0; i < Number(values.samples); i++) {
      for (const channels of counts) {
        ours.push(say(await sample(cluster, channels, moves)));
        theirs.push(say(await iperf3(channels, bytes * moves)));
        bare.push(say(await bareSockets(channels, bytes, bytes * moves)));
      }
    }
  } finally {
    await cluster.close();
  }
  const result = { godwit: summary(ours), iperf3: streams(theirs), bare: streams(bare) };
  if (values.json) console.log(JSON.stringify(result));
  else print(result);
}

function say<T extends object>(sample: T): T {
  console.error(
    Object.entries(sample)
      .map(([name, value]) => `${name} ${Number(value).toFixed(2)}`)
      .join('  '),
  );
  return sample;
}

async function sample(cluster: Cluster, channels: number, moves: number): Promise<Sample> {
  const downtimes: number[] = [];
  const touches: number[] = [];
  let cpu = 0;
  let bytes = 0;
  let transferMs = 0;
  for (let move = 0; move < moves; move++) {
    const { host } = await cluster.guest('idle');
    const before = { cpu: 0 };
    const ended = await watched(
      cluster,
      { guest: 'idle', to: host === 'a' ? 'b' : 'a', mode: 'precopy', channels },
      () => {
        before.cpu = cpuSeconds(cluster);
      },
    );
    if (ended.state !== 'completed' || ended.result === undefined) {
      throw new Error(`migration ${ended.state}: ${ended.error?.message}`);
    }
    cpu += cpuSeconds(cluster) - before.cpu;
    bytes += ended.result.bytes;
    transferMs += ended.result.transferMs;
    downtimes.push(ended.result.downtimeMs);
    touches.push(ended.result.reservedMs);
  }
  return {
    channels,
    gbps: bytes / 1e6 / transferMs,
    cpuPerGB: cpu / (bytes / 1e9),
    downtimeMs: median(downtimes),
    firstTouchMs: median(touches),
  };
}

/** Runs a migration and calls back at the moment its rounds begin. */
async function watched(cluster: Cluster, request: object, begun: () => void): Promise<Migration> {
  const { id } = await cluster.post<Migration>('/v1/migrations', request);
  const socket = new WebSocket(`${cluster.url.replace('http', 'ws')}/v1/migrations/${id}/watch`);
  let isBegun = false;
  return new Promise((resolve, reject) => {
    let last: Migration | undefined;
    socket.on('message', (data) => {
      last = JSON.parse(String(data)) as Migration;
      if (!isBegun && last.state !== 'granting') {
        isBegun = true;
        begun();
      }
    });
    socket.on('error', reject);
    socket.on('close', () => cluster.ended(id).then(resolve, reject));
  });
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

type Row = { gbps: number; cpuPerGB: number };
type Stream = Row & { streams: number };
type Channels = Row & { channels: number; downtimeMs: number; firstTouchMs: number };

const of = <T>(list: T[], key: keyof T) => median(list.map((item) => Number(item[key])));

/** Medians a channel count. */
function summary(samples: Sample[]): Channels[] {
  return [...new Set(samples.map((item) => item.channels))].map((channels) => {
    const list = samples.filter((item) => item.channels === channels);
    return {
      channels,
      gbps: of(list, 'gbps'),
      cpuPerGB: of(list, 'cpuPerGB'),
      downtimeMs: of(list, 'downtimeMs'),
      firstTouchMs: of(list, 'firstTouchMs'),
    };
  });
}

/** Medians a stream count. */
function streams(samples: Stream[]): Stream[] {
  return [...new Set(samples.map((item) => item.streams))].map((streams) => {
    const list = samples.filter((item) => item.streams === streams);
    return { streams, gbps: of(list, 'gbps'), cpuPerGB: of(list, 'cpuPerGB') };
  });
}

function print(result: { godwit: Channels[]; iperf3: Stream[]; bare: Stream[] }): void {
  const { godwit, iperf3, bare } = result;
  console.log(
    '                godwit                                    iperf3          bare sockets',
  );
  console.log('channels   GB/s  s/GB   downtime ms  first touch ms    GB/s  s/GB       GB/s  s/GB');
  godwit.forEach((row, i) => {
    const cells: [number, number][] = [
      [row.gbps, 7],
      [row.cpuPerGB, 6],
      [row.downtimeMs, 14],
      [row.firstTouchMs, 16],
      [iperf3[i]!.gbps, 8],
      [iperf3[i]!.cpuPerGB, 6],
      [bare[i]!.gbps, 11],
      [bare[i]!.cpuPerGB, 6],
    ];
    const text = cells.map(([value, width]) => value.toFixed(2).padStart(width)).join('');
    console.log(String(row.channels).padStart(8) + text);
  });
  const best = (list: Row[]) => Math.max(...list.map((item) => item.gbps));
  const least = (list: Row[]) => Math.min(...list.map((item) => item.cpuPerGB));
  const rate = (list: Row[]) => (best(godwit) / best(list)).toFixed(2);
  const cost = (list: Row[]) => (least(godwit) / least(list)).toFixed(2);
  console.log(`best rate against best: ${rate(iperf3)} x iperf3's, ${rate(bare)} x bare sockets'`);
  console.log(`least CPU against least: ${cost(iperf3)} x iperf3's, ${cost(bare)} x bare sockets'`);
}
