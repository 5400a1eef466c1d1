/**
 * An agent that speaks the real protocol over a real socket and holds nothing: each test says what
 * it reports. It answers create, stop, remove and grants by itself, and reconnects when told.
 */
import { randomBytes } from 'node:crypto';
import {
  type DeathReport,
  decodeMessage,
  encodeMessage,
  type GuestReport,
  HEARTBEAT_MS,
  type Message,
  type MessageName,
  type MigrationReport,
  PROTOCOL_VERSION,
} from '@godwit/protocol';
import { WebSocket } from 'ws';
import { type CoordinatorProcess, DEADLINE_MS } from './coordinator-process.ts';

const GIB = 1024 ** 3;

interface Waiting {
  readonly isWanted: (message: Message) => boolean;
  readonly resolve: (message: Message) => void;
}

export class FakeAgent {
  readonly host: string;
  incarnation = randomBytes(8).toString('hex');
  role: 'agent' | 'supervisor' = 'agent';
  freeBytes = 4 * GIB;
  termSeen = 0;
  storeId: string | undefined;
  storeRev = 0;
  readonly guests = new Map<string, GuestReport>();
  readonly migrations = new Map<string, MigrationReport>();
  deaths: DeathReport[] = [];
  /** What a grant is answered with; undefined: not at all. */
  onGrant: ((grant: Message<'grant'>) => Message | undefined) | undefined;
  answersCreate = true;
  /** False: a heartbeat that shows a guest just made is still to come. */
  beatsWhenAsked = true;
  /** What createGuest is refused with. */
  refuses: { code: string; detail: string } | undefined;
  readonly received: Message[] = [];
  readonly #waiting: Waiting[] = [];
  readonly #coordinator: CoordinatorProcess;
  #socket: WebSocket | undefined;
  #isWelcome = false;

  constructor(coordinator: CoordinatorProcess, host: string) {
    this.#coordinator = coordinator;
    this.host = host;
    this.onGrant = ({ request }) => ({ type: 'done', request, reservedMs: 7 });
  }

  /** Dials and says hello. @returns the welcome, or what it was turned away with */
  async connect(): Promise<Message> {
    await this.dial();
    const answer = this.next('welcome', 'turnedAway');
    this.send(this.hello());
    const said = await answer;
    if (said.type === 'welcome') {
      this.#isWelcome = this.role === 'agent';
      this.termSeen = said.term;
      this.storeId = said.storeId;
      this.storeRev = said.storeRev;
    }
    return said;
  }

  async dial(headers: Record<string, string> = {}): Promise<void> {
    const socket = new WebSocket(`${this.#coordinator.url.replace('http', 'ws')}/v1/agents`, {
      headers,
    });
    this.#socket = socket;
    const beats = setInterval(() => this.#isWelcome && this.beat(), HEARTBEAT_MS);
    socket.once('close', () => {
      this.#isWelcome = false;
      clearInterval(beats);
    });
    socket.on('message', (data: Buffer) => this.#take(decodeMessage(data, 'agent', 'coordinator')));
    socket.on('error', () => {});
    await new Promise<void>((resolve, reject) => {
      socket.once('open', resolve);
      socket.once('error', reject);
    });
  }

  /** Resolves with the close code when the connection ends. */
  closed(): Promise<number> {
    const socket = this.#socket!;
    if (socket.readyState === WebSocket.CLOSED) return Promise.resolve(0);
    return new Promise((resolve) => socket.once('close', resolve));
  }

  disconnect(): Promise<number> {
    const closed = this.closed();
    this.#socket?.terminate();
    return closed;
  }

  hello(): Message<'hello'> {
    return {
      type: 'hello',
      version: PROTOCOL_VERSION,
      role: this.role,
      host: this.host,
      incarnation: this.incarnation,
      address: `:${7500 + this.host.charCodeAt(0)}`,
      cores: 2,
      memoryBytes: 8 * GIB,
      freeBytes: this.freeBytes,
      pid: 4711,
      termSeen: this.termSeen,
      ...(this.storeId !== undefined && { storeId: this.storeId }),
      storeRev: this.storeRev,
      guests: [...this.guests.values()],
      migrations: [...this.migrations.values()],
      deaths: this.deaths,
    };
  }

  send(message: Message): void {
    this.#socket?.send(encodeMessage(message));
  }

  sendText(text: string): void {
    this.#socket?.send(text);
  }

  sendBytes(bytes: Uint8Array): void {
    this.#socket?.send(bytes);
  }

  beat(): void {
    this.send({
      type: 'heartbeat',
      freeBytes: this.freeBytes,
      rssBytes: 1,
      poolBytes: 0,
      descriptors: 20,
      guests: [...this.guests.values()],
    });
  }

  /** The next message of these types that was not waited for before, also one that came already. */
  next<N extends MessageName>(...types: N[]): Promise<Message<N>> {
    const isWanted = (message: Message) => (types as string[]).includes(message.type);
    const index = this.received.findIndex(isWanted);
    if (index >= 0) {
      return Promise.resolve(this.received.splice(index, 1)[0] as unknown as Message<N>);
    }
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new Error(`host ${this.host}: no ${types.join(', ')}; has ${this.#seen()}`));
      }, DEADLINE_MS);
      this.#waiting.push({
        isWanted,
        resolve: (message) => {
          clearTimeout(timer);
          resolve(message as unknown as Message<N>);
        },
      });
    });
  }

  #seen(): string {
    return this.received.map((message) => message.type).join(', ') || 'nothing';
  }

  #take(message: Message): void {
    this.#answer(message);
    if (message.type === 'pulse') {
      this.storeRev = Math.max(this.storeRev, message.storeRev);
      return;
    }
    const index = this.#waiting.findIndex((waiting) => waiting.isWanted(message));
    const [waiting] = index >= 0 ? this.#waiting.splice(index, 1) : [];
    if (waiting) waiting.resolve(message);
    else this.received.push(message);
  }

  #answer(message: Message): void {
    switch (message.type) {
      case 'createGuest':
        if (!this.answersCreate) return;
        if (this.refuses !== undefined) {
          this.send({ type: 'failed', request: message.request, error: this.refuses });
          return;
        }
        this.guests.set(message.spec.name, report(message.spec, message.epoch));
        this.send({ type: 'done', request: message.request });
        if (this.beatsWhenAsked) this.beat();
        return;
      case 'removeGuest':
      case 'discardGuest':
        this.guests.delete(message.guest);
        this.send({ type: 'done', request: message.request });
        this.beat();
        return;
      case 'stopGuest': {
        const guest = this.guests.get(message.guest);
        if (guest) this.guests.set(message.guest, { ...guest, state: 'stopped' });
        this.send({ type: 'done', request: message.request });
        this.beat();
        return;
      }
      case 'grant': {
        const answer = this.onGrant?.(message);
        if (answer?.type === 'done') this.migrations.set(message.migration, granted(message));
        if (answer) this.send(answer);
      }
    }
  }
}

export function report(spec: GuestReport['spec'], epoch: number): GuestReport {
  return {
    spec,
    epoch,
    state: 'running',
    instructions: 1_000,
    writes: 10,
    dirtyBytesPerS: 1e6,
    workingSetPages: 100,
    createdAtMs: 1,
  };
}

function granted({ migration, spec, role, epoch }: Message<'grant'>): MigrationReport {
  const phase = role === 'source' ? 'rounds' : 'landing';
  return { migration, guest: spec.name, role, epoch: epoch + 1, phase, ran: false };
}
