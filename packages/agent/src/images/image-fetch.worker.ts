/**
 * Thread entry: brings an image from another agent to this host's image directory.
 *
 *   agent that has it --HTTP: manifest, then each file--> [fetch] --checked--> image directory
 *
 * The other agent is believed nothing: the manifest must have the digest that was asked for, each file the
 * length and the digest of the manifest; what is not so never gets its name. Files that are here already
 * are not fetched again, so an attempt that broke off costs only the file it was at.
 */
import { get, type IncomingMessage } from 'node:http';
import { filesOf, ImageStore, type Manifest, parseManifest } from '@godwit/images';
import { CONNECT_DEADLINE_MS, GodwitError, IMAGE_MANIFEST_BYTES_MAX } from '@godwit/protocol';
import { serveThread } from '../thread.ts';

export interface Fetch {
  readonly directory: string;
  readonly digest: string;
  /** HOST:PORT of agents that may have it, in the order in which to ask. */
  readonly from: readonly string[];
  readonly token: string | undefined;
  /** This host, for errors. */
  readonly host: string;
}

/** An agent that sends nothing for so long is given up. */
const SILENCE_MS = 10_000;

/** @throws GodwitError `image.unavailable`, `image.no_space`, `image.store` */
async function fetchImage({ directory, digest, from, token, host }: Fetch): Promise<void> {
  const store = new ImageStore(directory);
  const failures: string[] = [];
  for (const address of from) {
    try {
      await fetchFrom(store, address, digest, token);
      return;
    } catch (thrown) {
      const error = GodwitError.from(thrown);
      // Another agent's copy would not fit either.
      if (error.code === 'image.no_space' || error.code === 'image.store') throw error;
      failures.push(`${address}: ${error.message}`);
    }
  }
  const why = failures.join('; ') || 'no connected host has it';
  throw new GodwitError('image.unavailable', { image: digest.slice(0, 12), host, why });
}

async function fetchFrom(
  store: ImageStore,
  address: string,
  digest: string,
  token: string | undefined,
): Promise<void> {
  const base = `http://${address}/v1`;
  const manifest = await fetchManifest(`${base}/images/${digest}`, token, digest);
  for (const file of filesOf(manifest)) {
    if (await store.hasBlob(file)) continue;
    await store.addBlob(await ask(`${base}/blobs/${file.sha256}`, token), file);
  }
  await store.addManifest(manifest);
  // Under its name too, unless this host means something else by it.
  if ((await store.digestNamed(manifest.name)) === undefined) {
    await store.setName(manifest.name, digest);
  }
}

async function fetchManifest(
  url: string,
  token: string | undefined,
  digest: string,
): Promise<Manifest> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of await ask(url, token)) {
    bytes += (part as Buffer).length;
    if (bytes > IMAGE_MANIFEST_BYTES_MAX) {
      const bytesMax = IMAGE_MANIFEST_BYTES_MAX;
      throw new GodwitError('wire.too_large', { what: 'image manifest', bytes, bytesMax });
    }
    parts.push(part as Buffer);
  }
  const manifest = parseManifest(Buffer.concat(parts).toString('utf8'));
  if (manifest.digest !== digest) {
    const what = 'image manifest';
    throw new GodwitError('image.digest', { what, expected: digest, found: manifest.digest });
  }
  return manifest;
}

/** The body of a 200, as it comes. @throws Error for anything else */
function ask(url: string, token: string | undefined): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const request = get(url, { headers, agent: false, timeout: SILENCE_MS }, (response) => {
      clearTimeout(deadline);
      if (response.statusCode === 200) return resolve(response);
      response.resume();
      reject(new Error(`answered ${response.statusCode}`));
    });
    const deadline = setTimeout(() => request.destroy(new Error('no answer')), CONNECT_DEADLINE_MS);
    request.on('timeout', () => request.destroy(new Error(`silent for ${SILENCE_MS / 1000} s`)));
    request.on('error', (error) => {
      clearTimeout(deadline);
      reject(error);
    });
  });
}

const commands = {
  fetch: fetchImage,
  async close(): Promise<void> {},
};

export type FetchCommands = typeof commands;

serveThread(commands);
