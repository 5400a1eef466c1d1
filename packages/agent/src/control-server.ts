/**
 * The agent's control port: one HTTP server for peers' control links, consoles and a health check.
 *
 *   /v1/peer      WebSocket -> migrations   the first message carries the migration's capability
 *   /v1/console   WebSocket -> consoles     with a cluster token: Authorization: Bearer, or ?token=
 *   /v1/guests/NAME/pulse   GET, JSON   the guest's count of work done, for whoever watches from outside
 *   /metrics      GET, text for Prometheus; with a cluster token: Authorization: Bearer
 *   /v1/images/DIGEST, /v1/blobs/SHA256   GET, PUT: images (images/image-server.ts), with the token
 *   /healthz      GET, JSON
 *
 * Pages never pass here; each channel thread has a port of its own. What comes in is limited before
 * it is read: message size, size of and time to the first message, silence (pings). A browser
 * always says where its page came from, and a page of some web site has no business on a loopback
 * port without a token, so a request with an Origin is refused then. Main thread only.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import {
  CONSOLE_MESSAGE_BYTES_MAX,
  CONTROL_MESSAGE_BYTES_MAX,
  EXPOSITION_TYPE,
  FIRST_MESSAGE_BYTES_MAX,
  GodwitError,
} from '@godwit/protocol';
import { type WebSocket, WebSocketServer } from 'ws';
import type { ImageServer } from './images/image-server.ts';
import { addressText, type ListenAddress } from './options.ts';

/** A console whose machine vanished without a word is let go after two of these. */
const PING_MS = 15_000;
const HEADERS_DEADLINE_MS = 5_000;
/** Peers, consoles and whoever knocks: far above what a host has, far below what it can open. */
const CONNECTIONS_MAX = 1024;
/** A console message is its bytes and a header of a few. */
const CONSOLE_OVERHEAD_BYTES = 64;

export interface ControlServerOptions {
  readonly listen: ListenAddress;
  readonly token: string | undefined;
  onPeer(socket: WebSocket): void;
  onConsole(socket: WebSocket): void;
  readonly images: ImageServer;
  health(): object;
  /** Text exposition format. */
  metrics(): string;
  /** Nothing when this host does not hold the guest. */
  pulse(guest: string): object | undefined;
}

interface Service {
  readonly upgrader: WebSocketServer;
  take(socket: WebSocket): void;
}

export class ControlServer {
  readonly #options: ControlServerOptions;
  readonly #http: Server;
  /** Two, because they differ in the size of the messages they take. */
  readonly #peers = upgrader(CONTROL_MESSAGE_BYTES_MAX);
  readonly #consoles = upgrader(CONSOLE_MESSAGE_BYTES_MAX + CONSOLE_OVERHEAD_BYTES);
  readonly #alive = new WeakSet<WebSocket>();
  readonly #pings: NodeJS.Timeout;

  private constructor(options: ControlServerOptions) {
    this.#options = options;
    this.#http = createServer({ headersTimeout: HEADERS_DEADLINE_MS }, (request, response) =>
      this.#request(request, response),
    );
    this.#http.maxConnections = CONNECTIONS_MAX;
    this.#http.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head));
    this.#pings = setInterval(() => this.#ping(), PING_MS).unref();
  }

  /** @throws GodwitError `listen.in_use`, `listen.failed` */
  static async listen(options: ControlServerOptions): Promise<ControlServer> {
    const server = new ControlServer(options);
    try {
      await new Promise<void>((resolve, reject) => {
        server.#http.once('error', reject);
        server.#http.listen(options.listen.port, options.listen.host, resolve);
      });
      return server;
    } catch (cause) {
      clearInterval(server.#pings);
      const address = addressText(options.listen);
      const { code, message } = cause as NodeJS.ErrnoException;
      if (code === 'EADDRINUSE') throw new GodwitError('listen.in_use', { address }, { cause });
      throw new GodwitError('listen.failed', { address, why: message }, { cause });
    }
  }

  get port(): number {
    return (this.#http.address() as AddressInfo).port;
  }

  /** Ends every connection; resolves when the port is free. */
  async close(): Promise<void> {
    clearInterval(this.#pings);
    for (const socket of this.#clients()) socket.terminate();
    const closed = new Promise((resolve) => this.#http.close(resolve));
    this.#http.closeAllConnections();
    await closed;
  }

  #request(request: IncomingMessage, response: ServerResponse): void {
    const url = URL.parse(request.url ?? '', 'http://agent');
    const isOurs = url !== null && this.#mayAsk(url, request);
    if (isOurs && this.#options.images.handle(url.pathname, request, response)) return;
    const answer = request.method === 'GET' ? this.#answer(request) : undefined;
    const isText = typeof answer === 'string';
    const type = isText ? EXPOSITION_TYPE : 'application/json';
    response.writeHead(answer ? 200 : 404, { 'content-type': type });
    response.end(isText ? answer : JSON.stringify(answer ?? { error: 'no such path' }));
  }

  #answer(request: IncomingMessage): object | string | undefined {
    const url = URL.parse(request.url ?? '', 'http://agent');
    if (url?.pathname === '/healthz') return this.#options.health();
    // Who may not ask is told no more than who asks for a guest that is not here.
    if (url === null || !this.#mayAsk(url, request)) return undefined;
    if (url.pathname === '/metrics') return this.#options.metrics();
    const guest = /^\/v1\/guests\/([a-z0-9-]+)\/pulse$/.exec(url.pathname)?.[1];
    return guest === undefined ? undefined : this.#options.pulse(guest);
  }

  /** With a token: who has it. Without: any process of this machine, but no page of a web site. */
  #mayAsk(url: URL, request: IncomingMessage): boolean {
    const { token } = this.#options;
    return token === undefined
      ? request.headers.origin === undefined
      : isToken(token, url, request);
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    // The HTTP server has just let go of the socket: a reset of one that is refused is nobody's else.
    socket.on('error', () => socket.destroy());
    const url = URL.parse(request.url ?? '', 'ws://agent');
    const service = this.#service(url, request);
    if (typeof service === 'string') {
      socket.end(`HTTP/1.1 ${service}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
      return;
    }
    service.upgrader.handleUpgrade(request, socket, head, (webSocket) => {
      this.#alive.add(webSocket);
      webSocket.on('pong', () => this.#alive.add(webSocket));
      webSocket.on('message', () => this.#alive.add(webSocket));
      cutLongFirst(socket, webSocket);
      service.take(webSocket);
    });
  }

  /** Who takes the connection, or the status line of the refusal. */
  #service(url: URL | null, request: IncomingMessage): Service | string {
    const { token, onPeer, onConsole } = this.#options;
    if (token === undefined && request.headers.origin !== undefined) return '403 Forbidden';
    if (url?.pathname === '/v1/peer') return { upgrader: this.#peers, take: onPeer };
    if (url?.pathname !== '/v1/console') return '404 Not Found';
    if (token === undefined || isToken(token, url, request)) {
      return { upgrader: this.#consoles, take: onConsole };
    }
    return '401 Unauthorized';
  }

  #clients(): WebSocket[] {
    return [...this.#peers.clients, ...this.#consoles.clients];
  }

  #ping(): void {
    for (const socket of this.#clients()) {
      // A paused socket is one whose guest stands still: its pong waits unread.
      if (socket.isPaused) continue;
      if (this.#alive.delete(socket)) socket.ping();
      else socket.terminate();
    }
  }
}

/** Who sends more than a first message before one is whole is cut off: nothing is gathered for him. */
function cutLongFirst(socket: Duplex, webSocket: WebSocket): void {
  let bytesLeft = FIRST_MESSAGE_BYTES_MAX;
  const count = (chunk: Buffer) => {
    bytesLeft -= chunk.length;
    if (bytesLeft < 0) webSocket.terminate();
  };
  webSocket.once('message', () => {
    // This listener is still to be called for the chunk that the message came in.
    bytesLeft = Infinity;
    socket.off('data', count);
  });
  socket.on('data', count);
}

function upgrader(maxPayload: number): WebSocketServer {
  return new WebSocketServer({ noServer: true, maxPayload, perMessageDeflate: false });
}

/** In constant time, whatever the length. */
function isToken(token: string, url: URL, request: IncomingMessage): boolean {
  const bearer = request.headers.authorization?.replace(/^Bearer /i, '');
  const given = bearer ?? url.searchParams.get('token') ?? '';
  const hash = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(hash(given), hash(token));
}
