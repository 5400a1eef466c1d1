/**
 * The migrations that wait, as records: into the line, out of it in turn, or given up.
 *
 *   migrations, drains --add--> [waiting line] --opened--> a runner (which grants to both ends)
 *                                     |  \--withdrawn--> settled: cancelled, or failed with the reason
 *                                     \--order, limits--> placement/line.ts
 *
 * While a move waits nobody has been asked anything: the guest is as free as before, and its record
 * only names the move (`queued`), which makes a second one a conflict. The two records are written
 * in one transaction each time, so a restart finds the line as it was. How often somebody was
 * passed is memory only: a restart makes it wait a few passes more.
 *
 * What keeps a move from starting beside the limits is either final (the guest ended, the target was
 * cordoned) or may pass (a host is away, memory is short); the latter has a deadline.
 */
import { COORDINATOR, GodwitError, type Migration, type MoveLimits } from '@godwit/protocol';
import type { Agents } from '../agents.ts';
import type { Logger } from '../log.ts';
import type { Cordons } from '../placement/cordons.ts';
import { ENQUEUE_BATCH, HINDERED_MAX_MS, LINE_MAX, LOOK_AGAIN_MS } from '../placement/limits.ts';
import { admit, inOrder, nextTag } from '../placement/line.ts';
import type { Move, Room } from '../placement/room.ts';
import type { GuestRecord, MigrationRecord, Records } from '../records.ts';
import { commit } from '../store/collection.ts';

export interface WaitingParts {
  readonly records: Records;
  readonly agents: Agents;
  readonly cordons: Cordons;
  readonly room: Room;
  readonly log: Logger;
  limits(): MoveLimits;
  /** Moves under way. */
  open(): readonly Move[];
  /** The next place in the order of moves. */
  nextPlace(): number;
  /** The record as it is to begin: a new prediction, both incarnations. */
  refreshed(record: MigrationRecord, guest: GuestRecord): MigrationRecord;
  /** Its records say that it has begun. */
  opened(record: MigrationRecord): void;
  /** It will never begin. */
  withdrawn(record: MigrationRecord): void;
  changed(view: Migration): void;
}

/** What keeps one from starting, whatever the limits. */
interface Hindrance {
  readonly error: GodwitError;
  readonly isFinal: boolean;
}

export class WaitingLine {
  readonly #parts: WaitingParts;
  readonly #waiting = new Map<string, MigrationRecord>();
  readonly #passed = new Map<string, number>();
  readonly #hinderedSinceMs = new Map<string, number>();
  /** Of the last look: place in line and reason, by id. */
  #standing = new Map<string, { position: number; reason: string }>();
  #clock = 0;
  #isLooking = false;
  #isDue = false;
  readonly #timer: NodeJS.Timeout;

  constructor(records: readonly MigrationRecord[], parts: WaitingParts) {
    this.#parts = parts;
    for (const record of records) this.#waiting.set(record.view.id, record);
    const tags = records.map((record) => record.ticket.tag);
    this.#clock = tags.reduce((least, tag) => Math.min(least, tag), tags[0] ?? 0);
    this.#timer = setInterval(() => {
      if (this.#waiting.size > 0) void this.look();
    }, LOOK_AGAIN_MS);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  get size(): number {
    return this.#waiting.size;
  }

  get(id: string): MigrationRecord | undefined {
    return this.#waiting.get(id);
  }

  records(): MigrationRecord[] {
    return [...this.#waiting.values()];
  }

  /** As the API shows it, with its place and what it waits for. */
  view(record: MigrationRecord): Migration {
    const standing = this.#standing.get(record.view.id);
    const { position, reason } = standing ?? { position: this.#waiting.size, reason: 'just came' };
    return { ...record.view, queue: { position, of: this.#waiting.size, reason } };
  }

  /** @throws GodwitError `line.full` */
  checkRoomFor(count: number): void {
    if (this.#waiting.size + count <= LINE_MAX) return;
    throw new GodwitError('line.full', { waiting: this.#waiting.size });
  }

  /** Tags for moves that come now, in their order. */
  tickets(
    flow: string,
    priority: Migration['priority'],
    count: number,
  ): MigrationRecord['ticket'][] {
    let last: number | undefined;
    for (const { ticket } of this.#waiting.values()) {
      if (ticket.flow === flow) last = Math.max(last ?? 0, ticket.tag);
    }
    return Array.from({ length: count }, () => {
      last = nextTag(this.#clock, last, priority);
      return { flow, tag: last };
    });
  }

  /**
   * Puts them into the line.
   * @returns those that are in; the others' guests changed meanwhile, or wait for another move
   */
  async add(records: readonly MigrationRecord[]): Promise<MigrationRecord[]> {
    const added: MigrationRecord[] = [];
    for (let from = 0; from < records.length; from += ENQUEUE_BATCH) {
      const batch = records.slice(from, from + ENQUEUE_BATCH);
      // One that cannot be written must not keep out the others.
      if (await this.#write(batch)) added.push(...batch);
      else if (batch.length > 1) {
        for (const record of batch) if (await this.#write([record])) added.push(record);
      }
    }
    return added;
  }

  async #write(batch: readonly MigrationRecord[]): Promise<boolean> {
    const { store, guests, migrations } = this.#parts.records;
    const puts = [];
    for (const record of batch) {
      const { id, guest: name, epoch } = record.view;
      const guest = guests.get(name);
      const isFree = guest && guest.queued === undefined && guest.migration === undefined;
      if (!isFree || guest.epoch !== epoch || guest.state !== 'running') return false;
      puts.push(migrations.put(id, record), guests.put(name, { ...guest, queued: id }));
    }
    if (!(await commit(store, puts))) return false;
    for (const record of batch) this.#waiting.set(record.view.id, record);
    return true;
  }

  /**
   * Takes a move out of the line, for good.
   * @returns false: it is not in line (any more)
   */
  async withdraw(
    id: string,
    state: 'cancelled' | 'failed',
    { code, message, hint }: GodwitError,
  ): Promise<boolean> {
    const { records, log } = this.#parts;
    for (;;) {
      const record = this.#waiting.get(id);
      if (record === undefined) return false;
      const error = { code, message, ...(hint !== undefined && { hint }) };
      const after: MigrationRecord = {
        ...record,
        core: COORDINATOR.step(COORDINATOR.initial, 'kept').state,
        isCancelled: state === 'cancelled',
        place: this.#parts.nextPlace(),
        view: { ...record.view, state, endedAtMs: Date.now(), error },
      };
      const { guest: name } = record.view;
      const { queued, ...free } = records.guests.get(name) ?? {};
      const puts = [records.migrations.put(id, after)];
      if (queued === id) puts.push(records.guests.put(name, free as GuestRecord));
      if (!(await commit(records.store, puts))) continue;
      log.info({ migration: id, guest: name, code }, `left the line: ${message}`);
      this.#forget(id);
      this.#parts.withdrawn(after);
      return true;
    }
  }

  /** Starts whoever may start now. Safe to call at any time; one look at a time. */
  async look(): Promise<void> {
    this.#isDue = true;
    if (this.#isLooking) return;
    this.#isLooking = true;
    try {
      while (this.#isDue) {
        this.#isDue = false;
        await this.#lookOnce();
      }
    } finally {
      this.#isLooking = false;
    }
  }

  async #lookOnce(): Promise<void> {
    const hindrances = await this.#hindrances();
    const line = inOrder(
      [...this.#waiting.values()].map(({ view, ticket }) => ({
        id: view.id,
        source: view.source,
        target: view.target,
        tag: ticket.tag,
        passed: this.#passed.get(view.id) ?? 0,
        hindered: hindrances.get(view.id)?.error.message,
      })),
    );
    const { start, reasons, passed } = admit(line, this.#parts.open(), this.#parts.limits());
    for (const id of start) {
      if (await this.#open(id)) continue;
      // A start before it took the room, and it waits; or a record changed, and it is looked at again.
      const hindrance = this.#hindrance(id);
      if (hindrance === undefined || hindrance.isFinal) this.#isDue = true;
    }
    for (const [id, times] of passed) {
      if (this.#waiting.has(id)) this.#passed.set(id, (this.#passed.get(id) ?? 0) + times);
    }
    this.#stand(
      line.map(({ id }) => id),
      reasons,
    );
  }

  /** Where everybody stands now; those whose place or reason changed are told to their watchers. */
  #stand(order: readonly string[], reasons: ReadonlyMap<string, string>): void {
    const before = this.#standing;
    this.#standing = new Map();
    const waiting = order.filter((id) => this.#waiting.has(id));
    waiting.forEach((id, i) => {
      const standing = { position: i + 1, reason: reasons.get(id) ?? 'starts as soon as it can' };
      this.#standing.set(id, standing);
      const was = before.get(id);
      const record = this.#waiting.get(id);
      const isSame = was?.position === standing.position && was.reason === standing.reason;
      if (record !== undefined && !isSame) this.#parts.changed(this.view(record));
    });
  }

  async #open(id: string): Promise<boolean> {
    const { records, agents, log } = this.#parts;
    const record = this.#waiting.get(id);
    if (record === undefined || this.#hindrance(id) !== undefined) return false;
    const { guest: name, target, source } = record.view;
    const { queued: _queued, ...guest } = records.guests.get(name) as GuestRecord;
    const live = agents.connected(target);
    if (live === undefined) return false;
    const fresh = this.#parts.refreshed(record, guest);
    const begun: MigrationRecord = {
      ...fresh,
      stage: 'reserving',
      place: this.#parts.nextPlace(),
      sourceIncarnation: guest.incarnation,
      targetIncarnation: live.incarnation,
      view: { ...fresh.view, state: 'granting', startedAtMs: Date.now() },
    };
    const isOpened = await commit(records.store, [
      records.migrations.put(id, begun),
      records.guests.put(name, { ...guest, migration: id }),
    ]);
    if (!isOpened) return false;
    this.#clock = Math.max(this.#clock, record.ticket.tag);
    this.#forget(id);
    log.info({ migration: id, guest: name }, `${source} -> ${target}`);
    this.#parts.opened(begun);
    return true;
  }

  #forget(id: string): void {
    this.#waiting.delete(id);
    this.#passed.delete(id);
    this.#hinderedSinceMs.delete(id);
    this.#standing.delete(id);
  }

  /** Who cannot start whatever the limits. Those for whom that is final leave the line. */
  async #hindrances(): Promise<Map<string, Hindrance>> {
    const nowMs = performance.now();
    const found = new Map<string, Hindrance>();
    const rooms = this.#parts.room.promises('begun');
    for (const id of [...this.#waiting.keys()]) {
      const hindrance = this.#hindrance(id, rooms);
      if (hindrance === undefined) {
        this.#hinderedSinceMs.delete(id);
        continue;
      }
      const sinceMs = this.#hinderedSinceMs.get(id) ?? nowMs;
      this.#hinderedSinceMs.set(id, sinceMs);
      const isOver = hindrance.isFinal || nowMs - sinceMs > HINDERED_MAX_MS;
      if (isOver) await this.withdraw(id, 'failed', hindrance.error);
      else found.set(id, hindrance);
    }
    return found;
  }

  #hindrance(id: string, promises = this.#parts.room.promises('begun')): Hindrance | undefined {
    const record = this.#waiting.get(id);
    if (record === undefined) return undefined;
    const { guest: name, target, memoryBytes: neededBytes } = record.view;
    const guest = this.#parts.records.guests.get(name);
    const final = (error: GodwitError) => ({ error, isFinal: true });
    const passing = (error: GodwitError) => ({ error, isFinal: false });
    if (guest?.queued !== id) {
      return final(new GodwitError('guest.not_found', { guest: name, known: '' }));
    }
    if (guest.state !== 'running') {
      return final(new GodwitError('guest.not_running', { guest: name, state: guest.state }));
    }
    const { agents, cordons } = this.#parts;
    const why = cordons.why(target);
    if (why !== undefined) return final(new GodwitError('host.cordoned', { host: target, why }));
    const live = agents.connected(target);
    if (live === undefined) return passing(new GodwitError('host.unreachable', { host: target }));
    if (agents.connected(guest.host)?.incarnation !== guest.incarnation) {
      return passing(new GodwitError('host.unreachable', { host: guest.host }));
    }
    const freeBytes = live.freeBytes - (promises.get(target) ?? 0);
    if (freeBytes >= neededBytes) return undefined;
    return passing(new GodwitError('host.no_room', { host: target, neededBytes, freeBytes }));
  }
}
