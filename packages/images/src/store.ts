/**
 * The images of one machine: a directory that commands and agents share.
 *
 *   DIR/blobs/SHA256         kernels and initrds, named by their content
 *   DIR/images/DIGEST.json   manifests, named by what they describe
 *   DIR/names/NAME           the digest that a name stands for
 *   DIR/tmp/                 what is being written; nothing in it counts
 *
 * Whatever appears under its final name is complete and was checked: files are written in tmp and
 * renamed, blobs before the manifest that needs them, the manifest before its name. So any process may
 * die at any moment, several may write the same at once, and nobody needs a lock. What is removed goes in
 * the other order.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { GodwitError, IMAGE_FILE_BYTES_MAX, NAME_PATTERN } from '@godwit/protocol';
import type { Chunks } from './byte-stream.ts';
import {
  DIGEST_PATTERN,
  filesOf,
  type ImageFile,
  type Manifest,
  manifestText,
  parseManifest,
} from './manifest.ts';

/** A manifest and the names that stand for it. */
export interface StoredImage {
  readonly manifest: Manifest;
  readonly names: readonly string[];
}

/** Left in tmp by a process that died; younger ones may still be written. */
const STALE_MS = 24 * 3_600_000;
/** Digests may be shortened like this, but not further: a name of letters a to f is a name. */
const SHORT_DIGEST = /^[0-9a-f]{8,64}$/;

/** --image-dir, GODWIT_IMAGE_DIR, the user's cache directory. */
export function imageDirectory(
  flag: string | undefined,
  env: Readonly<Record<string, string | undefined>>,
): string {
  const cache = env.XDG_CACHE_HOME || join(env.HOME || homedir(), '.cache');
  return flag || env.GODWIT_IMAGE_DIR || join(cache, 'godwit', 'images');
}

export class ImageStore {
  readonly directory: string;

  constructor(directory: string) {
    this.directory = directory;
  }

  // ----------------------------------------------------------------------------------- reading

  /** All that is complete, by name and digest. A manifest that does not parse is left out. */
  async list(): Promise<StoredImage[]> {
    const names = await this.#names();
    const found: StoredImage[] = [];
    for (const entry of await this.#entries('images')) {
      const manifest = await this.#manifest(entry.replace(/\.json$/, ''));
      if (manifest === undefined || !(await this.#isComplete(manifest))) continue;
      const own = [...names].filter(([, digest]) => digest === manifest.digest);
      found.push({ manifest, names: own.map(([name]) => name).sort() });
    }
    const key = ({ manifest, names: [name = '~'] }: StoredImage) => `${name} ${manifest.digest}`;
    return found.sort((a, b) => (key(a) < key(b) ? -1 : 1));
  }

  /**
   * @param reference a name, a digest, or the beginning of one
   * @throws GodwitError `image.not_found`
   */
  async find(reference: string): Promise<StoredImage> {
    const images = await this.list();
    const named = images.find(({ names }) => names.includes(reference));
    if (named !== undefined) return named;
    const begins = SHORT_DIGEST.test(reference)
      ? images.filter(({ manifest }) => manifest.digest.startsWith(reference))
      : [];
    if (begins.length === 1) return begins[0]!;
    const known = images.flatMap(({ names }) => names).join(', ');
    throw new GodwitError('image.not_found', { image: reference, known });
  }

  /** By its whole digest; nothing when it is not here, or not whole. */
  async get(digest: string): Promise<Manifest | undefined> {
    const manifest = await this.#manifest(digest);
    return manifest && (await this.#isComplete(manifest)) ? manifest : undefined;
  }

  blobPath(sha256: string): string {
    return join(this.directory, 'blobs', sha256);
  }

  /** Its length; nothing when it is not here. */
  async blobBytes(sha256: string): Promise<number | undefined> {
    const found = await stat(this.blobPath(sha256)).catch(() => undefined);
    return found?.isFile() ? found.size : undefined;
  }

  async hasBlob({ sha256, bytes }: ImageFile): Promise<boolean> {
    return (await this.blobBytes(sha256)) === bytes;
  }

  // ----------------------------------------------------------------------------------- writing

  /**
   * Takes bytes in and names them by their digest.
   * @param expected what they must be; a difference is found before they count
   * @throws GodwitError `image.digest`, `wire.too_large`, `image.no_space`, `image.store`
   */
  async addBlob(chunks: Chunks, expected?: ImageFile): Promise<ImageFile> {
    const bytesMax = expected?.bytes ?? IMAGE_FILE_BYTES_MAX;
    return this.#writing(async (temporary) => {
      const hash = createHash('sha256');
      let bytes = 0;
      const file = await open(temporary, 'wx', 0o644);
      try {
        for await (const chunk of chunks) {
          bytes += chunk.length;
          if (bytes > bytesMax) {
            throw new GodwitError('wire.too_large', { what: 'image file', bytes, bytesMax });
          }
          hash.update(chunk);
          await file.writeFile(chunk);
        }
        await file.sync();
      } finally {
        await file.close();
      }
      const sha256 = hash.digest('hex');
      if (expected !== undefined && (sha256 !== expected.sha256 || bytes !== expected.bytes)) {
        const what = `image file of ${bytes} bytes`;
        throw new GodwitError('image.digest', { what, expected: expected.sha256, found: sha256 });
      }
      await this.#into('blobs', sha256, temporary);
      return { sha256, bytes };
    });
  }

  /**
   * The image is here from now on. Its blobs must be.
   * @throws GodwitError `image.not_found`, `image.no_space`, `image.store`
   */
  async addManifest(manifest: Manifest): Promise<void> {
    if (!(await this.#isComplete(manifest))) {
      throw new GodwitError('image.not_found', { image: manifest.digest, known: '' });
    }
    await this.#writeText('images', `${manifest.digest}.json`, manifestText(manifest));
  }

  /** The name stands for this image from now on. @throws GodwitError `image.no_space`, `image.store` */
  async setName(name: string, digest: string): Promise<void> {
    await this.#writeText('names', name, `${digest}\n`);
  }

  /** What a name stands for, whole or not. */
  async digestNamed(name: string): Promise<string | undefined> {
    return (await this.#names()).get(name);
  }

  /** Removes an image with its names, and the files that only it needed. @returns bytes given back */
  async remove(digest: string): Promise<number> {
    const manifest = await this.#manifest(digest);
    for (const [name, named] of await this.#names()) {
      if (named === digest) await rm(join(this.directory, 'names', name), { force: true });
    }
    await rm(this.#manifestPath(digest), { force: true });
    const needed = await this.#neededBlobs();
    let bytes = 0;
    for (const file of manifest ? filesOf(manifest) : []) {
      if (needed.has(file.sha256) || !(await this.hasBlob(file))) continue;
      await rm(this.blobPath(file.sha256), { force: true });
      bytes += file.bytes;
    }
    return bytes;
  }

  // ------------------------------------------------------------------------------------ inside

  async #names(): Promise<Map<string, string>> {
    const names = new Map<string, string>();
    for (const name of await this.#entries('names')) {
      if (!NAME_PATTERN.test(name)) continue;
      const path = join(this.directory, 'names', name);
      const digest = (await readFile(path, 'utf8').catch(() => '')).trim();
      if (DIGEST_PATTERN.test(digest)) names.set(name, digest);
    }
    return names;
  }

  #manifestPath(digest: string): string {
    return join(this.directory, 'images', `${digest}.json`);
  }

  async #manifest(digest: string): Promise<Manifest | undefined> {
    if (!DIGEST_PATTERN.test(digest)) return undefined;
    try {
      const manifest = parseManifest(await readFile(this.#manifestPath(digest), 'utf8'));
      return manifest.digest === digest ? manifest : undefined;
    } catch {
      return undefined; // Absent, or not ours: as if it were not here.
    }
  }

  async #isComplete(manifest: Manifest): Promise<boolean> {
    for (const file of filesOf(manifest)) if (!(await this.hasBlob(file))) return false;
    return true;
  }

  async #entries(folder: string): Promise<string[]> {
    return readdir(join(this.directory, folder)).catch(() => []);
  }

  async #writeText(folder: string, name: string, text: string): Promise<void> {
    await this.#writing(async (temporary) => {
      await writeFile(temporary, text, { flag: 'wx', flush: true });
      await this.#into(folder, name, temporary);
    });
  }

  async #into(folder: string, name: string, temporary: string): Promise<void> {
    await mkdir(join(this.directory, folder), { recursive: true });
    await rename(temporary, join(this.directory, folder, name));
  }

  /** Gives a file name of its own in tmp; the file is gone afterwards, whatever happened. */
  async #writing<T>(write: (temporary: string) => Promise<T>): Promise<T> {
    const tmp = join(this.directory, 'tmp');
    const temporary = join(tmp, randomBytes(8).toString('hex'));
    try {
      await mkdir(tmp, { recursive: true });
      await removeStale(tmp);
      return await write(temporary);
    } catch (thrown) {
      throw storeError(thrown, this.directory);
    } finally {
      await rm(temporary, { force: true }).catch(() => {}); // What went wrong before is said.
    }
  }

  async #neededBlobs(): Promise<Set<string>> {
    const needed = new Set<string>();
    for (const entry of await this.#entries('images')) {
      const manifest = await this.#manifest(entry.replace(/\.json$/, ''));
      if (manifest) for (const { sha256 } of filesOf(manifest)) needed.add(sha256);
    }
    return needed;
  }
}

async function removeStale(tmp: string): Promise<void> {
  for (const name of await readdir(tmp)) {
    const path = join(tmp, name);
    const age = Date.now() - ((await stat(path).catch(() => undefined))?.mtimeMs ?? Date.now());
    if (age > STALE_MS) await rm(path, { force: true, recursive: true });
  }
}

/** A file system's refusals; anything else (a broken connection) is not about the directory. */
const FULL: ReadonlySet<unknown> = new Set(['ENOSPC', 'EDQUOT']);
const REFUSED: ReadonlySet<unknown> = new Set([
  ...['EACCES', 'EPERM', 'EROFS', 'ENOENT', 'ENOTDIR', 'EISDIR', 'EEXIST', 'ENOTEMPTY'],
  ...['EIO', 'EMFILE', 'ENFILE', 'EFBIG', 'ENAMETOOLONG', 'ELOOP', 'EXDEV'],
]);

/** A file system's refusal in words that say what to do. */
export function storeError(thrown: unknown, path: string): unknown {
  const { code, message } = thrown as NodeJS.ErrnoException;
  const cause = { cause: thrown };
  if (FULL.has(code)) return new GodwitError('image.no_space', { path }, cause);
  if (!REFUSED.has(code)) return thrown;
  return new GodwitError('image.store', { path, why: message }, cause);
}
