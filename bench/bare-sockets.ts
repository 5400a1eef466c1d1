/**
 * The other yardstick: the same bytes through bare sockets of Node, with nothing of ours in between.
 *
 * iperf3 sends and receives one small buffer that never leaves the processor's caches. A guest does not
 * fit in there. So a pair of processes a stream writes one region of memory by reference, in pieces of
 * 2 MiB, and reads it in place into another: what remains between this and a page channel is the
 * protocol, and what a page channel asks of its sockets (receive-low-water.ts, unpaced.ts) and these do not. Run as `node bench/bare-sockets.ts source|target ...` it is one of those processes.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { fileURLToPath } from 'node:url';

const MIB = 1048576;
const PIECE_BYTES = 2 * MIB;
/** Pieces handed to the socket beyond what the kernel has taken. */
const QUEUED_BYTES = 2 * PIECE_BYTES;

export interface BareSample {
  readonly streams: number;
  readonly gbps: number;
  readonly cpuPerGB: number;
}

interface Report {
  readonly seconds: number;
  readonly cpuS: number;
}

const SELF = fileURLToPath(import.meta.url);

/** @param bytes moved by all streams together, over and over the same `memoryBytes` */
export async function bareSockets(
  streams: number,
  memoryBytes: number,
  bytes: number,
): Promise<BareSample> {
  const [memory, total] = [memoryBytes / streams, bytes / streams].map(String) as [string, string];
  const pairs = await Promise.all(
    Array.from({ length: streams }, async () => {
      const source = fork(SELF, ['source', memory, total]);
      const [port] = await once(source, 'message');
      const target = fork(SELF, ['target', memory, total, String(port)]);
      await once(target, 'message');
      return [source, target] as const;
    }),
  );
  const ends = pairs.flat();
  const reports = ends.map(async (end) => (await once(end, 'message'))[0] as Report);
  // Targets ask for the first byte; all of them at once.
  for (const [, target] of pairs) target.send('go');
  const found = await Promise.all(reports);
  await Promise.all(ends.map(ended));
  const seconds = Math.max(...found.map((report) => report.seconds));
  const cpuS = found.reduce((sum, report) => sum + report.cpuS, 0);
  return { streams, gbps: bytes / 1e9 / seconds, cpuPerGB: cpuS / (bytes / 1e9) };
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.connected) child.disconnect();
  if (child.exitCode === null) await once(child, 'exit');
}

function report(before: NodeJS.CpuUsage, startedMs: number): Report {
  const used = process.cpuUsage(before);
  const seconds = (performance.now() - startedMs) / 1000;
  return { seconds, cpuS: (used.user + used.system) / 1e6 };
}

/** Writes the memory round and round once the target has said a word. */
function runSource(memory: Uint8Array, total: number): void {
  for (let at = 0; at < memory.length; at += MIB) randomFillSync(memory.subarray(at, at + MIB));
  const server = createServer((socket) => {
    server.close();
    socket.once('data', () => {
      const before = process.cpuUsage();
      const startedMs = performance.now();
      let at = 0;
      const pump = () => {
        while (at < total && socket.writableLength < QUEUED_BYTES) {
          const start = at % memory.length;
          socket.write(memory.subarray(start, start + PIECE_BYTES), pump);
          at += PIECE_BYTES;
        }
      };
      socket.once('close', () => process.send?.(report(before, startedMs)));
      pump();
    });
  });
  server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port));
}

function runTarget(memory: Uint8Array, total: number, port: number): void {
  memory.fill(0xa5);
  let at = 0;
  let before = process.cpuUsage();
  let startedMs = 0;
  const buffer = () => {
    const start = at % memory.length;
    return memory.subarray(start, start + PIECE_BYTES - (at % PIECE_BYTES));
  };
  const callback = (bytes: number) => {
    at += bytes;
    if (at === total) {
      process.send?.(report(before, startedMs));
      socket.destroy();
    }
    return true;
  };
  const socket = connect({ host: '127.0.0.1', port, onread: { buffer, callback } }, () =>
    process.send?.('ready'),
  );
  process.once('message', () => {
    before = process.cpuUsage();
    startedMs = performance.now();
    socket.write('go');
  });
}

if (process.argv[1] === SELF) {
  const [role, memoryBytes, total, port] = process.argv.slice(2);
  const memory = new Uint8Array(new SharedArrayBuffer(Number(memoryBytes)));
  if (role === 'source') runSource(memory, Number(total));
  else runTarget(memory, Number(total), Number(port));
}
