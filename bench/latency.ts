/**
 * npm run bench -- latency: downtime of idle pre-copy and post-copy, and the time of a post-copy
 * fault beside a bare TCP ping-pong of the same sizes between two Node processes in the same run.
 *
 *   npm run bench -- latency [--json --moves 15]
 *
 * The fault's clock starts when the hart parks and ends when the landing thread has made its page
 * present; the ping-pong sends a READ's bytes and gets a page back.
 */
import { fork } from 'node:child_process';
import { connect, createServer } from 'node:net';
import { parseArgs } from 'node:util';
import { FRAME_HEADER_BYTES, type Mode, PAGE_BYTES, RUN_BYTES } from '@godwit/protocol';
import { Cluster } from './cluster.ts';
import { median, percentile } from './statistics.ts';

const REQUEST_BYTES = FRAME_HEADER_BYTES + RUN_BYTES + 6;
const RESPONSE_BYTES = FRAME_HEADER_BYTES + RUN_BYTES + PAGE_BYTES + 4;
const PING_PONGS = 3000;
const MIB = 2 ** 20;

export async function latency(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      json: { type: 'boolean', default: false },
      moves: { type: 'string', default: '15' },
    },
  });
  const moves = Number(values.moves);
  const cluster = await Cluster.start({ agents: 2 });
  try {
    const idle = { pattern: 'idle', content: 'random' } as const;
    const busy = { pattern: 'uniform', content: 'random', rateMiBps: 20 } as const;
    await cluster.createGuest({
      name: 'idle',
      kind: 'workload',
      memoryBytes: 256 * MIB,
      host: 'a',
      workload: idle,
    });
    await cluster.createGuest({
      name: 'busy',
      kind: 'workload',
      memoryBytes: 256 * MIB,
      host: 'a',
      workload: busy,
    });
    const result = {
      precopy: [] as number[],
      postcopy: [] as number[],
      faultP50: [] as number[],
      faultP99: [] as number[],
      pingP50: [] as number[],
      pingP99: [] as number[],
    };
    for (let move = 0; move < moves; move++) {
      result.precopy.push((await once(cluster, 'idle', 'precopy')).downtimeMs);
      result.postcopy.push((await once(cluster, 'idle', 'postcopy')).downtimeMs);
      const faulted = await once(cluster, 'busy', 'postcopy');
      if (faulted.faults > 0) {
        result.faultP50.push(faulted.faultP50Us);
        result.faultP99.push(faulted.faultP99Us);
      }
      const pings = await pingPong();
      result.pingP50.push(percentile(pings, 0.5));
      result.pingP99.push(percentile(pings, 0.99));
    }
    const medians = Object.fromEntries(
      Object.entries(result).map(([name, list]) => [name, median(list)]),
    ) as Record<keyof typeof result, number>;
    if (values.json) console.log(JSON.stringify(medians));
    else print(medians, moves);
  } finally {
    await cluster.close();
  }
}

function print(of: Record<string, number>, moves: number): void {
  const f = (name: string, digits = 0) => (of[name] as number).toFixed(digits);
  console.log(`medians of ${moves} moves`);
  console.log(`idle pre-copy downtime    ${f('precopy', 2)} ms`);
  console.log(`idle post-copy downtime   ${f('postcopy', 2)} ms`);
  console.log(`post-copy fault           p50 ${f('faultP50')} us  p99 ${f('faultP99')} us`);
  console.log(`bare TCP ping-pong        p50 ${f('pingP50')} us  p99 ${f('pingP99')} us`);
  console.log(
    `fault against ping-pong   ${((of.faultP50 as number) / (of.pingP50 as number)).toFixed(2)} x`,
  );
}

async function once(cluster: Cluster, guest: string, mode: Mode) {
  const { host } = await cluster.guest(guest);
  const ended = await cluster.migrate({ guest, to: host === 'a' ? 'b' : 'a', mode });
  if (ended.result === undefined)
    throw new Error(`${mode} ${ended.state}: ${ended.error?.message}`);
  return ended.result;
}

/** Round trips in us, against a server in a process of its own. */
async function pingPong(): Promise<number[]> {
  const server = fork(new URL(import.meta.url), ['--serve'], { execArgv: [] });
  try {
    const port = await new Promise<number>((resolve) =>
      server.once('message', (said) => resolve(Number(said))),
    );
    return await new Promise<number[]>((resolve, reject) => {
      const times: number[] = [];
      const socket = connect({ port, host: '127.0.0.1', noDelay: true });
      let due = RESPONSE_BYTES;
      let sentAt = performance.now();
      const request = Buffer.alloc(REQUEST_BYTES);
      socket.on('connect', () => socket.write(request));
      socket.on('error', reject);
      socket.on('data', (chunk) => {
        due -= chunk.length;
        if (due > 0) return;
        times.push((performance.now() - sentAt) * 1000);
        if (times.length === PING_PONGS) {
          socket.destroy();
          return resolve(times);
        }
        due = RESPONSE_BYTES;
        sentAt = performance.now();
        socket.write(request);
      });
    });
  } finally {
    server.kill();
  }
}

if (process.argv[2] === '--serve') {
  const response = Buffer.alloc(RESPONSE_BYTES);
  const server = createServer({ noDelay: true }, (socket) => {
    let due = REQUEST_BYTES;
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk) => {
      due -= chunk.length;
      if (due > 0) return;
      due = REQUEST_BYTES;
      socket.write(response);
    });
  });
  server.listen(0, '127.0.0.1', () => process.send?.((server.address() as { port: number }).port));
}
