/**
 * Many agents in one process: each a real control connection that speaks the real protocol, and no
 * guest behind it. For measurements of the coordinator alone.
 *
 *   coordinator <--WebSocket, one an agent-- [simulated agents]
 *
 * They make, stop and remove the guests they are asked for in a table only, send a heartbeat every
 * HEARTBEAT_MS with counts that rise, and remember the word of the coordinator as a real agent does.
 * Heartbeats are spread over the period, as those of machines that were started apart are.
 */
import { randomBytes } from 'node:crypto';
import {
  decodeMessage,
  encodeMessage,
  type GuestReport,
  HEARTBEAT_MS,
  type Message,
  PROTOCOL_VERSION,
} from '@godwit/protocol';
import { WebSocket } from 'ws';

const GIB = 2 ** 30;
const CORES = 8;

export class SimulatedAgent {
  readonly name: string;
  readonly guests = new Map<string, GuestReport>();
  readonly #incarnation = randomBytes(8).toString('hex');
  readonly #memoryBytes: number;
  readonly #port: number;
  #socket: WebSocket | undefined;
  #beats: NodeJS.Timeout | undefined;
  #seen = { term: 0, storeId: undefined as string | undefined, storeRev: 0 };

  constructor(
    name: string,
    { port, memoryBytes = 64 * GIB }: { port: number; memoryBytes?: number },
  ) {
    this.name = name;
    this.#port = port;
    this.#memoryBytes = memoryBytes;
  }

  /** Resolves when the coordinator has welcomed it. */
  async connect(url: string): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const socket = new WebSocket(`${url.replace('http', 'ws')}/v1/agents`, {
      perMessageDeflate: false,
    });
    this.#socket = socket;
    socket.on('open', () => this.#send(this.#hello()));
    socket.on('error', reject);
    socket.on('close', (code, reason) => {
      clearInterval(this.#beats);
      reject(new Error(`host ${this.name}: closed with ${code} ${reason}`));
    });
    socket.on('message', (data: Buffer) => {
      const message = decodeMessage(data, 'agent', 'coordinator');
      this.#take(message);
      if (message.type === 'welcome') resolve();
      if (message.type === 'turnedAway') reject(new Error(message.error.code));
    });
    await promise;
    setTimeout(() => this.#startBeats(), Math.random() * HEARTBEAT_MS);
  }

  close(): void {
    this.#socket?.terminate();
  }

  #startBeats(): void {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    this.#beats = setInterval(() => this.#beat(), HEARTBEAT_MS);
  }

  #beat(): void {
    for (const [name, guest] of this.guests) {
      const { instructions, writes } = guest;
      this.guests.set(name, {
        ...guest,
        instructions: instructions + 1_000_000,
        writes: writes + 500,
      });
    }
    this.#send({
      type: 'heartbeat',
      freeBytes: this.#freeBytes,
      rssBytes: 300 * 2 ** 20,
      poolBytes: 0,
      descriptors: 40,
      guests: [...this.guests.values()],
    });
  }

  get #freeBytes(): number {
    let used = 0;
    for (const { spec } of this.guests.values()) used += spec.memoryBytes;
    return this.#memoryBytes - used;
  }

  #hello(): Message<'hello'> {
    return {
      type: 'hello',
      version: PROTOCOL_VERSION,
      role: 'agent',
      host: this.name,
      incarnation: this.#incarnation,
      address: `:${this.#port}`,
      cores: CORES,
      memoryBytes: this.#memoryBytes,
      freeBytes: this.#freeBytes,
      pid: process.pid,
      termSeen: this.#seen.term,
      ...(this.#seen.storeId !== undefined && { storeId: this.#seen.storeId }),
      storeRev: this.#seen.storeRev,
      guests: [...this.guests.values()],
      migrations: [],
      deaths: [],
    };
  }

  #send(message: Message): void {
    this.#socket?.send(encodeMessage(message));
  }

  #take(message: Message): void {
    switch (message.type) {
      case 'welcome':
        this.#seen = { term: message.term, storeId: message.storeId, storeRev: message.storeRev };
        return;
      case 'pulse':
        this.#seen = { ...this.#seen, term: message.term, storeRev: message.storeRev };
        return;
      case 'createGuest':
        this.guests.set(message.spec.name, reportOf(message));
        this.#send({ type: 'done', request: message.request });
        return;
      case 'stopGuest':
      case 'removeGuest':
        this.guests.delete(message.guest);
        this.#send({ type: 'done', request: message.request });
        return;
      case 'grant':
        this.#send({
          type: 'failed',
          request: message.request,
          error: { code: 'internal', detail: JSON.stringify({ why: 'it is simulated' }) },
        });
    }
  }
}

function reportOf({ spec, epoch }: Message<'createGuest'>): GuestReport {
  return {
    spec,
    epoch,
    state: 'running',
    instructions: 0,
    writes: 0,
    dirtyBytesPerS: 2e6,
    workingSetPages: 500,
    createdAtMs: Date.now(),
  };
}
