/**
 * What an agent is told at its start: flag, else GODWIT_* variable, else default.
 *
 *   command line -> [options] -> supervisor -> (same command line) -> daemon
 *
 * Supervisor and daemon read the same arguments with this file, so there is one place that knows
 * them. Bad input is a GodwitError with the exit code of the table, before anything is touched.
 */
import { hostname, totalmem } from 'node:os';
import { parseArgs } from 'node:util';
import { imageDirectory } from '@godwit/images';
import { clusterToken, GodwitError, NAME_PATTERN } from '@godwit/protocol';

const MIB = 1048576;
const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;

export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

export interface AgentOptions {
  /** The host's name in the cluster. */
  readonly name: string;
  readonly stateDir: string;
  /** Images that guests boot from; the commands of this machine put them there too. */
  readonly imageDir: string;
  /** Control port; 0 = any free one. */
  readonly listen: ListenAddress;
  /** HOST:PORT by which peers reach the control port; absent = what we listen on. */
  readonly advertise: string | undefined;
  /** Where page channels listen: the host part of `listen`. */
  readonly pageHost: string;
  /** Ports the source's channel threads may listen on; null = any free ones. */
  readonly pagePorts: { readonly from: number; readonly to: number } | null;
  /** Base URL of the coordinator. */
  readonly coordinator: string;
  /** Memory for guests, bytes. */
  readonly memoryBytes: number;
  readonly token: string | undefined;
  /** fdatasync after each journal entry: survives a power cut, not only a killed process. */
  readonly durable: boolean;
  /** How long guests may take to go elsewhere when this host is asked to end; 0: they end with it. */
  readonly drainTimeoutMs: number;
  readonly testFaults: boolean;
  readonly logLevel: (typeof LOG_LEVELS)[number];
  /** Absent = stderr. */
  readonly logFile: string | undefined;
}

/** Twenty guests of 64 MiB at 100 MB/s take a quarter of it; service managers kill after 90 s. */
const DRAIN_TIMEOUT_DEFAULT = '60s';

const FLAGS = {
  name: { type: 'string' },
  'state-dir': { type: 'string' },
  'image-dir': { type: 'string' },
  listen: { type: 'string', default: '127.0.0.1:7410' },
  advertise: { type: 'string' },
  'page-ports': { type: 'string', default: '7420-7499' },
  coordinator: { type: 'string' },
  memory: { type: 'string' },
  token: { type: 'string' },
  'token-file': { type: 'string' },
  durable: { type: 'boolean', default: false },
  'drain-timeout': { type: 'string' },
  'test-faults': { type: 'boolean', default: false },
  'log-level': { type: 'string', default: 'info' },
  'log-file': { type: 'string' },
} as const;

/**
 * @param args the command line without node and script
 * @throws GodwitError `request.invalid`, `guest.bad_name` for a host name that is none, `auth.loopback_only`
 */
export function parseOptions(args: readonly string[], env: NodeJS.ProcessEnv): AgentOptions {
  const flags = readFlags(args);
  const name = flags.name ?? env.GODWIT_HOST ?? hostname().split('.')[0]!.toLowerCase();
  if (!NAME_PATTERN.test(name)) throw new GodwitError('guest.bad_name', { name });
  const listen = parseAddress('--listen', flags.listen);
  const options: AgentOptions = {
    name,
    stateDir: flags['state-dir'] ?? `.godwit/agent-${name}`,
    imageDir: imageDirectory(flags['image-dir'], env),
    listen,
    advertise: flags.advertise && addressText(parseAddress('--advertise', flags.advertise)),
    pageHost: listen.host,
    pagePorts: parsePagePorts(flags['page-ports']),
    coordinator: parseUrl(flags.coordinator ?? env.GODWIT_COORDINATOR ?? 'http://127.0.0.1:7400'),
    memoryBytes: flags.memory ? parseSize('--memory', flags.memory) : halfOfThisMachine(),
    token: clusterToken({ token: flags.token, file: flags['token-file'] }, env),
    durable: flags.durable,
    drainTimeoutMs: parseTime(
      '--drain-timeout',
      flags['drain-timeout'] ?? env.GODWIT_DRAIN_TIMEOUT ?? DRAIN_TIMEOUT_DEFAULT,
    ),
    testFaults: flags['test-faults'],
    logLevel: parseLogLevel(flags['log-level']),
    logFile: flags['log-file'],
  };
  if (options.token === undefined && !isLoopback(options.listen.host)) {
    throw new GodwitError('auth.loopback_only', { address: addressText(options.listen) });
  }
  return options;
}

/** HOST:PORT, with brackets round an IPv6 address. */
export function addressText(address: ListenAddress): string {
  const host = address.host.includes(':') ? `[${address.host}]` : address.host;
  return `${host}:${address.port}`;
}

/** Names that cannot be reached from another machine. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host);
}

function readFlags(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: FLAGS, strict: true }).values;
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new GodwitError('request.invalid', { why }, { cause });
  }
}

function parseAddress(flag: string, value: string): ListenAddress {
  const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:]+)):(\d{1,5})$/.exec(value);
  const port = Number(match?.[3]);
  if (!match || port > 65_535) return invalid(`${flag} ${value}: must be HOST:PORT`);
  return { host: match[1] ?? match[2]!, port };
}

function parsePagePorts(value: string): AgentOptions['pagePorts'] {
  if (value === '0') return null;
  const match = /^(\d{1,5})-(\d{1,5})$/.exec(value);
  const from = Number(match?.[1]);
  const to = Number(match?.[2]);
  if (match && from > 0 && from <= to && to <= 65_535) return { from, to };
  return invalid(`--page-ports ${value}: must be FROM-TO, or 0 for any free port`);
}

function parseUrl(value: string): string {
  const url = URL.parse(value);
  if (url && (url.protocol === 'http:' || url.protocol === 'https:')) return url.origin;
  return invalid(`--coordinator ${value}: must be a URL such as http://127.0.0.1:7400`);
}

function parseSize(flag: string, value: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(MiB|GiB|M|G)$/.exec(value);
  if (!match) return invalid(`${flag} ${value}: must be a size such as 512MiB or 6GiB`);
  const unit = match[2]!.startsWith('G') ? 1024 * MIB : MIB;
  const bytes = Math.floor((Number(match[1]) * unit) / MIB) * MIB;
  return bytes > 0 ? bytes : invalid(`${flag} ${value}: is no room for a guest`);
}

function parseTime(flag: string, value: string): number {
  const match = /^(\d+)(ms|s|m)?$/.exec(value);
  const unit = { ms: 1, s: 1_000, m: 60_000 }[match?.[2] ?? 's'];
  const isTime = match !== null && (match[2] !== undefined || Number(value) === 0);
  if (isTime && unit !== undefined) return Number(match[1]) * unit;
  return invalid(`${flag} ${value}: must be a time such as 60s or 2m, or 0`);
}

function parseLogLevel(value: string): AgentOptions['logLevel'] {
  const level = LOG_LEVELS.find((known) => known === value);
  return level ?? invalid(`--log-level ${value}: must be one of ${LOG_LEVELS.join(', ')}`);
}

/** A default that leaves the machine usable; more than one agent on it must be told. */
function halfOfThisMachine(): number {
  return Math.floor(totalmem() / 2 / MIB) * MIB;
}

function invalid(why: string): never {
  throw new GodwitError('request.invalid', { why });
}
