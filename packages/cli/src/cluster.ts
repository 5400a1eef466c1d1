/**
 * A whole cluster as child processes of this one: a coordinator and some agents, on loopback.
 *
 * `godwit up`, the demo and the tests start it here, and here they make sure that nothing of it
 * stays: first the coordinator is asked to end everybody, then each process is signalled by its own
 * id. An agent is two processes (supervisor and daemon) and the daemon outlives its supervisor, so
 * the daemons' ids are kept too, and checked against their command line before a signal: an id may
 * belong to somebody else by then.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { ApiClient, pause } from './api-client.ts';
import { CommandError, EXIT } from './errors.ts';

export interface ClusterOptions {
  readonly agents: number;
  /** Coordinator's port; agent i gets port + 11 + i. 0: any free ports. */
  readonly port: number;
  readonly stateDir: string;
  readonly memoryBytes: number;
  readonly token?: string | undefined;
  readonly logLevel?: string;
  /** Let tests stop the processes at named steps. */
  readonly testFaults?: boolean;
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
}

export interface ClusterHost {
  readonly name: string;
  readonly control: string;
  readonly pid: number;
  daemonPid: number;
}

const READY_DEADLINE_MS = 60_000;
const SHUTDOWN_DEADLINE_MS = 15_000;
/** From the answer to a shutdown until the processes are gone: harts stop, memory goes back. */
const LEAVE_DEADLINE_MS = 5_000;
const TERM_DEADLINE_MS = 5_000;
/** Compiled sources: a daemon starts in half the time, and so does each thread of a migration. */
const COMPILE_CACHE = fileURLToPath(
  new URL('../../../node_modules/.cache/godwit', import.meta.url),
);
const AGENT_PORT_STEP = 11;
const ERROR_TAIL_CHARS = 4_096;

/** One child with what it said when it was ready, and the end of what it complained about. */
interface Child {
  readonly what: string;
  readonly process: ChildProcess;
  readonly exited: Promise<void>;
  ready: Record<string, unknown>;
  stderr: string;
}

export class Cluster {
  readonly url: string;
  readonly api: ApiClient;
  readonly stateDir: string;
  readonly hosts: readonly ClusterHost[];
  readonly coordinatorPid: number;
  readonly term: number;
  readonly #children: readonly Child[];

  private constructor(children: readonly Child[], options: ClusterOptions) {
    const [coordinator, ...agents] = children as [Child, ...Child[]];
    this.url = String(coordinator.ready.url);
    this.term = Number(coordinator.ready.term);
    this.coordinatorPid = coordinator.process.pid!;
    this.api = new ApiClient({ url: this.url, token: options.token });
    this.stateDir = options.stateDir;
    this.hosts = agents.map((agent) => hostOf(agent));
    this.#children = children;
  }

  /**
   * Starts everything and waits until every host is connected.
   * @param signal gives up early; whatever was started is ended first
   * @throws CommandError with the child's own message and exit code when one cannot start
   */
  static async start(options: ClusterOptions, signal?: AbortSignal): Promise<Cluster> {
    // What did not exist before does not exist after a start that failed.
    const isNew = !existsSync(options.stateDir);
    mkdirSync(options.stateDir, { recursive: true });
    const children: Child[] = [];
    try {
      const coordinator = startCoordinator(options);
      children.push(coordinator);
      await ready(coordinator, signal);
      const url = String(coordinator.ready.url);
      for (let i = 0; i < options.agents; i++) children.push(startAgent(i, url, options));
      await Promise.all(children.slice(1).map((agent) => ready(agent, signal)));
      const cluster = new Cluster(children, options);
      await cluster.#allConnected(signal);
      return cluster;
    } catch (error) {
      await endAll(children, options.stateDir, 0);
      if (isNew) rmSync(options.stateDir, { recursive: true, force: true });
      throw error;
    }
  }

  /** Resolves with the first process that ended without being asked to. */
  failed(): Promise<string> {
    return Promise.race(
      this.#children.map(async (child) => {
        await child.exited;
        return `${child.what} ended${child.stderr ? `: ${child.stderr.trim()}` : ''}`;
      }),
    );
  }

  /** Guests end with the cluster. Never throws; nothing of it is left. */
  async stop(): Promise<void> {
    const answered = new AbortController();
    const shutdown = this.api.shutdown().then(
      () => true,
      () => false,
    );
    const tooLong = pause(SHUTDOWN_DEADLINE_MS, answered.signal).then(() => false);
    const isLeaving = await Promise.race([shutdown, tooLong]);
    answered.abort(); // Or the timer would keep this process for the rest of its time.
    await endAll(this.#children, this.stateDir, isLeaving ? LEAVE_DEADLINE_MS : 0);
  }

  async #allConnected(signal?: AbortSignal): Promise<void> {
    const endsAtMs = performance.now() + READY_DEADLINE_MS;
    for (;;) {
      const hosts = await this.api.hosts();
      const isUp = (name: string) => hosts.some((h) => h.name === name && h.state === 'connected');
      const missing = this.hosts.filter((host) => !isUp(host.name));
      if (missing.length === 0) return;
      if (signal?.aborted) throw interrupted();
      if (performance.now() > endsAtMs) {
        const names = missing.map((host) => host.name).join(', ');
        throw startError(`no word from host ${names} after ${READY_DEADLINE_MS / 1000} s`);
      }
      await pause(20, signal);
    }
  }
}

/** As the agent reads sizes: whole MiB. */
export function mibText(bytes: number): string {
  return `${Math.floor(bytes / 1024 ** 2)}MiB`;
}

/** Names of hosts: a, b, ... z, then h27, h28, ... */
export function hostName(index: number): string {
  return index < 26 ? String.fromCharCode(97 + index) : `h${index + 1}`;
}

/** The process entry of one of our packages. */
export function daemonEntry(name: 'agent' | 'coordinator'): string {
  return fileURLToPath(new URL('main.ts', import.meta.resolve(`@godwit/${name}`)));
}

function startCoordinator(options: ClusterOptions): Child {
  const directory = join(options.stateDir, 'coordinator');
  const listen = `127.0.0.1:${options.port}`;
  return startChild(
    'coordinator',
    'coordinator',
    ['--state-dir', directory, '--listen', listen],
    options,
  );
}

function startAgent(index: number, coordinator: string, options: ClusterOptions): Child {
  const name = hostName(index);
  const port = options.port === 0 ? 0 : options.port + AGENT_PORT_STEP + index;
  const args = ['--name', name, '--state-dir', join(options.stateDir, `host-${name}`)];
  args.push('--listen', `127.0.0.1:${port}`, '--page-ports', '0', '--coordinator', coordinator);
  args.push('--memory', mibText(options.memoryBytes));
  // The hosts of this cluster end together: there is no elsewhere.
  args.push('--drain-timeout', '0');
  return startChild(`agent ${name}`, 'agent', args, options);
}

function startChild(
  what: string,
  entry: 'agent' | 'coordinator',
  args: readonly string[],
  options: ClusterOptions,
): Child {
  const logFile = join(options.stateDir, `${what.replace(' ', '-')}.log`);
  const all = [daemonEntry(entry), ...args, '--log-file', logFile];
  if (options.logLevel !== undefined) all.push('--log-level', options.logLevel);
  if (options.testFaults) all.push('--test-faults');
  const child = spawn(process.execPath, all, {
    stdio: ['ignore', 'pipe', 'pipe'],
    // A session of its own: Ctrl-C reaches only us, and we end the others in order.
    detached: true,
    env: {
      NODE_COMPILE_CACHE: COMPILE_CACHE,
      ...process.env,
      ...options.env,
      ...(options.token && { GODWIT_TOKEN: options.token }),
    },
  });
  const exited = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
    child.once('error', () => resolve());
  });
  const record: Child = { what, process: child, exited, ready: {}, stderr: '' };
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    record.stderr = (record.stderr + text).slice(-ERROR_TAIL_CHARS);
  });
  return record;
}

/** Waits for the child's ready line; later lines (a daemon that was restarted) update it. */
function ready(child: Child, signal?: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const deadline = setTimeout(
    () => reject(startError(`${child.what} was not ready after ${READY_DEADLINE_MS / 1000} s`)),
    READY_DEADLINE_MS,
  );
  const abort = () => reject(interrupted());
  if (signal?.aborted) abort();
  signal?.addEventListener('abort', abort);
  createInterface({ input: child.process.stdout! }).on('line', (line) => {
    const said = parseReady(line);
    if (said === undefined) return;
    Object.assign(child.ready, said);
    resolve();
  });
  child.process.once('close', () => reject(childError(child)));
  child.process.once('error', () => reject(childError(child)));
  return promise.finally(() => {
    clearTimeout(deadline);
    signal?.removeEventListener('abort', abort);
  });
}

function parseReady(line: string): Record<string, unknown> | undefined {
  try {
    const said = JSON.parse(line) as Record<string, unknown> | null;
    return said?.ready === true ? said : undefined;
  } catch {
    return undefined;
  }
}

function hostOf(agent: Child): ClusterHost {
  return {
    name: String(agent.ready.host),
    control: String(agent.ready.control),
    pid: agent.process.pid!,
    get daemonPid() {
      return Number(agent.ready.daemonPid ?? 0);
    },
  };
}

/**
 * Asks each process to end, then makes it; supervisors before daemons, so that none is restarted.
 * @param leavingMs for processes that are ending already: a signal would cut that short
 */
async function endAll(
  children: readonly Child[],
  stateDir: string,
  leavingMs: number,
): Promise<void> {
  const all = Promise.all(children.map((child) => child.exited));
  const isOver = async (afterMs: number) => {
    const timer = new AbortController();
    const over = await Promise.race([
      all.then(() => true),
      pause(afterMs, timer.signal).then(() => false),
    ]);
    timer.abort();
    return over;
  };
  if (!(await isOver(leavingMs))) {
    for (const child of children) child.process.kill('SIGTERM');
    if (!(await isOver(TERM_DEADLINE_MS))) {
      for (const child of children) child.process.kill('SIGKILL');
      await isOver(TERM_DEADLINE_MS);
    }
  }
  for (const child of children) await endDaemon(Number(child.ready.daemonPid ?? 0), stateDir);
}

/** A daemon whose supervisor was killed; only if that process id still is that daemon. */
async function endDaemon(pid: number, stateDir: string): Promise<void> {
  if (!isOurs(pid, stateDir)) return;
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    return; // Gone in between.
  }
  const endsAtMs = performance.now() + TERM_DEADLINE_MS;
  while (isOurs(pid, stateDir) && performance.now() < endsAtMs) await pause(10);
}

function isOurs(pid: number, stateDir: string): boolean {
  if (!Number.isSafeInteger(pid) || pid <= 1) return false;
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(stateDir);
  } catch {
    return false;
  }
}

/** What the child printed as `error:` and `hint:` becomes our own, with its exit code. */
function childError(child: Child): CommandError {
  const said = (label: string) =>
    new RegExp(`^${label}: (.*)$`, 'm').exec(child.stderr)?.[1]?.trim();
  const message = said('error') ?? (child.stderr.trim().split('\n').at(-1) || 'it ended at once');
  const exit = child.process.exitCode || EXIT.failed;
  return new CommandError({
    code: 'cluster.start',
    exit,
    message: `${child.what} did not start: ${message}`,
    hint: said('hint'),
  });
}

function startError(message: string): CommandError {
  return new CommandError({
    code: 'cluster.start',
    exit: EXIT.timedOut,
    message,
    hint: 'see the logs in the state directory',
  });
}

function interrupted(): CommandError {
  return new CommandError({ code: 'interrupted', exit: EXIT.interrupted, message: 'interrupted' });
}
