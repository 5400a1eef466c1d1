/**
 * A reader of tar archives: ustar with the extensions that dpkg and GNU tar write.
 *
 *   chunks -> [tar] -> entries, in order; the caller takes an entry's bytes or they are skipped
 *
 * Nothing is ever written to a disk under a name from an archive: entries are looked at, the few that
 * are wanted are taken into memory, and links are not followed. Names are reported without a leading
 * "./"; one that is absolute or climbs out with ".." is an error, because an honest archive has none.
 *
 * POSIX.1-1988 ustar header; pax records "path" and "size"; GNU long names (types L, K) and base-256
 * sizes. Sparse files are refused: nothing that is wanted is one.
 */
import { GodwitError } from '@godwit/protocol';
import { ByteStream, type Chunks } from './byte-stream.ts';
import {
  FILE_BYTES_MAX,
  TAR_ENTRIES_MAX,
  TAR_EXTENDED_BYTES_MAX,
  TAR_NAME_BYTES_MAX,
} from './limits.ts';

export interface TarEntry {
  readonly name: string;
  readonly type: 'file' | 'directory' | 'link' | 'other';
  readonly bytes: number;
  /** Once, and before the next entry is asked for. @throws GodwitError `image.bad_archive` */
  content(): Promise<Buffer>;
}

interface Header {
  readonly name: string;
  readonly type: string;
  readonly bytes: number;
}

/** What extended headers say of the entry that follows them. */
interface Extended {
  name?: string;
  bytes?: number;
}

const BLOCK_BYTES = 512;
const CHECKSUM_AT = 148;
const TYPES: { readonly [flag: string]: TarEntry['type'] } = {
  '0': 'file',
  '\0': 'file',
  '7': 'file',
  '1': 'link',
  '2': 'link',
  '5': 'directory',
};

/**
 * @param what names the archive in errors
 * @throws GodwitError `image.bad_archive`
 */
export async function* readTar(chunks: Chunks, what: string): AsyncGenerator<TarEntry, void> {
  const stream = new ByteStream(chunks, what);
  try {
    let entries = 0;
    for (;;) {
      const entry = await nextEntry(stream);
      if (entry === undefined) return;
      entries += 1;
      if (entries > TAR_ENTRIES_MAX) throw bad(what, `it has more than ${TAR_ENTRIES_MAX} entries`);
      let isTaken = false;
      yield {
        name: safeName(entry.name, what),
        type: TYPES[entry.type] ?? 'other',
        bytes: entry.bytes,
        content: async () => {
          if (entry.bytes > FILE_BYTES_MAX) throw bad(what, `${entry.name} is too large`);
          isTaken = true;
          return stream.read(entry.bytes);
        },
      };
      const padding = padded(entry.bytes) - entry.bytes;
      await stream.skip(isTaken ? padding : entry.bytes + padding);
    }
  } finally {
    await stream.close();
  }
}

/** The next real entry, with what the extended headers before it said; nothing at the end. */
async function nextEntry(stream: ByteStream): Promise<Header | undefined> {
  const extended: Extended = {};
  for (;;) {
    const block = await stream.read(BLOCK_BYTES);
    if (block.every((byte) => byte === 0)) return undefined;
    const header = readHeader(block, stream.what);
    if (!isExtension(header.type)) {
      if (header.type === 'S') throw bad(stream.what, 'it has a sparse file');
      const { name = header.name, bytes = header.bytes } = extended;
      // A link has no bytes, whatever its size says.
      return { name, type: header.type, bytes: '123456'.includes(header.type) ? 0 : bytes };
    }
    if (header.bytes > TAR_EXTENDED_BYTES_MAX) throw bad(stream.what, 'a header is too large');
    const body = await stream.read(header.bytes);
    await stream.skip(padded(header.bytes) - header.bytes);
    if (header.type === 'L') extended.name = cString(body);
    if (header.type === 'x') Object.assign(extended, readPax(body, stream.what));
  }
}

/** x: pax, g: pax for all that follow (comments, times), L and K: GNU long name and link. */
function isExtension(type: string): boolean {
  return type === 'x' || type === 'g' || type === 'L' || type === 'K';
}

function readHeader(block: Buffer, what: string): Header {
  const claimed = readOctal(block.subarray(CHECKSUM_AT, CHECKSUM_AT + 8));
  let sum = 0;
  for (let i = 0; i < BLOCK_BYTES; i++) {
    // The checksum is made as if its own field were blanks.
    sum += i >= CHECKSUM_AT && i < CHECKSUM_AT + 8 ? 0x20 : block[i]!;
  }
  if (sum !== claimed) throw bad(what, 'a header has a wrong checksum');
  const bytes = readSize(block.subarray(124, 136));
  if (bytes === undefined) throw bad(what, 'a size is no number');
  const name = cString(block.subarray(0, 100));
  const prefix =
    block.toString('latin1', 257, 262) === 'ustar' && block[262] === 0
      ? cString(block.subarray(345, 500))
      : '';
  const type = String.fromCharCode(block[156]!);
  return { name: prefix === '' ? name : `${prefix}/${name}`, type, bytes };
}

/** Records "LENGTH KEY=VALUE\n", where LENGTH counts the whole record. */
function readPax(body: Buffer, what: string): Extended {
  const extended: Extended = {};
  for (let at = 0; at < body.length; ) {
    const blank = body.indexOf(0x20, at);
    const length = blank < 0 ? Number.NaN : Number(body.toString('latin1', at, blank));
    const end = at + length;
    if (!Number.isSafeInteger(length) || end > body.length || blank + 2 > end) {
      throw bad(what, 'a pax record has a wrong length');
    }
    const record = body.toString('utf8', blank + 1, end - 1);
    const equals = record.indexOf('=');
    const [key, value] = [record.slice(0, equals), record.slice(equals + 1)];
    if (key === 'path') extended.name = value;
    if (key === 'size') {
      extended.bytes = Number(value);
      if (!/^\d{1,15}$/.test(value)) throw bad(what, 'a size is no number');
    }
    if (key.startsWith('GNU.sparse')) throw bad(what, 'it has a sparse file');
    at = end;
  }
  return extended;
}

function safeName(name: string, what: string): string {
  const plain = name.replace(/^(\.\/)+/, '').replace(/\/+$/, '');
  const isHostile =
    plain.startsWith('/') || plain.includes('\0') || plain.split('/').includes('..');
  if (isHostile || Buffer.byteLength(plain) > TAR_NAME_BYTES_MAX) {
    throw bad(what, `it has an entry named ${JSON.stringify(name.slice(0, 100))}`);
  }
  return plain;
}

/** Octal text, or base-256 when the first bit is set. */
function readSize(field: Buffer): number | undefined {
  if (field[0]! & 0x80) {
    // Twelve bytes of big-endian number; more than the last six are beyond what a file can have.
    if (field[0] !== 0x80 || field.subarray(1, 6).some((byte) => byte !== 0)) return undefined;
    return field.readUIntBE(6, 6);
  }
  return readOctal(field);
}

function readOctal(field: Buffer): number | undefined {
  const text = field
    .toString('latin1')
    .replace(/[\0 ]+$/, '')
    .trimStart();
  return /^[0-7]*$/.test(text) ? Number.parseInt(text || '0', 8) : undefined;
}

function cString(field: Buffer): string {
  const end = field.indexOf(0);
  return field.toString('utf8', 0, end < 0 ? field.length : end);
}

function padded(bytes: number): number {
  return Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES;
}

function bad(what: string, why: string): GodwitError {
  return new GodwitError('image.bad_archive', { what, why });
}
