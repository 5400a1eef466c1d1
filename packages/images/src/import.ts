/**
 * Makes an image of a kernel and an initrd of one's own: `godwit image import`.
 *
 *   two files -> looked at -> [import] -> store
 */
import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { GodwitError, IMAGE_FILE_BYTES_MAX, NAME_PATTERN } from '@godwit/protocol';
import { checkInitrd } from './initrd.ts';
import { bootableKernel } from './kernel-image.ts';
import { checkAppend, type ImageFile, type Manifest, makeManifest } from './manifest.ts';
import type { ImageStore } from './store.ts';

export interface ImportOptions {
  readonly store: ImageStore;
  readonly kernel: string;
  readonly initrd: string;
  readonly name: string;
  readonly append: string;
}

/**
 * The name is given to the image last; one that belongs to another image is refused before anything
 * is written.
 * @throws GodwitError `guest.bad_name`, `image.exists`, `image.bad_kernel`, `image.bad_initrd`,
 *   `request.invalid` (append), `image.no_space`, `image.store`
 */
export async function importImage(options: ImportOptions): Promise<Manifest> {
  const { store, name, append } = options;
  if (!NAME_PATTERN.test(name)) throw new GodwitError('guest.bad_name', { name });
  checkAppend(append);
  const kernel = await bootableKernel(
    await readFileOf('image.bad_kernel', options.kernel),
    options.kernel,
  );
  const initrd = await readFileOf('image.bad_initrd', options.initrd);
  checkInitrd(initrd, options.initrd);
  const manifest = makeManifest({
    name,
    kernel: describe(kernel),
    initrd: describe(initrd),
    append,
    source: { kernel: basename(options.kernel), initrd: basename(options.initrd) },
  });
  const owner = await store.digestNamed(name);
  if (owner !== undefined && owner !== manifest.digest && (await store.get(owner))) {
    throw new GodwitError('image.exists', { name, digest: owner });
  }
  await store.addBlob(once(kernel));
  await store.addBlob(once(initrd));
  await store.addManifest(manifest);
  await store.setName(name, manifest.digest);
  return manifest;
}

function describe(bytes: Buffer): ImageFile {
  return { sha256: createHash('sha256').update(bytes).digest('hex'), bytes: bytes.length };
}

async function readFileOf(
  code: 'image.bad_kernel' | 'image.bad_initrd',
  path: string,
): Promise<Buffer> {
  try {
    const { size } = await stat(path);
    if (size > IMAGE_FILE_BYTES_MAX) {
      throw new GodwitError(code, { path, why: `${size} bytes are too many` });
    }
    return await readFile(path);
  } catch (cause) {
    if (cause instanceof GodwitError) throw cause;
    const why =
      (cause as NodeJS.ErrnoException).code === 'ENOENT'
        ? 'no such file'
        : (cause as Error).message;
    throw new GodwitError(code, { path, why }, { cause });
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void> {
  yield bytes;
}
