/**
 * Takes files out of a Debian package (deb(5)): ar, then tar, compressed in one of several ways.
 *
 *   file.deb -> [deb] -> the files asked for, in memory
 *
 * The package is read as a stream; only what is wanted stays.
 */
import { open } from 'node:fs/promises';
import { GodwitError } from '@godwit/protocol';
import { readArMembers } from './ar.ts';
import { compressionOf, decompress } from './decompress.ts';
import { UNPACKED_BYTES_MAX } from './limits.ts';
import { readTar } from './tar.ts';

/**
 * @param wanted looks at a path such as "boot/vmlinux-6.12" and says whether to keep the file
 * @returns path -> bytes; a path that occurs twice has its last bytes, as after unpacking
 * @throws GodwitError `image.bad_archive`
 */
export async function readDeb(
  path: string,
  what: string,
  wanted: (name: string) => boolean,
): Promise<Map<string, Buffer>> {
  const file = await open(path);
  try {
    const members = await readArMembers(file, what);
    const data = members.find(({ name }) => name.startsWith('data.tar'));
    if (members[0]?.name !== 'debian-binary' || data === undefined) {
      throw new GodwitError('image.bad_archive', { what, why: 'it is no Debian package' });
    }
    if (data.bytes === 0) {
      throw new GodwitError('image.bad_archive', { what, why: `${data.name} is empty` });
    }
    const packed = file.createReadStream({
      start: data.offset,
      end: data.offset + data.bytes - 1,
      autoClose: false,
    });
    const plain = decompress(packed, compressionOf(data.name), UNPACKED_BYTES_MAX, what);
    const found = new Map<string, Buffer>();
    for await (const entry of readTar(plain, what)) {
      if (entry.type === 'file' && wanted(entry.name)) {
        found.set(entry.name, await entry.content());
      }
    }
    return found;
  } finally {
    await file.close();
  }
}
