/**
 * Which round may land on which channel.
 *
 *   frame of round r on channel c -> [round gate] -> placement
 *
 * A page may be sent in two rounds on two channels, and the newest must win. So a frame of round r is
 * let in only when every channel has seen the barriers of all earlier rounds and its own has not seen
 * the barrier of r. One shared word a channel holds the count of barriers it has seen; the open round
 * is their minimum, so there is no second word that could disagree.
 *
 *   thread    may
 *   channel   check; barrier of its own channel
 *   main      open round (for reports)
 */
import { GodwitError } from '@godwit/protocol';

export class RoundGate {
  readonly sab: SharedArrayBuffer;
  readonly #seen: Int32Array<SharedArrayBuffer>;

  static make(channels: number): RoundGate {
    return new RoundGate(new SharedArrayBuffer(channels * 4));
  }

  constructor(sab: SharedArrayBuffer) {
    this.sab = sab;
    this.#seen = new Int32Array(sab);
  }

  /** The round whose barriers have not all been seen. */
  get openRound(): number {
    let round = Number.POSITIVE_INFINITY;
    for (let i = 0; i < this.#seen.length; i++) {
      round = Math.min(round, Atomics.load(this.#seen, i));
    }
    return round;
  }

  /** @throws GodwitError `wire.bad_frame` for pages of another round than the open one */
  check(channel: number, round: number): void {
    const own = Atomics.load(this.#seen, channel);
    if (round === own && round === this.openRound) return;
    throw new GodwitError('wire.bad_frame', {
      why: `pages of round ${round} on channel ${channel}, which is in round ${own} of ${this.openRound}`,
    });
  }

  /**
   * The channel has landed everything of the round.
   *
   * A barrier may come twice: a channel that broke while its answer was under way sends it again on
   * its next generation.
   *
   * @throws GodwitError `wire.bad_frame` for a barrier of another round
   */
  barrier(channel: number, round: number): void {
    const own = Atomics.load(this.#seen, channel);
    if (round === own - 1) return;
    if (round !== own || round !== this.openRound) {
      throw new GodwitError('wire.bad_frame', {
        why: `barrier ${round} on channel ${channel}, which has seen ${own} barriers`,
      });
    }
    Atomics.store(this.#seen, channel, own + 1);
  }
}
