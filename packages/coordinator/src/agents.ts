/**
 * Who is connected: agents and their supervisors, what each last said, and whose end is proved.
 *
 *   socket --> [connection] --> [agents] --hello, reports, deaths, messages--> guests, migrations
 *
 * A host is known by its last hello (durable), heard by its connection (memory). Silence makes it
 * unreachable and nothing more: only a supervisor, a successor on the same state directory or a
 * person proves an end, and a proof is durable before anybody acts on it.
 *
 * The coordinator obeys what agents remember of it: one that has seen a higher term, or a later
 * revision of this store, is turned away, because then this coordinator or its store is an old one.
 */
import {
  CONNECT_DEADLINE_MS,
  encodeMessage,
  fewNames,
  GodwitError,
  type GuestReport,
  HEARTBEAT_MS,
  type Host,
  type Message,
  type MigrationReport,
  PROTOCOL_VERSION,
  UNREACHABLE_MS,
  wireError,
} from '@godwit/protocol';
import type { WebSocket } from 'ws';
import { AgentConnection, type Request } from './agent-connection.ts';
import { Deaths } from './deaths.ts';
import type { Logger } from './log.ts';
import type { DeathRecord, HostRecord, Records } from './records.ts';

/** A timer this late means that this process stood still, not that every agent fell silent. */
const STOOD_STILL_MS = 4 * HEARTBEAT_MS;

/** Names are kept for ever, so they must not be anybody's to make without end. */
const HOSTS_MAX = 1_024;

/** A host as far as its agent tells; what is planned with it is placement's to add. */
export type AgentHost = Omit<Host, 'cordon' | 'promisedBytes' | 'moves' | 'movesQueued'>;

/** What a connected agent last said. */
export interface LiveHost {
  readonly name: string;
  readonly incarnation: string;
  readonly connection: AgentConnection;
  freeBytes: number;
  rssBytes: number;
  poolBytes: number;
  descriptors: number;
  reports: Map<string, GuestReport>;
}

/** Called in the order of the agent's messages; each is finished before the next begins. */
export interface AgentsListener {
  /** A proof of death, durable by now; before the hello that brought it. */
  died(death: DeathRecord): Promise<void>;
  hello(host: LiveHost, guests: GuestReport[], migrations: MigrationReport[]): Promise<void>;
  reports(host: LiveHost, guests: GuestReport[]): Promise<void>;
  message(host: LiveHost, message: Message): Promise<void>;
  /** An agent has seen a later revision of this store. */
  behind(): void;
  /** True: this incarnation is on record as the holder of a guest. */
  holdsGuests(host: string, incarnation: string): boolean;
}

export class Agents {
  readonly #records: Records;
  readonly #log: Logger;
  readonly #listener: AgentsListener;
  readonly #deaths: Deaths;
  /** By host name. A lost connection leaves the entry, so that what it last said can be shown. */
  readonly #live = new Map<string, LiveHost>();
  readonly #supervisors = new Map<string, AgentConnection>();
  readonly #connections = new Set<AgentConnection>();
  readonly #ticker: NodeJS.Timeout;
  #tickedAtMs = performance.now();
  #isClosed = false;

  constructor(records: Records, log: Logger, listener: AgentsListener) {
    this.#records = records;
    this.#log = log;
    this.#listener = listener;
    this.#deaths = new Deaths({
      records,
      log,
      concerns: (host, incarnation) =>
        records.hosts.get(host)?.incarnation === incarnation ||
        listener.holdsGuests(host, incarnation),
      died: (death) => this.#died(death),
    });
    this.#ticker = setInterval(() => this.#tick(), HEARTBEAT_MS);
  }

  /** Takes a socket whose upgrade was authorised; it must say hello within CONNECT_DEADLINE_MS. */
  attach(socket: WebSocket, remoteAddress: string): void {
    let live: LiveHost | undefined;
    let hasSaidHello = false;
    const connection = new AgentConnection(socket, remoteAddress, {
      message: async (message) => {
        if (message.type === 'hello') {
          clearTimeout(deadline);
          hasSaidHello = true;
          live = await this.#hello(connection, message);
        } else if (!hasSaidHello) {
          throw new GodwitError('wire.wrong_direction', { message: message.type });
        } else {
          await this.#message(connection, live, message);
        }
      },
      closed: () => {
        clearTimeout(deadline);
        this.#closed(connection);
      },
    });
    const deadline = setTimeout(() => connection.close(), CONNECT_DEADLINE_MS);
    this.#connections.add(connection);
    socket.on('pong', () => {
      connection.heardAtMs = performance.now();
    });
    socket.on('ping', () => {
      connection.heardAtMs = performance.now();
    });
    if (this.#isClosed) connection.close();
  }

  /** What the connected agent of `host` last said; undefined while there is none. */
  connected(host: string): LiveHost | undefined {
    const live = this.#live.get(host);
    return live?.connection.isOpen && !this.isDead(live.name, live.incarnation) ? live : undefined;
  }

  /** The same, also of an agent whose connection is lost. */
  lastHeard(host: string): LiveHost | undefined {
    return this.#live.get(host);
  }

  /** Milliseconds since a host was last heard; Infinity before its first hello to this process. */
  silentMs(host: string): number {
    const live = this.#live.get(host);
    return live === undefined
      ? Number.POSITIVE_INFINITY
      : Math.max(0, performance.now() - live.connection.heardAtMs);
  }

  isUnreachable(host: string): boolean {
    return this.silentMs(host) >= UNREACHABLE_MS;
  }

  death(host: string, incarnation: string): DeathRecord | undefined {
    return this.#deaths.get(host, incarnation);
  }

  isDead(host: string, incarnation: string): boolean {
    return this.death(host, incarnation) !== undefined;
  }

  /** @throws GodwitError `host.unreachable`, `request.timed_out`, or what the agent says */
  request(host: string, request: Request, deadlineMs?: number): Promise<Message<'done'>> {
    const live = this.connected(host);
    if (live === undefined) return Promise.reject(new GodwitError('host.unreachable', { host }));
    return live.connection.request(request, deadlineMs);
  }

  /** Sends if that incarnation is connected; the hello of an agent that comes back repeats the rest. */
  tell(host: string, incarnation: string, message: Message): void {
    const live = this.connected(host);
    if (live?.incarnation === incarnation) live.connection.send(message);
  }

  /** Breaks the connection, so that the agent says anew what it holds. */
  askAnew(host: string): void {
    this.#live.get(host)?.connection.close();
  }

  hosts(): AgentHost[] {
    const guests = new Map<string, number>();
    for (const { host, state } of this.#records.guests.values()) {
      if (state !== 'lost') guests.set(host, (guests.get(host) ?? 0) + 1);
    }
    return this.#records.hosts
      .values()
      .map((record) => this.#view(record, guests.get(record.name) ?? 0));
  }

  /** @throws GodwitError `host.not_found` */
  host(name: string): AgentHost {
    const guests = this.#records.guests.values().filter((guest) => guest.host === name);
    const held = guests.filter((guest) => guest.state !== 'lost').length;
    return this.#view(this.#known(name), held);
  }

  /**
   * A person's proof that the host's incarnation has ended.
   *
   * @param discarded give up whatever it did as a target of a migration
   * @throws GodwitError `host.not_found`, `host.not_fenceable` while its agent is connected
   */
  async fence(name: string, discarded: boolean): Promise<void> {
    const record = this.#known(name);
    if (this.connected(name) !== undefined) {
      const why = 'its agent is connected; end it first, then fence the host';
      throw new GodwitError('host.not_fenceable', { host: name, why });
    }
    const known = this.death(name, record.incarnation);
    if (known !== undefined && !discarded) {
      const why = `incarnation ${record.incarnation} is proved dead already (${known.exit})`;
      throw new GodwitError('host.not_fenceable', { host: name, why });
    }
    await this.#deaths.fence(name, record.incarnation, discarded);
  }

  /**
   * Asks every agent and supervisor to end with all guests; waits at most `deadlineMs`.
   * @returns the agents that said they will
   */
  async shutdownAll(deadlineMs: number): Promise<LiveHost[]> {
    const ask = (connection: AgentConnection) =>
      connection.request({ type: 'shutdown' }, deadlineMs);
    const agents = [...this.#live.values()].filter((live) => live.connection.isOpen);
    const supervisors = [...this.#supervisors.values()].filter((each) => each.isOpen);
    const [said] = await Promise.all([
      Promise.allSettled(agents.map((live) => ask(live.connection))),
      Promise.allSettled(supervisors.map(ask)),
    ]);
    return agents.filter((_live, i) => said[i]?.status === 'fulfilled');
  }

  close(): void {
    this.#isClosed = true;
    clearInterval(this.#ticker);
    for (const connection of [...this.#connections]) connection.close();
  }

  // -------------------------------------------------------------------------------- coming in

  async #hello(
    connection: AgentConnection,
    hello: Message<'hello'>,
  ): Promise<LiveHost | undefined> {
    connection.host = hello.host;
    try {
      this.#admit(hello);
      const provedBy = hello.role === 'supervisor' ? 'supervisor' : 'successor';
      await this.#deaths.prove(hello.host, hello.deaths, hello.incarnation, provedBy);
      if (hello.role === 'agent') this.#checkName(connection, hello);
    } catch (thrown) {
      const error = GodwitError.from(thrown);
      this.#log.warn({ host: hello.host, code: error.code }, `turned away: ${error.message}`);
      connection.send({ type: 'turnedAway', error: wireError(error) });
      connection.close(error);
      return undefined;
    }
    const address = addressOf(hello.address, connection.remoteAddress);
    if (hello.role === 'supervisor') {
      this.#supervisors.get(hello.host)?.close();
      this.#supervisors.set(hello.host, connection);
      this.#welcome(connection, address);
      return undefined;
    }
    const live = await this.#register(connection, hello, address);
    this.#welcome(connection, address);
    this.#log.info(
      { host: live.name, incarnation: live.incarnation, address, guests: hello.guests.length },
      'host connected',
    );
    await this.#listener.hello(live, hello.guests, hello.migrations);
    return live;
  }

  /** @throws GodwitError `wire.version`, `store.stale_term`, `store.back_in_time`, `request.invalid` */
  #admit(hello: Message<'hello'>): void {
    const { store, hosts } = this.#records;
    if (hosts.size >= HOSTS_MAX && hosts.get(hello.host) === undefined) {
      throw new GodwitError('request.invalid', {
        why: `the cluster has ${HOSTS_MAX} hosts already`,
      });
    }
    if (hello.version !== PROTOCOL_VERSION) {
      throw new GodwitError('wire.version', { ours: PROTOCOL_VERSION, theirs: hello.version });
    }
    const isOurs = hello.storeId === undefined || hello.storeId === store.id;
    // Guests under another store's epochs: neither side can tell which epoch is the newer one.
    const isForeign = !isOurs && hello.guests.length + hello.migrations.length > 0;
    const isAhead = isOurs && hello.storeRev > store.revision;
    if (isAhead) this.#listener.behind();
    if (isForeign || isAhead) {
      throw new GodwitError('store.back_in_time', {
        storeId: hello.storeId ?? store.id,
        seen: hello.storeRev,
        found: isForeign ? 0 : store.revision,
      });
    }
    if (isOurs && hello.termSeen > store.term) {
      throw new GodwitError('store.stale_term', { term: store.term, seen: hello.termSeen });
    }
  }

  /**
   * One agent a name. Another incarnation may take over when the one on record is proved dead, or
   * holds nothing and is not there.
   *
   * @throws GodwitError `host.name_taken`
   */
  #checkName(connection: AgentConnection, { host, incarnation }: Message<'hello'>): void {
    const live = this.#live.get(host);
    const recorded = this.#records.hosts.get(host)?.incarnation;
    if (recorded !== undefined && recorded !== incarnation && !this.isDead(host, recorded)) {
      const isThere = live?.incarnation === recorded && live.connection.isOpen;
      if (isThere || this.#listener.holdsGuests(host, recorded)) {
        throw new GodwitError('host.name_taken', { host });
      }
    }
    if (live !== undefined && live.connection !== connection) live.connection.close();
  }

  async #register(
    connection: AgentConnection,
    hello: Message<'hello'>,
    address: string,
  ): Promise<LiveHost> {
    const live: LiveHost = {
      name: hello.host,
      incarnation: hello.incarnation,
      connection,
      freeBytes: hello.freeBytes,
      rssBytes: 0,
      poolBytes: 0,
      descriptors: 0,
      reports: new Map(hello.guests.map((report) => [report.spec.name, report])),
    };
    await this.#records.hosts.update(hello.host, () => ({
      name: hello.host,
      address,
      incarnation: hello.incarnation,
      pid: hello.pid,
      cores: hello.cores,
      memoryBytes: hello.memoryBytes,
      helloAtMs: Date.now(),
    }));
    this.#live.set(hello.host, live);
    return live;
  }

  async #message(
    connection: AgentConnection,
    live: LiveHost | undefined,
    message: Message,
  ): Promise<void> {
    if (message.type === 'died') {
      await this.#deaths.prove(connection.host, [message.death], undefined, 'supervisor');
    } else if (live === undefined) {
      throw new GodwitError('wire.wrong_direction', { message: message.type });
    } else if (message.type === 'heartbeat') {
      live.freeBytes = message.freeBytes;
      live.rssBytes = message.rssBytes;
      live.poolBytes = message.poolBytes;
      live.descriptors = message.descriptors;
      live.reports = new Map(message.guests.map((report) => [report.spec.name, report]));
      await this.#listener.reports(live, message.guests);
    } else {
      await this.#listener.message(live, message);
    }
  }

  async #died(death: DeathRecord): Promise<void> {
    const live = this.#live.get(death.host);
    // What is still in its socket was said before the end; the proof says more.
    if (live?.incarnation === death.incarnation) live.connection.close();
    await this.#listener.died(death);
  }

  #welcome(connection: AgentConnection, address: string): void {
    const { term, id, revision } = this.#records.store;
    connection.isWelcomed = true;
    connection.send({
      type: 'welcome',
      term,
      storeId: id,
      storeRev: revision,
      heartbeatMs: HEARTBEAT_MS,
      address,
    });
  }

  #closed(connection: AgentConnection): void {
    this.#connections.delete(connection);
    if (this.#supervisors.get(connection.host) === connection) {
      this.#supervisors.delete(connection.host);
    }
  }

  /** Pulses, and the end of connections nobody has spoken on for long. */
  #tick(): void {
    const nowMs = performance.now();
    const stoodStill = nowMs - this.#tickedAtMs > STOOD_STILL_MS;
    this.#tickedAtMs = nowMs;
    const { term, revision } = this.#records.store;
    const pulse = encodeMessage({ type: 'pulse', term, storeRev: revision });
    for (const connection of this.#connections) {
      // What the agents said while this process stood still is in the socket buffers, unread.
      if (stoodStill) connection.heardAtMs = nowMs;
      else if (nowMs - connection.heardAtMs > UNREACHABLE_MS) connection.close();
      if (connection.isWelcomed) connection.sendBytes(pulse);
    }
  }

  // -------------------------------------------------------------------------------- for people

  #known(name: string): HostRecord {
    const record = this.#records.hosts.get(name);
    if (record !== undefined) return record;
    const names = this.#records.hosts.values().map((host) => host.name);
    throw new GodwitError('host.not_found', { host: name, known: fewNames(names) });
  }

  #view(record: HostRecord, guests: number): AgentHost {
    const { name, incarnation } = record;
    const live = this.#live.get(name);
    const isNow = live?.incarnation === incarnation;
    return {
      name,
      state: this.#state(name, incarnation),
      address: record.address,
      incarnation,
      pid: record.pid,
      cores: record.cores,
      memoryBytes: record.memoryBytes,
      freeBytes: isNow ? live.freeBytes : 0,
      rssBytes: isNow ? live.rssBytes : 0,
      poolBytes: isNow ? live.poolBytes : 0,
      descriptors: isNow ? live.descriptors : 0,
      guests,
      lastHeardAtMs: isNow ? Math.round(Date.now() - this.silentMs(name)) : record.helloAtMs,
      supervised: this.#supervisors.has(name),
    };
  }

  #state(name: string, incarnation: string): Host['state'] {
    const death = this.death(name, incarnation);
    if (death !== undefined) return death.provedBy === 'person' ? 'fenced' : 'dead';
    return this.isUnreachable(name) ? 'unreachable' : 'connected';
  }
}

/** An empty host part means: as the coordinator sees it. */
function addressOf(said: string, remoteAddress: string): string {
  if (!said.startsWith(':')) return said;
  const seen = remoteAddress.replace(/^::ffff:/, '');
  return (seen.includes(':') ? `[${seen}]` : seen) + said;
}
