/**
 * Which Linux the demo and the benchmarks boot: a directory that somebody named, or an image that is here.
 *
 *   GODWIT_GUEST_IMAGE (Image, initrd.cpio.gz) --import--> a directory of the caller's own -> [linux image]
 *   image directory of this machine ------------------------------------------------------> [linux image]
 */
import { join } from 'node:path';
import {
  APPEND_DEFAULT,
  ImageStore,
  imageDirectory,
  importImage,
  type Manifest,
  PULLABLE,
} from '@godwit/images';
import { CommandError, EXIT } from './errors.ts';

/** An image and the directory that has it. */
export interface LinuxImage {
  readonly store: ImageStore;
  readonly manifest: Manifest;
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * @param importInto becomes an image directory when a directory with a kernel is named
 * @throws CommandError usage: there is none; GodwitError `image.*`: what is named is no kernel, no initrd
 */
export async function findLinux(env: Environment, importInto: string): Promise<LinuxImage> {
  const named = env.GODWIT_GUEST_IMAGE;
  if (named) return importLinux(named, importInto);
  const store = new ImageStore(imageDirectory(undefined, env));
  const images = await store.list();
  // One that was pulled is known to end in a shell.
  const pulled = images.find(({ names }) => names.some((name) => PULLABLE.includes(name)));
  const found = pulled ?? images[0];
  if (found !== undefined) return { store, manifest: found.manifest };
  throw new CommandError({
    code: 'image.not_found',
    exit: EXIT.usage,
    message: 'no image of Linux is here',
    hint: `npx godwit image pull ${PULLABLE[0]}; or GODWIT_GUEST_IMAGE=DIR with Image and initrd.cpio.gz`,
  });
}

async function importLinux(directory: string, into: string): Promise<LinuxImage> {
  const store = new ImageStore(into);
  const manifest = await importImage({
    store,
    kernel: join(directory, 'Image'),
    initrd: join(directory, 'initrd.cpio.gz'),
    name: 'linux',
    append: APPEND_DEFAULT,
  });
  return { store, manifest };
}
