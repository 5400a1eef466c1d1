/**
 * Guests as people see them: the record, what the owner last said, and who holds what.
 *
 *   records, live reports, open migration --> [views] --> Guest, GuestDetail
 *
 * `doubt` is a state a person can read: every holder says in a sentence what it has and what it
 * waits for, and the view names the command that would settle it. Pure reading, no writes.
 */
import type { Guest, GuestDetail, GuestReport, GuestState, Side } from '@godwit/protocol';
import { PAGE_BYTES } from '@godwit/protocol';
import type { Agents } from './agents.ts';
import type { Guests } from './guests.ts';
import type { Migrations } from './migrations/migrations.ts';
import type { GuestRecord, MigrationRecord } from './records.ts';

/** Phases in which the guest stands still and waits for a word of somebody else. */
const WAITING_PHASES = {
  source: ['offered', 'cancelling', 'asking', 'released'],
  target: ['landed', 'asking'],
};
/** A switchover takes milliseconds; one that takes longer is worth the word doubt. */
const DOUBT_AFTER_MS = 1_000;

export class GuestViews {
  readonly #guests: Guests;
  readonly #agents: Agents;
  readonly #migrations: Migrations;

  constructor(guests: Guests, agents: Agents, migrations: Migrations) {
    this.#guests = guests;
    this.#agents = agents;
    this.#migrations = migrations;
  }

  guest(record: GuestRecord): Guest {
    const { spec, migration, queued, evidence } = record;
    const report = this.#guests.ownersReport(record);
    const state = this.#state(record);
    return {
      name: spec.name,
      kind: spec.kind,
      host: record.host,
      state,
      epoch: record.epoch,
      memoryBytes: spec.memoryBytes,
      harts: spec.harts,
      clock: spec.clock,
      ...(spec.image !== undefined && { image: spec.image }),
      ...(spec.imageDigest !== undefined && { imageDigest: spec.imageDigest }),
      dirtyBytesPerS: report?.dirtyBytesPerS ?? 0,
      workingSetBytes: (report?.workingSetPages ?? 0) * PAGE_BYTES,
      instructions: report?.instructions ?? 0,
      writes: report?.writes ?? 0,
      witnessWrites: this.#guests.witnessOf(record),
      createdAtMs: record.createdAtMs,
      ...(migration !== undefined && { migration }),
      ...(queued !== undefined && { queued }),
      ...(record.end && { end: record.end }),
      ...(record.digest !== undefined && { digest: record.digest }),
      ...(state === 'lost' && evidence !== undefined && { evidence }),
      ...(state === 'unreachable' && { evidence: this.#silence(record) }),
    };
  }

  detail(record: GuestRecord): GuestDetail {
    const migration = this.#migrationOf(record);
    const guest = this.guest(record);
    const resolve = this.#resolve(guest, migration);
    return {
      ...guest,
      spec: record.spec,
      holders: this.#holders(record, migration),
      verdict: verdictOf(record, migration),
      ...(resolve.length > 0 && { resolve }),
    };
  }

  #state(record: GuestRecord): GuestState {
    if (record.state === 'lost' || record.state === 'ended') return record.state;
    const open = record.migration && this.#migrations.record(record.migration);
    if (open && this.#isInDoubt(open)) return 'doubt';
    if (this.#silentHolder(record) !== undefined) return 'unreachable';
    return open ? 'migrating' : record.state;
  }

  #silence(record: GuestRecord): string {
    const away = this.#silentHolder(record) ?? record.host;
    return `host ${away} has been silent for ${seconds(this.#agents.silentMs(away))}`;
  }

  /** A host that is out of reach and without whose pages the guest cannot go on. */
  #silentHolder({ host, migration }: GuestRecord): string | undefined {
    if (this.#agents.isUnreachable(host)) return host;
    const open = migration && this.#migrations.record(migration);
    const isPulling = open && open.core.phase === 'running' && open.view.state === 'postcopy';
    return isPulling && this.#agents.isUnreachable(open.view.source) ? open.view.source : undefined;
  }

  #isInDoubt({ view, core, phaseHeardAtMs }: MigrationRecord): boolean {
    if (core.phase === 'running' || core.phase === 'complete') return false;
    const isWaiting =
      WAITING_PHASES.source.includes(view.sourcePhase) ||
      (WAITING_PHASES.target.includes(view.targetPhase) && core.phase !== 'refused');
    const waitedMs = Date.now() - phaseHeardAtMs;
    // Less than nothing: the clock was set back since, and how long it really is nobody knows.
    return isWaiting && (waitedMs < 0 || waitedMs > DOUBT_AFTER_MS);
  }

  /** Open, or the one by which the guest was lost. */
  #migrationOf(record: GuestRecord): MigrationRecord | undefined {
    if (record.migration !== undefined) return this.#migrations.record(record.migration);
    return record.state === 'lost' ? this.#migrations.newestOf(record.spec.name) : undefined;
  }

  #holders(record: GuestRecord, migration: MigrationRecord | undefined): GuestDetail['holders'] {
    const { name } = record.spec;
    const holding = this.#agents
      .hosts()
      .map((host) => host.name)
      .filter((host) => this.#agents.lastHeard(host)?.reports.has(name));
    const ends = migration ? [migration.view.source, migration.view.target] : [];
    return [...new Set([record.host, ...ends, ...holding])].map((host) => {
      const live = this.#agents.lastHeard(host);
      const report = live?.reports.get(name);
      const silentMs = this.#agents.silentMs(host);
      const isReachable = this.#agents.connected(host) !== undefined;
      const heard = says(report, phaseAt(host, migration), migration);
      const silent = Number.isFinite(silentMs)
        ? `not reachable since ${seconds(silentMs)}, last said: ${heard}`
        : 'not heard since the coordinator started';
      return {
        host,
        incarnation: live?.incarnation ?? incarnationAt(host, record, migration),
        reachable: isReachable,
        // A number for JSON; a host that was never heard has been silent as long as we run.
        silentMs: Number.isFinite(silentMs) ? Math.round(silentMs) : Math.round(performance.now()),
        ...(report && { report }),
        says: isReachable ? heard : silent,
      };
    });
  }

  /** What settles it by itself, then the commands of a person who knows more than we do. */
  #resolve({ name, state, host }: Guest, migration: MigrationRecord | undefined): string[] {
    if (state === 'unreachable') {
      const record = this.#guests.known(name);
      const away = this.#silentHolder(record) ?? host;
      return [
        `it comes back when ${away} answers. Or, if you know that ${away} is dead:`,
        `godwit host fence ${away} --confirm`,
      ];
    }
    if (state === 'lost') {
      const source = migration?.view.source;
      const target = migration?.view.target;
      const back =
        migration && this.#agents.connected(migration.view.source)?.reports.has(name)
          ? [
              `${source} holds the image from before the switchover. To run that one again:`,
              `godwit host fence ${target} --confirm --discard-target`,
            ]
          : [];
      return [...back, 'to forget the guest:', `godwit guest rm ${name}`];
    }
    if (state !== 'doubt' || migration === undefined) return [];
    const silent = [migration.view.source, migration.view.target].filter(
      (each) => this.#agents.connected(each) === undefined,
    );
    return silent.flatMap((each) => [
      `resolves itself when ${each} answers or its supervisor reports its end. Or, if you know that ${each} is dead:`,
      `godwit host fence ${each} --confirm`,
    ]);
  }
}

function phaseAt(host: string, migration: MigrationRecord | undefined): string {
  if (migration?.view.source === host) return migration.view.sourcePhase;
  return migration?.view.target === host ? migration.view.targetPhase : '';
}

function incarnationAt(
  host: string,
  record: GuestRecord,
  migration: MigrationRecord | undefined,
): string {
  if (record.host === host) return record.incarnation;
  return migration?.view.source === host
    ? migration.sourceIncarnation
    : (migration?.targetIncarnation ?? '');
}

/** A sentence about one holder: what it has, and what it waits for. */
function says(
  report: GuestReport | undefined,
  phase: string,
  migration: MigrationRecord | undefined,
): string {
  const epoch = migration ? migration.view.epoch + 1 : report?.epoch;
  const target = migration?.view.target;
  switch (phase) {
    case 'offered':
    case 'cancelling':
      return `${phase} epoch ${epoch} to ${target}, stopped, waits for an answer`;
    case 'asking':
      return `asks who owns epoch ${epoch}, stopped`;
    case 'released':
      return `released epoch ${epoch} to ${target}, stopped, waits to hear that it runs there`;
    case 'serving':
      return `frozen, serves the pages that ${target} misses`;
    case 'landing':
    case 'preparing':
      if (report?.state !== 'running') return `receives epoch ${epoch}`;
      break;
    case 'landed':
      return `landed epoch ${epoch}, waits for leave to run`;
    case 'dropped':
      return `dropped epoch ${epoch}, will never run it`;
    case 'lost':
      return `holds an image of epoch ${report?.epoch ?? epoch} that it will not run by itself`;
  }
  if (report === undefined) return 'holds nothing';
  const trouble = report.trouble === undefined ? '' : `, misses pages: ${report.trouble}`;
  return `${report.state}, epoch ${report.epoch}${trouble}`;
}

function verdictOf(
  record: GuestRecord,
  migration: MigrationRecord | undefined,
): GuestDetail['verdict'] {
  if (migration === undefined) return { epoch: record.epoch, owner: 'none' };
  const owners: { readonly [phase: string]: Side } = {
    verdictSource: 'source',
    refused: 'source',
    kept: 'source',
    verdictTarget: 'target',
    running: 'target',
    complete: 'target',
    moved: 'target',
  };
  return { epoch: migration.view.epoch + 1, owner: owners[migration.core.phase] ?? 'none' };
}

function seconds(ms: number): string {
  return Number.isFinite(ms) ? `${Math.round(ms / 1000)} s` : 'as long as this coordinator runs';
}
