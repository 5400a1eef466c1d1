/**
 * Hosts whose agents were asked to end: drained while there is time, told how far it is.
 *
 *   agent --leaving--> [leavers] --start--> drains
 *   drains --changed--> [leavers] --leave--> agent, which ends when it is over
 *
 * Known by incarnation and in memory only: an agent says `leaving` again to a coordinator that is
 * started anew. The cordon is durable and ends with the incarnation.
 */
import { type Drain, GodwitError } from '@godwit/protocol';
import type { Agents, LiveHost } from '../agents.ts';
import type { Logger } from '../log.ts';
import { countsOf } from './drain-rows.ts';
import type { Drains } from './drains.ts';

/** A line of a log: the rest of a long list of names says no more. */
const NOTE_CHARS_MAX = 500;

export class Leavers {
  readonly #agents: Agents;
  readonly #drains: Drains;
  readonly #log: Logger;
  /** Incarnation by host. */
  readonly #leaving = new Map<string, string>();

  constructor(agents: Agents, drains: Drains, log: Logger) {
    this.#agents = agents;
    this.#drains = drains;
    this.#log = log;
  }

  async ask({ name, incarnation }: LiveHost): Promise<void> {
    this.#log.info({ host: name }, 'the host is leaving');
    this.#leaving.set(name, incarnation);
    try {
      await this.#drains.startFor(name);
      this.changed(this.#drains.view(name));
    } catch (thrown) {
      const note = GodwitError.from(thrown).message;
      this.#tell(name, { moved: 0, left: 0, isOver: true, note });
    }
  }

  changed(drain: Drain): void {
    const { host, guests, state, kind } = drain;
    if (!this.#leaving.has(host) || kind !== 'drain') return;
    const { moved, underWay, left } = countsOf(guests);
    const blocked = guests.find((row) => row.state === 'blocked');
    const why = blocked === undefined ? '' : `; ${blocked.guest}: ${blocked.why ?? ''}`;
    const note = `${moved} moved, ${underWay} to go, ${left} blocked${why}`;
    const isOver = state !== 'moving';
    this.#tell(host, { moved, left: underWay + left, isOver, note });
    if (isOver) this.#leaving.delete(host);
  }

  #tell(host: string, said: { moved: number; left: number; isOver: boolean; note: string }): void {
    const incarnation = this.#leaving.get(host);
    if (incarnation === undefined) return;
    const note = said.note.slice(0, NOTE_CHARS_MAX);
    this.#agents.tell(host, incarnation, { type: 'leave', ...said, note });
  }
}
