/**
 * A coordinator for tests: takes agents in, remembers what they say, asks what the test wants asked.
 * Speaks the real protocol over a real socket and decides nothing.
 */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  decodeMessage,
  encodeMessage,
  HEARTBEAT_MS,
  type Message,
  type MessageName,
} from '@godwit/protocol';
import { type WebSocket, WebSocketServer } from 'ws';
import { until } from './agent-parts.ts';

type Role = Message<'hello'>['role'];

export class FakeCoordinator {
  term = 1;
  storeId = 'store-1';
  storeRev = 1;
  /** Answers each hello with this instead of a welcome. */
  turnsAway: Message<'turnedAway'> | undefined;
  readonly hellos: Message<'hello'>[] = [];
  readonly messages: Message[] = [];
  authorization: string | undefined;
  readonly #http: Server = createServer();
  readonly #sockets = new Map<Role, WebSocket>();
  readonly #server = new WebSocketServer({ server: this.#http, path: '/v1/agents' });
  readonly #pulse: NodeJS.Timeout;
  #request = 0;

  private constructor() {
    this.#server.on('connection', (socket, request) => {
      this.authorization = request.headers.authorization;
      socket.on('error', () => {});
      socket.on('message', (data: Buffer) =>
        this.#receive(socket, decodeMessage(data, 'agent', 'agent')),
      );
    });
    this.#pulse = setInterval(() => {
      for (const role of this.#sockets.keys()) this.pulse(role);
    }, HEARTBEAT_MS);
  }

  static async listen(port = 0): Promise<FakeCoordinator> {
    const coordinator = new FakeCoordinator();
    coordinator.#http.listen(port, '127.0.0.1');
    await once(coordinator.#http, 'listening');
    return coordinator;
  }

  get port(): number {
    return (this.#http.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  isConnected(role: Role): boolean {
    return this.#sockets.has(role);
  }

  pulse(role: Role): void {
    this.send({ type: 'pulse', term: this.term, storeRev: this.storeRev }, role);
  }

  send(message: Message, role: Role = 'agent'): void {
    this.#sockets.get(role)?.send(encodeMessage(message));
  }

  /** Sends a request and gives its answer, done or failed. */
  async ask(message: Record<string, unknown> & { type: MessageName }): Promise<Message> {
    const request = ++this.#request;
    this.send({ ...message, request } as Message);
    const isAnswer = (m: Message) =>
      (m.type === 'done' || m.type === 'failed') && m.request === request;
    await until(`an answer to ${message.type}`, () => this.messages.some(isAnswer));
    return this.messages.find(isAnswer) as Message;
  }

  /** All messages of one type so far. */
  all<N extends MessageName>(type: N): Message<N>[] {
    return this.messages.filter((message) => message.type === type) as unknown[] as Message<N>[];
  }

  /** Breaks a connection without a word. */
  cut(role: Role): void {
    this.#sockets.get(role)?.terminate();
  }

  async close(): Promise<void> {
    clearInterval(this.#pulse);
    for (const socket of this.#server.clients) socket.terminate();
    this.#server.close();
    this.#http.closeAllConnections();
    await new Promise((resolve) => this.#http.close(resolve));
  }

  #receive(socket: WebSocket, message: Message): void {
    if (message.type !== 'hello') {
      this.messages.push(message);
      return;
    }
    this.hellos.push(message);
    if (this.turnsAway !== undefined) {
      socket.send(encodeMessage(this.turnsAway));
      socket.close();
      return;
    }
    this.#sockets.set(message.role, socket);
    socket.on('close', () => {
      if (this.#sockets.get(message.role) === socket) this.#sockets.delete(message.role);
    });
    const { term, storeId, storeRev } = this;
    socket.send(
      encodeMessage({
        type: 'welcome',
        term,
        storeId,
        storeRev,
        heartbeatMs: HEARTBEAT_MS,
        address: '127.0.0.1:1',
      }),
    );
  }
}
