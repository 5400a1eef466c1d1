/** The kernel wakes a reader when the mark is reached, and never leaves it asleep over complete bytes. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { describe, it } from 'node:test';
import { ReceiveLowWater } from '../src/channel/receive-low-water.ts';

const KIB = 1024;
const PIECE_BYTES = 16 * KIB;

/** Both ends of a connection; what the far one receives, read by read. */
async function pair(): Promise<{ near: Socket; far: Socket; reads: number[]; close(): void }> {
  const reads: number[] = [];
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const accepted = once(server, 'connection');
  const { port } = server.address() as AddressInfo;
  const onread = {
    buffer: new Uint8Array(1024 * KIB),
    callback(bytes: number): boolean {
      reads.push(bytes);
      far.emit('read');
      return true;
    },
  };
  const far = connect({ host: '127.0.0.1', port, onread });
  const [near] = (await accepted) as [Socket];
  await once(far, 'connect');
  const close = () => {
    near.destroy();
    far.destroy();
    server.close();
  };
  return { near, far, reads, close };
}

/** Resolves when so many bytes have been read. */
async function have(far: Socket, reads: number[], bytes: number): Promise<void> {
  while (reads.reduce((sum, n) => sum + n, 0) < bytes) await once(far, 'read');
}

/** Written in small parts, each on its way before the next. */
async function trickle(near: Socket, bytes: number): Promise<void> {
  for (let sent = 0; sent < bytes; sent += PIECE_BYTES) {
    await new Promise((resolve) => near.write(Buffer.alloc(PIECE_BYTES), resolve));
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe('low-water mark', {
  skip: process.platform !== 'linux' && 'SO_RCVLOWAT needs Linux',
}, () => {
  it('lets what is due come in one read, however small the parts', async () => {
    const { near, far, reads, close } = await pair();
    new ReceiveLowWater(far).due(512 * KIB);
    await trickle(near, 512 * KIB);
    await have(far, reads, 512 * KIB);
    assert.deepEqual(reads, [512 * KIB]);
    close();
  });

  it('is off between frames and for small ones', async () => {
    for (const due of [[0], [100 * KIB], [512 * KIB, 0]]) {
      const { near, far, reads, close } = await pair();
      const lowWater = new ReceiveLowWater(far);
      for (const bytes of due) lowWater.due(bytes);
      near.write('x');
      await have(far, reads, 1);
      close();
    }
  });

  it('wakes the reader for what is there when it is lowered', async () => {
    const { near, far, reads, close } = await pair();
    const lowWater = new ReceiveLowWater(far);
    lowWater.due(512 * KIB);
    await trickle(near, 32 * KIB);
    assert.deepEqual(reads, []);
    lowWater.due(0);
    await have(far, reads, 32 * KIB);
    close();
  });

  it('does not keep the end of the connection back', async () => {
    const { near, far, reads, close } = await pair();
    new ReceiveLowWater(far).due(512 * KIB);
    near.end(Buffer.alloc(PIECE_BYTES));
    await once(far, 'end');
    assert.deepEqual(reads, [PIECE_BYTES]);
    close();
  });

  it('wants nothing of a socket that is closed', async () => {
    const { far, close } = await pair();
    const lowWater = new ReceiveLowWater(far);
    close();
    await once(far, 'close');
    lowWater.due(512 * KIB);
  });
});
