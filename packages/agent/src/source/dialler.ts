/**
 * Makes the control link from the source to the target, the first time and after a break.
 *
 * A link counts only when the same incarnation answers: an agent that has begun a new life knows
 * nothing of the migration, and what became of the old one is for the coordinator to prove.
 */
import {
  CONNECT_DEADLINE_MS,
  GodwitError,
  type Message,
  PROTOCOL_VERSION,
  RECONNECT_FIRST_MS,
  RECONNECT_MAX_MS,
} from '@godwit/protocol';
import type { Agent } from '../agent.ts';
import type { ClockOffset } from '../migration/clock.ts';
import { dialPeer, PeerLink } from '../migration/peer-link.ts';

export class Dialler {
  readonly #agent: Agent;
  readonly #grant: Message<'grant'>;
  readonly #clock: ClockOffset;
  #incarnation = '';
  #redialling = false;

  constructor(agent: Agent, grant: Message<'grant'>, clock: ClockOffset) {
    this.#agent = agent;
    this.#grant = grant;
    this.#clock = clock;
  }

  /**
   * @throws GodwitError `peer.unreachable`: nobody listens, no welcome in time, turned away, or
   *   another incarnation than before
   */
  async dial(resume: boolean): Promise<PeerLink> {
    const { address, host } = this.#grant.target;
    const link = new PeerLink(await dialPeer(address), 'source', this.#clock);
    const { incarnation } = await this.#greet(link, resume);
    if (resume && incarnation !== this.#incarnation) {
      link.close();
      throw new GodwitError('peer.unreachable', { address, why: `host ${host} began a new life` });
    }
    this.#incarnation = incarnation;
    return link;
  }

  /** Dials until a link stands or nobody wants it any more; one such loop at a time. */
  async redial(wanted: () => boolean, use: (link: PeerLink) => void): Promise<void> {
    if (this.#redialling) return;
    this.#redialling = true;
    for (
      let pauseMs = RECONNECT_FIRST_MS;
      wanted();
      pauseMs = Math.min(pauseMs * 2, RECONNECT_MAX_MS)
    ) {
      const link = await this.dial(true).catch(() => undefined);
      if (link !== undefined) {
        this.#redialling = false;
        use(link);
        return;
      }
      const jitteredMs = pauseMs * (0.5 + Math.random() / 2);
      await new Promise((resolve) => setTimeout(resolve, jitteredMs));
    }
    this.#redialling = false;
  }

  async #greet(link: PeerLink, resume: boolean): Promise<Message<'peerWelcome'>> {
    const { migration, capability, target } = this.#grant;
    const { host, incarnation } = this.#agent;
    const { promise, resolve, reject } = Promise.withResolvers<Message<'peerWelcome'>>();
    const fail = (why: string) =>
      reject(new GodwitError('peer.unreachable', { address: target.address, why }));
    const deadline = setTimeout(() => fail('no welcome'), CONNECT_DEADLINE_MS);
    link.listen({
      message: (message) => {
        link.hold();
        if (message.type === 'peerWelcome') resolve(message);
        else fail(`it said ${message.type} first`);
      },
      lost: fail,
    });
    const version = PROTOCOL_VERSION;
    link.send({ type: 'peerHello', version, migration, capability, host, incarnation, resume });
    try {
      return await promise;
    } catch (error) {
      link.close();
      throw error;
    } finally {
      clearTimeout(deadline);
    }
  }
}
