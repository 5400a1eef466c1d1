/**
 * What packages, modules and kernels are compressed with.
 *
 *   chunks -> [decompress] -> chunks, at most a stated number of bytes of them
 *
 * gzip and zstd are Node's own; xz is a WebAssembly library, so that nothing has to be installed. The
 * caller says how it is compressed by the file's name, or lets the first bytes say so.
 */
import { Readable } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { GodwitError } from '@godwit/protocol';
import type { Chunks } from './byte-stream.ts';

export type Compression = 'none' | 'gzip' | 'xz' | 'zstd';

const MAGIC: readonly (readonly [Compression, string])[] = [
  ['gzip', '1f8b'],
  ['xz', 'fd377a585a00'],
  ['zstd', '28b52ffd'],
];

/** By a file's name: data.tar.xz, ext4.ko.zst. */
export function compressionOf(name: string): Compression {
  if (name.endsWith('.xz')) return 'xz';
  if (name.endsWith('.gz')) return 'gzip';
  return name.endsWith('.zst') ? 'zstd' : 'none';
}

/** By the first bytes of a file. */
export function compressionIn(head: Uint8Array): Compression {
  const hex = Buffer.from(head.subarray(0, 6)).toString('hex');
  return MAGIC.find(([, magic]) => hex.startsWith(magic))?.[0] ?? 'none';
}

/**
 * @param what names the file in errors
 * @throws GodwitError `image.bad_archive`: damaged, cut short, or it grows beyond `bytesMax`
 */
export async function* decompress(
  chunks: Chunks,
  compression: Compression,
  bytesMax: number,
  what: string,
): AsyncGenerator<Uint8Array, void> {
  let bytes = 0;
  try {
    for await (const chunk of plain(chunks, compression)) {
      bytes += chunk.length;
      if (bytes > bytesMax) {
        const why = `it is more than ${bytesMax} bytes when unpacked`;
        throw new GodwitError('image.bad_archive', { what, why });
      }
      yield chunk;
    }
  } catch (cause) {
    if (cause instanceof GodwitError) throw cause;
    const why = `${compression}: ${(cause as Error).message}`;
    throw new GodwitError('image.bad_archive', { what, why }, { cause });
  }
}

/** A whole file. @throws GodwitError `image.bad_archive` */
export async function decompressAll(
  bytes: Uint8Array,
  compression: Compression,
  bytesMax: number,
  what: string,
): Promise<Buffer> {
  if (compression === 'none') return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const parts: Uint8Array[] = [];
  for await (const part of decompress(once(bytes), compression, bytesMax, what)) parts.push(part);
  return Buffer.concat(parts);
}

function plain(chunks: Chunks, compression: Compression): Chunks {
  if (compression === 'none') return chunks;
  const source = Readable.from(chunks, { objectMode: false });
  if (compression === 'xz') return unxz(source);
  const stream = compression === 'gzip' ? createGunzip() : createZstdDecompress();
  source.on('error', (error) => stream.destroy(error));
  return source.pipe(stream);
}

async function* unxz(source: Readable): AsyncGenerator<Uint8Array, void> {
  // Loaded when first needed: agents use this package and never see an xz file.
  const { default: xz } = await import('xz-decompress');
  const plainBytes = new xz.XzReadableStream(Readable.toWeb(source) as ReadableStream<Uint8Array>);
  const reader = plainBytes.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      // The library's view is into its own memory, which the next read writes again.
      yield value.slice();
    }
  } finally {
    await reader.cancel().catch(() => {});
    source.destroy();
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void> {
  yield bytes;
}
