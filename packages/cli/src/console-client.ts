/**
 * A guest's console from outside: two byte streams that survive the guest's moves, byte-exact.
 *
 * person or program -> [console client] -> the owner's agent -> UART
 *
 * Both streams are counted from the guest's start. Input is kept here until the agent says that it is
 * in the guest's machine state (`consoleTaken`), and sent again from there after a move; output is
 * asked for from the first byte not yet seen. Output of an older epoch is dropped: after a move the old
 * owner has nothing to say any more.
 *
 * Where the owner is, the coordinator knows; it may be down. Then every agent ever heard of is asked,
 * and whoever holds the guest under the highest epoch answers.
 *
 *   closed -> finding -> attaching -> attached -> (moved | broken) -> finding ... -> ended | failed
 */
import { randomBytes } from 'node:crypto';
import { EventEmitter } from 'node:events';
import {
  CONNECT_DEADLINE_MS,
  CONSOLE_MESSAGE_BYTES_MAX,
  decodeMessage,
  type ErrorCode,
  encodeMessage,
  GodwitError,
  LINK_SILENCE_MS,
  type Message,
  RECONNECT_FIRST_MS,
} from '@godwit/protocol';
import { WebSocket } from 'ws';
import { type ApiClient, pause } from './api-client.ts';
import { CommandError, EXIT } from './errors.ts';
import { InputQueue } from './input-queue.ts';

export interface ConsoleOptions {
  readonly api: ApiClient;
  readonly guest: string;
  /** From which output byte on; absent: what the ring still holds. */
  readonly outputOffset?: number;
  /** How long to look for an owner before giving up. */
  readonly patienceMs?: number;
  /** One client types, others watch; `take` ends the one that types. @default 'type' */
  readonly access?: 'type' | 'take' | 'watch';
}

interface ConsoleEvents {
  output: [Uint8Array];
  /** Connected, first or again, to this address under this epoch. */
  attached: [address: string, epoch: number];
  /** The connection to the owner is gone; it is being looked for. */
  away: [why: string];
  /** So many bytes of output fell out of the guest's ring before they could be read. */
  gap: [bytes: number];
  /** So many bytes of input were never taken, because somebody else typed meanwhile. */
  dropped: [bytes: number];
  ended: [why: string, code: number];
  failed: [CommandError];
}

/** A connection to the owner; `over` says why it went, or null when the guest ended. */
interface Attachment {
  readonly over: Promise<string | null>;
}

/** As an agent closes the connection of a client that may not type. */
const BUSY: ErrorCode = 'guest.console_busy';
const PATIENCE_MS = 60_000;
const FIND_DEADLINE_MS = 1_000;
const FIND_AGAIN_MAX_MS = 250;
/** Output is acknowledged when this much was read, or when the guest fell silent. */
const ACKNOWLEDGE_BYTES = 8_192;
const ACKNOWLEDGE_AFTER_MS = 20;

export class ConsoleClient extends EventEmitter<ConsoleEvents> {
  readonly guest: string;
  readonly #api: ApiClient;
  readonly #patienceMs: number;
  readonly #input = new InputQueue();
  readonly #stop = new AbortController();
  /** Agents that hold or held the guest, and all others the coordinator named: address only. */
  readonly #addresses = new Set<string>();
  /** Where an agent said that the guest went; asked first, once. */
  #sentTo: string | undefined;
  /** How to attach from now on: who took over once comes back as any other. */
  #access: 'type' | 'take' | 'watch';
  readonly #name = randomBytes(8).toString('hex');
  /** An agent that holds the guest said that looking on is of no use. */
  #refusal: CommandError | undefined;
  /** Why this console is over for good. */
  #over: Error | undefined;
  #socket: WebSocket | undefined;
  #epoch = 0;
  #outputNext: number | undefined;
  #acknowledged = 0;
  #acknowledgeTimer: NodeJS.Timeout | undefined;
  #closed: Promise<void> | undefined;
  #whenTaken: { offset: number; resolve: () => void; reject: (error: Error) => void }[] = [];

  constructor(options: ConsoleOptions) {
    super();
    this.guest = options.guest;
    this.#api = options.api;
    this.#patienceMs = options.patienceMs ?? PATIENCE_MS;
    this.#outputNext = options.outputOffset;
    this.#access = options.access ?? 'type';
  }

  /** Offset of the next output byte; undefined before the first attachment. */
  get outputOffset(): number | undefined {
    return this.#outputNext;
  }

  get epoch(): number {
    return this.#epoch;
  }

  /**
   * Connects; set listeners before, output may come at once. Later breaks are repaired silently but
   * for the events.
   * @throws CommandError no such guest, no console any more, nobody answers
   */
  async open(): Promise<void> {
    const attachment = await this.#findOwner();
    this.#closed = this.#keepAttached(attachment);
    await this.#rememberHosts();
  }

  /** Queues bytes for the guest; they are sent once, in order, whatever moves meanwhile. */
  write(bytes: Uint8Array): void {
    this.#input.push(bytes);
    this.#sendInput();
  }

  /** When everything written so far is in the guest's machine state. @throws why it never will be */
  async taken(): Promise<void> {
    const offset = this.#input.end;
    if (this.#input.start >= offset) return;
    if (this.#over !== undefined) throw this.#over;
    await new Promise<void>((resolve, reject) => {
      this.#whenTaken.push({ offset, resolve, reject });
    });
  }

  async close(): Promise<void> {
    this.#acknowledge();
    this.#stop.abort();
    this.#socket?.terminate();
    clearTimeout(this.#acknowledgeTimer);
    await this.#closed;
    this.#settleTaken(new Error('the console was closed'));
  }

  // ------------------------------------------------------------------------------- the connection

  async #keepAttached(first: Attachment): Promise<void> {
    let attachment = first;
    for (;;) {
      const why = await attachment.over;
      if (why === null || this.#stop.signal.aborted) return;
      if (why === BUSY) {
        this.#settleTaken(takenOver(this.guest));
        this.emit('failed', takenOver(this.guest));
        return;
      }
      this.emit('away', why);
      try {
        attachment = await this.#findOwner();
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        this.#settleTaken(error as Error);
        this.emit('failed', error as CommandError);
        return;
      }
    }
  }

  /** From the first moment after ATTACHED, in the same turn: output follows it at once. */
  #serve(socket: WebSocket): Attachment {
    const { promise, resolve } = Promise.withResolvers<string | null>();
    const silence = this.#watchSilence(socket);
    const leave = (why: string | null) => {
      clearInterval(silence);
      if (this.#socket === socket) this.#socket = undefined;
      socket.terminate();
      resolve(why);
    };
    const receive = (data: Buffer) => {
      try {
        const message = decodeMessage(data, 'console', 'agent');
        if (message.type === 'consoleMoved') {
          this.#sentTo = message.address;
          leave(`moved to ${message.host}`);
        } else if (message.type === 'consoleEnded') {
          this.#settleTaken(new GodwitError('guest.ended', { guest: this.guest }));
          this.emit('ended', message.why, message.code);
          leave(null);
        } else this.#onMessage(message);
      } catch (error) {
        leave((error as Error).message);
      }
    };
    socket.on('message', receive);
    socket.on('close', (_code, reason) =>
      leave(reason.toString() === BUSY ? BUSY : 'connection lost'),
    );
    socket.on('error', () => leave('connection lost'));
    this.#socket = socket;
    this.#sendInput();
    return { over: promise };
  }

  /**
   * A frozen host closes no socket. When nothing came for a while, not even a pong, and the
   * coordinator says that the guest is elsewhere by now, this connection is left.
   */
  #watchSilence(socket: WebSocket): NodeJS.Timeout {
    let isAnswered = true;
    socket.on('pong', () => {
      isAnswered = true;
    });
    return setInterval(() => {
      if (!isAnswered) {
        void this.#api.consoleAddress(this.guest, FIND_DEADLINE_MS).then(
          ({ epoch }) => {
            if (epoch > this.#epoch) socket.terminate();
          },
          () => {}, // No coordinator: nothing better is known, so stay.
        );
      }
      isAnswered = false;
      if (socket.readyState === WebSocket.OPEN) socket.ping();
    }, LINK_SILENCE_MS);
  }

  async #findOwner(): Promise<Attachment> {
    const endsAtMs = performance.now() + this.#patienceMs;
    let waitMs = RECONNECT_FIRST_MS / 2;
    let lastError: unknown;
    for (;;) {
      if (this.#stop.signal.aborted) throw new Error('the console was closed');
      for await (const url of this.#candidates((error) => {
        lastError = error;
      })) {
        const attachment = await this.#attach(url);
        if (attachment !== undefined) return attachment;
        if (this.#refusal !== undefined) throw this.#refusal;
      }
      if (performance.now() > endsAtMs) throw this.#gaveUp(lastError);
      await pause(waitMs, this.#stop.signal);
      waitMs = Math.min(waitMs * 2, FIND_AGAIN_MAX_MS);
    }
  }

  /**
   * Where the guest may be, best guess first: where its last owner sent us, where the coordinator
   * believes it to be, then every agent there is, the latest owner first.
   * @throws CommandError when the guest certainly has no console any more
   */
  async *#candidates(onError: (error: unknown) => void): AsyncGenerator<string> {
    const sentTo = this.#sentTo;
    this.#sentTo = undefined;
    if (sentTo !== undefined) yield consoleUrl(sentTo);
    let named: string | undefined;
    try {
      const { url } = await this.#api.consoleAddress(this.guest, FIND_DEADLINE_MS);
      named = url;
      yield url;
    } catch (error) {
      const exit = (error as { exit?: number }).exit;
      if (exit !== EXIT.unreachable && exit !== EXIT.timedOut) throw error;
      onError(error);
    }
    for (const address of [...this.#addresses].reverse()) {
      if (consoleUrl(address) !== named) yield consoleUrl(address);
    }
  }

  /** The last one remembered is asked first. */
  #remember(address: string): void {
    this.#addresses.delete(address);
    this.#addresses.add(address);
  }

  /** @returns nothing unless this agent owns the guest under an epoch not older than ours */
  #attach(url: string): Promise<Attachment | undefined> {
    const socket = new WebSocket(url, {
      headers: this.#api.headers,
      handshakeTimeout: CONNECT_DEADLINE_MS,
      perMessageDeflate: false,
    });
    return new Promise((resolve) => {
      const refuse = (_code?: unknown, reason?: Buffer) => {
        const said = reason?.toString();
        if (said === 'guest.bad_spec') this.#refusal = noConsole(this.guest);
        if (said === BUSY) this.#refusal = busy(this.guest);
        clearTimeout(deadline);
        socket.removeAllListeners();
        socket.on('error', () => {}); // Terminating an unfinished handshake reports one more.
        socket.terminate();
        resolve(undefined);
      };
      const deadline = setTimeout(refuse, CONNECT_DEADLINE_MS);
      const outputOffset = this.#outputNext;
      const inputOffset = this.#input.isAnchored ? this.#input.start : undefined;
      socket.on('open', () =>
        socket.send(
          encodeMessage({
            type: 'consoleAttach',
            guest: this.guest,
            outputOffset,
            inputOffset,
            client: this.#name,
            access: this.#access,
          } as Message),
        ),
      );
      socket.on('close', refuse);
      socket.on('error', refuse);
      socket.once('message', (data: Buffer) => {
        try {
          const message = decodeMessage(data, 'console', 'agent');
          if (message.type === 'consoleMoved') this.#sentTo = message.address;
          const isOver = message.type === 'consoleEnded';
          const isHere = message.type === 'consoleAttached' && message.epoch >= this.#epoch;
          // Closed meanwhile: nobody would end this connection any more.
          if (this.#stop.signal.aborted || (!isOver && !isHere)) return refuse();
          clearTimeout(deadline);
          socket.removeAllListeners();
          if (isHere) this.#onAttached(message, url);
          const attachment = this.#serve(socket);
          if (isOver) socket.emit('message', data);
          resolve(attachment);
        } catch {
          refuse();
        }
      });
    });
  }

  #gaveUp(cause: unknown): CommandError {
    const after = `${Math.round(this.#patienceMs / 1000)} s`;
    return new CommandError(
      {
        code: 'guest.console_unreachable',
        exit: EXIT.unreachable,
        message: `console of ${this.guest}: no agent that holds it answered for ${after}`,
        hint: `godwit guest show ${this.guest}`,
      },
      { cause },
    );
  }

  /** For the day the coordinator is down: any host may be the next owner. */
  async #rememberHosts(): Promise<void> {
    try {
      for (const { address } of await this.#api.hosts()) {
        if (!this.#addresses.has(address)) this.#addresses.add(address);
      }
    } catch {
      // Then only the current owner is known; consoleMoved names its successor.
    }
  }

  // --------------------------------------------------------------------------------- the streams

  #onAttached(message: Message<'consoleAttached'>, url: string): void {
    this.#epoch = message.epoch;
    if (this.#access === 'take') this.#access = 'type';
    if (!message.continues) {
      // What is between is somebody else's, so what was on its way from here is not in it.
      const dropped = this.#input.end - this.#input.start;
      this.#input.reset();
      if (dropped > 0) this.emit('dropped', dropped);
    }
    this.#input.anchor(message.inputOffset);
    this.#input.rewind();
    this.#onTaken();
    this.#skipTo(message.outputOffset);
    this.#acknowledged = Math.min(this.#acknowledged, this.#outputNext ?? 0);
    const address = new URL(url).host;
    this.#remember(address);
    this.emit('attached', address, message.epoch);
  }

  #onMessage(message: Message): void {
    if (message.type === 'consoleTaken' && message.epoch >= this.#epoch) {
      this.#input.anchor(message.offset);
      this.#onTaken();
    } else if (message.type === 'consoleOutput' && message.epoch >= this.#epoch) {
      this.#epoch = message.epoch;
      this.#onOutput(message.offset, message.bytes);
    }
  }

  #onOutput(offset: number, bytes: Uint8Array): void {
    this.#skipTo(offset);
    const fresh = bytes.subarray((this.#outputNext ?? offset) - offset);
    if (fresh.length === 0) return;
    this.#outputNext = offset + bytes.length;
    this.emit('output', fresh);
    if (this.#outputNext - this.#acknowledged >= ACKNOWLEDGE_BYTES) this.#acknowledge();
    this.#acknowledgeTimer ??= setTimeout(() => this.#acknowledge(), ACKNOWLEDGE_AFTER_MS);
  }

  /** Output starts at `offset`: what lies between is gone for good. */
  #skipTo(offset: number): void {
    if (this.#outputNext !== undefined && offset > this.#outputNext) {
      this.emit('gap', offset - this.#outputNext);
    }
    if (this.#outputNext === undefined || offset > this.#outputNext) this.#outputNext = offset;
  }

  #acknowledge(): void {
    clearTimeout(this.#acknowledgeTimer);
    this.#acknowledgeTimer = undefined;
    const offset = this.#outputNext;
    if (offset === undefined || offset === this.#acknowledged) return;
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    this.#socket.send(encodeMessage({ type: 'consoleAcknowledged', offset }));
    this.#acknowledged = offset;
  }

  #sendInput(): void {
    const socket = this.#socket;
    if (socket?.readyState !== WebSocket.OPEN) return;
    for (const { offset, bytes } of this.#input.takeUnsent(CONSOLE_MESSAGE_BYTES_MAX)) {
      socket.send(encodeMessage({ type: 'consoleInput', offset, bytes }));
    }
  }

  #onTaken(): void {
    const isTaken = (waiter: { offset: number }) => waiter.offset <= this.#input.start;
    for (const waiter of this.#whenTaken.filter(isTaken)) waiter.resolve();
    this.#whenTaken = this.#whenTaken.filter((waiter) => !isTaken(waiter));
  }

  /** Nothing more will be taken. */
  #settleTaken(error: Error): void {
    this.#over ??= error;
    for (const waiter of this.#whenTaken) waiter.reject(error);
    this.#whenTaken = [];
  }
}

/** Address of an agent's control server -> its console. */
function consoleUrl(address: string): string {
  return `ws://${address}/v1/console`;
}

function noConsole(guest: string): CommandError {
  return new CommandError({
    code: 'guest.bad_spec',
    exit: EXIT.usage,
    message: `guest ${guest} has no console`,
    hint: 'a workload only dirties memory; godwit guest show it',
  });
}

function busy(guest: string): CommandError {
  return CommandError.from(new GodwitError(BUSY as 'guest.console_busy', { guest }));
}

function takenOver(guest: string): CommandError {
  return new CommandError({
    code: BUSY,
    exit: EXIT.conflict,
    message: `the console of guest ${guest} was taken over by another one`,
    hint: '--read-only watches it, --force takes it back',
  });
}
