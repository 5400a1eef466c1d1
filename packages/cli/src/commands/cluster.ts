/**
 * `godwit up`, `status` and `version`: the cluster as a whole.
 */
import { resolve } from 'node:path';
import { PROTOCOL_VERSION } from '@godwit/protocol';
import type { Command } from 'commander';
import { Cluster } from '../cluster.ts';
import { type Context, does, leaf, withApi } from '../command.ts';
import { CommandError, EXIT } from '../errors.ts';
import { ageText, bytesText, durationText } from '../format.ts';
import type { Io } from '../io.ts';
import { parseCount, sizeOption } from '../options.ts';
import { alignRow, jsonDocument, jsonLine } from '../output.ts';
import { VERSION } from '../version.ts';

interface UpOptions {
  agents: number;
  memory: number;
  stateDir: string;
  port: number;
  token?: string;
  json?: boolean;
  logLevel?: string;
}

const AGENTS_MAX = 32;
const MEMORY_DEFAULT = 6 * 1024 ** 3;

export function addClusterCommands(program: Command, context: Context): void {
  const up = leaf(program, 'up', 'Start a coordinator and some hosts on this machine', [
    'godwit up',
    'godwit up --agents 5 --memory 2GiB --port 7500',
  ])
    .description(
      'Start a coordinator and some hosts on this machine, each a process of its own on loopback.\n' +
        'Ctrl-C stops everything, guests included.',
    )
    .option('--agents <n>', 'how many hosts', parseCount(1, AGENTS_MAX), 3)
    .addOption(sizeOption('--memory <size>', 'memory for guests on each host', MEMORY_DEFAULT))
    .option('--state-dir <dir>', 'where state and logs are kept', './.godwit')
    .option('--port <port>', 'of the coordinator; 0: any', parseCount(0, 65_000), 7400)
    .option('--token <token>', 'cluster token')
    .option('--log-level <level>', 'trace, debug, info, warn or error')
    .option('--json', 'print one JSON line when ready');
  does<UpOptions>(context, up, ({ io, options }) => runUp(io, options));

  const status = leaf(program, 'status', 'Show how the cluster is', ['godwit status']);
  does(context, withApi(status), async ({ api, io, options }) => {
    const s = await api.status();
    if (options.json) return io.out(jsonDocument(s));
    io.out(
      `coordinator  ${api.url}   term ${s.term}   up ${ageText(s.uptimeS * 1000)}   version ${s.version}\n` +
        `hosts ${s.hosts}   guests ${s.guests}   migrations under way ${s.openMigrations}\n`,
    );
  });

  const version = leaf(program, 'version', 'Print the version', ['godwit version']);
  does(context, version.option('--json', 'as JSON'), async ({ io, options }) => {
    const about = { version: VERSION, protocol: PROTOCOL_VERSION, node: process.versions.node };
    if (options.json) io.out(jsonDocument(about));
    else io.out(`godwit ${about.version}  protocol ${about.protocol}  node ${about.node}\n`);
  });
}

/** Until a signal or until one of the processes is gone; either way nothing stays behind. */
async function runUp(io: Io, options: UpOptions): Promise<number> {
  const stop = new AbortController();
  const release = io.onSignal(() => stop.abort());
  const startedAtMs = performance.now();
  try {
    const cluster = await Cluster.start(
      {
        agents: options.agents,
        port: options.port,
        stateDir: resolve(options.stateDir),
        memoryBytes: options.memory,
        token: options.token,
        ...(options.logLevel !== undefined && { logLevel: options.logLevel }),
      },
      stop.signal,
    );
    try {
      const tookMs = performance.now() - startedAtMs;
      io.out(options.json ? readyJson(cluster) : await readyText(cluster, tookMs));
      const aborted = new Promise<undefined>((done) => {
        if (stop.signal.aborted) done(undefined);
        else stop.signal.addEventListener('abort', () => done(undefined));
      });
      const failure = await Promise.race([aborted, cluster.failed()]);
      if (failure !== undefined) {
        throw new CommandError({
          code: 'cluster.ended',
          exit: EXIT.failed,
          message: failure,
          hint: `see the logs in ${options.stateDir}`,
        });
      }
    } finally {
      if (!options.json) io.err('stopping\n');
      await cluster.stop();
    }
    return EXIT.ok;
  } finally {
    release();
  }
}

function readyJson(cluster: Cluster): string {
  const { url, term, coordinatorPid, hosts } = cluster;
  const list = hosts.map(({ name, control, pid, daemonPid }) => ({
    name,
    control,
    pid,
    daemonPid,
  }));
  return jsonLine({ ready: true, url, term, pid: coordinatorPid, hosts: list });
}

async function readyText(cluster: Cluster, tookMs: number): Promise<string> {
  const hosts = await cluster.api.hosts();
  const rows = [
    ['coordinator', cluster.url, `store ${cluster.stateDir}`, `term ${cluster.term}`],
    ...cluster.hosts.map((host) => {
      const found = hosts.find((other) => other.name === host.name);
      const memory = `${found?.cores ?? '?'} cores, ${bytesText(found?.memoryBytes ?? 0)} for guests`;
      return [`host ${host.name}`, host.control, memory];
    }),
  ];
  const widths = [0, 1].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return (
    `${rows.map((row) => alignRow(row, widths)).join('\n')}\n` +
    `ready in ${durationText(tookMs)}. Try:  godwit guest create web1 --image hello    ` +
    'Ctrl-C stops everything.\n'
  );
}
