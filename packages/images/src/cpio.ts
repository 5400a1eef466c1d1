/**
 * Writes the archive that the kernel unpacks into its first root (cpio "newc", as in the kernel's
 * Documentation/driver-api/early-userspace/buffer-format.rst).
 *
 *   entries -> [cpio] -> bytes
 *
 * The same entries give the same bytes, always: no times, no owners, inode numbers by order. The
 * archive is not compressed: a compressor's output differs between versions of it and between
 * processors, and the guest would spend more instructions on unpacking than the host saves in reading.
 */
import { assert } from '@godwit/protocol';

export type CpioEntry =
  | { readonly path: string; readonly type: 'directory' }
  | {
      readonly path: string;
      readonly type: 'file';
      readonly mode: number;
      readonly data: Uint8Array;
    }
  | { readonly path: string; readonly type: 'link'; readonly to: string }
  | {
      readonly path: string;
      readonly type: 'character-device';
      readonly major: number;
      readonly minor: number;
    };

const MODE = {
  directory: 0o040755,
  file: 0o100000,
  link: 0o120777,
  'character-device': 0o020600,
} as const;
const TRAILER = 'TRAILER!!!';
/** Readers take whole blocks of this size. */
const BLOCK_BYTES = 512;

/** @param entries parents before their children */
export function writeCpio(entries: readonly CpioEntry[]): Buffer {
  const parts: Uint8Array[] = [];
  const seen = new Set(['']);
  entries.forEach((entry, index) => {
    const parent = entry.path.split('/').slice(0, -1).join('/');
    assert(seen.has(parent) && !seen.has(entry.path), `${entry.path}: after its parent, and once`);
    if (entry.type === 'directory') seen.add(entry.path);
    parts.push(...record(entry, index + 1));
  });
  parts.push(head(TRAILER, { inode: 0, mode: 0, bytes: 0, major: 0, minor: 0, links: 1 }));
  const total = parts.reduce((sum, part) => sum + part.length, 0);
  parts.push(new Uint8Array(-total & (BLOCK_BYTES - 1)));
  return Buffer.concat(parts);
}

function record(entry: CpioEntry, inode: number): Uint8Array[] {
  const data = dataOf(entry);
  const mode = entry.type === 'file' ? MODE.file | entry.mode : MODE[entry.type];
  const [major, minor] =
    entry.type === 'character-device' ? [entry.major, entry.minor] : ([0, 0] as const);
  const links = entry.type === 'directory' ? 2 : 1;
  const header = head(entry.path, { inode, mode, bytes: data.length, major, minor, links });
  return [header, data, new Uint8Array(-data.length & 3)];
}

function dataOf(entry: CpioEntry): Uint8Array {
  if (entry.type === 'file') return entry.data;
  return entry.type === 'link' ? Buffer.from(entry.to) : new Uint8Array(0);
}

/** Magic, thirteen fields of eight hex digits, the name and its zero, padded to four bytes. */
function head(
  path: string,
  of: { inode: number; mode: number; bytes: number; major: number; minor: number; links: number },
): Buffer {
  const name = Buffer.from(`${path}\0`);
  const [uid, gid, time, device, check] = [0, 0, 0, 0, 0];
  const numbers = [
    ...[of.inode, of.mode, uid, gid, of.links, time, of.bytes, device, device],
    ...[of.major, of.minor, name.length, check],
  ];
  const text = `070701${numbers.map((n) => n.toString(16).padStart(8, '0')).join('')}`;
  const bytes = Buffer.alloc((text.length + name.length + 3) & ~3);
  bytes.write(text, 'latin1');
  name.copy(bytes, text.length);
  return bytes;
}
