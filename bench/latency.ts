/**
 * npm run bench -- latency: downtime of idle pre-copy and post-copy, and the time of a post-copy
 * fault beside a bare TCP ping-pong of the same sizes between two Node processes in the same run.
 *
 *   npm run bench -- latency [--json --moves 15 --warm-up 10]
 *
 * Moves of the warm-up are not counted: V8 compiles what runs often while it runs, and the first handovers
 * of a fresh agent take several times as long as all later ones. The first is printed beside the medians.
 *
 * A fault's time is from its READ to the page being present; the ping-pong sends a READ's bytes and gets
 * a page's back. What a hart has waited for at most, its own wake-up included, is a move's longest stall.
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
      'warm-up': { type: 'string', default: '10' },
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
    const first = await turn(cluster);
    for (let move = 1; move < Number(values['warm-up']); move++) await turn(cluster);
    const turns: Turn[] = [];
    while (turns.length < moves) turns.push(await turn(cluster));
    const result = { ...medians(turns), first };
    if (values.json) console.log(JSON.stringify(result));
    else print(result, moves);
  } finally {
    await cluster.close();
  }
}

/** Milliseconds of downtime, microseconds of faults and of the ping-pong. */
interface Turn {
  precopy: number;
  postcopy: number;
  faultP50: number;
  faultP99: number;
  pingP50: number;
  pingP99: number;
}

/** One move of each kind, and the ping-pong. */
async function turn(cluster: Cluster): Promise<Turn> {
  const { downtimeMs: precopy } = await once(cluster, 'idle', 'precopy');
  const { downtimeMs: postcopy } = await once(cluster, 'idle', 'postcopy');
  const { faultP50Us, faultP99Us, faults } = await once(cluster, 'busy', 'postcopy');
  if (faults === 0) throw new Error('the busy guest met no missing page');
  const pings = await pingPong();
  return {
    precopy,
    postcopy,
    faultP50: faultP50Us,
    faultP99: faultP99Us,
    pingP50: percentile(pings, 0.5),
    pingP99: percentile(pings, 0.99),
  };
}

function medians(turns: readonly Turn[]): Turn {
  const of = (name: keyof Turn) => median(turns.map((turn) => turn[name]));
  return {
    precopy: of('precopy'),
    postcopy: of('postcopy'),
    faultP50: of('faultP50'),
    faultP99: of('faultP99'),
    pingP50: of('pingP50'),
    pingP99: of('pingP99'),
  };
}

function print(of: Turn & { first: Turn }, moves: number): void {
  const { first } = of;
  const ms = (value: number) => `${value.toFixed(2)} ms`;
  const us = (value: number) => `${value.toFixed(0)} us`;
  console.log(`medians of ${moves} moves (the first move of fresh agents in brackets)`);
  console.log(`idle pre-copy downtime    ${ms(of.precopy)} (${ms(first.precopy)})`);
  console.log(`idle post-copy downtime   ${ms(of.postcopy)} (${ms(first.postcopy)})`);
  console.log(`post-copy fault           p50 ${us(of.faultP50)}  p99 ${us(of.faultP99)}`);
  console.log(`bare TCP ping-pong        p50 ${us(of.pingP50)}  p99 ${us(of.pingP99)}`);
  console.log(`fault against ping-pong   ${(of.faultP50 / of.pingP50).toFixed(2)} x`);
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
