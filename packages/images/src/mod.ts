/**
 * Images that guests boot from: made, kept, described. Used by the command line and by agents.
 *
 * Knows kernels and archives, nothing of guests, hosts or the wire.
 */
export { type ImportOptions, importImage } from './import.ts';
export { READY_LINE } from './initramfs.ts';
export {
  checkAppend,
  DIGEST_PATTERN,
  filesOf,
  type ImageFile,
  type Manifest,
  makeManifest,
  manifestText,
  parseManifest,
} from './manifest.ts';
export { APPEND_DEFAULT, PULLABLE, type Pulled, type PullOptions, pullImage } from './pull.ts';
export { ImageStore, imageDirectory, type StoredImage } from './store.ts';
