/**
 * All migrations: makes one after the checks, brings messages to its runner, tells its watchers.
 *
 *   API --start, cancel, watch--> [migrations] --> MigrationRunner (one each)
 *   agents --hello, messages, deaths--> [migrations] --> the runners concerned
 *
 * A guest has at most one open migration: the guest's record names it, and is written in the same
 * transaction as the migration's own record, by compare-and-set.
 */
import { randomBytes, randomInt } from 'node:crypto';
import {
  COORDINATOR,
  GodwitError,
  type GuestReport,
  type Message,
  type MigrateRequest,
  type Migration,
  type MigrationReport,
  PAGE_BYTES,
} from '@godwit/protocol';
import { migrateRequest } from '@godwit/protocol/http-api';
import type { Agents, LiveHost } from '../agents.ts';
import type { FaultPoints } from '../fault-points.ts';
import type { Guests } from '../guests.ts';
import type { Logger } from '../log.ts';
import { BANDWIDTH_UNKNOWN_BYTES_PER_S, predict } from '../prediction.ts';
import type { DeathRecord, GuestRecord, MigrationRecord, Records } from '../records.ts';
import { commit } from '../store/collection.ts';
import { MigrationRunner, type RunnerParts } from './migration-runner.ts';

/** Settled migrations kept for people; the oldest are forgotten beyond it. */
const HISTORY_MAX = 1_000;
/** Crockford's base 32: nothing that reads like something else. */
const ID_ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

type Watcher = (view: Migration) => void;

export class Migrations {
  readonly #records: Records;
  readonly #agents: Agents;
  readonly #guests: Guests;
  readonly #log: Logger;
  readonly #parts: RunnerParts;
  readonly #runners = new Map<string, MigrationRunner>();
  readonly #watchers = new Map<string, Set<Watcher>>();
  readonly #watchersOfAll = new Set<Watcher>();

  /** @param stopGuest carries out a stop that was latched during a migration */
  constructor(
    records: Records,
    agents: Agents,
    guests: Guests,
    log: Logger,
    faults: FaultPoints | undefined,
    stopGuest: (guest: string) => void,
  ) {
    this.#records = records;
    this.#agents = agents;
    this.#guests = guests;
    this.#log = log;
    this.#parts = {
      records,
      agents,
      log,
      faults,
      changed: (view) => this.#changed(view),
      settled: (guest) => guests.checkOwner(guest),
      stopGuest,
    };
    for (const record of records.migrations.values()) {
      this.#runners.set(record.view.id, new MigrationRunner(record, this.#parts));
    }
  }

  /** Once, after all parts are wired: open migrations go on where their records stand. */
  takeUp(): void {
    for (const runner of this.#runners.values()) {
      if (!runner.isSettled) runner.dispatch('restarted');
    }
  }

  close(): void {
    for (const runner of this.#runners.values()) runner.close();
  }

  get openCount(): number {
    return [...this.#runners.values()].filter((runner) => !runner.isSettled).length;
  }

  record(id: string): MigrationRecord | undefined {
    return this.#runners.get(id)?.record;
  }

  /** The newest migration of a guest, open or not. */
  newestOf(guest: string): MigrationRecord | undefined {
    return [...this.#runners.values()]
      .map((runner) => runner.record)
      .filter((record) => record.view.guest === guest)
      .sort((a, b) => b.view.startedAtMs - a.view.startedAtMs)[0];
  }

  /** Oldest first. */
  list(filter: { guest?: string | undefined; isOpen?: boolean | undefined }): Migration[] {
    return [...this.#runners.values()]
      .filter((runner) => filter.isOpen !== true || !runner.isSettled)
      .map((runner) => runner.view)
      .filter((view) => filter.guest === undefined || view.guest === filter.guest)
      .sort((a, b) => a.startedAtMs - b.startedAtMs);
  }

  /** @throws GodwitError `migration.not_found` */
  view(id: string): Migration {
    return this.#known(id).view;
  }

  /** True: one of its ends is that incarnation, and it is not settled. */
  involves(host: string, incarnation: string): boolean {
    return [...this.#runners.values()].some(({ isSettled, record }) => {
      const { view, sourceIncarnation, targetIncarnation } = record;
      const isSource = view.source === host && sourceIncarnation === incarnation;
      const isTarget = view.target === host && targetIncarnation === incarnation;
      return !isSettled && (isSource || isTarget);
    });
  }

  // ------------------------------------------------------------------------- what people ask

  /**
   * Checks, writes the record down and begins; the answer does not wait for the move.
   *
   * @throws GodwitError `guest.not_found`, `guest.busy`, `guest.not_running`, `host.not_found`,
   *   `host.same`, `host.unreachable`, `host.no_room`
   */
  async start(input: MigrateRequest): Promise<Migration> {
    const request = migrateRequest.parse(input);
    await this.#parts.faults?.at('granted', 'open');
    // No await from here to the commit: it compares with the records as the checks saw them.
    const { guest, target } = this.#check(request.guest, request.to);
    const view = this.#newView(request, guest);
    const record: MigrationRecord = {
      view,
      core: COORDINATOR.initial,
      stage: 'reserving',
      capability: randomBytes(32).toString('hex'),
      sourceIncarnation: guest.incarnation,
      targetIncarnation: target.incarnation,
      throttlePermille: 0,
      isCancelled: false,
      isStopLatched: false,
      reservedMs: 0,
      missingPages: 0,
      phaseHeardAtMs: Date.now(),
    };
    const isOpened = await commit(this.#records.store, [
      this.#records.migrations.put(view.id, record),
      this.#records.guests.put(request.guest, { ...guest, migration: view.id }),
    ]);
    // Another request was first, or the guest's record changed: the checks say what it is now.
    if (!isOpened) return this.start(input);
    const runner = new MigrationRunner(record, this.#parts);
    this.#runners.set(view.id, runner);
    this.#log.info({ migration: view.id, guest: view.guest }, `${view.source} -> ${view.target}`);
    runner.hearDeaths();
    void runner.granting.run();
    await this.#forgetOld();
    return runner.view;
  }

  /**
   * Asks both ends to give the migration up and waits until it is known how it ended.
   *
   * @throws GodwitError `migration.not_found`, `migration.past_cancel`, `request.timed_out` when
   *   neither end answered within `deadlineMs`; the cancel stays in force
   */
  async cancel(id: string, deadlineMs: number): Promise<Migration> {
    const runner = this.#known(id);
    await runner.cancel();
    const view = await this.#settled(id, deadlineMs);
    if (view.state === 'completed' || view.state === 'postcopy') {
      throw new GodwitError('migration.past_cancel', { migration: id, phase: view.state });
    }
    return view;
  }

  /** The owner stops the guest when the migration is over. */
  requestStop(id: string): void {
    this.#known(id).dispatch('guestRequest');
  }

  /** A person gives up the pages the source still holds. */
  expectDiscard(id: string): void {
    this.#known(id).hearing.expectDiscard();
  }

  /**
   * Calls back with the view at every change. Returns the end of the watch.
   * @throws GodwitError `migration.not_found`
   */
  watch(id: string, watcher: Watcher): () => void {
    this.#known(id);
    const watchers = this.#watchers.get(id) ?? new Set();
    this.#watchers.set(id, watchers.add(watcher));
    return () => {
      watchers.delete(watcher);
      if (watchers.size === 0) this.#watchers.delete(id);
    };
  }

  /** The same for every migration there is and will be. */
  watchAll(watcher: Watcher): () => void {
    this.#watchersOfAll.add(watcher);
    return () => this.#watchersOfAll.delete(watcher);
  }

  // -------------------------------------------------------------------------- what agents say

  async hello(
    live: LiveHost,
    guests: readonly GuestReport[],
    known: readonly MigrationReport[],
  ): Promise<void> {
    for (const [id, runner] of this.#runners) {
      const report = known.find((each) => each.migration === id);
      const guest = guests.find((each) => each.spec.name === runner.record.view.guest);
      await runner.hearing.hello(live, report, guest);
    }
  }

  async message(live: LiveHost, message: Message): Promise<void> {
    if (!('migration' in message)) return;
    const runner = this.#runners.get(message.migration);
    if (runner !== undefined) await runner.hearing.message(live, message);
    else this.#answerForgotten(live, message);
  }

  /** Resolves when every event known now is dealt with and durable. */
  async quiet(): Promise<void> {
    await Promise.all([...this.#runners.values()].map((runner) => runner.idle));
  }

  died(death: DeathRecord): void {
    for (const runner of this.#runners.values()) runner.hearing.death(death);
  }

  // ------------------------------------------------------------------------------- inside

  #check(name: string, to: string): { guest: GuestRecord; target: LiveHost } {
    const guest = this.#guests.known(name);
    if (guest.migration !== undefined) {
      throw new GodwitError('guest.busy', { guest: name, migration: guest.migration });
    }
    if (guest.state !== 'running') {
      throw new GodwitError('guest.not_running', { guest: name, state: guest.state });
    }
    this.#agents.host(to);
    if (guest.host === to) throw new GodwitError('host.same', { guest: name, host: to });
    const target = this.#agents.connected(to);
    if (target === undefined) throw new GodwitError('host.unreachable', { host: to });
    if (this.#agents.connected(guest.host)?.incarnation !== guest.incarnation) {
      throw new GodwitError('host.unreachable', { host: guest.host });
    }
    const neededBytes = guest.spec.memoryBytes;
    if (target.freeBytes < neededBytes) {
      throw new GodwitError('host.no_room', { host: to, neededBytes, freeBytes: target.freeBytes });
    }
    return { guest, target };
  }

  #newView(request: ReturnType<typeof migrateRequest.parse>, guest: GuestRecord): Migration {
    const { memoryBytes, kind } = guest.spec;
    const report = this.#guests.ownersReport(guest);
    const known = this.#bandwidthBetween(guest.host, request.to);
    const bandwidthBytesPerS =
      request.maxBandwidthBytesPerS > 0 ? Math.min(known, request.maxBandwidthBytesPerS) : known;
    return {
      id: this.#newId(),
      guest: request.guest,
      kind,
      source: guest.host,
      target: request.to,
      mode: request.mode,
      state: 'granting',
      epoch: guest.epoch,
      channels: request.channels,
      maxBandwidthBytesPerS: request.maxBandwidthBytesPerS,
      maxDowntimeMs: request.maxDowntimeMs,
      throttle: request.throttle,
      verify: request.verify,
      memoryBytes,
      startedAtMs: Date.now(),
      sourcePhase: '',
      targetPhase: '',
      rounds: [],
      decisions: [],
      phases: [],
      prediction: predict({
        mode: request.mode,
        maxDowntimeMs: request.maxDowntimeMs,
        mayThrottle: request.throttle,
        memoryBytes,
        dirtyBytesPerS: report?.dirtyBytesPerS ?? 0,
        workingSetBytes: (report?.workingSetPages ?? 0) * PAGE_BYTES,
        bandwidthBytesPerS,
      }),
    };
  }

  /** Measured by the newest move between the two hosts, or by any newest move. */
  #bandwidthBetween(source: string, target: string): number {
    const moves = this.list({}).filter((view) => (view.result?.transferMs ?? 0) > 0);
    const isPair = (view: Migration) =>
      (view.source === source && view.target === target) ||
      (view.source === target && view.target === source);
    const newest = moves.findLast(isPair) ?? moves.at(-1);
    const bytesPerS = newest?.rounds[0]?.bandwidthBytesPerS ?? 0;
    return bytesPerS > 0 ? bytesPerS : BANDWIDTH_UNKNOWN_BYTES_PER_S;
  }

  #newId(): string {
    for (;;) {
      const letters = Array.from({ length: 4 }, () => ID_ALPHABET[randomInt(ID_ALPHABET.length)]);
      const id = `m-${letters.join('')}`;
      if (!this.#runners.has(id)) return id;
    }
  }

  #known(id: string): MigrationRunner {
    const runner = this.#runners.get(id);
    if (runner === undefined) throw new GodwitError('migration.not_found', { migration: id });
    return runner;
  }

  /** A question about a migration whose record is gone: it is over, and the guest's record decides. */
  #answerForgotten(live: LiveHost, message: Message & { migration: string }): void {
    if (message.type !== 'decide' && message.type !== 'query') return;
    const guest = this.#records.guests.get(message.guest);
    live.connection.send({
      type: 'verdict',
      migration: message.migration,
      guest: message.guest,
      epoch: message.epoch,
      owner: 'superseded',
      ...(guest && { ownerHost: guest.host, ownerEpoch: guest.epoch }),
    });
  }

  #changed(view: Migration): void {
    for (const watcher of this.#watchers.get(view.id) ?? []) watcher(view);
    for (const watcher of this.#watchersOfAll) watcher(view);
  }

  /** Settled, or past the point of no return. */
  #settled(id: string, deadlineMs: number): Promise<Migration> {
    const isOver = (view: Migration) =>
      view.state === 'postcopy' || this.#runners.get(id)?.isSettled !== false;
    const { promise, resolve, reject } = Promise.withResolvers<Migration>();
    const what = `cancel of migration ${id}`;
    const timer = setTimeout(
      () => reject(new GodwitError('request.timed_out', { what, afterMs: deadlineMs })),
      deadlineMs,
    );
    const end = this.watch(id, (view) => isOver(view) && resolve(view));
    const now = this.view(id);
    if (isOver(now)) resolve(now);
    return promise.finally(() => {
      clearTimeout(timer);
      end();
    });
  }

  async #forgetOld(): Promise<void> {
    const settled = [...this.#runners.values()].filter((runner) => runner.isSettled);
    const old = settled
      .sort((a, b) => b.view.startedAtMs - a.view.startedAtMs)
      .slice(HISTORY_MAX)
      // A lost guest may yet be taken back from the source's image, which needs the record.
      .filter((runner) => runner.view.state !== 'lost');
    for (const { view } of old) {
      this.#runners.delete(view.id);
      await this.#records.migrations.update(view.id, () => undefined);
    }
  }
}
