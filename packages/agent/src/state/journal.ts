/**
 * What one incarnation of the agent owns and what it has begun to run, in a form that survives its
 * SIGKILL: the evidence its supervisor and its next incarnation report.
 *
 *   target runner: RAN, before the harts start -> [journal] -> (process dies) -> DeathReport
 *
 * One file an incarnation, `journal-ID`, of fixed records in preallocated space: an entry is one
 * pwrite of 128 bytes into blocks the file has already, about 10 us, in the blackout of every
 * migration. The page cache keeps it when the process is killed; only a power cut needs --durable, which
 * syncs the entry, and the directory when a file got its name: at the start, and when a full one is replaced.
 *
 *   process                may
 *   its own daemon         append (main thread)
 *   supervisor             read, after it has seen the daemon end
 *   the next incarnation   read, holding the state directory's lock; remove when it is reported
 *
 * A record that does not check (torn, or preallocated zeros) ends the journal. Nothing here makes a
 * guest run: a journal is testimony, not a plan.
 */
import {
  closeSync,
  existsSync,
  fdatasyncSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { crc32 } from 'node:zlib';
import { syncDirectory } from '@godwit/machine';
import { type DeathReport, GUESTS_PER_HOST_MAX, NAME_CHARS_MAX } from '@godwit/protocol';

const RECORD_BYTES = 128;
/** 256 KiB; a journal that is full is rewritten without what no longer matters. */
const RECORDS = 2048;
const PREFIX = 'journal-';
const MAGIC = 0x4a574447;

// Layout of a record: magic u32, kind u8, length of the name u8, 2 bytes 0, epoch f64, name, zeros,
// CRC-32 of all that in the last 4 bytes.
const AT_KIND = 4;
const AT_NAME_BYTES = 5;
const AT_EPOCH = 8;
const AT_NAME = 16;
const AT_CRC = RECORD_BYTES - 4;

const KINDS = { owned: 1, ran: 2, gone: 3, welcomed: 4 } as const;
type Kind = keyof typeof KINDS;

interface Entry {
  readonly guest: string;
  readonly epoch: number;
}

const NOBODY: Entry = { guest: '', epoch: 0 };

/** What the entries add up to. */
class Ledger {
  /** Guest -> epoch under which it is owned here. */
  readonly owned = new Map<string, number>();
  /** (guest, epoch) pairs that began to run here by a migration; the newest last. */
  ran: Entry[] = [];
  /** Some coordinator knew of this incarnation: its end matters to somebody. */
  welcomed = false;

  apply(kind: Kind, entry: Entry): void {
    if (kind === 'welcomed') this.welcomed = true;
    if (kind === 'owned' || kind === 'ran') this.owned.set(entry.guest, entry.epoch);
    if (kind === 'ran') this.ran.push(entry);
    if (kind === 'gone' && (this.owned.get(entry.guest) ?? -1) <= entry.epoch) {
      this.owned.delete(entry.guest);
    }
    // RAN is never taken back: "it never ran there" lets a source run its guest again, so an entry
    // may be forgotten only when it is thousands of moves old.
    if (this.ran.length > 2 * GUESTS_PER_HOST_MAX) this.ran = this.ran.slice(-GUESTS_PER_HOST_MAX);
  }

  /** The shortest list of entries that adds up to the same. */
  entries(): [Kind, Entry][] {
    const ran = this.ran.slice(-GUESTS_PER_HOST_MAX).map((e): [Kind, Entry] => ['ran', e]);
    const owned = [...this.owned].map(([guest, epoch]): [Kind, Entry] => [
      'owned',
      { guest, epoch },
    ]);
    const welcomed: [Kind, Entry][] = this.welcomed ? [['welcomed', NOBODY]] : [];
    return [...welcomed, ...ran, ...owned];
  }

  death(incarnation: string, exit: string): DeathReport {
    const owned = [...this.owned].map(([guest, epoch]) => ({ guest, epoch }));
    return {
      incarnation,
      exit,
      ran: this.ran.slice(-GUESTS_PER_HOST_MAX),
      owned: owned.slice(-GUESTS_PER_HOST_MAX),
    };
  }
}

export class Journal {
  readonly #path: string;
  readonly #durable: boolean;
  readonly #ledger = new Ledger();
  #file: number;
  #used = 0;
  #capacity = RECORDS;

  private constructor(path: string, durable: boolean) {
    this.#path = path;
    this.#durable = durable;
    this.#file = this.#write(path, []);
    this.#named();
  }

  /** A new incarnation's empty journal. The caller holds the lock of the state directory. */
  static open(stateDir: string, incarnation: string, durable = false): Journal {
    return new Journal(join(stateDir, PREFIX + incarnation), durable);
  }

  /** The guest belongs to this host under this epoch: made here, kept here, or come to stay. */
  owned(guest: string, epoch: number): void {
    this.#append('owned', { guest, epoch });
  }

  /** A migrated guest is about to execute here. In the file when this returns. */
  ran(guest: string, epoch: number): void {
    this.#append('ran', { guest, epoch });
  }

  /** The guest of this epoch, or an older one, is not here any more. */
  gone(guest: string, epoch: number): void {
    this.#append('gone', { guest, epoch });
  }

  /** A coordinator took this incarnation in: from now on it can be asked to hold something. */
  welcomed(): void {
    if (!this.#ledger.welcomed) this.#append('welcomed', NOBODY);
  }

  close(): void {
    closeSync(this.#file);
  }

  #append(kind: Kind, entry: Entry): void {
    this.#ledger.apply(kind, entry);
    if (this.#used === this.#capacity) {
      this.#rewrite();
      return;
    }
    writeSync(this.#file, encode(kind, entry), 0, RECORD_BYTES, this.#used * RECORD_BYTES);
    this.#used += 1;
    if (this.#durable) fdatasyncSync(this.#file);
  }

  /** Full: the ledger goes into a new file, which takes the old one's place in one step. */
  #rewrite(): void {
    const entries = this.#ledger.entries();
    this.#capacity = Math.max(RECORDS, 2 * entries.length);
    const next = this.#write(`${this.#path}.new`, entries);
    renameSync(`${this.#path}.new`, this.#path);
    this.#named();
    closeSync(this.#file);
    this.#file = next;
  }

  /** Without it a power cut brings back the file that had the name before, and takes what came since. */
  #named(): void {
    if (this.#durable) syncDirectory(dirname(this.#path));
  }

  #write(path: string, entries: readonly [Kind, Entry][]): number {
    const space = Buffer.alloc(this.#capacity * RECORD_BYTES);
    entries.forEach(([kind, entry], i) => {
      encode(kind, entry).copy(space, i * RECORD_BYTES);
    });
    const file = openSync(path, 'w', 0o600);
    writeSync(file, space, 0, space.length, 0);
    if (this.#durable) fdatasyncSync(file);
    this.#used = entries.length;
    return file;
  }

  /**
   * What a dead incarnation leaves behind; null when it left nothing (it never started, or its end
   * has been reported and its journal removed). Only to be called when it is known to be dead.
   *
   * @param exit how it ended, for people
   */
  static readDeath(stateDir: string, incarnation: string, exit: string): DeathReport | null {
    return readLedger(stateDir, incarnation)?.death(incarnation, exit) ?? null;
  }

  /**
   * All that died here and whose end has not been reported. One that no coordinator ever knew cannot
   * have held anything, so its journal is removed: an agent that dies again and again while its
   * coordinator is away does not fill the disk. The caller holds the lock.
   */
  static readDeaths(stateDir: string, except: string): DeathReport[] {
    const deaths: DeathReport[] = [];
    for (const name of readdirSync(stateDir)) {
      const incarnation = name.slice(PREFIX.length);
      if (!name.startsWith(PREFIX) || name.endsWith('.new') || incarnation === except) continue;
      const ledger = readLedger(stateDir, incarnation);
      if (ledger?.welcomed) {
        deaths.push(ledger.death(incarnation, 'its state directory was free at the next start'));
      } else {
        Journal.forget(stateDir, incarnation);
      }
    }
    return deaths;
  }

  /** The coordinator has recorded this end. */
  static forget(stateDir: string, incarnation: string): void {
    for (const suffix of ['', '.new']) {
      rmSync(join(stateDir, PREFIX + incarnation + suffix), { force: true });
    }
  }
}

function readLedger(stateDir: string, incarnation: string): Ledger | undefined {
  const path = join(stateDir, PREFIX + incarnation);
  if (!existsSync(path)) return undefined;
  const ledger = new Ledger();
  for (const [kind, entry] of decode(readFileSync(path))) ledger.apply(kind, entry);
  return ledger;
}

function encode(kind: Kind, entry: Entry): Buffer {
  const record = Buffer.alloc(RECORD_BYTES);
  record.writeUInt32LE(MAGIC, 0);
  record.writeUInt8(KINDS[kind], AT_KIND);
  record.writeUInt8(record.write(entry.guest, AT_NAME, NAME_CHARS_MAX, 'latin1'), AT_NAME_BYTES);
  record.writeDoubleLE(entry.epoch, AT_EPOCH);
  record.writeUInt32LE(crc32(record.subarray(0, AT_CRC)), AT_CRC);
  return record;
}

/** The entries of a journal file up to the first record that does not check. */
function decode(file: Buffer): [Kind, Entry][] {
  const entries: [Kind, Entry][] = [];
  for (let at = 0; at + RECORD_BYTES <= file.length; at += RECORD_BYTES) {
    const record = file.subarray(at, at + RECORD_BYTES);
    const kind = (Object.keys(KINDS) as Kind[]).find((k) => KINDS[k] === record[AT_KIND]);
    const checks = record.readUInt32LE(AT_CRC) === crc32(record.subarray(0, AT_CRC));
    if (record.readUInt32LE(0) !== MAGIC || !checks || kind === undefined) break;
    const guest = record.toString('latin1', AT_NAME, AT_NAME + record[AT_NAME_BYTES]!);
    entries.push([kind, { guest, epoch: record.readDoubleLE(AT_EPOCH) }]);
  }
  return entries;
}
