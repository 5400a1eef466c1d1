/**
 * The yardstick: iperf3 over loopback, one process a stream and end, so that no stream shares a
 * thread. It moves one cached buffer, so it touches no guest memory: the most the machine's TCP can
 * do in the same minute.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createServer } from 'node:net';

export interface Iperf3Sample {
  streams: number;
  gbps: number;
  cpuPerGB: number;
}

/** @param bytes moved by all streams together */
export async function iperf3(streams: number, bytes: number): Promise<Iperf3Sample> {
  const ports = await Promise.all(Array.from({ length: streams }, freePort));
  const servers = ports.map((port) =>
    spawn('iperf3', ['-s', '-1', '-p', String(port), '-B', '127.0.0.1', '--forceflush'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    }),
  );
  try {
    await Promise.all(servers.map(listening));
    const each = Math.round(bytes / streams);
    const reports = await Promise.all(ports.map((port) => client(port, each)));
    // The slowest stream's own time: starting the processes is not the network's.
    const seconds = Math.max(...reports.map((report) => report.seconds));
    const gigabytes = (each * streams) / 1e9;
    const cpu = reports.reduce((sum, report) => sum + report.cpuSeconds, 0);
    return { streams, gbps: gigabytes / seconds, cpuPerGB: cpu / gigabytes };
  } finally {
    for (const server of servers) server.kill();
  }
}

/** The server says so on its first lines. */
function listening(server: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    server.stdout?.on('data', (text) => String(text).includes('listening') && resolve());
    server.once('exit', (code) => reject(new Error(`iperf3 server ended with ${code}`)));
  });
}

function client(port: number, bytes: number): Promise<{ cpuSeconds: number; seconds: number }> {
  const child = spawn('iperf3', [
    '-c',
    '127.0.0.1',
    '-p',
    String(port),
    '-n',
    String(bytes),
    '-l',
    '1M',
    '-J',
  ]);
  let text = '';
  child.stdout.on('data', (chunk) => {
    text += chunk;
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => {
      if (code !== 0) return reject(new Error(`iperf3 ended with ${code}: ${text.slice(-300)}`));
      const { sum_sent, cpu_utilization_percent: cpu } = JSON.parse(text).end;
      const { seconds } = sum_sent;
      resolve({ cpuSeconds: ((cpu.host_total + cpu.remote_total) / 100) * seconds, seconds });
    });
  });
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}
