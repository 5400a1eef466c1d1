/**
 * A TCP proxy on loopback that cuts connections on purpose, after so many bytes from the source, or lets
 * them wait. What it has read and not forwarded is lost, as in a real break.
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { HOST } from './channel-pair.ts';

export class BreakingProxy {
  readonly #server: Server;
  readonly #port: number;
  readonly #sockets = new Set<Socket>();
  /** Connections accepted so far. */
  connections = 0;
  /** New connections are cut at once. */
  away = false;
  /** So many bytes of the first connection's are forwarded; it stays open. */
  holdAfter = Number.POSITIVE_INFINITY;

  /**
   * @param cuts bytes from the source after which the first, second, ... connection is cut; later ones
   *   live
   * @param opened connections are taken at once and get no further before it is settled
   */
  static async before(
    port: number,
    cuts: readonly number[],
    opened = Promise.resolve(),
  ): Promise<BreakingProxy> {
    const server = createServer({ noDelay: true });
    server.listen(0, HOST);
    await once(server, 'listening');
    return new BreakingProxy(server, port, cuts, opened);
  }

  private constructor(
    server: Server,
    port: number,
    cuts: readonly number[],
    opened: Promise<void>,
  ) {
    this.#server = server;
    this.#port = port;
    server.on('connection', async (client) => {
      const cutAfter = cuts[this.connections++];
      if (this.away) return client.destroy();
      this.#sockets.add(client);
      await opened;
      this.#join(client, cutAfter);
    });
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Cuts everything there is; new connections are refused with `refuse`. */
  async cut(refuse: boolean): Promise<void> {
    const closed = refuse && this.#server.listening ? once(this.#server.close(), 'close') : null;
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #join(client: Socket, cutAfter: number | undefined): void {
    const upstream = connect({ host: HOST, port: this.#port, noDelay: true });
    let left = cutAfter ?? Number.POSITIVE_INFINITY;
    let free = this.connections === 1 ? this.holdAfter : Number.POSITIVE_INFINITY;
    const cut = () => {
      client.destroy();
      upstream.destroy();
    };
    for (const socket of [client, upstream]) {
      this.#sockets.add(socket);
      socket.on('error', () => {});
      socket.once('close', () => {
        this.#sockets.delete(socket);
        cut();
      });
    }
    client.pipe(upstream);
    upstream.on('data', (chunk: Buffer) => {
      if (chunk.length > free) {
        client.write(chunk.subarray(0, free));
        free = 0;
        return;
      }
      free -= chunk.length;
      if (!client.write(chunk.subarray(0, Math.min(left, chunk.length)))) upstream.pause();
      left -= chunk.length;
      // Ended, not destroyed: the target gets every byte up to the cut.
      if (left <= 0) client.end(cut);
    });
    client.on('drain', () => upstream.resume());
  }
}
