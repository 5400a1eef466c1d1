/**
 * One WebSocket from an agent or its supervisor, after the upgrade.
 *
 *   socket --bytes--> [connection] --messages, one at a time--> agents.ts
 *   agents.ts, migrations --send, request--> [connection] --bytes--> socket
 *
 * Messages are handled strictly in the order they came: the next one waits until the promise of the
 * last is settled, because handling one may write to the store. A peer that sends faster than that
 * is paused, so the queue is bounded. A message that does not decode ends the connection with its
 * error code; the agent dials again and says where it stands.
 */
import {
  CONTROL_MESSAGE_BYTES_MAX,
  decodeMessage,
  encodeMessage,
  fromWireError,
  GodwitError,
  type Message,
  type MessageName,
  REQUEST_DEADLINE_MS,
} from '@godwit/protocol';
import type { WebSocket } from 'ws';

/** Messages waiting to be handled before the socket is no longer read. */
const QUEUE_MAX = 256;
/** An agent that does not read: beyond this it is cut off, because control messages are small. */
const UNSENT_BYTES_MAX = 2 * CONTROL_MESSAGE_BYTES_MAX;
/** WebSocket close codes (RFC 6455 section 7.4.1): policy violation. */
const CLOSE_POLICY = 1008;

type RequestName = {
  [N in MessageName]: Message<N> extends { request: number } ? N : never;
}[MessageName];
/** A request without its number, which the connection gives. */
export type Request = {
  [N in Exclude<RequestName, 'done' | 'failed'>]: Omit<Message<N>, 'request'>;
}[Exclude<RequestName, 'done' | 'failed'>];

interface Waiting {
  readonly resolve: (done: Message<'done'>) => void;
  readonly reject: (error: GodwitError) => void;
  readonly timer: NodeJS.Timeout;
}

export interface ConnectionEvents {
  /** Handles one message; the next comes when the promise is settled. A throw closes the connection. */
  message(message: Message): Promise<void>;
  /** The connection is gone, once. */
  closed(): void;
}

export class AgentConnection {
  /** Who is there; set by the hello. */
  host = '(not said yet)';
  /** Its hello was accepted. */
  isWelcomed = false;
  /** Monotonic time of the last byte that made sense. */
  heardAtMs = performance.now();
  readonly remoteAddress: string;
  readonly #socket: WebSocket;
  readonly #events: ConnectionEvents;
  readonly #queue: Message[] = [];
  readonly #waiting = new Map<number, Waiting>();
  #isHandling = false;
  #isClosed = false;
  #request = 0;

  constructor(socket: WebSocket, remoteAddress: string, events: ConnectionEvents) {
    this.#socket = socket;
    this.remoteAddress = remoteAddress;
    this.#events = events;
    socket.on('message', (data: Buffer, isBinary: boolean) => this.#receive(data, isBinary));
    socket.on('error', () => socket.terminate());
    socket.on('close', () => this.#closed());
  }

  get isOpen(): boolean {
    return !this.#isClosed;
  }

  /** Queues a message; silently nothing once the connection is gone, since the hello repeats all. */
  send(message: Message): void {
    this.sendBytes(encodeMessage(message));
  }

  /** The same for a message that goes to many, encoded once. */
  sendBytes(message: Uint8Array): void {
    if (this.#isClosed) return;
    this.#socket.send(message);
    if (this.#socket.bufferedAmount > UNSENT_BYTES_MAX) this.#socket.terminate();
  }

  /**
   * Sends a request and waits for `done`.
   *
   * @throws GodwitError what the agent said in `failed`; `host.unreachable` the connection broke and
   *   nobody knows whether it was carried out; `request.timed_out` likewise
   */
  request(request: Request, deadlineMs = REQUEST_DEADLINE_MS): Promise<Message<'done'>> {
    if (this.#isClosed) {
      return Promise.reject(new GodwitError('host.unreachable', { host: this.host }));
    }
    this.#request = (this.#request + 1) >>> 0;
    const number = this.#request;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(number);
        const what = `${request.type} on host ${this.host}`;
        reject(new GodwitError('request.timed_out', { what, afterMs: deadlineMs }));
      }, deadlineMs);
      this.#waiting.set(number, { resolve, reject, timer });
      try {
        this.send({ ...request, request: number } as Message);
      } catch (thrown) {
        this.#take(number)?.reject(GodwitError.from(thrown));
      }
    });
  }

  /** Ends the connection; `error` travels in the close frame as its code. */
  close(error?: GodwitError): void {
    if (error === undefined) this.#socket.terminate();
    else this.#socket.close(CLOSE_POLICY, error.code);
    this.#closed();
  }

  #receive(data: Buffer, isBinary: boolean): void {
    if (this.#isClosed) return;
    try {
      if (!isBinary)
        throw new GodwitError('wire.bad_frame', { why: 'text on a control connection' });
      const message = decodeMessage(data, 'agent', 'agent');
      this.heardAtMs = performance.now();
      // Answers do not wait in the queue: what is being handled may be waiting for them.
      if (message.type === 'done') this.#take(message.request)?.resolve(message);
      else if (message.type === 'failed') {
        this.#take(message.request)?.reject(fromWireError(message.error));
      } else this.#enqueue(message);
    } catch (thrown) {
      this.close(GodwitError.from(thrown));
    }
  }

  #enqueue(message: Message): void {
    this.#queue.push(message);
    if (this.#queue.length >= QUEUE_MAX) this.#socket.pause();
    if (!this.#isHandling) void this.#drain();
  }

  async #drain(): Promise<void> {
    this.#isHandling = true;
    for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
      if (this.#socket.isPaused && this.#queue.length < QUEUE_MAX / 2) this.#socket.resume();
      try {
        await this.#events.message(next);
      } catch (thrown) {
        this.close(GodwitError.from(thrown));
      }
      if (this.#isClosed) this.#queue.length = 0;
    }
    this.#isHandling = false;
  }

  #take(number: number): Waiting | undefined {
    const waiting = this.#waiting.get(number);
    if (waiting === undefined) return undefined;
    clearTimeout(waiting.timer);
    this.#waiting.delete(number);
    return waiting;
  }

  #closed(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const number of [...this.#waiting.keys()]) {
      this.#take(number)?.reject(new GodwitError('host.unreachable', { host: this.host }));
    }
    this.#events.closed();
  }
}
