/**
 * A coordinator and some agents as real processes on loopback, for benchmarks and fault tests.
 *
 * Everything lives in a temporary directory and on ports the kernel chooses. Processes are known by
 * id and ended by id; `close` leaves no process, socket or file behind, whatever happened before.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type {
  CreateGuestRequest,
  Guest,
  GuestDetail,
  Host,
  MigrateRequest,
  Migration,
} from '@godwit/protocol';

const ROOT = new URL('..', import.meta.url).pathname;
/** A Node process with its modules takes half a second, on a machine with nothing else to do. */
const READY_MS = 60_000;
const POLL_MS = 20;

export interface ClusterOptions {
  agents: number;
  memory?: string;
  testFaults?: boolean;
  /** Lets a host that gets SIGTERM move its guests first. */
  drainTimeout?: string;
  /** Extra environment of every process. */
  env?: Record<string, string>;
}

export interface Member {
  name: string;
  stateDir: string;
  process: ChildProcess;
  /** What its ready lines said, the newest last: a restarted daemon says another one. */
  ready: Record<string, unknown>[];
  port: number;
}

const open = new Set<Cluster>();
let isEndingOnSignal = false;

/** A benchmark that is interrupted takes its processes with it. */
function endOnSignals(): void {
  if (isEndingOnSignal) return;
  isEndingOnSignal = true;
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.once(name, async () => {
      await Promise.all([...open].map((cluster) => cluster.close()));
      process.exit(name === 'SIGINT' ? 130 : 143);
    });
  }
}

export class Cluster {
  readonly dir = mkdtempSync(join(tmpdir(), 'godwit-'));
  readonly hosts = new Map<string, Member>();
  /** All that were started and have not ended, ready or not. */
  readonly #children = new Set<ChildProcess>();
  readonly #options: ClusterOptions;
  coordinator!: Member;
  url = '';

  private constructor(options: ClusterOptions) {
    this.#options = options;
  }

  static async start(options: ClusterOptions): Promise<Cluster> {
    const cluster = new Cluster(options);
    open.add(cluster);
    endOnSignals();
    try {
      await cluster.startCoordinator();
      const names = Array.from({ length: options.agents }, (_, i) => String.fromCharCode(97 + i));
      await Promise.all(names.map((name) => cluster.startAgent(name)));
      await cluster.until('every host is connected', async () => {
        const hosts = await cluster.get<Host[]>('/v1/hosts');
        return hosts.filter((host) => host.state === 'connected').length === options.agents;
      });
      return cluster;
    } catch (error) {
      await cluster.close();
      throw error;
    }
  }

  /** Starts it, or starts it again on the same port and state. */
  async startCoordinator(): Promise<void> {
    const stateDir = join(this.dir, 'coordinator');
    const port = this.coordinator?.port ?? 0;
    this.coordinator = await this.#spawn('coordinator', 'coordinator', stateDir, [
      '--listen',
      `127.0.0.1:${port}`,
    ]);
    this.url = String(this.coordinator.ready[0]?.url);
    this.coordinator.port = Number(new URL(this.url).port);
  }

  async startAgent(name: string): Promise<Member> {
    const port = this.hosts.get(name)?.port ?? 0;
    // Hosts that end together have no elsewhere.
    const drainTimeout = this.#options.drainTimeout ?? '0';
    const args = [
      '--drain-timeout',
      drainTimeout,
      '--name',
      name,
      '--listen',
      `127.0.0.1:${port}`,
      '--page-ports',
      '0',
    ];
    args.push('--coordinator', this.url, '--memory', this.#options.memory ?? '6GiB');
    const member = await this.#spawn('agent', name, join(this.dir, name), args);
    member.port = Number(String(member.ready[0]?.control).split(':').at(-1));
    this.hosts.set(name, member);
    return member;
  }

  /** Of all hosts: what they take in does not stay with whoever runs this. */
  get imageDirectory(): string {
    return join(this.dir, 'images');
  }

  host(name: string): Member {
    const member = this.hosts.get(name);
    if (member === undefined) throw new Error(`no host ${name}`);
    return member;
  }

  /** Process id of the daemon (the supervisor's child) that lives now. */
  daemonPid(name: string): number {
    return Number(this.host(name).ready.at(-1)?.daemonPid);
  }

  /** HOST:PORT of the daemon that lives now: a restarted one may listen elsewhere. */
  controlAddress(name: string): string {
    return String(this.host(name).ready.at(-1)?.control);
  }

  // ------------------------------------------------------------------------------- API

  async request<T>(method: string, path: string, body?: unknown): Promise<T> {
    const response = await fetch(this.url + path, {
      method,
      headers: {
        // One that is kept alive may be closed by the other end just as a request goes out.
        connection: 'close',
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const answer = (await response.json()) as { error?: { code: string; message: string } };
    if (!response.ok) {
      throw Object.assign(new Error(`${method} ${path}: ${answer.error?.message}`), answer.error);
    }
    return answer as T;
  }

  get<T>(path: string): Promise<T> {
    return this.request('GET', path);
  }

  post<T>(path: string, body: unknown = {}): Promise<T> {
    return this.request('POST', path, body);
  }

  createGuest(request: CreateGuestRequest): Promise<Guest> {
    return this.post('/v1/guests', request);
  }

  guest(name: string): Promise<GuestDetail> {
    return this.get(`/v1/guests/${name}`);
  }

  /** Starts a migration and waits for its end. */
  async migrate(request: MigrateRequest, limitMs = 120_000): Promise<Migration> {
    const { id } = await this.post<Migration>('/v1/migrations', request);
    return this.ended(id, limitMs);
  }

  async ended(id: string, limitMs = 120_000): Promise<Migration> {
    let last: Migration | undefined;
    await this.until(
      () => `migration ${id} ends: ${JSON.stringify({ ...last, rounds: last?.rounds.length })}`,
      async () => {
        last = await this.get<Migration>(`/v1/migrations/${id}`);
        return last.endedAtMs !== undefined;
      },
      limitMs,
    );
    return last as Migration;
  }

  /** Waits for a condition; an error of the API counts as not yet. */
  async until(
    what: string | (() => string),
    isTrue: () => Promise<boolean> | boolean,
    limitMs = READY_MS,
  ): Promise<void> {
    const deadline = performance.now() + limitMs;
    for (;;) {
      try {
        if (await isTrue()) return;
      } catch (error) {
        if (performance.now() > deadline) throw error;
      }
      if (performance.now() > deadline) {
        throw new Error(`not within ${limitMs} ms: ${typeof what === 'string' ? what : what()}`);
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  // ------------------------------------------------------------------------- processes

  async close(): Promise<void> {
    const children = [...this.#children];
    // Or each host would try to save its guests from the end of all of them.
    if (this.#options.drainTimeout !== undefined) await this.post('/v1/shutdown').catch(() => {});
    const daemons = [...this.hosts.keys()].map((name) => this.daemonPid(name));
    for (const pid of daemons) signal(pid, 'SIGCONT');
    for (const child of children) child.kill('SIGCONT');
    for (const child of children) child.kill('SIGTERM');
    await Promise.all(children.map(ended));
    for (const pid of daemons) signal(pid, 'SIGKILL');
    rmSync(this.dir, { recursive: true, force: true });
    open.delete(this);
  }

  /** Last lines of a member's log, for a failure's text. */
  logTail(name: string, lines = 15): string {
    const text = readFileSync(join(this.dir, `${name}.log`), 'utf8');
    return text.trim().split('\n').slice(-lines).join('\n');
  }

  async #spawn(kind: string, name: string, stateDir: string, args: string[]): Promise<Member> {
    const main = join(ROOT, 'packages', kind, 'src', 'main.ts');
    const faults = this.#options.testFaults ? ['--test-faults'] : [];
    const logFile = ['--log-file', join(this.dir, `${name}.log`)];
    const env = { ...process.env, GODWIT_IMAGE_DIR: this.imageDirectory, ...this.#options.env };
    const child = spawn(
      process.execPath,
      [main, '--state-dir', stateDir, ...args, ...faults, ...logFile],
      { stdio: ['ignore', 'pipe', 'pipe'], env },
    );
    this.#children.add(child);
    child.once('exit', () => this.#children.delete(child));
    const member: Member = { name, stateDir, process: child, ready: [], port: 0 };
    let complaint = '';
    child.stderr.on('data', (chunk) => {
      complaint = (complaint + chunk).slice(-2000);
    });
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    createInterface({ input: child.stdout }).on('line', (line) => {
      member.ready.push(JSON.parse(line));
      resolve();
    });
    child.once('exit', (code) => reject(new Error(`${name} ended with ${code}: ${complaint}`)));
    const timer = setTimeout(
      () => reject(new Error(`${name} is not ready: ${complaint}`)),
      READY_MS,
    );
    // One that is late is ended by `close`, in order: a supervisor that is killed leaves its daemon.
    await promise.finally(() => clearTimeout(timer));
    return member;
  }
}

function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(() => child.kill('SIGKILL'), 5000);
    child.once('exit', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

function signal(pid: number, name: NodeJS.Signals): void {
  if (!Number.isInteger(pid) || pid <= 1) return;
  try {
    process.kill(pid, name);
  } catch {
    // it has ended already
  }
}
