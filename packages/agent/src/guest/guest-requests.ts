/**
 * What the coordinator asks of this agent about guests at home: make, restore, stop, remove, discard,
 * audit, checkpoint, rate, quarantine.
 *
 *   coordinator link --request--> [guest requests] -> guest, pool, journal --done | failed--> link
 *
 * A request names guest and epoch; one that means another epoch is refused, because it was made from
 * an older view of the world. A request that comes twice (the first answer was lost with its
 * connection) is answered twice and carried out once. Under a lease, stop and remove are latched and
 * answered when the migration is over. Main thread only.
 */
import { GodwitError, type Message, wireError } from '@godwit/protocol';
import type { Agent } from '../agent.ts';
import { Checkpoints } from './checkpoints.ts';
import { Guest } from './guest.ts';
import { auditGuest } from './guest-audit.ts';

type Done = Omit<Message<'done'>, 'type' | 'request'>;

export type GuestRequest = Message<
  | 'createGuest'
  | 'stopGuest'
  | 'removeGuest'
  | 'discardGuest'
  | 'auditGuest'
  | 'setRate'
  | 'checkpointGuest'
  | 'describeCheckpoint'
  | 'restoreGuest'
  | 'fetchImage'
>;

export class GuestRequests {
  readonly #agent: Agent;
  readonly #checkpoints: Checkpoints;
  /** Guests being made: the same request may come again before the first is done. */
  readonly #creating = new Map<string, Promise<Guest>>();

  constructor(agent: Agent) {
    this.#agent = agent;
    this.#checkpoints = new Checkpoints(agent.host, agent.options.stateDir);
  }

  /** False: not one of these. */
  onMessage(message: Message): boolean {
    switch (message.type) {
      case 'createGuest':
      case 'stopGuest':
      case 'removeGuest':
      case 'discardGuest':
      case 'auditGuest':
      case 'setRate':
      case 'checkpointGuest':
      case 'describeCheckpoint':
      case 'restoreGuest':
      case 'fetchImage':
        void this.#answer(message);
        return true;
      case 'quarantine':
        void this.#quarantine(message);
        return true;
      default:
        return false;
    }
  }

  async #answer(message: GuestRequest): Promise<void> {
    const { link, log } = this.#agent;
    const { request } = message;
    try {
      link.send({ type: 'done', request, ...(await this.#carryOut(message)) });
    } catch (thrown) {
      const error = GodwitError.from(thrown);
      log.warn({ request: message.type, code: error.code, err: error.cause }, error.message);
      link.send({ type: 'failed', request, error: wireError(error) });
    }
    this.#agent.changed();
  }

  #carryOut(message: GuestRequest): Promise<Done> | Done {
    switch (message.type) {
      case 'createGuest':
        return this.#create(message);
      case 'stopGuest':
        return this.#afterLease(message, 'stop', (guest) => this.#stop(guest));
      case 'removeGuest':
        return this.#afterLease(message, 'remove', (guest) => this.#remove(guest));
      case 'discardGuest':
        return this.#discard(message);
      case 'auditGuest':
        return this.#audit(message);
      case 'setRate':
        return this.#setRate(message);
      case 'checkpointGuest':
        return this.#checkpoint(message);
      case 'describeCheckpoint':
        return this.#describe(message);
      case 'restoreGuest':
        return this.#restore(message);
      case 'fetchImage':
        return this.#fetchImage(message);
    }
  }

  #create(message: Message<'createGuest'>): Promise<Done> {
    return this.#begin(message.spec.name, message.epoch, () => this.#make(message));
  }

  /** Makes a guest and lets it run, once however often it is asked. */
  async #begin(name: string, epoch: number, make: () => Promise<Guest>): Promise<Done> {
    const { guests, log, host, journal } = this.#agent;
    const held = guests.get(name);
    if (held !== undefined) {
      if (held.epoch === epoch && held.state !== 'incoming') return { guest: held.report() };
      throw new GodwitError('guest.exists', { guest: name, host });
    }
    let making = this.#creating.get(name);
    if (making === undefined) {
      making = make();
      this.#creating.set(name, making);
      const forget = () => this.#creating.delete(name);
      making.then(forget, forget);
      const guest = await making;
      journal.owned(name, epoch);
      guests.set(name, guest);
      guest.start();
      log.info({ guest: name, epoch }, 'guest made');
      return { guest: guest.report() };
    }
    return { guest: (await making).report() };
  }

  /** From the program in the request, or from the image that it names. */
  async #make({ spec, epoch, elf, imageFrom }: Message<'createGuest'>): Promise<Guest> {
    const { pool, log, images } = this.#agent;
    if (spec.imageDigest !== undefined) await images.ensure(spec.imageDigest, imageFrom ?? []);
    const boot = elf ? () => ({ kind: 'elf', elf }) as const : images.bootSource(spec);
    return Guest.create({ spec, epoch, boot, pool, log });
  }

  /** For a guest that came without its image: it is wanted at its next reboot. */
  async #fetchImage({ digest, from }: Message<'fetchImage'>): Promise<Done> {
    await this.#agent.images.ensure(digest, from);
    return {};
  }

  /** The guest the request means. @throws GodwitError `guest.not_found`, `request.invalid` */
  #meant({ guest: name, epoch }: { guest: string; epoch: number }): Guest {
    const { guests } = this.#agent;
    const guest = guests.get(name);
    if (guest === undefined) {
      throw new GodwitError('guest.not_found', { guest: name, known: guests.known });
    }
    if (guest.epoch !== epoch) {
      const why = `guest ${name} is here under epoch ${guest.epoch}, the request is for ${epoch}`;
      throw new GodwitError('request.invalid', { why });
    }
    return guest;
  }

  /** Now, or when the migration that holds the guest has left it here. */
  #afterLease(
    message: Message<'stopGuest' | 'removeGuest'>,
    what: 'stop' | 'remove',
    carryOut: (guest: Guest) => Promise<Done>,
  ): Promise<Done> {
    const guest = this.#meant(message);
    const { lease } = guest;
    if (lease === undefined) return carryOut(guest);
    const { promise, resolve, reject } = Promise.withResolvers<Done>();
    guest.latch({
      what,
      carryOut: () => carryOut(guest).then(resolve, reject),
      gone: () => reject(new GodwitError('guest.busy', { guest: guest.name, migration: lease })),
    });
    return promise;
  }

  async #stop(guest: Guest): Promise<Done> {
    if (guest.state === 'running') {
      try {
        await guest.stopHarts();
        guest.state = 'stopped';
      } catch (error) {
        // It was quicker: what was wanted is so, and its own end has been reported.
        if (!(error instanceof GodwitError) || error.code !== 'guest.ended') throw error;
      }
    }
    return { guest: guest.report() };
  }

  async #remove(guest: Guest): Promise<Done> {
    const { guests, host, consoles, journal } = this.#agent;
    const { name, epoch, state } = guest;
    if (state === 'running') throw new GodwitError('guest.running', { guest: name, host });
    guests.delete(name);
    consoles.ended(guest, 'removed', 0);
    await guest.release();
    journal.gone(name, epoch);
    return {};
  }

  /** A person gives up frozen pages or a stale image: of a migration's, it decides; else at once. */
  async #discard({ guest: name, epoch }: Message<'discardGuest'>): Promise<Done> {
    const { guests, migrations, host } = this.#agent;
    if (migrations.discard(name)) return {};
    const guest = guests.get(name);
    if (guest === undefined || guest.epoch > epoch) {
      throw new GodwitError('guest.not_found', { guest: name, known: guests.known });
    }
    if (guest.state === 'running') throw new GodwitError('guest.running', { guest: name, host });
    guest.mustBeFree();
    return this.#remove(guest);
  }

  async #audit(message: Message<'auditGuest'>): Promise<Done> {
    const audit = await auditGuest(this.#meant(message), message.witnessWrites);
    return { audit };
  }

  #setRate(message: Message<'setRate'>): Done {
    const guest = this.#meant(message);
    guest.setRate(message.rateMiBps);
    return { guest: guest.report() };
  }

  async #checkpoint(message: Message<'checkpointGuest'>): Promise<Done> {
    const guest = this.#meant(message);
    return { checkpoint: await this.#checkpoints.write(guest, message.checkpoint) };
  }

  #describe({ checkpoint }: Message<'describeCheckpoint'>): Done {
    return { checkpoint: this.#checkpoints.describe(checkpoint) };
  }

  #restore({ spec, epoch, checkpoint }: Message<'restoreGuest'>): Promise<Done> {
    const { pool, log } = this.#agent;
    const path = this.#checkpoints.pathOf(checkpoint);
    return this.#begin(spec.name, epoch, () => Guest.restore({ spec, epoch, pool, log }, path));
  }

  /**
   * Another host owns the guest under a newer epoch: this image must never run again. Not even when what
   * holds it (a round, an audit, a checkpoint) is over and would have it go on.
   */
  async #quarantine(message: Message<'quarantine'>): Promise<void> {
    const { guests, log, journal } = this.#agent;
    const guest = guests.get(message.guest);
    if (guest === undefined || guest.epoch !== message.epoch) return;
    const { lease } = guest;
    log.error(
      { guest: guest.name, owner: message.ownerHost, lease },
      'quarantined: an older epoch',
    );
    await guest.quarantine();
    // Of a migration's guest the journal is the migration's.
    if (lease === undefined) journal.gone(guest.name, guest.epoch);
    this.#agent.changed();
  }
}
