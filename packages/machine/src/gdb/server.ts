/**
 * A machine that a debugger may attach to: the turns of its harts and one client's packets share a
 * thread, so nothing runs while a packet is handled.
 *
 * socket -> packets.ts -> [server] -> session.ts, turns.ts -> socket
 *
 *   running --client connects, interrupt, breakpoint, end of a step, crash--> stopped
 *   stopped --c, s, vCont, detach, client gone--> running --> ended
 *
 * Listens on loopback only: whoever reaches the port may do anything with the guest. One client at a
 * time. A client that goes away takes its breakpoints along, and the guest runs on.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import * as map from '../../assembly/memory-map.ts';
import { MachineError } from '../errors.ts';
import { setStepping } from '../machine.ts';
import { EXIT_GAVE_UP, type RunEnd, type Turns } from '../turns.ts';
import { encodePacket, PacketReader } from './packets.ts';
import { exitReply, GdbSession, type Resume, SIGNAL } from './session.ts';

const LOOPBACK = '127.0.0.1';
/** Answers on their way to a client that asks and does not read. */
const UNSENT_BYTES_MAX = 1 << 20;
const IDLE_SLEEP_MS = 1;
/** What a shell says of a killed command. */
const EXIT_KILLED = 137;

export class GdbServer {
  readonly port: number;
  readonly #turns: Turns;
  readonly #server: Server;
  #client: Client | undefined;
  /** What runs; undefined: the guest stands and the client decides. */
  #resume: Resume | undefined;
  #killed = false;
  /** Resolved when #resume or #killed change while the guest stands. */
  #decided = Promise.withResolvers<void>();

  private constructor(turns: Turns, server: Server, port: number) {
    this.#turns = turns;
    this.#server = server;
    this.port = port;
    server.on('connection', (socket) => this.#accept(socket));
  }

  /**
   * @param port 0: any free one
   * @throws MachineError gdb.no_port
   */
  static async listen(turns: Turns, port: number): Promise<GdbServer> {
    const server = createServer();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once('error', reject).listen(port, LOOPBACK, resolve);
    await promise.catch((cause: NodeJS.ErrnoException) => {
      const reason = cause.code === 'EADDRINUSE' ? 'it is in use' : (cause.code ?? cause.message);
      throw new MachineError('gdb.no_port', { port, reason }, { cause });
    });
    const address = server.address();
    const bound = typeof address === 'object' && address !== null ? address.port : port;
    return new GdbServer(turns, server, bound);
  }

  /** @param wait whether the first instruction waits for a client to say so */
  async runToEnd(wait: boolean): Promise<RunEnd> {
    this.#resume = wait ? undefined : this.#everyone();
    for (;;) {
      if (this.#killed) return this.#ended({ end: 'killed', code: EXIT_KILLED });
      if (this.#resume === undefined) {
        await this.#decided.promise;
        continue;
      }
      const end = await this.#advance(this.#resume);
      if (end !== undefined) return this.#ended(end);
      await nextTurn();
    }
  }

  close(): void {
    this.#client?.socket.end();
    this.#server.close();
  }

  // ------------------------------------------------------------------------------- the guest

  async #advance(resume: Resume): Promise<RunEnd | undefined> {
    if (resume.steps.size > 0) {
      this.#step(resume);
      return undefined;
    }
    const round = this.#turns.round(resume.runs);
    switch (round.is) {
      case 'busy':
        return undefined;
      case 'break':
        this.#stop(round.hart, SIGNAL.trap);
        return undefined;
      case 'waiting':
        return this.#idle();
      case 'ended':
        return this.#atEnd(round.end);
    }
  }

  /** One instruction of each hart that steps, whatever is at its pc; the others go on by one as well. */
  #step({ runs, steps }: Resume): void {
    const { guest } = this.#turns;
    this.#client?.session.armBreakpoints(false);
    setStepping(guest, true);
    for (const hart of steps) this.#turns.run(hart, 1n);
    setStepping(guest, false);
    this.#client?.session.armBreakpoints(true);
    for (const hart of runs) if (!steps.has(hart)) this.#turns.run(hart, 1n);
    const [first] = steps;
    this.#stop(first!, SIGNAL.trap);
  }

  /** Every hart waits. Real time may bring a timer; counted time never will. */
  async #idle(): Promise<RunEnd | undefined> {
    if (this.#turns.guest.control(map.CONTROL_CLOCK) === map.CLOCK_HOST) {
      await sleep(IDLE_SLEEP_MS);
      return undefined;
    }
    if (this.#client === undefined) return { end: 'idle', code: EXIT_GAVE_UP };
    this.#client.say('every hart waits for ever\n');
    this.#stop(0, SIGNAL.interrupt);
    return undefined;
  }

  /** A crash is shown before it becomes the end: its state is what a debugger is for. */
  #atEnd(end: RunEnd): RunEnd | undefined {
    if (end.end !== 'crash' || this.#client === undefined || this.#client.knowsCrash) return end;
    this.#client.knowsCrash = true;
    this.#client.say('the machine cannot go on: its trap handler traps\n');
    this.#stop(0, SIGNAL.segmentation);
    return undefined;
  }

  #stop(hart: number, signal: number): void {
    this.#resume = undefined;
    this.#decided = Promise.withResolvers<void>();
    const { session, send } = this.#client!;
    send(session.stopped(hart, signal));
  }

  #go(resume: Resume): void {
    this.#resume = resume;
    this.#decided.resolve();
  }

  #everyone(): Resume {
    const runs = new Set(Array.from({ length: this.#turns.guest.harts }, (_, hart) => hart));
    return { runs, steps: new Set() };
  }

  #ended(end: RunEnd): RunEnd {
    this.#client?.send(exitReply(end));
    return end;
  }

  // ------------------------------------------------------------------------------ the client

  #accept(socket: Socket): void {
    if (this.#client !== undefined) {
      socket.destroy();
      return;
    }
    const client = new Client(socket, new GdbSession(this.#turns));
    this.#client = client;
    // It asks with "?" why the guest stands; nothing is sent before.
    if (this.#resume !== undefined) {
      this.#resume = undefined;
      this.#decided = Promise.withResolvers<void>();
    }
    client.onInterrupt = () => {
      if (this.#resume !== undefined) this.#stop(client.session.selected, SIGNAL.interrupt);
    };
    client.onPacket = (payload) => this.#onPacket(client, payload);
    client.onGone = () => {
      if (this.#client === client) this.#detach(client);
    };
  }

  #onPacket(client: Client, payload: Buffer): void {
    // A debugger that waits for a stop has nothing to say but an interrupt.
    if (this.#resume !== undefined) return;
    const { reply, next } = client.session.handle(payload);
    if (reply !== undefined) client.send(reply);
    if (next === 'detach') {
      client.socket.end();
      this.#detach(client);
    } else if (next === 'kill') {
      this.#killed = true;
      this.#decided.resolve();
    } else if (next !== undefined) {
      client.session.armBreakpoints(true);
      this.#go(next);
    }
  }

  #detach(client: Client): void {
    client.session.close();
    this.#client = undefined;
    this.#go(this.#everyone());
  }
}

/** One connection: packets, acknowledgements, and the limit of what waits to be read. */
class Client {
  readonly socket: Socket;
  readonly session: GdbSession;
  knowsCrash = false;
  onPacket: (payload: Buffer) => void = () => {};
  onInterrupt: () => void = () => {};
  onGone: () => void = () => {};
  readonly #reader = new PacketReader();
  #acknowledges = true;
  #last: Buffer | undefined;

  constructor(socket: Socket, session: GdbSession) {
    this.socket = socket;
    this.session = session;
    socket.setNoDelay(true);
    socket.on('data', (bytes) => this.#onData(bytes));
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.onGone());
  }

  readonly send = (payload: string): void => {
    this.#last = encodePacket(payload);
    this.#write(this.#last);
  };

  /** Text on the debugger's own terminal; only while the guest runs. */
  say(text: string): void {
    this.send(`O${Buffer.from(text).toString('hex')}`);
  }

  #write(bytes: Buffer | string): void {
    if (this.socket.writable) this.socket.write(bytes);
    if (this.socket.writableLength > UNSENT_BYTES_MAX) this.socket.destroy();
  }

  #onData(bytes: Uint8Array): void {
    try {
      for (const received of this.#reader.take(bytes)) {
        if (received.is === 'interrupt') this.onInterrupt();
        else if (received.is === 'packet') this.#onPacket(received.payload, received.ok);
        else if (this.#acknowledges && this.#last !== undefined) this.#write(this.#last);
      }
    } catch {
      this.socket.destroy(); // A packet longer than any we announced.
    }
  }

  #onPacket(payload: Buffer, ok: boolean): void {
    if (this.#acknowledges) this.#write(ok ? '+' : '-');
    if (!ok) return;
    if (payload.toString('latin1') === 'QStartNoAckMode') {
      this.send('OK');
      this.#acknowledges = false;
    } else {
      this.onPacket(payload);
    }
  }
}
