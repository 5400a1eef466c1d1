/**
 * The record of every guest, kept true by what its owner reports.
 *
 *   agents --hello, heartbeats, events, deaths--> [guests] --> guest records, witness
 *
 * A guest has one owner: (host, incarnation, epoch). Only the owner's reports change the record; an
 * agent that shows an older epoch, or a guest that is another's, is told to quarantine it and never
 * becomes its owner by saying so. Owners change in one place, the migration runner's commit.
 *
 * The witness is the highest count of writes ever heard of a workload. It is kept outside the guest
 * and outside every migration, so a guest that was rolled back together with its count is caught.
 */
import { fewNames, GodwitError, type GuestReport, type Message } from '@godwit/protocol';
import type { Agents, LiveHost } from './agents.ts';
import type { Logger } from './log.ts';
import type { DeathRecord, GuestRecord, Records } from './records.ts';
import { commit, type Put } from './store/collection.ts';

/**
 * What a crash of this process forgets of the witness is told again by the next heartbeats. So many a
 * time, in turn: a small cluster is saved whole each time, a large one costs no more than this.
 */
const WITNESS_SAVE_MS = 1_000;
const WITNESS_SAVE_MAX = 250;

/** A report may be older than an answer of the same agent, so a guest's life goes one way only. */
const STATES_AFTER: { readonly [state in GuestRecord['state']]: readonly GuestRecord['state'][] } =
  {
    creating: ['running', 'stopped', 'ended'],
    running: ['stopped', 'ended'],
    stopped: ['ended'],
    ended: [],
    lost: [],
  };

export class Guests {
  readonly #records: Records;
  readonly #agents: Agents;
  readonly #log: Logger;
  readonly #witness = new Map<string, number>();
  readonly #saver: NodeJS.Timeout;
  #isShuttingDown = false;

  constructor(records: Records, agents: Agents, log: Logger) {
    this.#records = records;
    this.#agents = agents;
    this.#log = log;
    this.#saver = setInterval(() => void this.#saveWitness(), WITNESS_SAVE_MS);
  }

  close(): void {
    clearInterval(this.#saver);
  }

  /** @throws GodwitError `guest.not_found` */
  known(name: string): GuestRecord {
    const record = this.#records.guests.get(name);
    if (record !== undefined) return record;
    const names = this.#records.guests.values().map((guest) => guest.spec.name);
    throw new GodwitError('guest.not_found', { guest: name, known: fewNames(names) });
  }

  witnessOf(record: GuestRecord): number {
    return Math.max(record.witnessWrites, this.#witness.get(record.spec.name) ?? 0);
  }

  /** The guest is gone; a later one of the same name begins at zero. */
  forgetWitness(name: string): void {
    this.#witness.delete(name);
  }

  /** What the owner last said of this guest, if it has said anything to this process. */
  ownersReport(record: GuestRecord): GuestReport | undefined {
    const live = this.#agents.lastHeard(record.host);
    if (live?.incarnation !== record.incarnation) return undefined;
    const report = live.reports.get(record.spec.name);
    return report?.epoch === record.epoch ? report : undefined;
  }

  /** An incarnation is on record as the owner of something that can still be lost. */
  holds(host: string, incarnation: string): boolean {
    return this.#records.guests
      .values()
      .some(
        (guest) =>
          guest.host === host &&
          guest.incarnation === incarnation &&
          guest.state !== 'lost' &&
          guest.state !== 'ended',
      );
  }

  // ------------------------------------------------------------------ what agents say

  async hello(live: LiveHost, reports: readonly GuestReport[]): Promise<void> {
    for (const report of reports) this.#quarantineIfOld(live, report);
    const shown = new Set(reports.map((report) => report.spec.name));
    for (const guest of this.#records.guests.values()) {
      const isOwner = guest.host === live.name && guest.incarnation === live.incarnation;
      if (!isOwner || shown.has(guest.spec.name) || guest.migration !== undefined) continue;
      await this.#notThere(guest);
    }
    await this.reports(live, reports);
  }

  async reports(live: LiveHost, reports: readonly GuestReport[]): Promise<void> {
    for (const report of reports) {
      const guest = this.#records.guests.get(report.spec.name);
      if (guest === undefined || !isOwner(guest, live, report.epoch)) continue;
      this.#hearWrites(report.spec.name, report.writes);
      if (guest.migration === undefined) await this.#follow(guest, report);
    }
  }

  async event(live: LiveHost, message: Message<'guestEvent'>): Promise<void> {
    const { guest: name, epoch, event, code, digest } = message;
    const guest = this.#records.guests.get(name);
    this.#log.info({ guest: name, host: live.name, event, code }, 'guest event');
    if (guest === undefined || !isOwner(guest, live, epoch) || event === 'reboot') return;
    const isEnd = event !== 'stopAt';
    await this.#change(name, (record) => ({
      ...record,
      ...(isEnd && guest.migration === undefined && { state: 'ended' as const }),
      ...(isEnd && { end: { why: event, code } }),
      ...(digest !== undefined && { digest }),
    }));
  }

  /** From here on guests end with their hosts because a person wants it: none of them is lost. */
  beginShutdown(): void {
    this.#isShuttingDown = true;
  }

  /** These agents end with their guests. */
  async shutDown(agents: readonly LiveHost[]): Promise<void> {
    for (const { name, incarnation } of agents) {
      for (const guest of this.#records.guests.values()) {
        const isTheirs = guest.host === name && guest.incarnation === incarnation;
        if (!isTheirs || (guest.state !== 'running' && guest.state !== 'stopped')) continue;
        await this.#endByShutdown(guest.spec.name);
      }
    }
  }

  /** The proof is durable. Guests in an open migration are that migration's matter. */
  async died(death: DeathRecord): Promise<void> {
    for (const guest of this.#records.guests.values()) {
      const isTheirs = guest.host === death.host && guest.incarnation === death.incarnation;
      if (isTheirs) await this.#ownerDied(guest, death);
    }
  }

  /** The proof came while a migration was open, or just before this process started. */
  async checkOwner(name: string): Promise<void> {
    const guest = this.#records.guests.get(name);
    const death = guest && this.#agents.death(guest.host, guest.incarnation);
    if (guest && death) await this.#ownerDied(guest, death);
  }

  async checkOwners(): Promise<void> {
    for (const { spec } of this.#records.guests.values()) await this.checkOwner(spec.name);
  }

  // ------------------------------------------------------------------------------- inside

  async #ownerDied(guest: GuestRecord, death: DeathRecord): Promise<void> {
    if (guest.migration !== undefined) return;
    if (guest.state === 'lost' || guest.state === 'ended') return;
    if (this.#isShuttingDown) await this.#endByShutdown(guest.spec.name);
    else if (guest.state === 'creating') await this.#forget(guest, 'its host died before it ran');
    else await this.#lose(guest, evidenceOf(death));
  }

  #quarantineIfOld(live: LiveHost, report: GuestReport): void {
    const { name } = report.spec;
    const guest = this.#records.guests.get(name);
    const isFenced = this.#agents.isDead(live.name, live.incarnation);
    if (!isFenced && guest !== undefined) {
      if (isOwner(guest, live, report.epoch) || report.epoch > guest.epoch) return;
      // A frozen image or an open question is the migration's matter, not a second owner.
      if (guest.migration !== undefined && report.migration === guest.migration) return;
      if (report.state === 'frozen' || report.state === 'lost' || report.state === 'doubt') return;
    }
    this.#log.warn(
      { guest: name, host: live.name, epoch: report.epoch, ownerEpoch: guest?.epoch },
      'an old image of a guest: quarantined',
    );
    live.connection.send({
      type: 'quarantine',
      guest: name,
      epoch: report.epoch,
      ownerHost: guest?.host ?? live.name,
      ownerEpoch: guest?.epoch ?? report.epoch,
    });
  }

  /** The very incarnation that should hold it says that it does not. */
  async #notThere(guest: GuestRecord): Promise<void> {
    if (guest.state === 'lost') return;
    if (guest.state === 'running') {
      await this.#lose(guest, `host ${guest.host} runs on and says that it does not hold it`);
    } else {
      // Made by a coordinator that ended before the answer came, or removed likewise.
      await this.#forget(guest, `host ${guest.host} does not hold it`);
    }
  }

  /** Brings the record after the owner's report. */
  async #follow(guest: GuestRecord, report: GuestReport): Promise<void> {
    const state = STATES_AFTER[guest.state].find((each) => each === report.state) ?? guest.state;
    const isKnown = guest.digest === report.digest || report.digest === undefined;
    if (state === guest.state && isKnown) return;
    await this.#change(report.spec.name, (record) => ({
      ...record,
      state,
      ...(report.end && { end: report.end }),
      ...(report.digest !== undefined && { digest: report.digest }),
    }));
  }

  async #lose(guest: GuestRecord, evidence: string): Promise<void> {
    this.#log.error({ guest: guest.spec.name, evidence }, 'guest lost');
    await this.#change(guest.spec.name, (record) => ({ ...record, state: 'lost', evidence }));
  }

  async #endByShutdown(name: string): Promise<void> {
    const end = { why: 'shutdown', code: 0 };
    await this.#change(name, (record) => ({ ...record, state: 'ended', end }));
  }

  async #forget(guest: GuestRecord, why: string): Promise<void> {
    this.#log.warn({ guest: guest.spec.name, why }, 'guest record removed');
    await this.#records.guests.update(guest.spec.name, () => undefined);
    this.#witness.delete(guest.spec.name);
  }

  async #change(name: string, change: (record: GuestRecord) => GuestRecord): Promise<void> {
    await this.#records.guests.update(name, (record) => record && change(record));
  }

  #hearWrites(name: string, writes: number): void {
    if (writes > (this.#witness.get(name) ?? 0)) this.#witness.set(name, writes);
  }

  /** The next few whose count rose; those that were saved go to the end of the line. */
  async #saveWitness(): Promise<void> {
    const puts: Put[] = [];
    let seen = 0;
    for (const [name, writes] of this.#witness) {
      if (puts.length >= WITNESS_SAVE_MAX || seen >= this.#witness.size) break;
      seen += 1;
      const guest = this.#records.guests.get(name);
      this.#witness.delete(name);
      if (guest === undefined) continue;
      this.#witness.set(name, writes);
      if (writes > guest.witnessWrites) {
        puts.push(this.#records.guests.put(name, { ...guest, witnessWrites: writes }));
      }
    }
    // Each by itself, in one sync: one that is lost against another writer is saved the next time.
    const { store } = this.#records;
    if (store.stall === undefined) await Promise.all(puts.map((put) => commit(store, [put])));
  }
}

function isOwner(guest: GuestRecord, live: LiveHost, epoch: number): boolean {
  return (
    guest.host === live.name && guest.incarnation === live.incarnation && guest.epoch === epoch
  );
}

const PROVED_BY = {
  supervisor: 'reported by its supervisor',
  successor: 'reported by its successor on the same state directory',
  person: 'the word of a person',
} as const;

export function evidenceOf(death: DeathRecord): string {
  return `host ${death.host}, incarnation ${death.incarnation} ended: ${death.exit} (${PROVED_BY[death.provedBy]})`;
}
