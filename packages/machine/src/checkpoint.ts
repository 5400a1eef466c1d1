/**
 * A guest in a file: its machine state and every page that is not zero.
 *
 * stopped guest -> [write] -> temporary file -> whole, on disk, renamed -> [read] -> guest that may start
 *
 *   "GWCP"  format u16  0 u16  state length u32  state envelope          (little-endian throughout)
 *   { first page u32  pages u32  bytes }...   runs of pages, rising, none twice; the rest is zero
 *   { all ones u32    0 u32 }                 end of the runs
 *   SHA-256 of all that stands before it
 *
 * Blocks its thread while it reads and writes: for a command line tool, and in an agent for a memory
 * task's thread. While no hart runs. A file comes from anywhere, so every number in it is checked before
 * it is believed; what was read before a fault was found stays in RAM, and the caller drops that memory.
 */
import { createHash, type Hash, randomBytes } from 'node:crypto';
import {
  closeSync,
  fstatSync,
  fsyncSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import * as map from '../assembly/memory-map.ts';
import { MachineError } from './errors.ts';
import type { GuestMemory } from './guest-memory.ts';
import { loadPageOps } from './page-ops.ts';
import {
  decodeEnvelope,
  encodeEnvelope,
  FieldReader,
  STATE_BYTES_MAX,
  type StateRecord,
} from './state-codec.ts';
import { syncDirectory } from './sync-directory.ts';

export interface CheckpointHead {
  readonly pages: number;
  readonly harts: number;
  /** Encoded machine or workload state, as in a handover. */
  readonly state: Uint8Array;
  /** The writer's own words about the guest (its spec, its epoch), as JSON. */
  readonly about: string;
}

export interface WrittenCheckpoint {
  readonly fileBytes: number;
  /** Pages that were not zero. */
  readonly pages: number;
  /** SHA-256 (hex) of the file's contents: its own last 32 bytes. */
  readonly digest: string;
}

const MAGIC = 0x50435747; // "GWCP"
const FORMAT = 1;
const KIND = 'checkpoint';
const VERSION = 1;
const PREFIX_BYTES = 12;
const RUN_BYTES = 8;
const DIGEST_BYTES = 32;
const END_OF_RUNS = 0xffffffff;
/** One write, one read, one update of the hash: large enough that its own cost does not show. */
const RUN_PAGES_MAX = 1024;

/**
 * Writes a guest whose harts are stopped. The file is either whole and on disk under its name, or was
 * never there: an older file of that name stays until then.
 *
 * @throws MachineError checkpoint.not_written
 */
export function writeCheckpoint(
  path: string,
  guest: GuestMemory,
  head: { readonly state: Uint8Array; readonly about: string },
): WrittenCheckpoint {
  const temporary = `${path}.${randomBytes(4).toString('hex')}.part`;
  try {
    const written = writeWhole(temporary, guest, head);
    renameSync(temporary, path);
    syncDirectory(dirname(path));
    return written;
  } catch (cause) {
    rmSync(temporary, { force: true });
    const { code, message } = cause as NodeJS.ErrnoException;
    const reason = code === 'ENOSPC' ? 'the disk is full' : (code ?? message);
    throw new MachineError('checkpoint.not_written', { path, reason }, { cause });
  }
}

/**
 * What a file says of its guest, so that memory of that size can be taken for it.
 *
 * @throws MachineError checkpoint.not_read, checkpoint.damaged, state.bad_version
 */
export function readCheckpointHead(path: string): CheckpointHead {
  return reading(path, (file) => file.head());
}

/**
 * Fills a guest's RAM from a file, pages that the file does not have with zeros. State is the caller's.
 *
 * @throws MachineError checkpoint.not_read, checkpoint.damaged (also: of another size), state.bad_version
 */
export function readCheckpoint(path: string, guest: GuestMemory): CheckpointHead {
  return reading(path, (file) => {
    const head = file.head();
    if (head.pages !== guest.pages || head.harts !== guest.harts) {
      throw damaged(path, `it is of a guest of ${head.pages} pages and ${head.harts} harts`);
    }
    file.runs(guest);
    file.end();
    return head;
  });
}

// -------------------------------------------------------------------------------- writing

function writeWhole(
  path: string,
  guest: GuestMemory,
  { state, about }: { readonly state: Uint8Array; readonly about: string },
): WrittenCheckpoint {
  const fields = { pages: guest.pages, harts: guest.harts, state, about };
  const envelope = encodeEnvelope({ kind: KIND, version: VERSION, fields });
  const file = new Output(openSync(path, 'wx', 0o600));
  try {
    const prefix = Buffer.alloc(PREFIX_BYTES);
    prefix.writeUInt32LE(MAGIC, 0);
    prefix.writeUInt16LE(FORMAT, 4);
    prefix.writeUInt32LE(envelope.length, 8);
    file.put(prefix);
    file.put(envelope);
    let pages = 0;
    for (const run of runsOf(guest)) {
      file.put(runHead(run.first, run.pages));
      const from = run.first * map.PAGE_SIZE;
      file.put(guest.ram().subarray(from, from + run.pages * map.PAGE_SIZE));
      pages += run.pages;
    }
    file.put(runHead(END_OF_RUNS, 0));
    const digest = file.finish();
    return { fileBytes: file.bytes, pages, digest: digest.toString('hex') };
  } finally {
    closeSync(file.descriptor);
  }
}

class Output {
  readonly descriptor: number;
  readonly #hash: Hash = createHash('sha256');
  bytes = 0;

  constructor(descriptor: number) {
    this.descriptor = descriptor;
  }

  put(bytes: Uint8Array): void {
    this.#hash.update(bytes);
    this.#write(bytes);
  }

  /** Puts the digest behind all, and all on the disk. */
  finish(): Buffer {
    const digest = this.#hash.digest();
    this.#write(digest);
    fsyncSync(this.descriptor);
    return digest;
  }

  #write(bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      done += writeSync(this.descriptor, bytes, done, bytes.length - done);
    }
    this.bytes += bytes.length;
  }
}

/** Runs of pages that are not zero, at most RUN_PAGES_MAX each. */
function* runsOf(guest: GuestMemory): Generator<{ first: number; pages: number }> {
  const ops = loadPageOps(guest.memory);
  const offset = (page: number) => map.RAM + page * map.PAGE_SIZE;
  let page = 0;
  while (page < guest.pages) {
    page += ops.firstNonZero(offset(page), guest.pages - page);
    const first = page;
    const limit = Math.min(guest.pages, first + RUN_PAGES_MAX);
    while (page < limit && !ops.isZero(offset(page))) page++;
    if (page > first) yield { first, pages: page - first };
  }
}

function runHead(first: number, pages: number): Buffer {
  const head = Buffer.alloc(RUN_BYTES);
  head.writeUInt32LE(first, 0);
  head.writeUInt32LE(pages, 4);
  return head;
}

// -------------------------------------------------------------------------------- reading

function reading<T>(path: string, use: (file: Input) => T): T {
  let descriptor: number;
  try {
    descriptor = openSync(path, 'r');
  } catch (cause) {
    throw notRead(path, cause);
  }
  try {
    return use(new Input(path, descriptor));
  } catch (cause) {
    if (cause instanceof MachineError) throw cause;
    throw notRead(path, cause);
  } finally {
    closeSync(descriptor);
  }
}

class Input {
  readonly #path: string;
  readonly #descriptor: number;
  readonly #hash: Hash = createHash('sha256');
  #left: number;

  constructor(path: string, descriptor: number) {
    this.#path = path;
    this.#descriptor = descriptor;
    this.#left = fstatSync(descriptor).size - DIGEST_BYTES;
  }

  head(): CheckpointHead {
    const prefix = this.#take(Buffer.alloc(PREFIX_BYTES));
    if (prefix.readUInt32LE(0) !== MAGIC) throw damaged(this.#path, 'it is no checkpoint');
    const format = prefix.readUInt16LE(4);
    if (format !== FORMAT) {
      throw new MachineError('state.bad_version', {
        version: format,
        supported: `format ${FORMAT}`,
      });
    }
    const length = prefix.readUInt32LE(8);
    if (length > STATE_BYTES_MAX) throw damaged(this.#path, 'its state is too long');
    return readHead(this.#path, this.#take(Buffer.alloc(length)));
  }

  /** Every page of the guest once: those of the file, and zeros between them. */
  runs(guest: GuestMemory): void {
    const ram = guest.ram();
    const { fill } = loadPageOps(guest.memory);
    const bytes = (page: number) => page * map.PAGE_SIZE;
    let done = 0;
    for (;;) {
      const head = this.#take(Buffer.alloc(RUN_BYTES));
      const [first, pages] = [head.readUInt32LE(0), head.readUInt32LE(4)];
      const isEnd = first === END_OF_RUNS && pages === 0;
      const isRun = first >= done && pages > 0 && pages <= guest.pages - first;
      if (!isEnd && !isRun) throw damaged(this.#path, `it has a run of ${pages} at page ${first}`);
      fill(map.RAM + bytes(done), 0, (isEnd ? ram.length : bytes(first)) - bytes(done));
      if (isEnd) return;
      for (let page = first; page < first + pages; page += RUN_PAGES_MAX) {
        const end = Math.min(page + RUN_PAGES_MAX, first + pages);
        this.#take(ram.subarray(bytes(page), bytes(end)));
      }
      done = first + pages;
    }
  }

  /** Nothing is left, and the digest is that of all that was read. */
  end(): void {
    if (this.#left !== 0) throw damaged(this.#path, 'it has bytes after its end');
    const expected = this.#hash.digest();
    this.#left = DIGEST_BYTES;
    const found = this.#read(Buffer.alloc(DIGEST_BYTES));
    if (!expected.equals(found))
      throw damaged(this.#path, 'its digest is not that of its contents');
  }

  #take<T extends Uint8Array>(into: T): T {
    this.#read(into);
    this.#hash.update(into);
    return into;
  }

  #read<T extends Uint8Array>(into: T): T {
    if (into.length > this.#left) throw damaged(this.#path, 'it is cut short');
    for (let done = 0; done < into.length; ) {
      const count = readSync(this.#descriptor, into, done, into.length - done, null);
      if (count === 0) throw damaged(this.#path, 'it is cut short');
      done += count;
    }
    this.#left -= into.length;
    return into;
  }
}

function readHead(path: string, bytes: Uint8Array): CheckpointHead {
  const { kind, version, fields } = decodeEnvelope(bytes);
  if (kind !== KIND) throw damaged(path, `it is of kind ${kind}`);
  if (version !== VERSION) {
    throw new MachineError('state.bad_version', { version, supported: `${VERSION}` });
  }
  const reader = new FieldReader(fields as StateRecord, KIND, version);
  const head = {
    pages: reader.number('pages'),
    harts: reader.number('harts'),
    state: reader.bytes('state'),
    about: reader.text('about'),
  };
  reader.end();
  const isSize = Number.isInteger(head.pages) && head.pages > 0 && head.pages <= map.PAGES_MAX;
  const isCount = Number.isInteger(head.harts) && head.harts > 0 && head.harts <= map.HARTS_MAX;
  if (!isSize || !isCount) throw damaged(path, 'it has a size that no guest has');
  return head;
}

function damaged(path: string, reason: string): MachineError {
  return new MachineError('checkpoint.damaged', { path, reason });
}

function notRead(path: string, cause: unknown): MachineError {
  const { code, message } = cause as NodeJS.ErrnoException;
  const reason = code === 'ENOENT' ? 'no such file' : (code ?? message);
  return new MachineError('checkpoint.not_read', { path, reason }, { cause });
}
