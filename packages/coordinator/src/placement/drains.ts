/**
 * Empties hosts and brings guests back: plans, puts moves into the line, looks again until it is over.
 *
 *   API, leaving agents --start--> [drains] --standing--> planner --moves--> migrations (the line)
 *   migrations --settled--> [drains] --again--> ...
 *
 * A drain is a durable record and a loop that compares what should be with what is: guests that are
 * still there, have no move and can have one are planned and get one. Starting, going on after a
 * restart, a target that died, a move that failed and a guest that came meanwhile are all the same
 * look. It writes twice: when it begins (with the cordon) and when it is over.
 *
 * Main thread only; one look at a time for each host.
 */
import {
  type Drain,
  type DrainPlan,
  type DrainRequest,
  GodwitError,
  type MoveLimits,
} from '@godwit/protocol';
import { drainRequest } from '@godwit/protocol/http-api';
import type { Agents } from '../agents.ts';
import type { GuestViews } from '../guest-views.ts';
import type { Logger } from '../log.ts';
import type { Migrations } from '../migrations/migrations.ts';
import { newId } from '../migrations/new-migration.ts';
import type { DrainRecord, GuestRecord, Records } from '../records.ts';
import { commit } from '../store/collection.ts';
import type { Cordons } from './cordons.ts';
import { predictDrain, timeLeft } from './drain-estimate.ts';
import {
  countsOf,
  type DrainInput,
  type DrainRow,
  type DrainStanding,
  standingOf,
} from './drain-rows.ts';
import { DRAIN_PATIENCE_MS, LOOK_AGAIN_MS } from './limits.ts';
import { type Plan, plan } from './planner.ts';
import type { Room } from './room.ts';

export interface DrainParts {
  readonly records: Records;
  readonly agents: Agents;
  readonly migrations: Migrations;
  readonly views: GuestViews;
  readonly cordons: Cordons;
  readonly room: Room;
  readonly log: Logger;
  limits(): MoveLimits;
  /** Its figures may have changed, or it is over: whoever waits for it is told. */
  changed(drain: Drain): void;
}

type Kind = Drain['kind'];

/** What a look keeps in memory for each open drain. */
interface Loop {
  isLooking: boolean;
  isDue: boolean;
  /** When something last was under way; by this process's clock. */
  busyAtMs: number;
  /** Why a guest has no place, as the last plan found it. */
  reasons: Map<string, string>;
}

export class Drains {
  readonly #parts: DrainParts;
  readonly #loops = new Map<string, Loop>();
  readonly #timer: NodeJS.Timeout;

  constructor(parts: DrainParts) {
    this.#parts = parts;
    this.#timer = setInterval(() => {
      for (const host of this.#loops.keys()) void this.look(host);
    }, LOOK_AGAIN_MS);
  }

  /** Once, after all parts are wired: open drains go on. */
  takeUp(): void {
    for (const record of this.#parts.records.drains.values()) {
      if (record.state === 'moving') this.#open(record.host);
    }
  }

  close(): void {
    clearInterval(this.#timer);
    this.#loops.clear();
  }

  /**
   * What a drain or restore would do now. Nothing is written.
   * @throws GodwitError `host.not_found`, `drain.not_found` for a restore of a host that was not drained
   */
  plan(host: string, kind: Kind, input: DrainRequest): DrainPlan {
    const options = drainRequest.parse(input);
    this.#parts.agents.host(host);
    const drain = { host, kind, away: this.#awayFor(host, kind) };
    const { rows, toPlan } = standingOf(this.#input(drain));
    const hosts = this.#parts.room.planHosts().map((each) => {
      const isBack = kind === 'restore' && each.name === host && each.refuses === 'cordoned';
      return isBack ? { name: each.name, roomBytes: each.roomBytes } : each;
    });
    const { placements, blocked } = plan(hosts, toPlan);
    const moves = placements.map(({ guest, target }) =>
      this.#parts.migrations.planOf({ ...options, guest, to: target }, this.#guest(guest)),
    );
    const planned = new Set(toPlan.map(({ name }) => name));
    const others = rows.filter(({ guest, state }) => state === 'blocked' && !planned.has(guest));
    const estimate = predictDrain(moves, this.#parts.limits());
    return {
      host,
      kind,
      moves,
      blocked: [
        ...blocked,
        ...others.map(({ guest, memoryBytes, code = 'failed', why = '' }) => {
          return { guest, memoryBytes, code, why };
        }),
      ],
      stays: rows
        .filter(({ state }) => state === 'stays' || state === 'lost')
        .map(({ guest, why = '' }) => ({ guest, why })),
      bytes: moves.reduce((sum, { prediction }) => sum + prediction.bytes, 0),
      predictedMs: estimate.ms,
      predictedRangeMs: estimate.rangeMs,
    };
  }

  /**
   * Begins, or goes on with one of the same kind that runs already.
   * @throws GodwitError `host.not_found`, `host.draining`, `drain.not_found`
   */
  async start(host: string, kind: Kind, input: DrainRequest, by: Drain['by']): Promise<Drain> {
    const { records, agents, cordons, log } = this.#parts;
    const options = drainRequest.parse(input);
    agents.host(host);
    const before = records.drains.get(host);
    if (before?.state === 'moving') {
      if (before.kind === kind) return this.view(host);
      throw new GodwitError('host.draining', { host, drain: before.id });
    }
    if (kind === 'restore' && cordons.get(host)?.by === 'agent') {
      throw new GodwitError('host.cordoned', { host, why: cordons.why(host) ?? '' });
    }
    const record: DrainRecord = {
      id: newId('d', (id) => records.drains.values().some((each) => each.id === id)),
      ...{ host, kind, by, options },
      state: 'moving',
      startedAtMs: Date.now(),
      away: this.#awayFor(host, kind),
      guests: [],
    };
    const cordon =
      kind === 'restore'
        ? records.cordons.put(host, undefined)
        : cordons.put(
            host,
            by === 'agent' ? 'agent' : 'drain',
            record.id,
            this.#incarnation(host, by),
          );
    if (!(await commit(records.store, [records.drains.put(host, record), cordon]))) {
      return this.start(host, kind, input, by);
    }
    log.info({ host, drain: record.id, by }, `${kind} begins`);
    this.#open(host);
    await this.look(host);
    return this.view(host);
  }

  /**
   * For a host whose agent is about to end: time is short, so its moves go first, and guests that were
   * being brought back stay where they are.
   */
  async startFor(host: string): Promise<void> {
    const before = this.#parts.records.drains.get(host);
    if (before?.state === 'moving' && before.kind === 'restore') await this.cancel(host);
    await this.start(host, 'drain', { priority: 'high' }, 'agent');
    const { records, cordons } = this.#parts;
    // A drain that a person began goes on; that its host is leaving is news all the same.
    const incarnation = this.#incarnation(host, 'agent');
    if (cordons.get(host)?.by !== 'drain') return;
    await commit(records.store, [cordons.put(host, 'agent', 'its agent is ending', incarnation)]);
  }

  /**
   * No more moves begin; those under way end as they end. The host stays cordoned.
   * @throws GodwitError `host.not_found`, `drain.not_found`, `drain.over`
   */
  async cancel(host: string): Promise<Drain> {
    const record = this.#known(host);
    if (record.state !== 'moving')
      throw new GodwitError('drain.over', { host, state: record.state });
    await this.#finish(record, 'cancelled', this.#standing(record).rows);
    const { migrations } = this.#parts;
    for (const { id, state } of migrations.list({ drain: record.id, isOpen: true })) {
      if (state === 'queued') await migrations.withdraw(id);
    }
    return this.view(host);
  }

  /** @throws GodwitError `host.not_found`, `drain.not_found` */
  view(host: string): Drain {
    const record = this.#known(host);
    const { away: _away, options: _options, guests, ...about } = record;
    const rows = record.state === 'moving' ? this.#standing(record).rows : guests;
    const { moved, movedBytes, totalBytes } = countsOf(rows);
    const share = totalBytes === 0 ? moved > 0 || rows.length === 0 : movedBytes / totalBytes;
    return {
      ...about,
      guests: [...rows],
      movedBytes,
      totalBytes,
      percent: Math.floor(100 * Number(share)),
      ...(record.state === 'moving' && this.#timeLeft(record, rows)),
    };
  }

  list(): Drain[] {
    return this.#parts.records.drains.values().map(({ host }) => this.view(host));
  }

  isOpen(host: string): boolean {
    return this.#parts.records.drains.get(host)?.state === 'moving';
  }

  /** Something that concerns drains happened: a move settled, a guest came or ended. */
  lookAll(): void {
    for (const host of this.#loops.keys()) void this.look(host);
  }

  // ------------------------------------------------------------------------------ the loop

  #open(host: string): void {
    const loop = { isLooking: false, isDue: false, busyAtMs: performance.now() };
    this.#loops.set(host, { ...loop, reasons: new Map() });
  }

  /** Compares, plans what has no move, ends what is over. */
  async look(host: string): Promise<void> {
    const loop = this.#loops.get(host);
    if (loop === undefined) return;
    loop.isDue = true;
    if (loop.isLooking) return;
    loop.isLooking = true;
    try {
      while (loop.isDue) {
        loop.isDue = false;
        await this.#lookOnce(host, loop);
      }
    } catch (error) {
      this.#parts.log.error({ host, err: error }, 'drain: a look failed, the next one comes');
    } finally {
      loop.isLooking = false;
    }
  }

  async #lookOnce(host: string, loop: Loop): Promise<void> {
    const record = this.#parts.records.drains.get(host);
    if (record === undefined || record.state !== 'moving') {
      this.#loops.delete(host);
      return;
    }
    const { toPlan } = this.#standing(record);
    if (toPlan.length > 0) await this.#place(record, toPlan, loop);
    // Its moves may be in line by now, or some of them over already.
    const { rows, toPlan: still } = this.#standing(record);
    const counts = countsOf(rows);
    if (counts.underWay > 0) loop.busyAtMs = performance.now();
    const mayCome = still.length > 0 || rows.some((row) => row.state === 'blocked' && row.target);
    const isPatient = mayCome && performance.now() - loop.busyAtMs < DRAIN_PATIENCE_MS;
    if (counts.underWay === 0 && !isPatient) {
      await this.#finish(record, counts.left === 0 ? 'completed' : 'incomplete', rows);
    } else {
      this.#parts.changed(this.view(host));
    }
  }

  async #place(record: DrainRecord, toPlan: DrainStanding['toPlan'], loop: Loop): Promise<void> {
    const { placements, blocked }: Plan = plan(this.#parts.room.planHosts(), toPlan);
    loop.reasons = new Map(blocked.map(({ guest, why }) => [guest, why]));
    if (placements.length === 0) return;
    const { options } = record;
    const moves = placements.map(({ guest, target }) => {
      return { request: { ...options, guest, to: target }, guest: this.#guest(guest) };
    });
    await this.#parts.migrations.startAll(moves, record.id);
  }

  async #finish(record: DrainRecord, state: Drain['state'], rows: DrainRow[]): Promise<void> {
    const { records, log } = this.#parts;
    const moved = rows.filter((row) => row.state === 'moved').map(({ guest }) => guest);
    // A restore brings the next time what it could not bring this time.
    const away =
      record.kind === 'drain'
        ? [...new Set([...record.away, ...moved])]
        : record.away.filter((guest) => !moved.includes(guest));
    await records.drains.update(record.host, (now) =>
      now?.id === record.id && now.state === 'moving'
        ? { ...now, state, endedAtMs: Date.now(), away, guests: rows }
        : now,
    );
    this.#loops.delete(record.host);
    log.info(
      { host: record.host, drain: record.id, moved: moved.length },
      `${record.kind} ${state}`,
    );
    this.#parts.changed(this.view(record.host));
  }

  // ------------------------------------------------------------------------------- inside

  #standing(record: DrainRecord): DrainStanding {
    const standing = standingOf(this.#input(record));
    const reasons = this.#loops.get(record.host)?.reasons;
    const planned = new Set(standing.toPlan.map(({ name }) => name));
    const rows = standing.rows.map((row) => {
      const why = planned.has(row.guest) ? reasons?.get(row.guest) : undefined;
      return why === undefined ? row : { ...row, why };
    });
    return { ...standing, rows };
  }

  /** Guests that are there, and those that were and are this drain's matter. */
  #input(drain: DrainInput['drain']): DrainInput {
    const { records, migrations, views } = this.#parts;
    const mine = drain.id === undefined ? [] : migrations.list({ drain: drain.id });
    const names = new Set(drain.kind === 'restore' ? drain.away : mine.map(({ guest }) => guest));
    const guests = records.guests.values().filter((guest) => {
      return names.has(guest.spec.name) || (drain.kind === 'drain' && guest.host === drain.host);
    });
    // A move that somebody else asked for may be what takes a guest away.
    const others = guests.flatMap(({ migration, queued }) => {
      const id = migration ?? queued;
      return id === undefined ? [] : [migrations.view(id)];
    });
    return {
      drain,
      guests: guests
        .map((record) => ({ record, state: views.guest(record).state }))
        .sort((a, b) => (a.record.spec.name < b.record.spec.name ? -1 : 1)),
      migrations: [...mine, ...others],
    };
  }

  /** What a restore brings back, or a drain that goes on where an earlier one stopped keeps in mind. */
  #awayFor(host: string, kind: Kind): readonly string[] {
    const { records, cordons } = this.#parts;
    const before = records.drains.get(host);
    if (kind === 'restore') {
      if (before === undefined) throw new GodwitError('drain.not_found', { host });
      return before.away;
    }
    // Uncordoned since: what was drained then has settled elsewhere.
    return cordons.get(host) === undefined ? [] : (before?.away ?? []);
  }

  #timeLeft(record: DrainRecord, rows: readonly DrainRow[]): { etaMs?: number } {
    const mine = this.#parts.migrations.list({ drain: record.id });
    const isLeft = ({ state }: DrainRow) => state === 'moving' || state === 'queued';
    const leftBytes = rows.filter(isLeft).reduce((sum, row) => sum + row.memoryBytes, 0);
    const done = mine.filter(({ state }) => state === 'completed');
    const measured = timeLeft(done, leftBytes, Date.now());
    const open = mine.filter(({ endedAtMs }) => endedAtMs === undefined);
    const predicted = open.flatMap(({ prediction, ...view }) =>
      prediction ? [{ ...view, prediction }] : [],
    );
    if (measured === undefined && predicted.length === 0) return {};
    const { ms, rangeMs } = measured ?? predictDrain(predicted, this.#parts.limits());
    return { etaMs: ms, ...{ etaRangeMs: rangeMs } };
  }

  #guest(name: string): GuestRecord {
    const guest = this.#parts.records.guests.get(name);
    if (guest === undefined) throw new GodwitError('guest.not_found', { guest: name, known: '' });
    return guest;
  }

  #incarnation(host: string, by: Drain['by']): string | undefined {
    return by === 'agent' ? this.#parts.agents.connected(host)?.incarnation : undefined;
  }

  #known(host: string): DrainRecord {
    this.#parts.agents.host(host);
    const record = this.#parts.records.drains.get(host);
    if (record === undefined) throw new GodwitError('drain.not_found', { host });
    return record;
  }
}
