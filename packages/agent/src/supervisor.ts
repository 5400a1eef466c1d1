/**
 * The daemon's parent: starts it, sees it end, and can prove that end to the coordinator.
 *
 *   main.ts -> [supervisor] --spawn--> daemon
 *                   |  \--reads--> journal of the incarnation that died
 *                   \--died--> coordinator, over a connection of its own
 *
 * A parent is told by the kernel when its child has ended, so its word is proof where silence is not
 * (design section 6). It restarts the daemon and never a guest: the guests' memory died with it.
 * A death is told at once and in every hello until a coordinator has welcomed such a hello.
 *
 * Keep it small: it must outlive whatever kills the daemon. It holds no lock; if it dies itself, the
 * daemon runs on and a second supervisor is refused by the lock the daemon holds.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { type DeathReport, GodwitError, type Message, PROTOCOL_VERSION } from '@godwit/protocol';
import { CoordinatorLink } from './coordinator-link.ts';
import type { DaemonMessage } from './daemon.ts';
import type { Log } from './log.ts';
import type { AgentOptions } from './options.ts';
import { CoordinatorSeen, type Seen } from './state/coordinator-seen.ts';
import { Journal } from './state/journal.ts';

/** Where Node keeps compiled code; a folder that cannot be written is no error, only slower. */
const COMPILE_CACHE = fileURLToPath(
  new URL('../../../node_modules/.cache/godwit', import.meta.url),
);
const DAEMON = fileURLToPath(new URL('./daemon.ts', import.meta.url));
/** Pause before the daemon is started again; doubled while it does not get ready. */
const RESTART_FIRST_MS = 100;
const RESTART_MAX_MS = 5_000;
/** A daemon that was asked to end and does not is killed; it bounds its own end below this. */
const END_LIMIT_MS = 10_000;
const DEATHS_KEPT_MAX = 64;

interface SupervisorEvents {
  ready: [control: string, daemonPid: number];
  /** For good: 0 = it was asked to end. */
  ended: [exit: number, error: GodwitError | undefined];
}

/**
 * What a daemon is started with, unless the operator says otherwise. Its threads load the same files many
 * times: compiled code that is kept is half of the time to start one. The allocator of the C library
 * (mallopt(3)) would keep a pool for each thread that once needed one, and keep in the heap, for the next
 * migration of that size, what a guest's digests and messages took: 0.3 MiB a move.
 */
const DAEMON_ENVIRONMENT = {
  NODE_COMPILE_CACHE: COMPILE_CACHE,
  MALLOC_ARENA_MAX: '2',
  MALLOC_MMAP_THRESHOLD_: '131072',
};

export class Supervisor extends EventEmitter<SupervisorEvents> {
  readonly #options: AgentOptions;
  readonly #args: readonly string[];
  readonly #log: Log;
  readonly #link: CoordinatorLink;
  readonly #id = randomBytes(8).toString('hex');
  #seen: Seen;
  #deaths: DeathReport[] = [];
  /** Of these the hello that was sent last has told. */
  #toldInHello: readonly DeathReport[] = [];
  #child: ChildProcess | undefined;
  #incarnation: string | undefined;
  /** Some daemon of ours has been ready, and the link is dialled. */
  #wasReady = false;
  #isEnding = false;
  #endCalls = 0;
  #pauseMs = RESTART_FIRST_MS;
  #restart: NodeJS.Timeout | undefined;

  /** @param args the command line, handed to the daemon as it is */
  constructor(options: AgentOptions, args: readonly string[], log: Log) {
    super();
    this.#options = options;
    this.#args = args;
    this.#log = log;
    this.#seen = CoordinatorSeen.read(options.stateDir);
    const supervisor = this;
    this.#link = new CoordinatorLink({
      url: options.coordinator,
      token: options.token,
      log,
      // Not the file: that is the daemon's. A term it has seen and we have not, we hear of soon.
      memory: {
        get seen() {
          return supervisor.#seen;
        },
        remember: (seen) => {
          this.#seen = seen;
        },
      },
      hello: () => this.#hello(),
    });
    this.#link.on('up', () => {
      const told = this.#toldInHello;
      this.#deaths = this.#deaths.filter((death) => !told.includes(death));
    });
    this.#link.on('message', (message) => {
      if (message.type !== 'shutdown') return;
      this.#link.send({ type: 'done', request: message.request });
      this.end('atOnce');
    });
  }

  start(): void {
    this.#spawn();
  }

  /**
   * Ends the daemon, then itself. `inOrder`: its guests go elsewhere first, as far as they can. A
   * second call ends it at once, a third one kills.
   */
  end(how: 'inOrder' | 'atOnce'): void {
    const child = this.#child;
    const calls = ++this.#endCalls;
    this.#isEnding = true;
    clearTimeout(this.#restart);
    if (child === undefined) {
      void this.#finish(0, undefined);
      return;
    }
    if (calls > 2) {
      child.kill('SIGKILL');
      return;
    }
    const isInOrder = how === 'inOrder' && calls === 1;
    this.#log.info({ isInOrder }, 'ending the daemon');
    child.kill(isInOrder ? 'SIGTERM' : 'SIGINT');
    const limitMs = END_LIMIT_MS + (isInOrder ? this.#options.drainTimeoutMs : 0);
    const killer = setTimeout(() => child.kill('SIGKILL'), limitMs);
    child.once('exit', () => clearTimeout(killer));
  }

  #spawn(): void {
    this.#incarnation = undefined;
    let failure: GodwitError | undefined;
    const child = spawn(process.execPath, [...process.execArgv, DAEMON, ...this.#args], {
      // A group of its own, and our stderr itself rather than a pipe through us: it must be able to
      // live without us.
      detached: true,
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      env: { ...DAEMON_ENVIRONMENT, ...process.env },
    });
    this.#child = child;
    child.on('message', (message: DaemonMessage) => {
      if (message.type === 'alive') this.#incarnation = message.incarnation;
      else if (message.type === 'ready') this.#ready(message.control, child.pid as number);
      else if (message.type === 'ending') this.#isEnding = true;
      else failure = GodwitError.fromData(message.error);
    });
    child.once('error', (error) => {
      void this.#finish(1, new GodwitError('internal', { why: `no daemon: ${error.message}` }));
    });
    // 'close' comes after the last IPC message, 'exit' may come before it.
    child.once('close', (code, signal) => this.#gone(code, signal, failure));
  }

  #ready(control: string, daemonPid: number): void {
    this.#pauseMs = RESTART_FIRST_MS;
    // Only once a daemon of ours lives here: a supervisor turned away by the lock says nothing.
    if (!this.#wasReady) this.#link.start();
    this.#wasReady = true;
    this.emit('ready', control, daemonPid);
  }

  #gone(
    code: number | null,
    signal: NodeJS.Signals | null,
    failure: GodwitError | undefined,
  ): void {
    this.#child = undefined;
    const exit = signal === null ? `exit code ${code}` : `killed by ${signal}`;
    this.#report(exit);
    if (this.#isEnding) {
      void this.#finish(code === 0 ? 0 : 1, undefined);
      return;
    }
    // Locked: another agent lives on this directory by now. Failed before the first was ready: it
    // would fail again, and whoever typed the command waits for the reason.
    const isHopeless = failure?.code === 'state.locked' || !this.#wasReady;
    if (failure !== undefined && isHopeless) {
      void this.#finish(failure.exit, failure);
      return;
    }
    this.#log.error({ exit, reason: failure?.message }, 'the daemon ended; starting it again');
    this.#restart = setTimeout(() => this.#spawn(), this.#pauseMs);
    this.#pauseMs = Math.min(this.#pauseMs * 2, RESTART_MAX_MS);
  }

  #report(exit: string): void {
    if (this.#incarnation === undefined) return;
    const death = Journal.readDeath(this.#options.stateDir, this.#incarnation, exit);
    if (death === null) return;
    this.#deaths = [...this.#deaths, death].slice(-DEATHS_KEPT_MAX);
    this.#link.send({ type: 'died', death });
  }

  async #finish(exit: number, error: GodwitError | undefined): Promise<void> {
    await this.#link.close();
    this.emit('ended', exit, error);
  }

  #hello(): Message<'hello'> {
    const { name, advertise, listen, memoryBytes } = this.#options;
    this.#toldInHello = this.#deaths;
    return {
      type: 'hello',
      version: PROTOCOL_VERSION,
      role: 'supervisor',
      host: name,
      incarnation: this.#id,
      address: advertise ?? `:${listen.port}`,
      cores: availableParallelism(),
      memoryBytes,
      freeBytes: 0,
      pid: process.pid,
      termSeen: this.#seen.term,
      ...(this.#seen.storeId !== undefined && { storeId: this.#seen.storeId }),
      storeRev: this.#seen.storeRev,
      guests: [],
      migrations: [],
      deaths: [...this.#deaths],
    };
  }
}
