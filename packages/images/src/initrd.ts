/**
 * Is this file something the kernel can unpack as its first root?
 *
 * A cpio archive (newc, with or without checksums), plain or compressed. Only the beginning is looked
 * at, for the mistake of giving another file; several archives in a row are allowed, and what the
 * kernel makes of the rest is the kernel's matter.
 */
import { GodwitError } from '@godwit/protocol';

/** As lib/decompress.c of the kernel knows them. */
const MAGICS: readonly string[] = [
  '1f8b', // gzip
  'fd377a585a', // xz
  '28b52ffd', // zstd
  '02214c18', // lz4
  '425a68', // bzip2
  '894c5a4f', // lzo
  '5d0000', // lzma
];
const CPIO = ['070701', '070702'];

/** @throws GodwitError `image.bad_initrd` */
export function checkInitrd(file: Uint8Array, path: string): void {
  if (file.length === 0) throw new GodwitError('image.bad_initrd', { path, why: 'it is empty' });
  const head = Buffer.from(file.subarray(0, 6));
  if (CPIO.includes(head.toString('latin1'))) return;
  if (MAGICS.some((magic) => head.toString('hex').startsWith(magic))) return;
  throw new GodwitError('image.bad_initrd', { path, why: 'not a cpio archive' });
}
