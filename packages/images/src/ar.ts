/**
 * The table of contents of an ar archive, which is the outer form of a Debian package (deb(5)).
 *
 *   file -> [ar] -> where each member lies -> a stream over one of them
 *
 * Common format: "!<arch>\n", then for each member a header of 60 bytes of text and its bytes, padded
 * to an even offset. Names longer than 16 characters do not occur in a package and are refused.
 */
import type { FileHandle } from 'node:fs/promises';
import { GodwitError } from '@godwit/protocol';
import { AR_MEMBERS_MAX } from './limits.ts';

export interface ArMember {
  readonly name: string;
  /** Where its bytes begin in the file. */
  readonly offset: number;
  readonly bytes: number;
}

const MAGIC = '!<arch>\n';
const HEADER_BYTES = 60;
const HEADER_END = '`\n';

/**
 * @param what names the archive in errors
 * @throws GodwitError `image.bad_archive`
 */
export async function readArMembers(file: FileHandle, what: string): Promise<ArMember[]> {
  const { size } = await file.stat();
  const bad = (why: string) => new GodwitError('image.bad_archive', { what, why });
  const textAt = async (offset: number, bytes: number) => {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(bytes), 0, bytes, offset);
    if (bytesRead < bytes) throw bad('it is cut short');
    return buffer.toString('latin1');
  };
  if ((await textAt(0, MAGIC.length)) !== MAGIC) throw bad('it is no ar archive');
  const members: ArMember[] = [];
  let at = MAGIC.length;
  while (at < size) {
    if (members.length === AR_MEMBERS_MAX) throw bad(`it has more than ${AR_MEMBERS_MAX} members`);
    const header = await textAt(at, HEADER_BYTES);
    const name = header.slice(0, 16).trimEnd().replace(/\/$/, '');
    const length = header.slice(48, 58).trimEnd();
    if (!header.endsWith(HEADER_END) || name === '' || !/^\d{1,10}$/.test(length)) {
      throw bad(`no member begins at byte ${at}`);
    }
    const offset = at + HEADER_BYTES;
    const bytes = Number(length);
    if (offset + bytes > size) throw bad(`member ${JSON.stringify(name)} is cut short`);
    members.push({ name, offset, bytes });
    at = offset + bytes + (bytes % 2);
  }
  return members;
}
