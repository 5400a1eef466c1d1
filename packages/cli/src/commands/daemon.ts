/**
 * `godwit coordinator` and `godwit agent`: the two daemons by themselves, for real machines.
 *
 * They are programs of their own packages and are started as processes: the command line shares no
 * code with them. Options are checked here so that a mistake is reported like any other.
 */
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { NAME_PATTERN } from '@godwit/protocol';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { daemonEntry, mibText } from '../cluster.ts';
import { type Context, does, leaf } from '../command.ts';
import { usageError } from '../errors.ts';
import type { Io } from '../io.ts';
import { COORDINATOR_DEFAULT, parseSize } from '../options.ts';
import { addRecoverCommand } from './recover.ts';

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error'] as const;

export function addDaemonCommands(program: Command, context: Context): void {
  const coordinator = leaf(program, 'coordinator', 'Run a coordinator in the foreground', [
    'godwit coordinator --state-dir /var/lib/godwit',
    'GODWIT_TOKEN=secret godwit coordinator --state-dir /var/lib/godwit --listen 10.0.0.1:7400',
  ])
    .option('--state-dir <dir>', 'where its store is kept')
    .option('--listen <host:port>', 'its address', parseAddress, '127.0.0.1:7400');
  addDaemonOptions(coordinator);
  does<{ stateDir?: string }>(context, coordinator, ({ io, options }) => {
    // Not a required option of commander's: that would be required of `recover` too.
    if (options.stateDir === undefined) throw usageError('--state-dir <dir> is missing');
    return runDaemon(io, 'coordinator', options);
  });
  addRecoverCommand(coordinator, context);

  const agent = leaf(
    program,
    'agent',
    'Run an agent in the foreground: this machine hosts guests',
    ['godwit agent --name a --state-dir /var/lib/godwit-a --coordinator http://10.0.0.1:7400'],
  )
    .requiredOption('--name <host>', 'the name of this host', parseName)
    .requiredOption('--state-dir <dir>', 'where its lock and journal are kept')
    .option('--image-dir <dir>', "where images are kept (default: in the user's cache directory)")
    .option('--listen <host:port>', 'its control address', parseAddress, '127.0.0.1:7410')
    .option('--advertise <host:port>', 'how others reach it', parseAddress)
    .option('--page-ports <from-to>', 'ports of its page channels; 0: any', parsePorts, '7420-7499')
    .option('--coordinator <url>', 'where the coordinator is', COORDINATOR_DEFAULT)
    .option('--memory <size>', 'memory for guests', (text) => mibText(parseSize(text)))
    .option(
      '--drain-timeout <time>',
      'for guests to go elsewhere at SIGTERM; 0: none (default: 60s)',
    )
    .option('--durable', 'sync the journal to disk: survives a power failure, not only a crash');
  addDaemonOptions(agent);
  does(context, agent, ({ io, options }) => runDaemon(io, 'agent', options));
}

function addDaemonOptions(command: Command): void {
  command
    .option('--token <token>', 'cluster token; needed to listen beyond loopback')
    .option('--token-file <file>', 'file with it; the coordinator makes it if there is none')
    .addOption(new Option('--log-level <level>', 'how much to log').choices(LOG_LEVELS))
    .option('--log-file <file>', 'log there instead of stderr');
}

/** Signals go on to the daemon, its exit code comes back. */
function runDaemon(io: Io, name: 'agent' | 'coordinator', options: object): Promise<number> {
  const { token, ...shown } = options as Record<string, string | boolean | undefined>;
  const args = Object.entries(shown).flatMap(([key, value]) => {
    const flag = `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    return value === undefined ? [] : value === true ? [flag] : [flag, String(value)];
  });
  const child = spawn(process.execPath, [daemonEntry(name), ...args], {
    stdio: 'inherit',
    // In the environment and not among the arguments: those everybody on the machine can read.
    env: { ...io.env, ...(token !== undefined && { GODWIT_TOKEN: String(token) }) },
    detached: true,
  });
  const release = io.onSignal((signal) => child.kill(signal));
  return new Promise<number>((resolve) => {
    child.once('exit', (code, signal) => {
      resolve(code ?? 128 + (signal ? constants.signals[signal] : 0));
    });
  }).finally(release);
}

function parseName(text: string): string {
  if (NAME_PATTERN.test(text)) return text;
  throw new InvalidArgumentError('expected lower-case letters, digits and dashes');
}

function parseAddress(text: string): string {
  const match = /^(.+):(\d{1,5})$/.exec(text);
  if (match && Number(match[2]) <= 65_535) return text;
  throw new InvalidArgumentError('expected host:port, such as 127.0.0.1:7410');
}

function parsePorts(text: string): string {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  const from = Number(match?.[1]);
  const to = Number(match?.[2] ?? from);
  if (match && from <= to && to <= 65_535 && (from > 0 || to === 0)) return text;
  throw new InvalidArgumentError('expected a range such as 7420-7499, or 0 for any');
}
