/**
 * The one connection to the coordinator, for an agent and for its supervisor.
 *
 *   agent, runners --send--> [coordinator link] == WebSocket /v1/agents == coordinator
 *
 * Dials for ever with back-off and jitter. Each connection begins with a hello made at that moment,
 * so a coordinator that was away learns the truth of now and nothing is queued for it: `send`
 * answers false while the link is down and the caller repeats itself on `up`. A link that is down
 * stops no guest and no migration.
 *
 * Obeys only the highest term it has seen, and no store that went back in time (design section 6).
 * Main thread only.
 */
import { EventEmitter } from 'node:events';
import {
  CONNECT_DEADLINE_MS,
  CONTROL_MESSAGE_BYTES_MAX,
  decodeMessage,
  encodeMessage,
  fromWireError,
  GodwitError,
  HEARTBEAT_MS,
  LINK_SILENCE_MS,
  type Message,
  RECONNECT_FIRST_MS,
  RECONNECT_MAX_MS,
} from '@godwit/protocol';
import { WebSocket } from 'ws';
import type { Log } from './log.ts';
import type { Seen } from './state/coordinator-seen.ts';

export interface CoordinatorLinkOptions {
  /** http(s)://HOST:PORT */
  readonly url: string;
  readonly token: string | undefined;
  readonly log: Log;
  /** The highest word heard, kept by the caller: a file for the agent, memory for the supervisor. */
  readonly memory: { readonly seen: Seen; remember(seen: Seen): void };
  hello(): Message<'hello'>;
  /** Sent every HEARTBEAT_MS and on `changed`; absent for a supervisor, which only pings. */
  heartbeat?(): Message<'heartbeat'>;
}

interface LinkEvents {
  /** Welcomed: what was said in the hello is known to the coordinator. */
  up: [welcome: Message<'welcome'>];
  message: [message: Message];
  /** Only after an `up`. */
  down: [why: string];
}

export class CoordinatorLink extends EventEmitter<LinkEvents> {
  readonly #options: CoordinatorLinkOptions;
  readonly #log: Log;
  #socket: WebSocket | undefined;
  #connected = false;
  #closed = false;
  #attempts = 0;
  #heardAtMs = 0;
  #tickedAtMs = 0;
  #redial: NodeJS.Timeout | undefined;
  #ticker: NodeJS.Timeout | undefined;
  #changed: NodeJS.Immediate | undefined;
  /** The last reason it did not come about, so that the log says it once. */
  #lastWhy = '';

  constructor(options: CoordinatorLinkOptions) {
    super();
    this.#options = options;
    this.#log = options.log.child({ coordinator: options.url });
  }

  /** Begins to dial; returns at once. */
  start(): void {
    this.#dial();
    this.#tickedAtMs = performance.now();
    this.#ticker = setInterval(() => this.#tick(), HEARTBEAT_MS);
  }

  /** Welcomed and not lost since. */
  get connected(): boolean {
    return this.#connected;
  }

  /** The highest word of a coordinator heard so far. */
  get seen(): Seen {
    return this.#options.memory.seen;
  }

  get term(): number {
    return this.seen.term;
  }

  /** @returns false when it was not said: the link is down and nothing is kept, say it again on `up` */
  send(message: Message): boolean {
    if (!this.#connected || this.#socket?.readyState !== WebSocket.OPEN) return false;
    try {
      this.#socket.send(encodeMessage(message));
      return true;
    } catch (error) {
      // Our own mistake. The link stays: all guests of this host are heard of by it, and after another
      // hello the same message would be said again.
      this.#log.error({ message: message.type, err: error }, 'a message that cannot be said');
      return false;
    }
  }

  /** Something a heartbeat carries changed: one goes out at the end of this turn of the loop. */
  changed(): void {
    this.#changed ??= setImmediate(() => {
      this.#changed = undefined;
      this.#beat();
    });
  }

  /** Ends for good; what was sent before still goes out. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#redial);
    clearInterval(this.#ticker);
    clearImmediate(this.#changed);
    const socket = this.#socket;
    if (socket === undefined || socket.readyState === WebSocket.CLOSED) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    socket.once('close', resolve);
    const deadline = setTimeout(() => socket.terminate(), HEARTBEAT_MS);
    if (socket.readyState === WebSocket.CONNECTING) socket.terminate();
    else socket.close(1000);
    await promise;
    clearTimeout(deadline);
  }

  #dial(): void {
    const { url, token } = this.#options;
    const socket = new WebSocket(`${url.replace(/^http/, 'ws')}/v1/agents`, {
      maxPayload: CONTROL_MESSAGE_BYTES_MAX,
      perMessageDeflate: false,
      handshakeTimeout: CONNECT_DEADLINE_MS,
      ...(token !== undefined && { headers: { authorization: `Bearer ${token}` } }),
    });
    let why = 'closed';
    this.#socket = socket;
    this.#heardAtMs = performance.now();
    socket.on('open', () => this.#greet(socket));
    socket.on('upgrade', () => {
      this.#heardAtMs = performance.now();
    });
    socket.on('message', (data, isBinary) => this.#receive(socket, data as Buffer, isBinary));
    socket.on('error', (error) => {
      why = error.message;
    });
    socket.on('close', (code, reason) => this.#lost(socket, `${why} (${code} ${reason})`));
  }

  /** A hello that cannot be made ends this connection, not the process; the next one makes it anew. */
  #greet(socket: WebSocket): void {
    try {
      socket.send(encodeMessage(this.#options.hello()));
    } catch (thrown) {
      this.#breakOff(socket, GodwitError.from(thrown));
    }
  }

  #receive(socket: WebSocket, data: Buffer, isBinary: boolean): void {
    if (socket !== this.#socket || this.#closed) return;
    this.#heardAtMs = performance.now();
    try {
      if (!isBinary) throw new GodwitError('wire.bad_frame', { why: 'text on a control link' });
      this.#take(decodeMessage(data, 'agent', 'coordinator'));
    } catch (error) {
      if (!(error instanceof GodwitError)) throw error;
      this.#breakOff(socket, error);
    }
  }

  #breakOff(socket: WebSocket, { code, message }: GodwitError): void {
    this.#lastWhy = message;
    this.#log.error({ code }, message);
    socket.close(1008, code);
  }

  #take(message: Message): void {
    switch (message.type) {
      case 'welcome':
        this.#obey(message.term, message.storeId, message.storeRev);
        this.#connected = true;
        this.#attempts = 0;
        this.#lastWhy = '';
        this.#log.info({ term: message.term }, 'the coordinator took us in');
        this.emit('up', message);
        return;
      case 'turnedAway':
        throw fromWireError(message.error);
      case 'pulse':
        this.#obey(message.term, this.#options.memory.seen.storeId, message.storeRev);
        return;
      default:
        if (!this.#connected)
          throw new GodwitError('wire.wrong_direction', { message: message.type });
        this.emit('message', message);
    }
  }

  /** @throws GodwitError `store.stale_term`, `store.back_in_time` */
  #obey(term: number, storeId: string | undefined, storeRev: number): void {
    const { memory } = this.#options;
    const { seen } = memory;
    if (storeId !== seen.storeId) {
      // Another store counts from its own beginning. It took us in, so none of our guests is a
      // matter of the old one (the coordinator sees to that by our hello).
      memory.remember({ term, storeId, storeRev });
      return;
    }
    if (term < seen.term) throw new GodwitError('store.stale_term', { term, seen: seen.term });
    if (storeId !== undefined && storeRev < seen.storeRev) {
      throw new GodwitError('store.back_in_time', {
        storeId,
        seen: seen.storeRev,
        found: storeRev,
      });
    }
    memory.remember({ term, storeId, storeRev });
  }

  #lost(socket: WebSocket, why: string): void {
    if (socket !== this.#socket) return;
    this.#socket = undefined;
    const wasConnected = this.#connected;
    this.#connected = false;
    if (this.#closed) return;
    if (why !== this.#lastWhy) this.#log.warn({ why }, 'no link to the coordinator, dialling on');
    this.#lastWhy = why;
    const pauseMs = Math.min(RECONNECT_FIRST_MS * 2 ** this.#attempts, RECONNECT_MAX_MS);
    this.#attempts += 1;
    this.#redial = setTimeout(() => this.#dial(), pauseMs * (1 + Math.random() / 2));
    if (wasConnected) this.emit('down', why);
  }

  #tick(): void {
    const nowMs = performance.now();
    // A process that stood still (SIGSTOP, a suspended laptop) finds all timers due before it has
    // read its sockets: the silence was its own.
    const stoodStill = nowMs - this.#tickedAtMs > LINK_SILENCE_MS;
    this.#tickedAtMs = nowMs;
    if (stoodStill) this.#heardAtMs = nowMs;
    // Welcomed or not: a coordinator that vanished before it said a word may have a successor. A socket
    // that is still connecting has a deadline of its own.
    const isSilent = nowMs - this.#heardAtMs > LINK_SILENCE_MS;
    if (isSilent && this.#socket?.readyState !== WebSocket.CONNECTING) this.#socket?.terminate();
    else this.#beat();
  }

  #beat(): void {
    if (!this.#connected) return;
    const { heartbeat } = this.#options;
    if (heartbeat !== undefined) this.send(heartbeat());
    else this.#socket?.ping();
  }
}
