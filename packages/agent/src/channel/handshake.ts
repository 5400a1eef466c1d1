/**
 * Opening a page or faults channel: ws shakes hands, then the raw socket is ours.
 *
 *   target dials --- GET /v1/pages/ID, Upgrade ---> source listens
 *          <--- 101 ---                             (ws on both ends)
 *   target's reader takes over, then sends ATTACH   source's reader takes over at once
 *
 * ws calls `setSocket` when it has checked the handshake and is about to read messages itself.
 * Overriding that one method leaves the socket without a single listener of ws's.
 *
 * The dialled socket reads through net's `onread`: each read goes where `buffer()` says. During the
 * handshake that is a small buffer whose bytes are pushed on to the HTTP parser; after it, the landing
 * reader's views. `buffer()` must neither throw nor return nothing nor return an empty view: the
 * previous view would be filled again, which may by then be a page of a running guest.
 */
import type { IncomingMessage } from 'node:http';
import { type AddressInfo, connect, type NetConnectOpts, type Socket } from 'node:net';
import { CONNECT_DEADLINE_MS, GodwitError } from '@godwit/protocol';
import { WebSocket, WebSocketServer } from 'ws';
import { createServer } from './builtin.ts';

/** Where a dialled socket's bytes go. Neither function may throw. */
export interface SocketReader {
  /** The view to read into next; never empty. Called anew after every `received`. */
  view(): Uint8Array;
  /** So many bytes stand at the start of the last view. */
  received(bytes: number): void;
}

/** Hands bytes that were read elsewhere to a reader. */
export function feed(reader: SocketReader, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) {
    const view = reader.view();
    const count = Math.min(view.length, bytes.length - at);
    view.set(bytes.subarray(at, at + count));
    at += count;
    reader.received(count);
  }
}

/** What ws's own method of this name would be given. */
type SetSocket = (socket: Socket, head: Buffer) => void;

class HandshakeOnly extends WebSocket {
  /** A server takes the socket in the callback of handleUpgrade, which follows at once. */
  taken: SetSocket = () => {};

  setSocket(socket: Socket, head: Buffer): void {
    this.taken(socket, head);
  }
}

/** Bytes of the 101 response are far fewer; a longer one comes in several reads. */
const HANDSHAKE_BYTES = 1024;

export interface DialOptions {
  readonly host: string;
  readonly port: number;
  readonly path: string;
  /** Called when the handshake is done; from its return on all bytes go to the reader it returns. */
  readonly takeOver: (socket: Socket) => SocketReader;
}

/**
 * Dials a channel. `takeOver` has been called when the promise resolves.
 *
 * @throws GodwitError `channel.refused` with the reason, within CONNECT_DEADLINE_MS;
 *   `channel.early_data` when the source spoke before it was spoken to
 */
export function dialChannel(options: DialOptions): Promise<Socket> {
  const address = `${options.host}:${options.port}`;
  const handshake = Buffer.alloc(HANDSHAKE_BYTES);
  let reader: SocketReader | null = null;
  let socket: Socket | undefined;
  const onread = {
    buffer: () => reader?.view() ?? handshake,
    callback: (bytes: number, buffer: Uint8Array) => {
      if (reader === null) socket?.push(Buffer.from(buffer.subarray(0, bytes)));
      // The kernel may have been given this buffer just before the reader took over.
      else if (buffer === handshake) feed(reader, Buffer.from(handshake.subarray(0, bytes)));
      else reader.received(bytes);
      return true;
    },
  };
  return new Promise((resolve, reject) => {
    const websocket = new HandshakeOnly(`ws://${address}${options.path}`, {
      perMessageDeflate: false,
      handshakeTimeout: CONNECT_DEADLINE_MS,
      createConnection: ((o: NetConnectOpts) => {
        socket = connect({ ...o, onread, noDelay: true } as NetConnectOpts);
        return socket;
      }) as unknown as typeof connect,
    });
    websocket.on('error', (cause: Error) => {
      const code = (cause as NodeJS.ErrnoException).code;
      const why = code ?? cause.message;
      reject(new GodwitError('channel.refused', { address, why }, { cause }));
    });
    websocket.taken = (taken, head) => {
      taken.setTimeout(0);
      // Until the owner installs its own listener an error must not be fatal to the thread.
      taken.on('error', () => {});
      if (head.length > 0) {
        taken.destroy();
        reject(new GodwitError('channel.early_data', { channel: -1 }));
        return;
      }
      reader = options.takeOver(taken);
      resolve(taken);
    };
  });
}

export interface ListenOptions {
  readonly host: string;
  /** Inclusive range to try in order; null takes any free port. */
  readonly ports: { readonly from: number; readonly to: number } | null;
  readonly path: string;
  /** A connection that passed the handshake; `head` is what came with the request. */
  readonly onSocket: (socket: Socket, head: Buffer) => void;
}

export interface ChannelListener {
  readonly port: number;
  /**
   * Stops listening and cuts every connection, channels too. Resolves when all of them are closed:
   * from then on no queued write refers to guest memory.
   */
  close(): Promise<void>;
}

/** Connections at once on one channel's port: the channel, its successor, and a few that knock. */
const CONNECTIONS_MAX = 16;

/**
 * Listens for one channel.
 *
 * @throws GodwitError `listen.in_use` when no port of the range is free, `listen.failed`
 */
export async function listenForChannel(options: ListenOptions): Promise<ChannelListener> {
  const server = createServer({
    headersTimeout: CONNECT_DEADLINE_MS,
    requestTimeout: CONNECT_DEADLINE_MS,
    connectionsCheckingInterval: CONNECT_DEADLINE_MS,
  });
  server.maxConnections = CONNECTIONS_MAX;
  const sockets = new Set<Socket>();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  const websockets = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    WebSocket: HandshakeOnly,
  });
  websockets.on('wsClientError', (_error, socket) => socket.destroy());
  server.on('request', (_request, response) => {
    response.writeHead(426, { Connection: 'close', Upgrade: 'websocket' }).end();
  });
  server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    socket.on('error', () => {});
    if (request.url !== options.path) {
      socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
      return;
    }
    websockets.handleUpgrade(request, socket, head, () => {
      socket.setTimeout(0);
      socket.setNoDelay(true);
      options.onSocket(socket, head);
    });
  });
  const port = await listenInRange(server, options);
  return {
    port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

async function listenInRange(
  server: ReturnType<typeof createServer>,
  options: ListenOptions,
): Promise<number> {
  const { from, to } = options.ports ?? { from: 0, to: 0 };
  for (let port = from; port <= to; port++) {
    if (await listenOn(server, options.host, port)) return (server.address() as AddressInfo).port;
  }
  throw new GodwitError('listen.in_use', { address: `${options.host}:${from}-${to}` });
}

/** False when the port is taken. */
function listenOn(
  server: ReturnType<typeof createServer>,
  host: string,
  port: number,
): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const failed = (cause: NodeJS.ErrnoException) => {
      server.off('listening', listening);
      if (cause.code === 'EADDRINUSE') resolve(false);
      else {
        const why = cause.code ?? cause.message;
        reject(new GodwitError('listen.failed', { address: `${host}:${port}`, why }, { cause }));
      }
    };
    const listening = () => {
      server.off('error', failed);
      resolve(true);
    };
    server.once('error', failed);
    server.once('listening', listening);
    server.listen(port, host);
  });
}
