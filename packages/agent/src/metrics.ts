/**
 * One host in figures, for Prometheus.
 *
 *   guests, pool, link --now--> [metrics] <--what migrations tell the coordinator-- migration-base.ts
 *                                   |
 *                                   +--> GET /metrics of the control port
 *
 * Migrations are counted by listening to their own words, whether the coordinator hears them or not.
 * No label holds a name. Main thread only; page bytes are counted by the channels' own counters, of
 * which progress messages carry the sum.
 */
import {
  Counter,
  countsBy,
  exposition,
  gauge,
  Histogram,
  type Message,
  processFamilies,
} from '@godwit/protocol';
import type { Agent } from './agent.ts';

const GUEST_STATES = ['creating', 'running', 'stopped', 'ended', 'incoming', 'frozen', 'doubt'];
const ROLES = ['source', 'target'];
/** How a migration ended, as this end of it said. */
const ENDS = ['freed', 'kept', 'allPresent', 'refused', 'lost'] as const;
/** Seconds; as in the coordinator's figures, from the source's side. */
const DOWNTIME_BOUNDS = [0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.3, 0.6, 1.2, 5, 30];

/** Words about an end are repeated to a coordinator that was away; so many ends are remembered. */
const ENDED_KEPT_MAX = 1_000;

/** Running sums of one open migration, as it last said them. */
interface Told {
  bytes: number;
  faults: number;
}

export class AgentMetrics {
  readonly #agent: Agent;
  readonly #open = new Map<string, Told>();
  readonly #counted = new Set<string>();
  readonly #ended = new Counter(
    'godwit_agent_migrations_total',
    'Migrations this host had a part in, by how they ended for it.',
    ENDS.map((end) => ({ end })),
  );
  readonly #bytes = new Counter(
    'godwit_agent_sent_bytes_total',
    'Bytes that migrations from here put on the wire, as they go.',
  );
  readonly #faults = new Counter(
    'godwit_agent_faults_total',
    'Pages that guests here had to wait for in post-copy, as they go.',
  );
  readonly #rounds = new Counter('godwit_agent_rounds_total', 'Rounds sent from here.');
  readonly #downtime = new Histogram(
    'godwit_agent_downtime_seconds',
    'No instruction of a guest that left this host ran.',
    DOWNTIME_BOUNDS,
  );

  constructor(agent: Agent) {
    this.#agent = agent;
  }

  /** What a migration here tells the coordinator. */
  said(message: Message): void {
    if ('migration' in message && this.#counted.has(message.migration)) return;
    switch (message.type) {
      case 'progress':
        return this.#sums(message.migration, message);
      case 'roundReport':
        return this.#rounds.add(1);
      case 'freed':
        this.#sums(message.migration, message);
        this.#downtime.observe(message.downtimeMs / 1000);
        return this.#end(message);
      case 'allPresent':
        this.#sums(message.migration, message);
        return this.#end(message);
      case 'kept':
      case 'refused':
      case 'lost':
        return this.#end(message);
      default:
    }
  }

  text(): string {
    const { pool, guests, link, migrations } = this.#agent;
    const reports = [...guests.values()].map((guest) => guest.report());
    const open = migrations.reports();
    return exposition([
      gauge(
        'godwit_agent_coordinator_connected',
        'The control connection stands.',
        Number(link.connected),
      ),
      gauge(
        'godwit_agent_guests',
        'Guests on this host by state.',
        countsBy(
          'state',
          GUEST_STATES,
          reports.map((report) => report.state),
        ),
      ),
      gauge(
        'godwit_agent_guest_memory_bytes',
        'Memory of the guests on this host.',
        reports.reduce((sum, { spec }) => sum + spec.memoryBytes, 0),
      ),
      gauge(
        'godwit_agent_dirty_bytes_per_second',
        'What the guests on this host write, in pages.',
        reports.reduce((sum, report) => sum + report.dirtyBytesPerS, 0),
      ),
      gauge('godwit_agent_memory_bytes', 'Memory for guests.', pool.capacityBytes),
      gauge('godwit_agent_free_bytes', 'Of it free.', pool.freeBytes),
      gauge('godwit_agent_pool_bytes', 'Kept for the next guest.', pool.idleBytes),
      gauge(
        'godwit_agent_migrations_open',
        'Migrations under way, by the part this host has in them.',
        countsBy(
          'role',
          ROLES,
          open.map((report) => report.role),
        ),
      ),
      this.#ended.family(),
      this.#bytes.family(),
      this.#faults.family(),
      this.#rounds.family(),
      this.#downtime.family(),
      ...processFamilies(),
    ]);
  }

  /** Sums only grow within one migration; what is new since the last word is counted. */
  #sums(migration: string, { bytes = 0, faults = 0 }: { bytes?: number; faults?: number }): void {
    const told = this.#open.get(migration) ?? { bytes: 0, faults: 0 };
    this.#bytes.add(Math.max(0, bytes - told.bytes));
    this.#faults.add(Math.max(0, faults - told.faults));
    this.#open.set(migration, {
      bytes: Math.max(bytes, told.bytes),
      faults: Math.max(faults, told.faults),
    });
  }

  #end({ type, migration }: { type: string; migration: string }): void {
    this.#ended.add(1, { end: type });
    this.#open.delete(migration);
    this.#counted.add(migration);
    if (this.#counted.size > ENDED_KEPT_MAX) {
      this.#counted.delete(this.#counted.values().next().value as string);
    }
  }
}
