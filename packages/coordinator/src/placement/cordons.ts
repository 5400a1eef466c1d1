/**
 * Hosts that take no guests: a person said so, they are being emptied, or their agent is leaving.
 *
 *   API, drains, agents --cordon--> [cordons] --> records; who places asks here
 *
 * Durable, so that a host under maintenance is not filled because the coordinator restarted. A
 * cordon of an agent that leaves ends with its incarnation: its successor is there to be used.
 */
import type { Cordon } from '@godwit/protocol';
import type { CordonRecord, Records } from '../records.ts';
import type { Put } from '../store/collection.ts';

export class Cordons {
  readonly #records: Records;

  constructor(records: Records) {
    this.#records = records;
  }

  get(host: string): CordonRecord | undefined {
    return this.#records.cordons.get(host);
  }

  /** The sentence for whoever wants to place a guest there. */
  why(host: string): string | undefined {
    const cordon = this.get(host);
    if (cordon === undefined) return undefined;
    const { by, reason } = cordon;
    const who = { person: 'it is cordoned', drain: 'it is drained', agent: 'its agent is leaving' };
    return reason === '' ? who[by] : `${who[by]} (${reason})`;
  }

  async cordon(host: string, by: Cordon['by'], reason: string): Promise<void> {
    await this.#records.cordons.update(host, () => ({ host, by, reason, atMs: Date.now() }));
  }

  /** The part of a transaction that cordons a host. A person's word is not weakened by a drain's. */
  put(host: string, by: Cordon['by'], reason: string, incarnation?: string): Put {
    const before = this.get(host);
    const mine = { host, by, reason, atMs: Date.now() };
    const cordon = before?.by === 'person' ? before : mine;
    return this.#records.cordons.put(host, {
      ...cordon,
      ...(cordon === mine && incarnation !== undefined && { incarnation }),
    });
  }

  async uncordon(host: string): Promise<void> {
    await this.#records.cordons.update(host, () => undefined);
  }

  /** An agent came: the leaving of a former one is over. */
  async arrived(host: string, incarnation: string): Promise<void> {
    const cordon = this.get(host);
    if (cordon?.by === 'agent' && cordon.incarnation !== incarnation) await this.uncordon(host);
  }
}
