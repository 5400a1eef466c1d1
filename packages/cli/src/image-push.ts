/**
 * Brings an image from this machine to a host that lacks it.
 *
 *   image directory here --PUT, file by file--> agent of the host --> its image directory
 *
 * Once one host has it the others fetch it from there. An agent of this machine shares our directory, and
 * has it already.
 */
import { createReadStream } from 'node:fs';
import { type IncomingMessage, type RequestOptions, request } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { filesOf, type ImageStore, type Manifest, manifestText } from '@godwit/images';
import { CONNECT_DEADLINE_MS, GodwitError, type Host } from '@godwit/protocol';
import type { ApiClient } from './api-client.ts';
import { errnoText } from './errors.ts';

/** The agent takes in and syncs a file before it answers. */
const ANSWER_SILENCE_MS = 60_000;

export interface Push {
  readonly api: ApiClient;
  readonly store: ImageStore;
  readonly manifest: Manifest;
  onProgress(percent: number): void;
}

/**
 * Sees to it that some host holds the image.
 * @param host preferred; else a host that has it, else the one with the most free memory
 * @returns the host it was sent to; undefined: it was there
 * @throws GodwitError `peer.unreachable`, `host.not_found`, `request.invalid`, CommandError of the API
 */
export async function ensureInCluster(push: Push, host?: string): Promise<string | undefined> {
  const { api, manifest } = push;
  const holders = (await api.images()).find(({ digest }) => digest === manifest.digest)?.hosts;
  if (holders !== undefined && holders.length > 0) return undefined;
  const connected = (await api.hosts()).filter(({ state }) => state === 'connected');
  const chosen =
    host === undefined
      ? connected.toSorted((a, b) => b.freeBytes - a.freeBytes)[0]
      : connected.find(({ name }) => name === host);
  // Without a host to send it to, the request itself says what is wrong.
  return chosen && (await pushImage(push, chosen)) ? chosen.name : undefined;
}

/** @returns false when the host had it. @throws GodwitError `peer.unreachable`, `request.invalid` */
export async function pushImage(push: Push, { address }: Host): Promise<boolean> {
  const { api, store, manifest, onProgress } = push;
  const at = (path: string): RequestOptions => {
    const { hostname, port } = new URL(`http://${address}`);
    // A host in brackets is for URLs only.
    return { host: hostname.replace(/^\[|\]$/g, ''), port, path, headers: api.headers };
  };
  const about = `/v1/images/${manifest.digest}`;
  const known = await ask(address, { ...at(about), method: 'GET' });
  if (known.status === 200) return false;
  if (known.status !== 404) throw refusal(address, known);
  const files = filesOf(manifest);
  const total = files.reduce((sum, file) => sum + file.bytes, 0);
  let sent = 0;
  for (const file of files) {
    const answer = await ask(
      address,
      put(at(`/v1/blobs/${file.sha256}`), file.bytes),
      async function* () {
        for await (const piece of createReadStream(store.blobPath(file.sha256))) {
          sent += (piece as Buffer).length;
          onProgress((100 * sent) / total);
          yield piece as Buffer;
        }
      },
    );
    if (answer.status !== 200) throw refusal(address, answer);
  }
  const text = Buffer.from(manifestText(manifest));
  const answer = await ask(address, put(at(about), text.length), async function* () {
    yield text;
  });
  if (answer.status !== 200) throw refusal(address, answer);
  return true;
}

interface Answer {
  readonly status: number;
  readonly body: string;
}

function put(options: RequestOptions, bytes: number): RequestOptions {
  return { ...options, method: 'PUT', headers: { ...options.headers, 'content-length': bytes } };
}

/** @throws GodwitError `peer.unreachable` */
async function ask(
  address: string,
  options: RequestOptions,
  body?: () => AsyncIterable<Buffer>,
): Promise<Answer> {
  const outgoing = request({ ...options, agent: false });
  const answered = new Promise<IncomingMessage>((resolve, reject) => {
    outgoing.once('response', resolve);
    outgoing.once('error', reject);
  });
  outgoing.setTimeout(body ? ANSWER_SILENCE_MS : CONNECT_DEADLINE_MS, () =>
    outgoing.destroy(Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' })),
  );
  try {
    // A refusal may come before everything is sent, and then the sending fails: the refusal says more.
    const sending = body ? pipeline(body(), outgoing) : Promise.resolve(void outgoing.end());
    sending.catch(() => {});
    const response = await answered;
    let text = '';
    for await (const part of response.setEncoding('utf8')) text += part;
    return { status: response.statusCode ?? 0, body: text };
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const why = code === undefined ? message : errnoText(code);
    throw new GodwitError('peer.unreachable', { address, why }, { cause });
  }
}

function refusal(address: string, { status, body }: Answer): GodwitError {
  let why = `answered ${status}`;
  try {
    const { error } = JSON.parse(body) as { error?: { message?: string } };
    if (typeof error?.message === 'string') why = error.message;
  } catch {
    // Not one of our agents, or an older one.
  }
  return new GodwitError('request.invalid', {
    why: `the agent at ${address} takes no image: ${why}`,
  });
}
