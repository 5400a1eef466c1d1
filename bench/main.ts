/**
 * npm run bench -- NAME [flags]: whole-system benchmarks, each with a peer in the same run.
 */
import { drain } from './drain.ts';
import { latency } from './latency.ts';
import { linux } from './linux.ts';
import { machine } from './machine.ts';
import { peers } from './peers.ts';
import { scale } from './scale.ts';
import { transfer } from './transfer.ts';

const BENCHES: {
  readonly [name: string]: { run: (args: string[]) => Promise<void>; what: string };
} = {
  peers: { run: peers, what: 'total time and downtime in four scenarios, beside QEMU' },
  transfer: { run: transfer, what: 'bulk pre-copy of an idle guest, beside iperf3' },
  drain: { run: drain, what: 'a host emptied of 20 guests, the coordinator killed in the middle' },
  machine: {
    run: machine,
    what: 'speed of the machine and boot time of Linux, beside qemu-system-riscv64',
  },
  linux: { run: linux, what: 'downtime of an idle Linux, beside QEMU' },
  latency: {
    run: latency,
    what: 'downtime of every mode and post-copy faults, beside a TCP ping-pong',
  },
  scale: {
    run: scale,
    what: 'size of guests, moves at once, and a coordinator with 1,000 agents and 10,000 guests',
  },
};

const [name = '', ...args] = process.argv.slice(2);
const bench = BENCHES[name];
if (bench === undefined) {
  console.error('usage: npm run bench -- NAME [--json]');
  for (const [known, { what }] of Object.entries(BENCHES))
    console.error(`  ${known.padEnd(10)} ${what}`);
  process.exitCode = 2;
} else {
  try {
    await bench.run(args);
  } catch (error) {
    const { message, hint } = error as Error & { hint?: string };
    console.error(`error: ${message}`);
    if (hint !== undefined) console.error(`hint: ${hint}`);
    process.exitCode = 1;
  }
}
