/**
 * The control connection between the two agents of one migration.
 *
 *   source runner <-> [peer link] == WebSocket == [peer link] <-> target runner
 *
 * The source dials `/v1/peer` at the target; the first message is peerHello with the migration's
 * capability. Only typed messages of the table go in and out; anything else closes the link. Each
 * end pings, so that silence is noticed within LINK_SILENCE_MS; a link that is lost means nothing
 * for who owns the guest, it only starts questions (design rule 6).
 *
 * Main thread only. Page bytes never pass here.
 */
import {
  CONNECT_DEADLINE_MS,
  CONTROL_MESSAGE_BYTES_MAX,
  decodeMessage,
  encodeMessage,
  GodwitError,
  HEARTBEAT_MS,
  LINK_SILENCE_MS,
  type Message,
  type Side,
} from '@godwit/protocol';
import { WebSocket } from 'ws';
import { type ClockOffset, nowNs } from './clock.ts';

/** Pings at once when a link opens, so that the clocks are compared before they are needed. */
const PINGS_AT_START = 8;

export type PeerMessage = Extract<
  Message,
  {
    type:
      | 'peerHello'
      | 'peerWelcome'
      | 'offer'
      | 'accept'
      | 'handover'
      | 'landed'
      | 'run'
      | 'peerRunning'
      | 'peerRefused'
      | 'peerAllPresent'
      | 'cancel'
      | 'peerQuery'
      | 'peerAnswer';
  }
>;

export interface PeerLinkEvents {
  message(message: PeerMessage): void;
  /** Once; `why` is for people. */
  lost(why: string): void;
}

export class PeerLink {
  readonly #socket: WebSocket;
  readonly #peerSide: Side;
  readonly #clock: ClockOffset;
  readonly #timer: NodeJS.Timeout;
  #events: PeerLinkEvents | undefined;
  readonly #early: PeerMessage[] = [];
  #lostWhy: string | undefined;
  #heardAt = performance.now();
  #beatAt = performance.now();
  #pingsLeft = 0;
  #closed = false;

  /**
   * @param socket an open WebSocket
   * @param side which end we are
   * @param clock shared over reconnects, so that a good sample is kept
   */
  constructor(socket: WebSocket, side: Side, clock: ClockOffset) {
    this.#socket = socket;
    this.#peerSide = side === 'source' ? 'target' : 'source';
    this.#clock = clock;
    socket.binaryType = 'nodebuffer';
    socket.on('message', (data, isBinary) => this.#receive(data as Buffer, isBinary));
    socket.on('close', (code) => this.#end(`closed by the peer (${code})`));
    socket.on('error', (error) => this.#end(error.message));
    this.#timer = setInterval(() => this.#beat(), HEARTBEAT_MS);
  }

  /** Compares the clocks at once, by a few pings in a row; after the hello, which comes first. */
  compareClocks(): void {
    this.#pingsLeft = PINGS_AT_START;
    this.#ping();
  }

  /** What came before is delivered now, in order. */
  listen(events: PeerLinkEvents): void {
    this.#events = events;
    for (const message of this.#early.splice(0)) events.message(message);
    if (this.#lostWhy !== undefined) events.lost(this.#lostWhy);
  }

  /** Keeps what comes for the next listener, so that nothing falls between two of them. */
  hold(): void {
    this.#events = undefined;
  }

  get open(): boolean {
    return !this.#closed;
  }

  /** @returns false when the link is down, now if it was not: the core hears `lost`, nothing is queued */
  send(message: Message): boolean {
    if (this.#closed || this.#socket.readyState !== WebSocket.OPEN) return false;
    try {
      this.#socket.send(encodeMessage(message));
      return true;
    } catch (error) {
      // Our own mistake, found before anything went out. As a lost link it is a matter of the tables.
      this.#end(`${message.type} cannot be said: ${(error as Error).message}`);
      return false;
    }
  }

  /** Ends the link without a `lost`. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#timer);
    this.#socket.close(1000);
    const socket = this.#socket;
    setTimeout(() => socket.terminate(), HEARTBEAT_MS).unref();
  }

  #receive(data: Buffer, isBinary: boolean): void {
    if (this.#closed) return;
    this.#heardAt = performance.now();
    try {
      if (!isBinary) throw new GodwitError('wire.bad_frame', { why: 'text on a control link' });
      this.#take(decodeMessage(data, 'peer', this.#peerSide));
    } catch (error) {
      if (!(error instanceof GodwitError)) throw error;
      this.#socket.close(1008, error.code);
      this.#end(error.message);
    }
  }

  #take(message: Message): void {
    if (message.type === 'ping') {
      this.send({ type: 'pong', sentNs: message.sentNs, receivedNs: nowNs() });
    } else if (message.type === 'pong') {
      this.#clock.sample(message.sentNs, message.receivedNs);
      if (this.#pingsLeft > 0) this.#ping();
    } else if (this.#events === undefined) {
      this.#early.push(message as PeerMessage);
    } else {
      this.#events.message(message as PeerMessage);
    }
  }

  #ping(): void {
    this.#pingsLeft -= 1;
    this.send({ type: 'ping', sentNs: nowNs() });
  }

  #beat(): void {
    const nowMs = performance.now();
    // A process that stood still finds its timers due before it has read its sockets: that silence was
    // its own.
    if (nowMs - this.#beatAt > 2 * HEARTBEAT_MS) this.#heardAt = nowMs;
    this.#beatAt = nowMs;
    const silentMs = nowMs - this.#heardAt;
    if (silentMs > LINK_SILENCE_MS) this.#end(`silent for ${Math.round(silentMs)} ms`);
    else this.#ping();
  }

  #end(why: string): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#timer);
    this.#socket.terminate();
    this.#lostWhy = why;
    this.#events?.lost(why);
  }
}

/**
 * Dials a peer's control port.
 *
 * @param address host:port
 * @throws GodwitError `peer.unreachable` with the address and the reason
 */
export async function dialPeer(address: string): Promise<WebSocket> {
  const socket = new WebSocket(`ws://${address}/v1/peer`, {
    maxPayload: CONTROL_MESSAGE_BYTES_MAX,
    perMessageDeflate: false,
    handshakeTimeout: CONNECT_DEADLINE_MS,
  });
  await new Promise<void>((resolve, reject) => {
    socket.once('open', resolve);
    socket.once('error', (cause) =>
      reject(new GodwitError('peer.unreachable', { address, why: cause.message }, { cause })),
    );
  });
  socket.removeAllListeners('error');
  return socket;
}
