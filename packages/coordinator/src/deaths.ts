/**
 * Proofs that an incarnation ended; the first one stands, and it is durable before anybody acts.
 *
 *   supervisor's `died`, successor's hello, a person's fence --> [deaths] --> guests, migrations
 *
 * Silence is never a proof. An agent or supervisor can prove the end of incarnations of its own
 * host only, and only of those that the records speak of: a journal lists every former life.
 */
import type { DeathReport } from '@godwit/protocol';
import type { Logger } from './log.ts';
import { type DeathRecord, deathKey, type Records } from './records.ts';

/** Proofs kept a host; older ones concern migrations that are long closed. */
const KEPT_MAX = 32;

export interface DeathsParts {
  readonly records: Records;
  readonly log: Logger;
  /** That incarnation is on record as a host, an owner or an end of an open migration. */
  concerns(host: string, incarnation: string): boolean;
  /** The proof is durable. */
  died(death: DeathRecord): Promise<void>;
}

export class Deaths {
  readonly #parts: DeathsParts;

  constructor(parts: DeathsParts) {
    this.#parts = parts;
  }

  get(host: string, incarnation: string): DeathRecord | undefined {
    return this.#parts.records.deaths.get(deathKey(host, incarnation));
  }

  /** @param living the incarnation that brings the proofs: it has not ended */
  async prove(
    host: string,
    reports: readonly DeathReport[],
    living: string | undefined,
    provedBy: 'supervisor' | 'successor',
  ): Promise<void> {
    for (const { incarnation, exit, ran } of reports) {
      const isNews = incarnation !== living && this.get(host, incarnation) === undefined;
      if (!isNews || !this.#parts.concerns(host, incarnation)) continue;
      const discarded = false;
      await this.#write({ host, incarnation, exit, provedBy, ran, discarded, atMs: Date.now() });
    }
  }

  /** A person's word. @param discarded give up whatever it did as a target */
  async fence(host: string, incarnation: string, discarded: boolean): Promise<void> {
    await this.#write({
      host,
      incarnation,
      exit: discarded ? 'fenced, and what it did is given up' : 'fenced',
      provedBy: 'person',
      ran: this.get(host, incarnation)?.ran ?? [],
      discarded,
      atMs: Date.now(),
    });
  }

  async #write(death: DeathRecord): Promise<void> {
    const { host, incarnation, exit, provedBy } = death;
    await this.#parts.records.deaths.update(deathKey(host, incarnation), () => death);
    this.#parts.log.warn({ host, incarnation, exit, provedBy }, 'incarnation is dead');
    await this.#parts.died(death);
    await this.#forgetOld(host);
  }

  async #forgetOld(host: string): Promise<void> {
    const { records, concerns } = this.#parts;
    const deaths = records.deaths.values().filter((death) => death.host === host);
    for (const { incarnation } of deaths.sort((x, y) => y.atMs - x.atMs).slice(KEPT_MAX)) {
      if (concerns(host, incarnation)) continue;
      await records.deaths.update(deathKey(host, incarnation), () => undefined);
    }
  }
}
