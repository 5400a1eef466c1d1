/**
 * The images of this host for those who may ask: other agents fetch, a person's command brings.
 *
 *   GET  /v1/images/DIGEST   the manifest
 *   GET  /v1/blobs/SHA256    a kernel or an initrd, as it is
 *   PUT  /v1/blobs/SHA256    with its exact Content-Length; kept only if it has that digest
 *   PUT  /v1/images/DIGEST   a manifest whose files are here
 *
 * The control server has checked the token. Bytes go from file to socket in pieces of the file system's
 * size, as fast as the socket takes them, a few files at once, so that the main thread has time for the
 * migrations that are its purpose.
 */
import { createReadStream } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { DIGEST_PATTERN, type ImageStore, manifestText, parseManifest } from '@godwit/images';
import { GodwitError, IMAGE_FILE_BYTES_MAX, IMAGE_MANIFEST_BYTES_MAX } from '@godwit/protocol';
import type { Log } from '../log.ts';

/** Files under way at once, both directions; who comes later tries again or asks another host. */
const BUSY_MAX = 8;
const PIECE_BYTES = 65_536;
/** A peer that takes or sends nothing for so long is let go. */
const SILENCE_MS = 30_000;

export class ImageServer {
  readonly #store: ImageStore;
  /** Looks what is here, and has the coordinator know before the asker goes on. */
  readonly #look: () => Promise<void>;
  readonly #log: Log;
  #busy = 0;

  constructor(store: ImageStore, look: () => Promise<void>, log: Log) {
    this.#store = store;
    this.#look = look;
    this.#log = log;
  }

  /** False: not a path of images. */
  handle(path: string, request: IncomingMessage, response: ServerResponse): boolean {
    const match = /^\/v1\/(images|blobs)\/([^/]+)$/.exec(path);
    if (match === null) return false;
    void this.#answer(match[1] as 'images' | 'blobs', match[2]!, request, response);
    return true;
  }

  async #answer(
    kind: 'images' | 'blobs',
    digest: string,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    response.setTimeout(SILENCE_MS, () => response.destroy());
    const isTooBusy = this.#busy >= BUSY_MAX;
    this.#busy += 1;
    try {
      if (isTooBusy) return refuse(request, response, 503, 'busy');
      if (!DIGEST_PATTERN.test(digest)) return refuse(request, response, 404, 'no digest');
      if (request.method === 'GET') await this.#give(kind, digest, request, response);
      else if (request.method === 'PUT') await this.#take(kind, digest, request, response);
      else refuse(request, response, 405, 'not here');
    } catch (thrown) {
      const error = GodwitError.from(thrown);
      this.#log.warn({ digest, code: error.code, err: thrown }, `image: ${error.message}`);
      if (response.headersSent) response.destroy();
      else refuse(request, response, 400, error);
    } finally {
      this.#busy -= 1;
    }
  }

  async #give(
    kind: 'images' | 'blobs',
    digest: string,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    if (kind === 'images') {
      const manifest = await this.#store.get(digest);
      if (manifest === undefined) return refuse(request, response, 404, 'not here');
      await this.#look();
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(manifestText(manifest));
      return;
    }
    const bytes = await this.#store.blobBytes(digest);
    if (bytes === undefined) return refuse(request, response, 404, 'not here');
    response.writeHead(200, {
      'content-type': 'application/octet-stream',
      'content-length': bytes,
    });
    const file = createReadStream(this.#store.blobPath(digest), { highWaterMark: PIECE_BYTES });
    await pipeline(file, response);
  }

  async #take(
    kind: 'images' | 'blobs',
    digest: string,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const bytes = Number(request.headers['content-length']);
    const bytesMax = kind === 'images' ? IMAGE_MANIFEST_BYTES_MAX : IMAGE_FILE_BYTES_MAX;
    if (!Number.isSafeInteger(bytes) || bytes <= 0 || bytes > bytesMax) {
      return refuse(request, response, 413, `Content-Length must be 1 to ${bytesMax}`);
    }
    if (kind === 'blobs') {
      await this.#store.addBlob(request, { sha256: digest, bytes });
    } else {
      const parts: Buffer[] = [];
      for await (const part of request) parts.push(part as Buffer);
      const manifest = parseManifest(Buffer.concat(parts).toString('utf8'));
      if (manifest.digest !== digest) {
        const what = 'image manifest';
        throw new GodwitError('image.digest', { what, expected: digest, found: manifest.digest });
      }
      await this.#store.addManifest(manifest);
      if ((await this.#store.digestNamed(manifest.name)) === undefined) {
        await this.#store.setName(manifest.name, digest);
      }
      await this.#look();
    }
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end('{}');
  }
}

/** The rest of what is being sent is not read: the connection goes with the answer. */
function refuse(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  why: string | GodwitError,
): void {
  const error =
    why instanceof GodwitError ? { ...why.toData(), message: why.message } : { message: why };
  response.writeHead(status, { 'content-type': 'application/json', connection: 'close' });
  response.end(JSON.stringify({ error }), () => request.destroy());
}
