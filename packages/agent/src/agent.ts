/**
 * What this host has, put together: guests, room for them, migrations, consoles, the way to the
 * coordinator. One object a daemon; everything here is the main thread's.
 *
 *   coordinator <-> link -> [agent] -> guest requests -> guests
 *                              |   \-> migrations (runners, peer links, page channels)
 *   peers, consoles -> control server -> migrations, console server
 *
 * Nothing is decided here. A link that is down stops nothing.
 */
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import {
  type DeathReport,
  GodwitError,
  type GuestReport,
  HEARTBEAT_MS,
  type Message,
  type MigrationReport,
  PROTOCOL_VERSION,
  wireError,
} from '@godwit/protocol';
import type { WebSocket } from 'ws';
import { ControlServer } from './control-server.ts';
import { CoordinatorLink } from './coordinator-link.ts';
import { ConsoleServer } from './guest/console-server.ts';
import type { Guest } from './guest/guest.ts';
import type { GuestEnding } from './guest/guest-ending.ts';
import { GuestRequests } from './guest/guest-requests.ts';
import { GuestTable } from './guest/guest-table.ts';
import { MemoryPool } from './guest/memory-pool.ts';
import { HostImages } from './images/host-images.ts';
import { ImageServer } from './images/image-server.ts';
import type { Log } from './log.ts';
import { AgentMetrics } from './metrics.ts';
import { type AgentOptions, addressText } from './options.ts';
import type { CoordinatorSeen } from './state/coordinator-seen.ts';
import { Journal } from './state/journal.ts';
import { endIdleThreads } from './thread.ts';

/** The migrations this agent takes part in (migration/manager.ts). */
export interface MigrationHost {
  /** False: not about a migration. */
  onMessage(message: Message): boolean;
  /** For the hello: open migrations, and the newest of those that ended. */
  reports(): MigrationReport[];
  onPeerSocket(socket: WebSocket): void;
  /** A leased guest ended by itself. False: no migration holds it. */
  onGuestEnded(guest: Guest): boolean;
  /** A person gives up what is held of this guest. False: no migration holds anything of it. */
  discard(guest: string): boolean;
  close(): Promise<void>;
}

export interface AgentParts {
  readonly options: AgentOptions;
  /** Random, new in each life of the process. */
  readonly incarnation: string;
  readonly journal: Journal;
  readonly seen: CoordinatorSeen;
  /** Former incarnations on this state directory: proved dead by the lock we hold. */
  readonly deaths: readonly DeathReport[];
  readonly log: Log;
  createMigrations(agent: Agent): MigrationHost;
}

/** The hello takes so many; the rest waits for the next one. */
const DEATHS_TOLD_MAX = 64;

export class Agent {
  readonly options: AgentOptions;
  readonly host: string;
  readonly incarnation: string;
  readonly log: Log;
  readonly guests: GuestTable;
  readonly pool: MemoryPool;
  readonly journal: Journal;
  readonly link: CoordinatorLink;
  readonly consoles: ConsoleServer;
  readonly images: HostImages;
  readonly migrations: MigrationHost;
  readonly metrics = new AgentMetrics(this);
  readonly #requests: GuestRequests;
  readonly #shutdowns: (() => void)[] = [];
  #deaths: readonly DeathReport[];
  #server: ControlServer | undefined;
  #sampler: NodeJS.Timeout | undefined;
  /** Host part by which the coordinator sees us; known after the first welcome. */
  #seenAs: string | undefined;

  constructor(parts: AgentParts) {
    const { options, log } = parts;
    this.options = options;
    this.host = options.name;
    this.incarnation = parts.incarnation;
    this.log = log;
    this.journal = parts.journal;
    this.#deaths = parts.deaths;
    this.images = new HostImages({
      directory: options.imageDir,
      host: options.name,
      token: options.token,
      log,
      changed: (said) => void this.link.send(said),
    });
    this.guests = new GuestTable({
      entered: (guest) => {
        guest.boot ??= this.images.bootSource(guest.spec);
      },
      endedInMigration: (guest) => void this.migrations.onGuestEnded(guest),
      ended: (guest, ending) => this.#guestEnded(guest, ending),
      rebooted: (guest, error) => this.#guestRebooted(guest, error),
    });
    this.pool = new MemoryPool(options.name, options.memoryBytes);
    this.consoles = new ConsoleServer((name) => this.guests.get(name), log);
    this.#requests = new GuestRequests(this);
    this.link = new CoordinatorLink({
      url: options.coordinator,
      token: options.token,
      log,
      memory: parts.seen,
      hello: () => this.#hello(),
      heartbeat: () => this.#heartbeat(),
    });
    this.link.on('up', (welcome) => this.#welcomed(welcome));
    this.link.on('message', (message) => this.#onMessage(message));
    this.migrations = parts.createMigrations(this);
  }

  /**
   * Listens, then dials the coordinator.
   *
   * @throws GodwitError `listen.in_use`, `listen.failed`
   */
  async start(): Promise<void> {
    this.#server = await ControlServer.listen({
      listen: this.options.listen,
      token: this.options.token,
      onPeer: (socket) => this.migrations.onPeerSocket(socket),
      onConsole: (socket) => this.consoles.onSocket(socket),
      health: () => ({ ok: true, host: this.host, incarnation: this.incarnation }),
      metrics: () => this.metrics.text(),
      pulse: (name) => this.#pulse(name),
      images: new ImageServer(this.images.store, () => this.images.look(), this.log),
    });
    await this.images.look();
    this.link.start();
    this.#sampler = setInterval(() => {
      for (const guest of this.guests.values()) void guest.sampleDirty();
    }, HEARTBEAT_MS);
  }

  /** Enough to see from outside that a guest gets on, without the rest of its report. */
  #pulse(name: string): object | undefined {
    const report = this.guests.get(name)?.report();
    if (report === undefined) return undefined;
    const { epoch, state, instructions, writes } = report;
    return { epoch, running: state === 'running', instructions, writes };
  }

  /** What we listen on: HOST:PORT, with the port that was chosen. */
  get controlAddress(): string {
    const port = this.#server?.port ?? this.options.listen.port;
    return addressText({ host: this.options.listen.host, port });
  }

  /** Host part by which a target reaches the page channels listening here. */
  get pageAddress(): string {
    const { advertise, listen } = this.options;
    if (advertise !== undefined) return advertise.replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
    return isWildcard(listen.host) ? (this.#seenAs ?? '127.0.0.1') : listen.host;
  }

  /** Guests or their figures changed in a way the coordinator should hear of now. */
  changed(): void {
    this.link.changed();
  }

  /** The guest runs at that host now: consoles attached here are told, and those still to come. */
  consoleMoved(guest: string, epoch: number, host: string, address: string): void {
    this.consoles.moved(guest, epoch, host, address);
  }

  /** Called when the coordinator asks this agent to end with its guests. */
  onShutdown(callback: () => void): void {
    this.#shutdowns.push(callback);
  }

  /** Ends everything, guests too. Afterwards nothing of this agent holds the event loop. */
  async close(): Promise<void> {
    clearInterval(this.#sampler);
    await this.migrations.close();
    this.consoles.close();
    const held = [...this.guests.values()];
    this.guests.clear();
    await Promise.all(
      held.map(async (guest) => {
        await guest.release();
        this.journal.gone(guest.name, guest.epoch);
      }),
    );
    await this.link.close();
    await this.#server?.close();
    await this.images.close();
    await this.pool.close();
    await endIdleThreads();
  }

  // --------------------------------------------------------------------- the coordinator

  #onMessage(message: Message): void {
    if (message.type === 'shutdown') {
      this.link.send({ type: 'done', request: message.request });
      for (const callback of this.#shutdowns) callback();
      return;
    }
    // leaving.ts listens for it, while it does.
    if (message.type === 'leave') return;
    if (this.#requests.onMessage(message) || this.migrations.onMessage(message)) return;
    this.log.warn({ message: message.type }, 'a message that nobody here takes');
  }

  #welcomed(welcome: Message<'welcome'>): void {
    this.journal.welcomed();
    this.link.send(this.images.said);
    this.#seenAs = welcome.address.replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
    // These ends are recorded now; what did not fit this hello goes into the next.
    const told = this.#deaths.slice(0, DEATHS_TOLD_MAX);
    this.#deaths = this.#deaths.slice(DEATHS_TOLD_MAX);
    for (const { incarnation } of told) Journal.forget(this.options.stateDir, incarnation);
  }

  #guestEnded(guest: Guest, { event, code, digest }: GuestEnding): void {
    this.link.send({
      type: 'guestEvent',
      guest: guest.name,
      epoch: guest.epoch,
      event,
      code,
      ...(digest !== undefined && { digest }),
    });
    this.consoles.ended(guest, event, code);
    this.changed();
  }

  #guestRebooted(guest: Guest, error: Error | undefined): void {
    const about = { guest: guest.name, epoch: guest.epoch };
    if (error === undefined) {
      this.log.info(about, 'the guest rebooted');
      this.link.send({ type: 'guestEvent', ...about, event: 'reboot', code: 0 });
    } else {
      this.log.error({ ...about, err: error }, 'the guest cannot be started again');
    }
    this.changed();
  }

  #hello(): Message<'hello'> {
    const { seen } = this.link;
    return {
      type: 'hello',
      version: PROTOCOL_VERSION,
      role: 'agent',
      host: this.host,
      incarnation: this.incarnation,
      address: this.#address(),
      cores: availableParallelism(),
      memoryBytes: this.pool.capacityBytes,
      freeBytes: this.pool.freeBytes,
      pid: process.pid,
      termSeen: seen.term,
      ...(seen.storeId !== undefined && { storeId: seen.storeId }),
      storeRev: seen.storeRev,
      guests: this.#guestReports(),
      migrations: this.migrations.reports(),
      deaths: this.#deaths.slice(0, DEATHS_TOLD_MAX),
    };
  }

  #heartbeat(): Message<'heartbeat'> {
    return {
      type: 'heartbeat',
      freeBytes: this.pool.freeBytes,
      rssBytes: process.memoryUsage.rss(),
      poolBytes: this.pool.idleBytes,
      descriptors: openDescriptors(),
      guests: this.#guestReports(),
    };
  }

  #guestReports(): GuestReport[] {
    const moves = new Map(this.migrations.reports().map((each) => [each.migration, each]));
    return [...this.guests.values()].map((guest) => {
      const move = guest.lease === undefined ? undefined : moves.get(guest.lease);
      const trouble = move?.trouble !== undefined && { trouble: move.trouble };
      return { ...guest.report(), ...(move && { phase: move.phase }), ...trouble };
    });
  }

  /** With an empty host part where only the coordinator can say how we are seen. */
  #address(): string {
    if (this.options.advertise !== undefined) return this.options.advertise;
    const { controlAddress } = this;
    return isWildcard(this.options.listen.host)
      ? controlAddress.slice(controlAddress.lastIndexOf(':'))
      : controlAddress;
  }
}

function isWildcard(host: string): boolean {
  return host === '0.0.0.0' || host === '::';
}

function openDescriptors(): number {
  try {
    return readdirSync('/proc/self/fd').length;
  } catch {
    return 0; // Not Linux: not known.
  }
}

/** For an agent without migrations: a tool, a test. A grant is refused, nothing is held. */
export function noMigrations(agent: Agent): MigrationHost {
  return {
    onMessage(message) {
      if (message.type !== 'grant') return 'migration' in message;
      const error = new GodwitError('migration.refused', { why: 'this agent moves no guests' });
      agent.link.send({ type: 'failed', request: message.request, error: wireError(error) });
      return true;
    },
    reports: () => [],
    onPeerSocket: (socket) => socket.terminate(),
    onGuestEnded: () => false,
    discard: () => false,
    close: () => Promise.resolve(),
  };
}
