/**
 * A store that went back in time: nothing is decided from it until its records are those of now.
 *
 *   agents --hello--> [recovery] --inventories--> recovery-plan.ts --> records, term, revision
 *   person --recover, fence--> [recovery] --> GET /v1/recovery: what it waits for
 *
 * Stands in the coordinator's place while the store is marked as behind. First it refuses: every
 * agent is turned away, guests run on, and a person must say `recover`. Then it collects: agents that
 * dial are heard and turned away again, so that each says anew within two seconds what it holds.
 * When every registered host has reported or is fenced, the records are written, term and revision
 * go beyond all that any agent has seen, and the process begins again with the coordinator.
 *
 * Clocks decide nothing here: a host that is silent is waited for until it speaks or a person fences it.
 */
import {
  CONNECT_DEADLINE_MS,
  fewNames,
  GodwitError,
  type Message,
  PROTOCOL_VERSION,
  type Recovery as RecoveryView,
  wireError,
} from '@godwit/protocol';
import type { WebSocket } from 'ws';
import { AgentConnection } from '../agent-connection.ts';
import type { Logger } from '../log.ts';
import { type DeathRecord, deathKey, type Records } from '../records.ts';
import { commit } from '../store/collection.ts';
import { planRecovery } from './recovery-plan.ts';

export interface RecoveryParts {
  readonly records: Records;
  readonly log: Logger;
  /** The records are right and the store is not behind any more. */
  readonly done: () => void;
}

export class Recovery {
  readonly #parts: RecoveryParts;
  readonly #heard = new Map<string, Message<'hello'>>();
  readonly #connections = new Set<AgentConnection>();
  #isCollecting = false;
  #isFinishing = false;
  /** The highest that any agent has seen of this store. */
  #seen = { term: 0, revision: 0 };

  constructor(parts: RecoveryParts) {
    this.#parts = parts;
  }

  /** A person's word: from here on what agents say counts more than the store. */
  async begin(): Promise<RecoveryView> {
    this.#isCollecting = true;
    this.#parts.log.warn({ waitingFor: this.#waitingFor() }, 'recovering the store');
    await this.#finishIfComplete();
    return this.view();
  }

  view(): RecoveryView {
    return {
      state: this.#isCollecting ? 'collecting' : 'refused',
      reported: [...this.#heard.keys()].sort(),
      waitingFor: this.#waitingFor(),
      fenced: [...this.#fenced().keys()].sort(),
    };
  }

  /** @throws GodwitError `host.not_found`, `host.not_fenceable` when it has reported */
  async fence(name: string, discarded: boolean): Promise<void> {
    const { hosts, deaths } = this.#parts.records;
    const host = hosts.get(name);
    const known = hosts.values().map((each) => each.name);
    if (host === undefined) {
      throw new GodwitError('host.not_found', { host: name, known: fewNames(known) });
    }
    if (this.#heard.has(name)) {
      const why = 'its agent has reported, so it lives';
      throw new GodwitError('host.not_fenceable', { host: name, why });
    }
    const { incarnation } = host;
    const death: DeathRecord = {
      host: name,
      incarnation,
      exit: discarded ? 'fenced, and what it did is given up' : 'fenced',
      provedBy: 'person',
      ran: [],
      discarded,
      atMs: Date.now(),
    };
    await deaths.update(deathKey(name, incarnation), () => death);
    await this.#finishIfComplete();
  }

  /** Takes a socket whose upgrade was authorised; answers its hello and closes it. */
  attach(socket: WebSocket, remoteAddress: string): void {
    const deadline = setTimeout(() => connection.close(), CONNECT_DEADLINE_MS);
    const connection = new AgentConnection(socket, remoteAddress, {
      message: async (message) => {
        const error = message.type === 'hello' ? this.#hear(message) : this.#refusal();
        connection.send({ type: 'turnedAway', error: wireError(error) });
        connection.close(error);
        await this.#finishIfComplete();
      },
      closed: () => {
        clearTimeout(deadline);
        this.#connections.delete(connection);
      },
    });
    this.#connections.add(connection);
  }

  close(): void {
    for (const connection of [...this.#connections]) connection.close();
  }

  // ------------------------------------------------------------------------------- inside

  /** @returns what it is turned away with */
  #hear(hello: Message<'hello'>): GodwitError {
    if (hello.version !== PROTOCOL_VERSION) {
      return new GodwitError('wire.version', { ours: PROTOCOL_VERSION, theirs: hello.version });
    }
    const { store } = this.#parts.records;
    const isOurs = hello.storeId === undefined || hello.storeId === store.id;
    if (isOurs) {
      const { term, revision } = this.#seen;
      this.#seen = {
        term: Math.max(term, hello.termSeen),
        revision: Math.max(revision, hello.storeRev),
      };
      if (this.#isCollecting && hello.role === 'agent') this.#heard.set(hello.host, hello);
    }
    return this.#refusal();
  }

  #refusal(): GodwitError {
    if (this.#isCollecting) {
      return new GodwitError('store.recovering', { waitingFor: this.#waitingFor().join(', ') });
    }
    const { id, revision } = this.#parts.records.store;
    const seen = Math.max(this.#seen.revision, revision);
    return new GodwitError('store.back_in_time', { storeId: id, seen, found: revision });
  }

  #fenced(): Map<string, string> {
    const { hosts, deaths } = this.#parts.records;
    const fenced = hosts
      .values()
      .filter(({ name, incarnation }) => {
        const death = deaths.get(deathKey(name, incarnation));
        return death?.provedBy === 'person' && !this.#heard.has(name);
      })
      .map(({ name, incarnation }) => [name, incarnation] as const);
    return new Map(fenced);
  }

  #waitingFor(): string[] {
    const fenced = this.#fenced();
    const names = this.#parts.records.hosts.values().map((host) => host.name);
    return names.filter((name) => !this.#heard.has(name) && !fenced.has(name)).sort();
  }

  async #finishIfComplete(): Promise<void> {
    if (!this.#isCollecting || this.#isFinishing || this.#waitingFor().length > 0) return;
    this.#isFinishing = true;
    const { records, log, done } = this.#parts;
    const { store, guests, migrations } = records;
    const plan = planRecovery({
      guests: new Map(guests.values().map((guest) => [guest.spec.name, guest])),
      migrations: new Map(migrations.values().map((each) => [each.view.id, each])),
      inventories: this.#heard,
      fenced: this.#fenced(),
      nowMs: Date.now(),
    });
    const puts = [
      ...[...plan.guests].map(([name, guest]) => guests.put(name, guest)),
      ...[...plan.migrations].map(([id, migration]) => migrations.put(id, migration)),
    ];
    await commit(store, puts);
    // Last: a crash before it finds the store still behind, and a person begins anew.
    await store.catchUp({
      term: Math.max(store.term, this.#seen.term),
      revision: Math.max(store.revision, this.#seen.revision) + 1,
    });
    log.warn({ lost: plan.lost, guests: plan.guests.size }, 'the store is recovered');
    setImmediate(done);
  }
}
