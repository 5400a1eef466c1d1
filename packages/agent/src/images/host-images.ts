/**
 * The images of this host: what is there, what is fetched from other hosts, what a guest boots from.
 *
 *   image directory (shared with the commands of this machine) -> [host images] -> boot sources
 *   other agents -> image-fetch.worker.ts -> image directory
 *   [host images] -> coordinator: which images are here
 *
 * A guest that came by a migration has its memory and needs no image until it reboots; the coordinator has
 * it fetched meanwhile. Main thread; files are read and written in the background.
 */
import { createHash, randomBytes } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageStore } from '@godwit/images';
import {
  COMMAND_LINE_CHARS_MAX,
  GodwitError,
  type GuestSpec,
  IMAGES_PER_HOST_MAX,
  type Message,
} from '@godwit/protocol';
import type { BootSource } from '../guest/boot.ts';
import type { Log } from '../log.ts';
import { Thread } from '../thread.ts';
import type { FetchCommands } from './image-fetch.worker.ts';

export interface HostImagesOptions {
  readonly directory: string;
  readonly host: string;
  readonly token: string | undefined;
  readonly log: Log;
  /** What is here is not what was said before. */
  changed(message: Message<'images'>): void;
}

type Said = Message<'images'>;

/** Commands of this machine put images into the directory without telling. */
const LOOK_MS = 2_000;
const NAMES_SAID_MAX = 16;
const FETCH_THREAD = new URL('./image-fetch.worker.ts', import.meta.url);

export class HostImages {
  readonly store: ImageStore;
  readonly #options: HostImagesOptions;
  readonly #fetches = new Map<string, Promise<void>>();
  readonly #looker: NodeJS.Timeout;
  #seen = '';
  #said: Said = { type: 'images', images: [] };
  #looking: Promise<void> | undefined;

  constructor(options: HostImagesOptions) {
    this.#options = options;
    this.store = new ImageStore(options.directory);
    this.#looker = setInterval(() => void this.look(), LOOK_MS);
  }

  /** Ends looking; a fetch that is under way ends with its thread. */
  async close(): Promise<void> {
    clearInterval(this.#looker);
    await this.#looking;
    await Promise.allSettled(this.#fetches.values());
  }

  /** What is here, as last looked at: for a coordinator that has just welcomed us. */
  get said(): Said {
    return this.#said;
  }

  /** Looks what is here now, and says so when it changed. */
  look(): Promise<void> {
    this.#looking ??= this.#look()
      .catch((error) => this.#options.log.warn({ err: error }, 'images could not be looked at'))
      .finally(() => {
        this.#looking = undefined;
      });
    return this.#looking;
  }

  /**
   * Sees to it that the image is here, from whichever of these agents has it.
   * @throws GodwitError `image.unavailable`, `image.no_space`, `image.store`
   */
  async ensure(digest: string, from: readonly string[]): Promise<void> {
    if ((await this.store.get(digest)) !== undefined) return;
    let fetching = this.#fetches.get(digest);
    if (fetching === undefined) {
      fetching = this.#fetch(digest, from).finally(() => this.#fetches.delete(digest));
      this.#fetches.set(digest, fetching);
    }
    await fetching;
  }

  /** What a guest starts from, at creation and at each reboot; nothing when it boots no image. */
  bootSource(spec: GuestSpec): BootSource | undefined {
    const { imageDigest } = spec;
    return imageDigest === undefined ? undefined : () => this.#boot(spec, imageDigest);
  }

  async #boot(spec: GuestSpec, digest: string): Promise<Awaited<ReturnType<BootSource>>> {
    const manifest = await this.store.get(digest);
    if (manifest === undefined) {
      const image = spec.image ?? digest;
      throw new GodwitError('image.unavailable', {
        image,
        host: this.#options.host,
        why: 'it is not here',
      });
    }
    const { kernel, initrd, append } = manifest;
    return {
      kind: 'linux',
      kernel: await readFile(this.store.blobPath(kernel.sha256)),
      ...(initrd && { initrd: await readFile(this.store.blobPath(initrd.sha256)) }),
      bootargs: commandLine(spec.append ?? append, spec.name),
      // A guest that is to be repeatable gets the same randomness each time.
      seed:
        spec.clock === 'instructions'
          ? createHash('sha256').update(digest).digest()
          : randomBytes(32),
    };
  }

  async #fetch(digest: string, from: readonly string[]): Promise<void> {
    const { token, host, log } = this.#options;
    const began = performance.now();
    const thread = new Thread<FetchCommands>(FETCH_THREAD);
    try {
      const { directory } = this.store;
      await thread.call('fetch', { directory, digest, from, token, host });
      log.info({ digest, ms: Math.round(performance.now() - began) }, 'image fetched');
    } finally {
      await thread.close();
    }
    await this.look();
  }

  async #look(): Promise<void> {
    const seen = await this.#times();
    if (seen === this.#seen) return;
    const images = (await this.store.list()).slice(0, IMAGES_PER_HOST_MAX);
    this.#seen = seen;
    const said: Said = {
      type: 'images',
      images: images.map(({ manifest, names }) => ({
        digest: manifest.digest,
        names: names.slice(0, NAMES_SAID_MAX),
      })),
    };
    if (JSON.stringify(said) === JSON.stringify(this.#said)) return;
    this.#said = said;
    this.#options.changed(said);
  }

  /** Entering and leaving a directory changes its time; a name that is given anew is a new file too. */
  async #times(): Promise<string> {
    const folders = ['images', 'names', 'blobs'].map((name) => join(this.store.directory, name));
    const times = folders.map(async (folder) => {
      const found = await stat(folder, { bigint: true }).catch(() => undefined);
      return String(found?.mtimeNs ?? '-');
    });
    return (await Promise.all(times)).join(' ');
  }
}

/** The guest's own name, for the prompt of its shell, where there is room for it. */
function commandLine(append: string, name: string): string {
  const named = `${append} godwit.hostname=${name}`.trim();
  return named.length <= COMMAND_LINE_CHARS_MAX ? named : append;
}
