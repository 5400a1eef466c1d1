/**
 * All migrations: makes one after the checks, brings messages to its runner, tells its watchers.
 *
 *   API, drains --start--> [migrations] --> waiting line --opened--> MigrationRunner (one each)
 *   agents --hello, messages, deaths--> [migrations] --> the runners concerned
 *
 * A guest has at most one migration that waits or is open: the guest's record names it, and is
 * written in the same transaction as the migration's own record, by compare-and-set.
 */
import {
  GodwitError,
  type GuestReport,
  type Message,
  type MigrateRequest,
  type Migration,
  type MigrationReport,
  type MoveLimits,
  type MovePlan,
} from '@godwit/protocol';
import { migrateRequest } from '@godwit/protocol/http-api';
import type { Agents, LiveHost } from '../agents.ts';
import type { FaultPoints } from '../fault-points.ts';
import type { Guests } from '../guests.ts';
import type { Logger } from '../log.ts';
import { Measurements } from '../measurements.ts';
import type { Cordons } from '../placement/cordons.ts';
import { admit } from '../placement/line.ts';
import type { Move, Room } from '../placement/room.ts';
import type { DeathRecord, GuestRecord, MigrationRecord, Records } from '../records.ts';
import { History } from './history.ts';
import { MigrationRunner, type RunnerParts } from './migration-runner.ts';
import { type MoveRequest, newId, newRecord, predictionFor } from './new-migration.ts';
import { WaitingLine } from './waiting-line.ts';

/**
 * Moves that people asked for one by one: a flow for each priority. Every drain is one of its own.
 */
const PEOPLE = 'people';

type Watcher = (view: Migration) => void;

export interface MigrationsParts {
  readonly records: Records;
  readonly agents: Agents;
  readonly guests: Guests;
  readonly cordons: Cordons;
  readonly room: Room;
  readonly log: Logger;
  readonly faults: FaultPoints | undefined;
  limits(): MoveLimits;
  /** Carries out a stop that was latched during a migration. */
  stopGuest(guest: string): void;
  /** It is over, however; its guest's record says so. */
  settled(view: Migration): void;
}

export class Migrations {
  readonly #records: Records;
  readonly #agents: Agents;
  readonly #guests: Guests;
  readonly #parts: MigrationsParts;
  readonly #runnerParts: RunnerParts;
  readonly #runners = new Map<string, MigrationRunner>();
  readonly #watchers = new Map<string, Set<Watcher>>();
  readonly #watchersOfAll = new Set<Watcher>();
  readonly #measured = new Measurements();
  readonly #line: WaitingLine;
  readonly #history: History;
  #lastPlace: number;

  constructor(parts: MigrationsParts) {
    const { records, agents, guests, log, faults } = parts;
    this.#records = records;
    this.#agents = agents;
    this.#guests = guests;
    this.#parts = parts;
    this.#runnerParts = {
      records,
      agents,
      log,
      faults,
      changed: (view) => this.#changed(view),
      settled: async (guest, view) => {
        await guests.checkOwner(guest);
        this.#settledNow(view);
      },
      stopGuest: parts.stopGuest,
    };
    this.#history = new History(records, (id) => {
      this.#runners.get(id)?.close();
      this.#runners.delete(id);
    });
    const all = records.migrations.values();
    this.#lastPlace = all.reduce((last, { place = 0 }) => Math.max(last, place), 0);
    for (const record of all.toSorted(oldestFirst)) {
      if (record.stage === 'queued' && record.view.endedAtMs === undefined) continue;
      const placed = this.#placed(record);
      const runner = new MigrationRunner(placed, this.#runnerParts);
      this.#runners.set(record.view.id, runner);
      if (runner.isSettled) this.#history.add(record.view.id);
      this.#measured.learn(record.view);
    }
    this.#line = this.#makeLine(all);
  }

  /** An open move of an earlier release or a recovery gets its place now; its next write keeps it. */
  #placed(record: MigrationRecord): MigrationRecord {
    const { place, view } = record;
    if (place !== undefined || view.endedAtMs !== undefined) return record;
    return { ...record, place: ++this.#lastPlace };
  }

  #makeLine(all: readonly MigrationRecord[]): WaitingLine {
    const { records, agents, cordons, room, log, limits } = this.#parts;
    const isWaiting = ({ stage, view }: MigrationRecord) =>
      stage === 'queued' && view.endedAtMs === undefined;
    return new WaitingLine(all.filter(isWaiting), {
      ...{ records, agents, cordons, room, log, limits },
      open: () => this.openMoves(),
      nextPlace: () => ++this.#lastPlace,
      refreshed: (record, guest) => this.#refreshed(record, guest),
      opened: (record) => {
        const runner = new MigrationRunner(record, this.#runnerParts);
        this.#runners.set(record.view.id, runner);
        this.#changed(runner.view);
        runner.hearDeaths();
        void runner.granting.run();
      },
      withdrawn: (record) => {
        this.#runners.set(record.view.id, new MigrationRunner(record, this.#runnerParts));
        this.#changed(record.view);
        this.#settledNow(record.view);
      },
      changed: (view) => this.#changed(view),
    });
  }

  /** Once, after all parts are wired: open migrations go on where their records stand. */
  takeUp(): void {
    for (const runner of this.#runners.values()) {
      if (!runner.isSettled) runner.dispatch('restarted');
    }
    void this.#line.look();
    this.#forgetOld();
  }

  close(): void {
    this.#line.close();
    for (const runner of this.#runners.values()) runner.close();
  }

  /** Under way, for slots and for room. */
  openMoves(): Move[] {
    return [...this.#runners.values()]
      .filter((runner) => !runner.isSettled)
      .map((runner) => moveOf(runner.record));
  }

  /** In line. */
  waitingMoves(): Move[] {
    return this.#line.records().map(moveOf);
  }

  /** Slots or room may have come free: whoever may start does. */
  look(): Promise<void> {
    return this.#line.look();
  }

  get openCount(): number {
    return [...this.#runners.values()].filter((runner) => !runner.isSettled).length;
  }

  record(id: string): MigrationRecord | undefined {
    return this.#runners.get(id)?.record ?? this.#line.get(id);
  }

  /** The newest migration of a guest, open or not. */
  newestOf(guest: string): MigrationRecord | undefined {
    return [...this.#runners.values()]
      .map((runner) => runner.record)
      .filter((record) => record.view.guest === guest)
      .sort(oldestFirst)
      .at(-1);
  }

  /** Oldest first, those in line last and in its order. */
  list(filter: {
    guest?: string | undefined;
    drain?: string | undefined;
    isOpen?: boolean | undefined;
  }): Migration[] {
    const begun = [...this.#runners.values()]
      .filter((runner) => filter.isOpen !== true || !runner.isSettled)
      .sort((a, b) => oldestFirst(a.record, b.record))
      .map((runner) => runner.view);
    const waiting = this.#line
      .records()
      .map((record) => this.#line.view(record))
      .sort((a, b) => (a.queue?.position ?? 0) - (b.queue?.position ?? 0));
    return [...begun, ...waiting].filter(
      (view) =>
        (filter.guest === undefined || view.guest === filter.guest) &&
        (filter.drain === undefined || view.drain === filter.drain),
    );
  }

  /** @throws GodwitError `migration.not_found` */
  view(id: string): Migration {
    const waiting = this.#line.get(id);
    return waiting ? this.#line.view(waiting) : this.#known(id).view;
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
   * Checks, writes the record down and begins when its turn is; the answer waits for neither.
   *
   * @throws GodwitError `guest.not_found`, `guest.busy`, `guest.not_running`, `host.not_found`,
   *   `host.same`, `host.unreachable`, `host.cordoned`, `host.no_room`, `line.full`
   */
  async start(input: MigrateRequest): Promise<Migration> {
    const request = migrateRequest.parse(input);
    await this.#parts.faults?.at('granted', 'open');
    // No await from here to the commit: it compares with the records as the checks saw them.
    const guest = this.#check(request.guest, request.to);
    const [record] = this.#newRecords([{ request, guest }], PEOPLE);
    const [added] = await this.#line.add(record ? [record] : []);
    // Another request was first, or the guest's record changed: the checks say what it is now.
    if (added === undefined) return this.start(input);
    await this.#line.look();
    return this.view(added.view.id);
  }

  /**
   * Moves of one drain, all of them at once: into the line, in this order. Those whose guests were
   * taken up otherwise meanwhile are left out. @throws GodwitError `line.full`
   */
  async startAll(
    moves: readonly { request: MoveRequest; guest: GuestRecord }[],
    drain: string,
  ): Promise<void> {
    this.#line.checkRoomFor(moves.length);
    await this.#line.add(this.#newRecords(moves, drain, drain));
    await this.#line.look();
  }

  /**
   * What a move would be: nothing is written, nobody is asked.
   * @throws GodwitError as `start`
   */
  plan(input: MigrateRequest): MovePlan {
    const request = migrateRequest.parse(input);
    const guest = this.#check(request.guest, request.to);
    const move = { id: '', source: guest.host, target: request.to };
    const asked = { ...move, tag: Number.POSITIVE_INFINITY, passed: 0 };
    const { reasons } = admit([asked], this.openMoves(), this.#parts.limits());
    const waits = reasons.get('') ?? (this.#line.size > 0 ? 'others are in line' : undefined);
    return { ...this.planOf(request, guest), ...(waits !== undefined && { waits }) };
  }

  /** One move with its prediction, unchecked. */
  planOf(request: MoveRequest, guest: GuestRecord): MovePlan {
    const { memoryBytes } = guest.spec;
    const prediction = this.#predict(request, guest);
    const { guest: name, to: target, mode } = request;
    return { guest: name, source: guest.host, target, memoryBytes, mode, prediction };
  }

  /**
   * Asks both ends to give the migration up and waits until it is known how it ended.
   *
   * @throws GodwitError `migration.not_found`, `migration.past_cancel`, `request.timed_out` when
   *   neither end answered within `deadlineMs`; the cancel stays in force
   */
  async cancel(id: string, deadlineMs: number): Promise<Migration> {
    if (await this.withdraw(id)) return this.view(id);
    const runner = this.#known(id);
    await runner.cancel();
    const view = await this.#settled(id, deadlineMs);
    if (view.state === 'completed' || view.state === 'postcopy') {
      throw new GodwitError('migration.past_cancel', { migration: id, phase: view.state });
    }
    return view;
  }

  /** Out of the line, if it still waits there. @returns false: it has begun, or is over */
  withdraw(id: string): Promise<boolean> {
    const cancelled = new GodwitError('migration.cancelled', { migration: id });
    return this.#line.withdraw(id, 'cancelled', cancelled);
  }

  /**
   * The owner stops the guest when the migration is over.
   * @returns once that is durable; false: the migration was over before
   */
  async requestStop(id: string): Promise<boolean> {
    const runner = this.#known(id);
    this.#parts.log.info({ migration: id, guest: runner.view.guest }, 'asked to stop the guest');
    runner.dispatch('guestRequest');
    await runner.idle;
    return runner.record.isStopLatched;
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
    this.view(id);
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

  #check(name: string, to: string): GuestRecord {
    const guest = this.#guests.known(name);
    const migration = guest.migration ?? guest.queued;
    if (migration !== undefined) throw new GodwitError('guest.busy', { guest: name, migration });
    if (guest.state !== 'running') {
      throw new GodwitError('guest.not_running', { guest: name, state: guest.state });
    }
    this.#agents.host(to);
    if (guest.host === to) throw new GodwitError('host.same', { guest: name, host: to });
    const why = this.#parts.cordons.why(to);
    if (why !== undefined) throw new GodwitError('host.cordoned', { host: to, why });
    if (this.#agents.connected(to) === undefined) {
      throw new GodwitError('host.unreachable', { host: to });
    }
    if (this.#agents.connected(guest.host)?.incarnation !== guest.incarnation) {
      throw new GodwitError('host.unreachable', { host: guest.host });
    }
    const neededBytes = guest.spec.memoryBytes;
    const freeBytes = this.#parts.room.of(to, 'all');
    if (freeBytes < neededBytes) {
      throw new GodwitError('host.no_room', { host: to, neededBytes, freeBytes });
    }
    this.#line.checkRoomFor(1);
    return guest;
  }

  #newRecords(
    moves: readonly { request: MoveRequest; guest: GuestRecord }[],
    flow: string,
    drain?: string,
  ): MigrationRecord[] {
    const priority = moves[0]?.request.priority ?? 'normal';
    const tickets = this.#line.tickets(`${flow} ${priority}`, priority, moves.length);
    const taken = new Set<string>();
    return moves.flatMap(({ request, guest }, i) => {
      const ticket = tickets[i];
      if (ticket === undefined) return [];
      const id = newId('m', (each) => taken.has(each) || this.record(each) !== undefined);
      taken.add(id);
      const prediction = this.#predict(request, guest);
      return [newRecord(request, guest, { id, prediction, priority, drain, ticket })];
    });
  }

  #predict(request: Omit<MoveRequest, 'guest'>, guest: GuestRecord): Migration['prediction'] & {} {
    const report = this.#guests.ownersReport(guest);
    return predictionFor(request, guest, report, this.#measured);
  }

  /** It may have waited for hours: the prediction is made anew when it begins. */
  #refreshed(record: MigrationRecord, guest: GuestRecord): MigrationRecord {
    const { view } = record;
    const prediction = this.#predict({ ...view, to: view.target }, guest);
    return { ...record, view: { ...view, prediction } };
  }

  #settledNow(view: Migration): void {
    this.#measured.learn(view);
    this.#history.add(view.id);
    this.#forgetOld();
    void this.#line.look();
    this.#parts.settled(view);
  }

  /** What is not written now, because this process ends, is forgotten at the next start. */
  #forgetOld(): void {
    const { log } = this.#parts;
    this.#history.trim().catch((error: Error) => log.warn({ err: error }, 'history not trimmed'));
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
    // First what may throw: a promise that nobody waits for must not be rejected later.
    const end = this.watch(id, (view) => isOver(view) && resolve(view));
    const timer = setTimeout(
      () => reject(new GodwitError('request.timed_out', { what, afterMs: deadlineMs })),
      deadlineMs,
    );
    const now = this.view(id);
    if (isOver(now)) resolve(now);
    return promise.finally(() => {
      clearTimeout(timer);
      end();
    });
  }
}

function moveOf({ view }: MigrationRecord): Move {
  const { id, guest, source, target, memoryBytes } = view;
  return { id, guest, source, target, memoryBytes };
}

/** By no clock: one that was set must not make a new move the oldest. */
function oldestFirst(a: MigrationRecord, b: MigrationRecord): number {
  return (a.place ?? 0) - (b.place ?? 0) || a.view.startedAtMs - b.view.startedAtMs;
}
