/**
 * Consoles of the guests on this host: two byte streams with offsets, each to any number of clients.
 *
 *   UART ring (guest memory) -> [console server] -> WebSocket -> client
 *   client -> WebSocket -> [console server] -> UART ring
 *
 * Output is pushed as the guest writes it: the UART rings CONTROL_BELL_DEVICE while somebody is
 * attached, and a burst is gathered for a millisecond. Output that nobody has acknowledged travels with
 * the guest, so what a client has not read here it reads at the next host.
 *
 * Input is acknowledged (`consoleTaken`) only when it stands in the ring, that is in machine state, and
 * goes there only while the guest runs here. Ring write and state capture are both turns of this
 * thread, so a byte is either in the captured state or still the client's to send again.
 *
 * Any number of clients watch, one types: input of two would be one stream whose order nobody chose, and
 * offsets that mean nothing. A second one is refused, watches, or takes over, as it asks. After a break
 * or a move the one that typed comes back under its own name.
 *
 * A client's offsets are its own claim: bytes below what was taken are dropped, a gap is answered with
 * the offset that is expected. Main thread only.
 */
import { ConsoleRing, type GuestMemory, memoryMap as map, ringBell } from '@godwit/machine';
import {
  CONNECT_DEADLINE_MS,
  decodeMessage,
  type ErrorCode,
  encodeMessage,
  FIRST_MESSAGE_BYTES_MAX,
  GodwitError,
  type Message,
} from '@godwit/protocol';
import { WebSocket } from 'ws';
import type { Log } from '../log.ts';
import type { Guest } from './guest.ts';

/** Gathers what follows the first byte of a burst. */
const GATHER_MS = 1;
/** How often input that did not fit, or came while the guest stood, is tried again. */
const RETRY_MS = 5;
/** Longest sleep of a watcher: it looks whether its clients are still there. */
const WATCH_MS = 1_000;
/** Output on its way to a client that does not read; the ring keeps the rest. */
const UNSENT_BYTES_MAX = 1 << 20;
/** Input of one client that waits here; its socket is not read meanwhile. */
const PENDING_BYTES_MAX = 4 << 20;
const MOVES_REMEMBERED_MAX = 4096;
const CLOSE_POLICY = 1008;
const CLOSE_NORMAL = 1000;

interface Moved {
  readonly epoch: number;
  readonly host: string;
  readonly address: string;
}

interface Client {
  readonly socket: WebSocket;
  /** Its own name for itself; undefined: it has none, and is never known again. */
  readonly name: string | undefined;
  readonly types: boolean;
  hasTyped: boolean;
  /** Next output byte to send. */
  next: bigint;
  acknowledged: bigint;
  pending: { offset: bigint; bytes: Uint8Array }[];
  pendingBytes: number;
}

export class ConsoleServer {
  readonly #find: (guest: string) => Guest | undefined;
  readonly #log: Log;
  readonly #consoles = new Map<Guest, GuestConsole>();
  /** Who typed last here, while the guest is here. */
  readonly #typed = new WeakMap<Guest, string | undefined>();
  /** Where guests went that were here; the newest last. */
  readonly #moved = new Map<string, Moved>();

  constructor(find: (guest: string) => Guest | undefined, log: Log) {
    this.#find = find;
    this.#log = log;
  }

  /** A client dialled in; its first message must say which guest. */
  onSocket(socket: WebSocket): void {
    const deadline = setTimeout(() => socket.terminate(), CONNECT_DEADLINE_MS);
    socket.on('error', () => socket.terminate());
    socket.on('close', () => clearTimeout(deadline));
    socket.once('message', (data, isBinary) => {
      clearTimeout(deadline);
      guarded(socket, () => {
        const message = decode(data as Buffer, isBinary, FIRST_MESSAGE_BYTES_MAX);
        if (message.type !== 'consoleAttach') {
          throw new GodwitError('wire.wrong_direction', { message: message.type });
        }
        this.#attach(socket, message);
      });
    });
  }

  /** The guest runs elsewhere: its clients are told where, later ones too. */
  moved(guest: string, epoch: number, host: string, address: string): void {
    this.#moved.delete(guest);
    this.#moved.set(guest, { epoch, host, address });
    if (this.#moved.size > MOVES_REMEMBERED_MAX) {
      this.#moved.delete(this.#moved.keys().next().value!);
    }
    for (const [held, console] of this.#consoles) {
      if (held.name === guest && held.epoch < epoch) {
        console.end({ type: 'consoleMoved', epoch, host, address });
      }
    }
  }

  /** The guest ended or is removed: its clients get the last output, then the reason. */
  ended(guest: Guest, why: string, code: number): void {
    this.#consoles.get(guest)?.end({ type: 'consoleEnded', why, code });
  }

  close(): void {
    for (const console of this.#consoles.values()) console.close();
    this.#consoles.clear();
  }

  #attach(socket: WebSocket, attach: Message<'consoleAttach'>): void {
    const guest = this.#find(attach.guest);
    if (guest?.state === 'ended') {
      const { event, code } = guest.ending!;
      return last(socket, { type: 'consoleEnded', why: event, code });
    }
    if (guest === undefined || !isServed(guest)) {
      const moved = this.#moved.get(attach.guest);
      if (moved !== undefined) return last(socket, { type: 'consoleMoved', ...moved });
      throw guest === undefined
        ? new GodwitError('guest.not_found', { guest: attach.guest, known: '' })
        : new GodwitError('guest.not_running', { guest: guest.name, state: guest.state });
    }
    if (guest.spec.kind !== 'machine') {
      throw new GodwitError('guest.bad_spec', { why: `guest ${guest.name} has no console` });
    }
    let console = this.#consoles.get(guest);
    if (console === undefined) {
      console = new GuestConsole(guest, this.#typed, () => this.#consoles.delete(guest));
      this.#consoles.set(guest, console);
    }
    this.#log.debug({ guest: guest.name }, 'console attached');
    console.attach(socket, attach);
  }
}

/** Whoever holds the guest as its owner; a host where it is only arriving or frozen is not asked. */
function isServed(guest: Guest): boolean {
  return ['running', 'stopped', 'creating', 'doubt'].includes(guest.state);
}

/** The clients of one guest. Lives while there is one. */
class GuestConsole {
  readonly #guest: Guest;
  readonly #memory: GuestMemory;
  readonly #ring: ConsoleRing;
  readonly #clients = new Set<Client>();
  readonly #typed: WeakMap<Guest, string | undefined>;
  readonly #empty: () => void;
  #retry: NodeJS.Timeout | undefined;

  constructor(guest: Guest, typed: WeakMap<Guest, string | undefined>, empty: () => void) {
    this.#guest = guest;
    this.#typed = typed;
    this.#memory = guest.memory;
    this.#ring = new ConsoleRing(guest.memory);
    this.#empty = empty;
    this.#ring.listen(true);
    void this.#watch();
  }

  /** @throws GodwitError `guest.console_busy`: somebody else types */
  attach(socket: WebSocket, attach: Message<'consoleAttach'>): void {
    const types = attach.access !== 'watch';
    const displaced = types ? this.#displacedBy(attach) : undefined;
    const { oldest, written } = this.#ring;
    const from = this.#guest.consoleFrom;
    const first = clamp(from, oldest, written);
    const asked = attach.outputOffset === undefined ? first : BigInt(attach.outputOffset);
    const start = clamp(asked, first, written);
    const client: Client = {
      socket,
      name: attach.client,
      types,
      hasTyped: false,
      next: start,
      acknowledged: start,
      pending: [],
      pendingBytes: 0,
    };
    this.#clients.add(client);
    if (displaced !== undefined) {
      this.#leave(displaced);
      displaced.socket.close(CLOSE_POLICY, 'guest.console_busy' satisfies ErrorCode);
    }
    socket.on('message', (data, isBinary) =>
      guarded(socket, () => this.#onMessage(client, decode(data as Buffer, isBinary))),
    );
    socket.on('close', () => this.#leave(client));
    send(socket, {
      type: 'consoleAttached',
      epoch: this.#guest.epoch,
      outputOffset: Number(start),
      inputOffset: Number(this.#ring.inputWritten),
      continues: !this.#typed.has(this.#guest) || this.#typed.get(this.#guest) === client.name,
    });
    this.#pump(client);
  }

  /** Who types now and makes way; nobody when nobody types. @throws GodwitError `guest.console_busy` */
  #displacedBy({
    access,
    client: name,
    inputOffset,
  }: Message<'consoleAttach'>): Client | undefined {
    const typist = [...this.#clients].find(({ types }) => types);
    if (typist === undefined || access === 'take') return typist;
    const isItself = name !== undefined && typist.name === name;
    // Somebody came between the move of a guest and its typist, who has bytes on the way.
    const isReturning = inputOffset !== undefined && !typist.hasTyped;
    if (isItself || isReturning) return typist;
    throw new GodwitError('guest.console_busy', { guest: this.#guest.name });
  }

  /** The last output, then the last word, then the end. */
  end(word: Message<'consoleMoved'> | Message<'consoleEnded'>): void {
    for (const client of this.#clients) {
      if (word.type === 'consoleEnded') this.#pump(client);
      last(client.socket, word);
    }
    this.close();
  }

  close(): void {
    clearInterval(this.#retry);
    for (const { socket } of this.#clients) {
      if (socket.readyState === WebSocket.OPEN) socket.close(CLOSE_NORMAL);
    }
    this.#clients.clear();
    this.#ended();
  }

  #leave(client: Client): void {
    if (!this.#clients.delete(client) || this.#clients.size > 0) return;
    clearInterval(this.#retry);
    this.#ended();
  }

  #ended(): void {
    this.#ring.listen(false);
    ringBell(this.#memory.i32, map.CONTROL_BELL_DEVICE >> 2); // The watcher looks, and leaves.
    this.#empty();
  }

  // ------------------------------------------------------------------------------- output

  /** The bell is read before the ring is looked at: a byte written in between is not slept over. */
  async #watch(): Promise<void> {
    const { i32 } = this.#memory;
    const bell = map.CONTROL_BELL_DEVICE >> 2;
    do {
      const rung = Atomics.load(i32, bell);
      let isSent = false;
      for (const client of this.#clients) isSent = this.#pump(client) || isSent;
      if (isSent) {
        await new Promise((resolve) => setTimeout(resolve, GATHER_MS));
        continue;
      }
      const wait = Atomics.waitAsync(i32, bell, rung, WATCH_MS);
      if (wait.async) await wait.value;
    } while (this.#clients.size > 0);
  }

  /** Sends what the client has not got, as far as its socket takes it. */
  #pump(client: Client): boolean {
    const { socket } = client;
    let isSent = false;
    while (socket.readyState === WebSocket.OPEN && socket.bufferedAmount < UNSENT_BYTES_MAX) {
      const { offset, bytes } = this.#ring.readOutput(client.next);
      if (bytes.length === 0) break;
      const { epoch } = this.#guest;
      send(socket, { type: 'consoleOutput', epoch, offset: Number(offset), bytes });
      client.next = offset + BigInt(bytes.length);
      isSent = true;
    }
    return isSent;
  }

  /** Kept for the slowest: what one client has read another may still need after a move. */
  #acknowledge(client: Client, offset: bigint): void {
    if (offset > client.acknowledged && offset <= client.next) client.acknowledged = offset;
    let lowest = client.acknowledged;
    for (const { acknowledged } of this.#clients) if (acknowledged < lowest) lowest = acknowledged;
    this.#ring.acknowledge(lowest);
  }

  // -------------------------------------------------------------------------------- input

  #onMessage(client: Client, message: Message): void {
    if (!this.#clients.has(client)) return;
    if (message.type === 'consoleAcknowledged') {
      this.#acknowledge(client, BigInt(message.offset));
    } else if (message.type === 'consoleInput') {
      if (!client.types) throw new GodwitError('guest.console_busy', { guest: this.#guest.name });
      client.hasTyped = true;
      this.#typed.set(this.#guest, client.name);
      client.pending.push({ offset: BigInt(message.offset), bytes: message.bytes });
      client.pendingBytes += message.bytes.length;
      this.#take(client);
      if (client.pendingBytes > PENDING_BYTES_MAX) {
        throw new GodwitError('wire.too_large', {
          what: 'console input',
          bytes: client.pendingBytes,
          bytesMax: PENDING_BYTES_MAX,
        });
      }
    } else {
      throw new GodwitError('wire.wrong_direction', { message: message.type });
    }
  }

  /** Moves waiting input into the ring; what does not fit waits, and the socket with it. */
  #take(client: Client): void {
    while (client.pending.length > 0 && this.#guest.takesInput) {
      const { offset, bytes } = client.pending[0]!;
      const expected = this.#ring.inputWritten;
      // Below what was taken: sent again after a break. Above it: bytes are missing; dropped, and the
      // answer says from where to send again.
      const known = expected - offset;
      const fresh =
        known >= 0n && known < BigInt(bytes.length) ? bytes.subarray(Number(known)) : undefined;
      const taken = fresh === undefined ? 0 : this.#ring.writeInput(fresh);
      if (fresh !== undefined && taken < fresh.length) {
        client.pending[0] = { offset: expected + BigInt(taken), bytes: fresh.subarray(taken) };
        if (taken > 0) this.#sayTaken();
        break;
      }
      client.pending.shift();
      client.pendingBytes -= bytes.length;
      this.#sayTaken();
    }
    if (client.pending.length === 0) {
      if (client.socket.isPaused) client.socket.resume();
      return;
    }
    if (client.socket.readyState === WebSocket.OPEN) client.socket.pause();
    this.#retry ??= setInterval(() => this.#takeAll(), RETRY_MS);
  }

  #takeAll(): void {
    for (const client of this.#clients) if (client.pending.length > 0) this.#take(client);
    for (const client of this.#clients) if (client.pending.length > 0) return;
    clearInterval(this.#retry);
    this.#retry = undefined;
  }

  /** To all: who only watches knows then where input would go on. */
  #sayTaken(): void {
    const offset = Number(this.#ring.inputWritten);
    for (const { socket } of this.#clients) {
      send(socket, { type: 'consoleTaken', epoch: this.#guest.epoch, offset });
    }
  }
}

function clamp(value: bigint, least: bigint, most: bigint): bigint {
  if (value < least) return least;
  return value > most ? most : value;
}

function decode(data: Buffer, isBinary: boolean, bytesMax?: number): Message {
  if (!isBinary) throw new GodwitError('wire.bad_frame', { why: 'text on a console' });
  return decodeMessage(data, 'console', 'client', bytesMax);
}

/** A client's mistake ends its own connection, with the code, and nothing else. */
function guarded(socket: WebSocket, handle: () => void): void {
  try {
    handle();
  } catch (thrown) {
    socket.close(CLOSE_POLICY, GodwitError.from(thrown).code);
  }
}

function send(socket: WebSocket, message: Message): void {
  if (socket.readyState === WebSocket.OPEN) socket.send(encodeMessage(message));
}

function last(socket: WebSocket, message: Message): void {
  send(socket, message);
  if (socket.readyState === WebSocket.OPEN) socket.close(CLOSE_NORMAL);
}
