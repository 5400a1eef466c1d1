/**
 * The data path alone: how fast do page channels move an idle guest, and at what cost?
 *
 *   node bench/datapath.ts [--channels 1,2] [--memory MIB] [--moves N] [--samples N] [--json]
 *
 * Two processes: this one is the source, its child the target. The guest is idle and incompressible,
 * its target memory touched beforehand. Each sample moves the guest N times in successive rounds; samples
 * of the channel counts, of bare sockets over as much memory and of iperf3 (as many processes as
 * channels) alternate. CPU is user and system time of both ends. The last line with --json:
 * {"godwit":[...],"bare":[...],"iperf3":[...]}.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { randomBytes, randomFillSync } from 'node:crypto';
import { once } from 'node:events';
import { parseArgs } from 'node:util';
import { RegionTable } from '../packages/agent/src/channel/regions.ts';
import { SourceChannels } from '../packages/agent/src/source/source-channels.ts';
import { TargetChannels } from '../packages/agent/src/target/target-channels.ts';
import { GuestMemory, makeBitmap } from '../packages/machine/src/mod.ts';
import { bareSockets } from './bare-sockets.ts';
import { iperf3, requireIperf3 } from './iperf3.ts';
import { median } from './statistics.ts';

const MIB = 1048576;

interface Sample {
  readonly gbps: number;
  readonly cpuPerGB: number;
}

interface ToTarget {
  readonly open?: {
    migration: string;
    capability: string;
    pagePorts: number[];
    faultsPort: number;
    readKey: number;
  };
  readonly close?: true;
}

const { values } = parseArgs({
  options: {
    channels: { type: 'string', default: '1,2' },
    memory: { type: 'string', default: '512' },
    moves: { type: 'string', default: '8' },
    samples: { type: 'string', default: '3' },
    json: { type: 'boolean', default: false },
    target: { type: 'boolean', default: false },
  },
});
const ramBytes = Number(values.memory) * MIB;

if (values.target) runTarget();
else await runSource();

/** The child: lands whatever comes and reports its CPU time. */
function runTarget(): void {
  const memory = GuestMemory.create({ ramBytes, harts: 1 });
  memory.ram().fill(0xa5);
  const regions = new RegionTable();
  const { rkey } = regions.registerRegion({ firstPage: 0, pages: memory.pages, access: 'write' });
  let channels: TargetChannels | undefined;
  let before = process.cpuUsage();
  process.on('message', async (message: ToTarget) => {
    if (message.open) {
      const options = { ...message.open, memory, regions, host: '127.0.0.1' };
      channels = await TargetChannels.open(options);
      before = process.cpuUsage();
      process.send?.({ rkey });
    } else {
      const used = process.cpuUsage(before);
      await channels?.close();
      process.send?.({ cpuS: (used.user + used.system) / 1e6 });
    }
  });
}

async function runSource(): Promise<void> {
  requireIperf3();
  const memory = GuestMemory.create({ ramBytes, harts: 1 });
  for (let at = 0; at < ramBytes; at += MIB) randomFillSync(memory.ram().subarray(at, at + MIB));
  const child = fork(new URL(import.meta.url), ['--target', '--memory', values.memory]);
  const counts = values.channels.split(',').map(Number);
  const ours = new Map<number, Sample[]>(counts.map((count) => [count, []]));
  const bare = new Map<number, Sample[]>(counts.map((count) => [count, []]));
  const theirs = new Map<number, Sample[]>(counts.map((count) => [count, []]));
  const bytes = ramBytes * Number(values.moves);
  for (let sample = 0; sample < Number(values.samples); sample++) {
    for (const count of counts) {
      ours.get(count)?.push(await move(memory, child, count));
      bare.get(count)?.push(await bareSockets(count, ramBytes, bytes));
      theirs.get(count)?.push(await iperf3(count, bytes));
    }
  }
  child.disconnect();
  const godwit = counts.map((channels) => ({ channels, ...middle(ours.get(channels)) }));
  const iperf = counts.map((streams) => ({ streams, ...middle(theirs.get(streams)) }));
  const plain = counts.map((streams) => ({ streams, ...middle(bare.get(streams)) }));
  for (const row of godwit) console.log(`godwit  ${row.channels} channels  ${figures(row)}`);
  for (const row of plain) console.log(`bare    ${row.streams} streams   ${figures(row)}`);
  for (const row of iperf) console.log(`iperf3  ${row.streams} streams   ${figures(row)}`);
  if (values.json) console.log(JSON.stringify({ godwit, bare: plain, iperf3: iperf }));
  process.exit(0);
}

async function move(memory: GuestMemory, child: ChildProcess, channels: number): Promise<Sample> {
  const migration = randomBytes(8).toString('hex');
  const capability = randomBytes(32).toString('hex');
  const source = await SourceChannels.open({
    memory,
    migration,
    capability,
    channels,
    listenHost: '127.0.0.1',
    ports: null,
    maxBandwidthBytes: 0,
  });
  const { pagePorts, faultsPort, readKey } = source;
  child.send({ open: { migration, capability, pagePorts, faultsPort, readKey } });
  const [{ rkey }] = (await once(child, 'message')) as [{ rkey: number }];
  await source.attached(5000);
  const all = makeBitmap(memory.pages).fill(0xffffffff);
  const before = process.cpuUsage();
  const startedMs = performance.now();
  for (let round = 0; round < Number(values.moves); round++) {
    await source.sendRound(round, all, rkey);
  }
  const seconds = (performance.now() - startedMs) / 1000;
  const used = process.cpuUsage(before);
  child.send({ close: true });
  const [{ cpuS }] = (await once(child, 'message')) as [{ cpuS: number }];
  await source.close();
  const gb = (ramBytes * Number(values.moves)) / 1e9;
  return { gbps: gb / seconds, cpuPerGB: (cpuS + (used.user + used.system) / 1e6) / gb };
}

function middle(samples: readonly Sample[] = []): Sample {
  const gbps = median(samples.map((sample) => sample.gbps));
  return { gbps, cpuPerGB: median(samples.map((sample) => sample.cpuPerGB)) };
}

function figures(sample: Sample): string {
  return `${sample.gbps.toFixed(2)} GB/s  ${sample.cpuPerGB.toFixed(2)} CPU s/GB`;
}
