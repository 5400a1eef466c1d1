/**
 * All migrations this agent takes part in: makes a runner for each grant and brings messages to it.
 *
 *   coordinator link --grant, decision, verdict...--> [manager] --> SourceRunner | TargetRunner
 *   control server   --peer socket, peerHello-------> [manager] --> TargetRunner
 *
 * A runner that has come to its end stays for a while without memory, because the coordinator may
 * not have heard of it; it answers the peer and repeats its report after a reconnect.
 */
import {
  CONNECT_DEADLINE_MS,
  decodeMessage,
  encodeMessage,
  FIRST_MESSAGE_BYTES_MAX,
  GodwitError,
  type Message,
  MIGRATIONS_PER_HOST_MAX,
  type MigrationReport,
  MOVES_PER_HOST_MAX,
  PROTOCOL_VERSION,
  wireError,
} from '@godwit/protocol';
import type { WebSocket } from 'ws';
import type { Agent } from '../agent.ts';
import type { Guest } from '../guest/guest.ts';
import { SourceRunner } from '../source/source-runner.ts';
import { TargetRunner } from '../target/target-runner.ts';
import { FaultPoints } from './fault-points.ts';
import { Quiet } from './quiet.ts';

/** How long a finished migration can still be asked about. */
const REMEMBERED_MS = 600_000;
/** Open at once: the rest of a hello is for those whose end is news to the coordinator. */
const OPEN_MAX = MIGRATIONS_PER_HOST_MAX - MOVES_PER_HOST_MAX;

type Runner = SourceRunner | TargetRunner;

export class Migrations {
  readonly #agent: Agent;
  readonly #faults: FaultPoints | undefined;
  /** A runner that ends goes to the back: those that ended stand in the order of their ends. */
  readonly #runners = new Map<string, Runner>();
  readonly #quiet: Pick<Quiet, 'ended' | 'begin' | 'end'>;
  readonly #rememberedMs: number;

  constructor(
    agent: Agent,
    quiet: Pick<Quiet, 'ended' | 'begin' | 'end'> = new Quiet(),
    rememberedMs = REMEMBERED_MS,
  ) {
    this.#agent = agent;
    this.#rememberedMs = rememberedMs;
    this.#quiet = quiet;
    this.#faults = agent.options.testFaults ? new FaultPoints(agent.options.stateDir) : undefined;
    agent.link.on('up', () => this.#each((runner) => runner.coordinatorBack()));
    agent.link.on('down', () => this.#each((runner) => runner.coordinatorLost()));
  }

  /**
   * For the hello: all that are open, then those that ended, the newest first, as far as there is room. A
   * coordinator that was away learns from the latter how a move ended that it still takes for open; of
   * those there are at most MOVES_PER_HOST_MAX, because it granted no others meanwhile.
   */
  reports(): MigrationReport[] {
    const ended = [...this.#runners.values()].filter(({ isOver }) => isOver).reverse();
    return [...this.#open(), ...ended]
      .slice(0, MIGRATIONS_PER_HOST_MAX)
      .map((runner) => runner.report());
  }

  /** A message of the coordinator about a migration. False: not one of ours. */
  onMessage(message: Message): boolean {
    if (message.type === 'grant') {
      void this.#grant(message);
      return true;
    }
    if (!('migration' in message) || typeof message.migration !== 'string') return false;
    const runner = this.#runners.get(message.migration);
    if (runner !== undefined) runner.onCoordinator(message);
    else this.#unknown(message);
    return true;
  }

  /** A peer dialled in: the first message must be a peerHello that fits a target runner. */
  onPeerSocket(socket: WebSocket): void {
    const deadline = setTimeout(() => socket.terminate(), CONNECT_DEADLINE_MS);
    socket.on('error', () => socket.terminate());
    socket.once('message', (data, isBinary) => {
      clearTimeout(deadline);
      try {
        if (!isBinary) throw new GodwitError('wire.bad_frame', { why: 'text on a control link' });
        this.#attach(
          socket,
          decodeMessage(data as Buffer, 'peer', 'source', FIRST_MESSAGE_BYTES_MAX),
        );
      } catch (thrown) {
        const error = GodwitError.from(thrown);
        this.#agent.log.warn({ code: error.code }, `peer turned away: ${error.message}`);
        socket.close(1008, error.code);
      }
    });
  }

  /** The guest did something by itself while it is being moved. False: it is not. */
  onGuestEnded(guest: Guest): boolean {
    for (const runner of this.#runners.values()) {
      if (runner.guestName === guest.name && runner.holds) {
        runner.guestEnded();
        return true;
      }
    }
    return false;
  }

  /** A person gives up what is held here of this guest. False: nothing is held by a migration. */
  discard(guest: string): boolean {
    for (const runner of this.#runners.values()) {
      if (runner.guestName === guest && runner.discard()) return true;
    }
    return false;
  }

  async close(): Promise<void> {
    this.#quiet.end();
    await Promise.all([...this.#runners.values()].map((runner) => runner.close()));
    this.#runners.clear();
  }

  async #grant(grant: Message<'grant'>): Promise<void> {
    const { request, migration } = grant;
    try {
      if (!this.#runners.has(migration)) {
        const runner = this.#makeRunner(grant);
        this.#runners.set(migration, runner);
        runner.onFinal(() => this.#ended(migration));
        this.#quiet.end();
      }
      const runner = this.#runners.get(migration) as Runner;
      const reservedMs = await runner.ready;
      this.#agent.link.send({ type: 'done', request, reservedMs });
    } catch (thrown) {
      const error = GodwitError.from(thrown);
      this.#agent.log.warn({ migration, code: error.code }, `grant not taken: ${error.message}`);
      this.#agent.link.send({ type: 'failed', request, error: wireError(error) });
    }
  }

  #makeRunner(grant: Message<'grant'>): Runner {
    if (this.#open().length >= OPEN_MAX) {
      throw new GodwitError('migration.refused', {
        why: `${OPEN_MAX} migrations are open at host ${this.#agent.host}`,
      });
    }
    const name = grant.spec.name;
    const guest = this.#agent.guests.get(name);
    if (grant.role === 'target') {
      // One that is still coming in is what an earlier attempt left: the runner waits until it is gone.
      if (guest !== undefined && guest.state !== 'incoming')
        throw new GodwitError('guest.exists', { guest: name, host: this.#agent.host });
      return new TargetRunner(this.#agent, grant, this.#faults);
    }
    if (guest === undefined) throw new GodwitError('guest.not_found', { guest: name, known: '' });
    if (guest.epoch !== grant.epoch || guest.state !== 'running') {
      throw new GodwitError('guest.not_running', {
        guest: name,
        state: `${guest.state}, epoch ${guest.epoch}`,
      });
    }
    return new SourceRunner(this.#agent, guest, grant, this.#faults);
  }

  #attach(socket: WebSocket, hello: Message): void {
    if (hello.type !== 'peerHello')
      throw new GodwitError('wire.wrong_direction', { message: hello.type });
    if (hello.version !== PROTOCOL_VERSION) {
      throw new GodwitError('wire.version', { ours: PROTOCOL_VERSION, theirs: hello.version });
    }
    const runner = this.#runners.get(hello.migration);
    if (!(runner instanceof TargetRunner) || !runner.isCapability(hello.capability)) {
      throw new GodwitError('peer.capability', { migration: hello.migration });
    }
    socket.send(
      encodeMessage({
        type: 'peerWelcome',
        version: PROTOCOL_VERSION,
        host: this.#agent.host,
        incarnation: this.#agent.incarnation,
        phase: runner.phase,
      }),
    );
    runner.attach(socket);
  }

  /**
   * About a migration this incarnation never heard of, or has forgotten: noted here and not answered, because
   * the coordinator learns from the hello and from proofs of death what is not here any more.
   */
  #unknown(message: Message): void {
    this.#agent.log.info({ message: message.type }, 'a message about a migration unknown here');
  }

  #open(): Runner[] {
    return [...this.#runners.values()].filter(({ isOver }) => !isOver);
  }

  #ended(migration: string): void {
    const runner = this.#runners.get(migration);
    this.#runners.delete(migration);
    if (runner !== undefined) this.#runners.set(migration, runner);
    setTimeout(() => this.#forget(migration), this.#rememberedMs).unref();
    this.#quiet.ended();
    if (this.#open().length === 0) this.#quiet.begin();
  }

  #forget(migration: string): void {
    const runner = this.#runners.get(migration);
    this.#runners.delete(migration);
    void runner?.close();
  }

  #each(visit: (runner: Runner) => void): void {
    for (const runner of [...this.#runners.values()]) visit(runner);
  }
}

export function createMigrations(agent: Agent): Migrations {
  return new Migrations(agent);
}
