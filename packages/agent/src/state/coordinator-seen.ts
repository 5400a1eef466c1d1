/**
 * The highest word of a coordinator this host has heard: term, store and revision, kept over restarts.
 *
 * An agent obeys only the highest term it has seen, and tells every coordinator how far its store
 * has been (design section 6, the coordinator's word). Written by the daemon's main thread before it
 * acts on a higher one; the supervisor only reads.
 *
 * Two slots, written in turn, each with a sequence number and a checksum: a write that is cut off
 * leaves the other slot good. A pulse comes twice a second, so this is rewritten in place and not
 * appended to the journal.
 *
 * With --durable another term or store is on the disk before it is obeyed. Revisions are not synced, twice a
 * second: a power cut may take back the last ones, never the term.
 */
import { closeSync, existsSync, fdatasyncSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { syncDirectory } from '@godwit/machine';

const SLOT_BYTES = 512;
const FILE = 'coordinator-seen';

export interface Seen {
  /** 0 = none yet. */
  readonly term: number;
  readonly storeId: string | undefined;
  readonly storeRev: number;
}

const NOTHING: Seen = { term: 0, storeId: undefined, storeRev: 0 };

export class CoordinatorSeen {
  readonly #file: number;
  readonly #durable: boolean;
  #sequence: number;
  #seen: Seen;

  private constructor(stateDir: string, durable: boolean) {
    const path = join(stateDir, FILE);
    const { sequence, seen } = readNewest(path);
    this.#sequence = sequence;
    this.#seen = seen;
    this.#durable = durable;
    this.#file = openSync(path, existsSync(path) ? 'r+' : 'w', 0o600);
    if (durable) syncDirectory(stateDir);
  }

  static open(stateDir: string, durable = false): CoordinatorSeen {
    return new CoordinatorSeen(stateDir, durable);
  }

  /** What the file holds, for a process that does not own it. */
  static read(stateDir: string): Seen {
    return readNewest(join(stateDir, FILE)).seen;
  }

  get seen(): Seen {
    return this.#seen;
  }

  /** In the file when this returns. */
  remember(seen: Seen): void {
    const { term, storeId, storeRev } = this.#seen;
    if (seen.term === term && seen.storeId === storeId && seen.storeRev === storeRev) return;
    this.#seen = seen;
    this.#sequence += 1;
    const text = Buffer.from(JSON.stringify({ sequence: this.#sequence, ...seen }));
    const slot = Buffer.alloc(SLOT_BYTES);
    slot.writeUInt32LE(crc32(text), 0);
    slot.writeUInt32LE(text.length, 4);
    text.copy(slot, 8);
    writeSync(this.#file, slot, 0, SLOT_BYTES, (this.#sequence % 2) * SLOT_BYTES);
    const isOther = seen.term !== term || seen.storeId !== storeId;
    if (this.#durable && isOther) fdatasyncSync(this.#file);
  }

  close(): void {
    closeSync(this.#file);
  }
}

function readNewest(path: string): { sequence: number; seen: Seen } {
  const file = existsSync(path) ? readFileSync(path) : Buffer.alloc(0);
  let newest = { sequence: 0, seen: NOTHING };
  for (let at = 0; at + SLOT_BYTES <= file.length; at += SLOT_BYTES) {
    const bytes = Math.min(file.readUInt32LE(at + 4), SLOT_BYTES - 8);
    const text = file.subarray(at + 8, at + 8 + bytes);
    if (bytes === 0 || file.readUInt32LE(at) !== crc32(text)) continue;
    const { sequence, term, storeId, storeRev } = JSON.parse(text.toString());
    if (sequence > newest.sequence) newest = { sequence, seen: { term, storeId, storeRev } };
  }
  return newest;
}
