/**
 * The cluster in figures, for Prometheus.
 *
 *   agents, records --now--> [metrics] <--ended-- migrations
 *                                |
 *                                +--> GET /metrics
 *
 * States are read at the scrape. What ended is counted when it ends, since the start of this process:
 * a coordinator that starts anew begins at zero, which Prometheus takes for what it is. Hosts are the
 * only label with names in it, and a cluster has at most HOSTS_MAX of them (agents.ts). The names are
 * used by packaging/grafana and packaging/prometheus; a test compares them.
 */
import {
  Counter,
  countsBy,
  exposition,
  type Family,
  gauge,
  Histogram,
  type Host,
  type Migration,
  processFamilies,
} from '@godwit/protocol';
import { guestState, host as hostSchema, migrationState } from '@godwit/protocol/http-api';
import type { CommandParts } from '../guest-commands.ts';
import type { EventHub } from './event-hub.ts';
import { VERSION } from './handlers.ts';

/** Seconds; idle guests stop for 2 to 10 ms, the default target is 300 ms. */
const DOWNTIME_BOUNDS = [0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.3, 0.6, 1.2, 5, 30];
/** Seconds; 64 MiB over loopback to 3.75 GiB over 100 Mbit/s. */
const TOTAL_BOUNDS = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];
const ROUNDS_BOUNDS = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32];
/** Measured / predicted; within a factor of two is what is promised for downtime. */
const RATIO_BOUNDS = [0.25, 0.5, 0.8, 0.9, 1.1, 1.2, 1.5, 2, 4];

const STATES = migrationState.options;
const OUTCOMES = ['completed', 'failed', 'cancelled', 'lost'] as const;
const MODES = ['precopy', 'postcopy', 'hybrid'] as const;

type MetricsParts = Pick<CommandParts, 'agents' | 'records' | 'views' | 'migrations' | 'room'>;

export class Metrics {
  readonly #parts: MetricsParts;
  readonly #events: EventHub;
  readonly #open = new Set<string>();
  readonly #ended = new Counter(
    'godwit_migrations_total',
    'Migrations that ended, by how and in which mode.',
    OUTCOMES.flatMap((outcome) => MODES.map((mode) => ({ outcome, mode }))),
  );
  readonly #bytes = new Counter(
    'godwit_migration_bytes_total',
    'Bytes that completed migrations put on the wire.',
  );
  readonly #pages = new Counter(
    'godwit_migration_pages_total',
    'Pages that completed migrations sent, by what they held.',
    [{ content: 'zero' }, { content: 'data' }],
  );
  readonly #faults = new Counter(
    'godwit_migration_faults_total',
    'Pages that guests had to wait for in post-copy.',
  );
  readonly #verified = new Counter(
    'godwit_migrations_verified_total',
    'Completed migrations whose every page was compared by digest.',
  );
  readonly #downtime = new Histogram(
    'godwit_migration_downtime_seconds',
    'No instruction of the guest ran; completed migrations.',
    DOWNTIME_BOUNDS,
  );
  readonly #total = new Histogram(
    'godwit_migration_duration_seconds',
    'From the request to the source freed; completed migrations.',
    TOTAL_BOUNDS,
  );
  readonly #rounds = new Histogram(
    'godwit_migration_rounds',
    'Rounds of completed migrations.',
    ROUNDS_BOUNDS,
  );
  readonly #downtimeRatio = new Histogram(
    'godwit_migration_downtime_prediction_ratio',
    'Downtime measured over downtime predicted.',
    RATIO_BOUNDS,
  );
  readonly #durationRatio = new Histogram(
    'godwit_migration_duration_prediction_ratio',
    'Total time measured over total time predicted.',
    RATIO_BOUNDS,
  );
  readonly #requests = new Counter(
    'godwit_api_requests_total',
    'Answers of the HTTP API, by class of status.',
    ['2xx', '4xx', '5xx'].map((status) => ({ status })),
  );

  constructor(parts: MetricsParts, events: EventHub) {
    this.#parts = parts;
    this.#events = events;
    for (const { id } of parts.migrations.list({ isOpen: true })) this.#open.add(id);
    parts.migrations.watchAll((view) => this.#changed(view));
  }

  answered(status: number): void {
    this.#requests.add(1, { status: `${Math.floor(status / 100)}xx` });
  }

  text(): string {
    const { agents, records, views, migrations, room } = this.#parts;
    const hosts = room.views(agents.hosts());
    const guests = records.guests.values().map((guest) => views.guest(guest));
    const open = migrations.list({ isOpen: true });
    const { store } = records;
    return exposition([
      gauge('godwit_build_info', 'Release of this process.', [
        { labels: { version: VERSION, component: 'coordinator' }, value: 1 },
      ]),
      gauge('godwit_coordinator_term', 'Number of this start.', store.term),
      gauge('godwit_store_revision', 'Commits of the store.', store.revision),
      gauge(
        'godwit_hosts',
        'Hosts by state.',
        countsBy(
          'state',
          hostSchema.shape.state.options,
          hosts.map((host) => host.state),
        ),
      ),
      gauge(
        'godwit_guests',
        'Guests by state.',
        countsBy(
          'state',
          guestState.options,
          guests.map((guest) => guest.state),
        ),
      ),
      gauge(
        'godwit_guests_memory_bytes',
        'Memory of all guests that are not lost.',
        sum(guests.filter((guest) => guest.state !== 'lost').map((guest) => guest.memoryBytes)),
      ),
      gauge(
        'godwit_guests_dirty_bytes_per_second',
        'What all guests write, in pages.',
        sum(guests.map((guest) => guest.dirtyBytesPerS)),
      ),
      gauge(
        'godwit_migrations_open',
        'Migrations under way or waiting, by state.',
        countsBy(
          'state',
          STATES.filter((state) => !OUTCOMES.some((outcome) => outcome === state)),
          open.map((view) => view.state),
        ),
      ),
      gauge(
        'godwit_migrations_open_bytes_per_second',
        'Rate at which open migrations send now.',
        sum(open.map((view) => view.progress?.bytesPerS ?? 0)),
      ),
      ...perHost(hosts),
      this.#ended.family(),
      this.#bytes.family(),
      this.#pages.family(),
      this.#faults.family(),
      this.#verified.family(),
      this.#downtime.family(),
      this.#total.family(),
      this.#rounds.family(),
      this.#downtimeRatio.family(),
      this.#durationRatio.family(),
      this.#requests.family(),
      gauge('godwit_event_readers', 'Readers of the event stream.', this.#events.readers),
      ...processFamilies(),
    ]);
  }

  #changed(view: Migration): void {
    if (view.endedAtMs === undefined) this.#open.add(view.id);
    else if (this.#open.delete(view.id)) this.#count(view);
  }

  #count({ state, mode, result, prediction }: Migration): void {
    this.#ended.add(1, { outcome: state, mode });
    if (state !== 'completed' || result === undefined) return;
    this.#bytes.add(result.bytes);
    this.#pages.add(result.zeroPages, { content: 'zero' });
    this.#pages.add(Math.max(0, result.pages - result.zeroPages), { content: 'data' });
    this.#faults.add(result.faults);
    if (result.verified) this.#verified.add(1);
    this.#downtime.observe(result.downtimeMs / 1000);
    this.#total.observe(result.totalMs / 1000);
    this.#rounds.observe(result.rounds);
    if (prediction === undefined) return;
    if (prediction.downtimeMs > 0) {
      this.#downtimeRatio.observe(result.downtimeMs / prediction.downtimeMs);
    }
    if (prediction.totalMs > 0) this.#durationRatio.observe(result.totalMs / prediction.totalMs);
  }
}

function perHost(hosts: readonly Host[]): Family[] {
  const family = (name: string, help: string, value: (host: Host) => number) =>
    gauge(
      name,
      help,
      hosts.map((host) => ({ labels: { host: host.name }, value: value(host) })),
    );
  return [
    family('godwit_host_up', 'Its agent is connected.', (host) =>
      host.state === 'connected' ? 1 : 0,
    ),
    family('godwit_host_heard_seconds', 'Since its agent was last heard.', (host) =>
      Math.max(0, (Date.now() - host.lastHeardAtMs) / 1000),
    ),
    family('godwit_host_supervised', 'Its supervisor is connected.', (host) =>
      host.supervised ? 1 : 0,
    ),
    family('godwit_host_guests', 'Guests it owns.', (host) => host.guests),
    family('godwit_host_memory_bytes', 'Memory for guests.', (host) => host.memoryBytes),
    family('godwit_host_free_bytes', 'Of it free.', (host) => host.freeBytes),
    family('godwit_host_pool_bytes', 'Kept for the next guest.', (host) => host.poolBytes),
    family('godwit_host_resident_bytes', 'Resident memory of its agent.', (host) => host.rssBytes),
    family('godwit_host_descriptors', 'Open descriptors of its agent.', (host) => host.descriptors),
  ];
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0);
}
