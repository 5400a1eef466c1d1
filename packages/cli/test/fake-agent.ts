/**
 * An agent's console server for tests of the console client: one guest whose two streams a test moves
 * from agent to agent at any byte. Speaks the real messages over real sockets.
 */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { decodeMessage, encodeMessage, type Message } from '@godwit/protocol';
import { type WebSocket, WebSocketServer } from 'ws';

/** What travels with a guest: both streams and the epoch. Echoes what it takes, in capitals. */
export class FakeGuest {
  epoch = 1;
  taken = '';
  output = '';
  /** Output before this offset is out of the ring. */
  oldest = 0;

  take(text: string): void {
    this.taken += text;
    this.output += text.toUpperCase();
  }
}

export class FakeAgent {
  readonly #server: Server;
  readonly #sockets: WebSocketServer;
  guest: FakeGuest | undefined;
  /** Where this agent sends whoever asks for the guest. */
  movedTo: { epoch: number; host: string; address: string } | undefined;
  /** Takes input no further than this; the rest is lost with the connection. */
  takesUpTo = Number.POSITIVE_INFINITY;
  /** Takes input but never says so, as when the connection breaks just then. */
  isSilent = false;
  readonly acknowledged: number[] = [];
  attachments = 0;
  /** Nobody else typed. */
  continues = true;
  refusal: string | undefined;

  private constructor() {
    this.#server = createServer();
    this.#sockets = new WebSocketServer({ server: this.#server, path: '/v1/console' });
    this.#sockets.on('connection', (socket) => this.#serve(socket));
  }

  static async start(guest?: FakeGuest): Promise<FakeAgent> {
    const agent = new FakeAgent();
    agent.guest = guest;
    await new Promise<void>((resolve) => agent.#server.listen(0, '127.0.0.1', resolve));
    return agent;
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get url(): string {
    return `ws://${this.address}/v1/console`;
  }

  /** The guest leaves for another agent; clients hear it, or only lose their connection. */
  moveTo(other: FakeAgent, how: 'told' | 'broken'): void {
    const guest = this.guest!;
    this.guest = undefined;
    guest.epoch++;
    other.guest = guest;
    this.movedTo = { epoch: guest.epoch, host: 'other', address: other.address };
    for (const socket of this.#sockets.clients) {
      if (how === 'broken') socket.terminate();
      else send(socket, { type: 'consoleMoved', ...this.movedTo });
    }
  }

  say(text: string, epoch = this.guest!.epoch): void {
    const offset = this.guest!.output.length;
    this.guest!.output += text;
    this.#output(offset, text, epoch);
  }

  /** Ends all connections, with a reason of the agent's or like a network that broke. */
  cut(reason: string): void {
    for (const socket of this.#sockets.clients) {
      if (reason === '') socket.terminate();
      else socket.close(1008, reason);
    }
  }

  end(why: string, code: number): void {
    for (const socket of this.#sockets.clients) send(socket, { type: 'consoleEnded', why, code });
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets.clients) socket.terminate();
    this.#sockets.close();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #serve(socket: WebSocket): void {
    socket.on('message', (data: Buffer) => {
      const message = decodeMessage(data, 'console', 'client');
      if (message.type === 'consoleAttach') this.#attach(socket, message);
      if (message.type === 'consoleInput') this.#input(message);
      if (message.type === 'consoleAcknowledged') this.acknowledged.push(message.offset);
    });
  }

  #attach(socket: WebSocket, message: Message<'consoleAttach'>): void {
    if (this.refusal !== undefined) return socket.close(1008, this.refusal);
    if (this.guest === undefined) {
      if (this.movedTo) send(socket, { type: 'consoleMoved', ...this.movedTo });
      return socket.close(1008, 'guest.not_found');
    }
    this.attachments++;
    const { epoch, taken, output, oldest } = this.guest;
    const outputOffset = Math.max(oldest, message.outputOffset ?? oldest);
    const inputOffset = taken.length;
    const { continues } = this;
    send(socket, { type: 'consoleAttached', epoch, outputOffset, inputOffset, continues });
    if (output.length > outputOffset)
      this.#outputTo(socket, outputOffset, output.slice(outputOffset), epoch);
  }

  #input(message: Message<'consoleInput'>): void {
    const guest = this.guest;
    if (guest === undefined) return;
    const skip = guest.taken.length - message.offset;
    if (skip < 0) return; // Follows bytes that were not taken; they all come again.
    const room = this.takesUpTo - guest.taken.length;
    const fresh = Buffer.from(message.bytes)
      .toString('latin1')
      .slice(skip, skip + room);
    const offset = guest.output.length;
    guest.take(fresh);
    if (this.isSilent) return;
    this.#output(offset, guest.output.slice(offset), guest.epoch);
    for (const socket of this.#sockets.clients) {
      send(socket, { type: 'consoleTaken', epoch: guest.epoch, offset: guest.taken.length });
    }
  }

  #output(offset: number, text: string, epoch: number): void {
    for (const socket of this.#sockets.clients) this.#outputTo(socket, offset, text, epoch);
  }

  #outputTo(socket: WebSocket, offset: number, text: string, epoch: number): void {
    if (text === '') return;
    send(socket, { type: 'consoleOutput', epoch, offset, bytes: Buffer.from(text, 'latin1') });
  }
}

function send(socket: WebSocket, message: Message): void {
  socket.send(encodeMessage(message));
}
