/**
 * npm run bench -- transfer: bulk pre-copy of an idle, incompressible guest between two agents as
 * processes, beside iperf3 in the same run.
 *
 *   npm run bench -- transfer [--json --memory 1GiB --moves 4 --samples 3 --channels 1,2,4]
 *
 * One sample moves the guest to and fro (at least 4 GB). CPU is both daemons' user and system time
 * from the first round to the end; reserving and touching the target's memory comes before it and
 * is shown apart. Samples of us and of iperf3 alternate, because the machine's speed drifts.
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import type { Migration } from '@godwit/protocol';
import { WebSocket } from 'ws';
import { Cluster } from './cluster.ts';
import { type Iperf3Sample, iperf3, requireIperf3 } from './iperf3.ts';
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
      channels: { type: 'string', default: '1,2,4' },
      gib: { type: 'string', default: '1' },
    },
  });
  requireIperf3();
  const counts = values.channels.split(',').map(Number);
  const bytes = Number(values.gib) * GIB;
  const moves = Number(values.moves);
  const cluster = await Cluster.start({ agents: 2 });
  const ours: Sample[] = [];
  const theirs: Iperf3Sample[] = [];
  try {
    await cluster.createGuest({
      name: 'idle',
      kind: 'workload',
      memoryBytes: bytes,
      host: 'a',
      workload: { pattern: 'idle', content: 'random' },
    });
    await sample(cluster, 1, 2); // both hosts' pools become warm
    for (let i = 0; i < Number(values.samples); i++) {
      for (const channels of counts) {
        ours.push(say(await sample(cluster, channels, moves)));
        theirs.push(say(await iperf3(channels, bytes * moves)));
      }
    }
  } finally {
    await cluster.close();
  }
  print(ours, theirs, values.json);
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

function print(ours: Sample[], theirs: Iperf3Sample[], json: boolean): void {
  const of = <T>(list: T[], key: keyof T) => median(list.map((item) => Number(item[key])));
  const counts = [...new Set(ours.map((item) => item.channels))];
  const godwit = counts.map((channels) => {
    const list = ours.filter((item) => item.channels === channels);
    return {
      channels,
      gbps: of(list, 'gbps'),
      cpuPerGB: of(list, 'cpuPerGB'),
      downtimeMs: of(list, 'downtimeMs'),
      firstTouchMs: of(list, 'firstTouchMs'),
    };
  });
  const peer = counts.map((streams) => {
    const list = theirs.filter((item) => item.streams === streams);
    return { streams, gbps: of(list, 'gbps'), cpuPerGB: of(list, 'cpuPerGB') };
  });
  if (json) return console.log(JSON.stringify({ godwit, iperf3: peer }));
  console.log('channels   GB/s   CPU s/GB   downtime ms   first touch ms   iperf3 GB/s   CPU s/GB');
  godwit.forEach((row, i) => {
    const other = peer[i];
    const cells = [
      row.channels,
      row.gbps,
      row.cpuPerGB,
      row.downtimeMs,
      row.firstTouchMs,
      other?.gbps,
      other?.cpuPerGB,
    ];
    const widths = [8, 7, 11, 14, 17, 14, 11];
    console.log(
      cells
        .map((cell, j) =>
          (j === 0 ? String(cell) : Number(cell).toFixed(2)).padStart(widths[j] as number),
        )
        .join(''),
    );
  });
  const best = (list: { gbps: number }[]) => Math.max(...list.map((item) => item.gbps));
  console.log(`best against best: ${(best(godwit) / best(peer)).toFixed(2)} x iperf3's rate`);
}
