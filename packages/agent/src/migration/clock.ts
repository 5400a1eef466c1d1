/**
 * The clock of one agent process, and its distance from a peer's.
 *
 * Downtime is measured from the last instruction at the source to the first at the target, on two
 * clocks. Each process counts nanoseconds from its own start (so that they fit a double for 104
 * days); pings over the control link give the distance. The sample with the shortest round trip is
 * the most exact one (NTP's clock filter, RFC 5905 section 10): its error is at most half of it.
 */

const BASE_NS = process.hrtime.bigint();

/** Nanoseconds since this process started, monotonic. */
export function nowNs(): number {
  return fromHrtime(process.hrtime.bigint());
}

/** A reading of `process.hrtime.bigint()` (a hart's stamp) on this clock. */
export function fromHrtime(ns: bigint): number {
  return Math.max(0, Number(ns - BASE_NS));
}

export class ClockOffset {
  #offsetNs = 0;
  #roundTripNs = Number.POSITIVE_INFINITY;

  /** A pong came back: sent at `sentNs` on our clock, received at `receivedNs` on the peer's. */
  sample(sentNs: number, receivedNs: number, backNs = nowNs()): void {
    const roundTripNs = backNs - sentNs;
    if (roundTripNs < 0 || roundTripNs > this.#roundTripNs) return;
    this.#roundTripNs = roundTripNs;
    this.#offsetNs = receivedNs - (sentNs + roundTripNs / 2);
  }

  /** Peer's clock minus ours; 0 until measured. */
  get offsetNs(): number {
    return this.#offsetNs;
  }

  /** Half the shortest round trip: the bound of the error. Infinite until measured. */
  get errorNs(): number {
    return this.#roundTripNs / 2;
  }

  /** A time on the peer's clock, on ours. */
  toOurs(peerNs: number): number {
    return peerNs - this.#offsetNs;
  }
}
