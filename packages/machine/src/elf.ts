/**
 * Loads an ELF program into guest RAM.
 *
 * bytes of a file -> [elf] -> RAM, pages marked dirty; entry point and `tohost` for resetMachine
 *
 * The file is a stranger's: every offset is checked against the file before it is followed, and every
 * segment against RAM before a byte is written, so a bad file changes nothing. ELF-64 as in the System V
 * ABI, chapters 4 and 5; RISC-V specifics as in the RISC-V psABI.
 */
import * as own from '../assembly/machine-map.ts';
import * as map from '../assembly/memory-map.ts';
import { DirtyLog } from './dirty-log.ts';
import { MachineError } from './errors.ts';
import type { GuestMemory } from './guest-memory.ts';

export interface LoadedElf {
  /** Physical address of the first instruction. */
  readonly entry: bigint;
  /** Physical addresses of the symbols `tohost` and `fromhost`, if the program has them. */
  readonly tohost: bigint | undefined;
  readonly fromhost: bigint | undefined;
}

interface Segment {
  readonly offset: number;
  readonly fileBytes: number;
  readonly address: bigint;
  readonly memoryBytes: number;
}

const HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
const SECTION_HEADER_BYTES = 64;
const SYMBOL_BYTES = 24;

const CLASS_64 = 2;
const LITTLE_ENDIAN = 1;
const ET_EXEC = 2;
const EM_RISCV = 243;
const PT_LOAD = 1;
const SHT_SYMTAB = 2;

/** A file view that refuses to read past its end. */
class Reader {
  readonly bytes: Uint8Array;
  readonly #view: DataView;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Asserts that the range lies in the file. Takes 64-bit values as they stand in the file. */
  need(what: string, offset: bigint | number, count: bigint | number): number {
    const end = BigInt(offset) + BigInt(count);
    const haveBytes = this.bytes.length;
    if (end <= BigInt(haveBytes)) return Number(offset);
    // Clamped for the message: a hostile 64-bit offset does not fit a number.
    const needBytes = Number(end > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : end);
    throw new MachineError('elf.truncated', { what, needBytes, haveBytes });
  }

  u16(at: number): number {
    return this.#view.getUint16(at, true);
  }
  u32(at: number): number {
    return this.#view.getUint32(at, true);
  }
  u64(at: number): bigint {
    return this.#view.getBigUint64(at, true);
  }
}

/**
 * Writes the program's segments to RAM and marks their pages dirty. While no hart runs.
 *
 * @throws MachineError elf.truncated, elf.wrong_class (not an ELF-64 little-endian executable for
 *   RISC-V), elf.outside_ram; RAM is unchanged then
 */
export function loadElf(bytes: Uint8Array, guest: GuestMemory): LoadedElf {
  const file = new Reader(bytes);
  checkIdentity(file);
  const segments = readSegments(file);
  for (const segment of segments) checkInRam(segment.address, segment.memoryBytes, guest);
  const entry = file.u64(24);
  checkInRam(entry, 2, guest);
  const symbols = readSymbols(file, ['tohost', 'fromhost']);
  for (const [name, address] of symbols) {
    checkInRam(address, 8, guest);
    if (address % 8n !== 0n) {
      throw new MachineError('elf.wrong_class', {
        reason: `its ${name} is not aligned to 8 bytes`,
      });
    }
  }

  const log = new DirtyLog(guest);
  for (const segment of segments) place(file, segment, guest, log);
  return { entry, tohost: symbols.get('tohost'), fromhost: symbols.get('fromhost') };
}

/**
 * Physical addresses the program's segments span; end is past the last byte.
 *
 * @throws MachineError elf.truncated, elf.wrong_class
 */
export function elfExtent(bytes: Uint8Array): { readonly start: number; readonly end: number } {
  const file = new Reader(bytes);
  checkIdentity(file);
  const segments = readSegments(file).map(({ address, memoryBytes }) => ({
    start: Number(address),
    end: Number(address) + memoryBytes,
  }));
  return {
    start: Math.min(...segments.map(({ start }) => start)),
    end: Math.max(...segments.map(({ end }) => end)),
  };
}

function checkIdentity(file: Reader): void {
  const refuse = (reason: string) => new MachineError('elf.wrong_class', { reason });
  const magic = [0x7f, 0x45, 0x4c, 0x46];
  if (!magic.every((byte, i) => file.bytes[i] === byte || i >= file.bytes.length)) {
    throw refuse('it is not an ELF file');
  }
  file.need('the ELF header', 0, HEADER_BYTES);
  if (file.bytes[4] !== CLASS_64) throw refuse('it is a 32-bit file');
  if (file.bytes[5] !== LITTLE_ENDIAN) throw refuse('it is big-endian');
  if (file.u16(18) !== EM_RISCV) throw refuse(`it is for machine ${file.u16(18)}`);
  if (file.u16(16) !== ET_EXEC) throw refuse('it is not an executable with fixed addresses');
  if (file.u16(54) !== PROGRAM_HEADER_BYTES)
    throw refuse('its program headers have a strange size');
}

function readSegments(file: Reader): Segment[] {
  const count = file.u16(56);
  const table = file.need('the program header table', file.u64(32), count * PROGRAM_HEADER_BYTES);
  const segments: Segment[] = [];
  for (let i = 0; i < count; i++) {
    const at = table + i * PROGRAM_HEADER_BYTES;
    const fileBytes = file.u64(at + 32);
    const memoryBytes = file.u64(at + 40);
    if (file.u32(at) !== PT_LOAD || memoryBytes === 0n) continue;
    if (fileBytes > memoryBytes) {
      throw new MachineError('elf.wrong_class', { reason: 'a segment is larger than its memory' });
    }
    const offset = file.need(`segment ${i}`, file.u64(at + 8), fileBytes);
    // Clamped: whatever exceeds this is outside any RAM, and checkInRam says so.
    const clamped = memoryBytes > 1n << 52n ? 2 ** 52 : Number(memoryBytes);
    segments.push({
      offset,
      fileBytes: Number(fileBytes),
      address: file.u64(at + 24),
      memoryBytes: clamped,
    });
  }
  if (segments.length === 0) {
    throw new MachineError('elf.wrong_class', { reason: 'it has nothing to load' });
  }
  return segments;
}

function checkInRam(address: bigint, bytes: number, guest: GuestMemory): void {
  const offset = address - BigInt(own.RAM_BASE);
  if (offset >= 0n && offset + BigInt(bytes) <= BigInt(guest.ramBytes)) return;
  throw new MachineError('elf.outside_ram', {
    address: `0x${address.toString(16)}`,
    bytes,
    ramBytes: guest.ramBytes,
  });
}

/** Addresses of the named symbols that the file defines. A file without symbols has none. */
function readSymbols(file: Reader, names: readonly string[]): Map<string, bigint> {
  const found = new Map<string, bigint>();
  const count = file.u16(60);
  if (count === 0 || file.u16(58) !== SECTION_HEADER_BYTES) return found;
  const table = file.need('the section header table', file.u64(40), count * SECTION_HEADER_BYTES);
  for (let i = 0; i < count; i++) {
    const at = table + i * SECTION_HEADER_BYTES;
    if (file.u32(at + 4) !== SHT_SYMTAB) continue;
    const link = file.u32(at + 40);
    if (link < count) readSymbolTable(file, at, table + link * SECTION_HEADER_BYTES, names, found);
  }
  return found;
}

/** `section` and `strings` are offsets of section headers. */
function readSymbolTable(
  file: Reader,
  section: number,
  strings: number,
  names: readonly string[],
  found: Map<string, bigint>,
): void {
  const bytes = file.u64(section + 32);
  const table = file.need('the symbol table', file.u64(section + 24), bytes);
  const text = file.need('the string table', file.u64(strings + 24), file.u64(strings + 32));
  const textEnd = text + Number(file.u64(strings + 32));
  const end = table + Number(bytes) - SYMBOL_BYTES;
  for (let at = table; at <= end; at += SYMBOL_BYTES) {
    const defined = file.u16(at + 6) !== 0;
    const name = names.find((wanted) => isName(file, text + file.u32(at), textEnd, wanted));
    if (defined && name !== undefined) found.set(name, file.u64(at + 8));
  }
}

/** Whether the zero-terminated string at `at` is `wanted`. */
function isName(file: Reader, at: number, end: number, wanted: string): boolean {
  if (at + wanted.length >= end || file.bytes[at + wanted.length] !== 0) return false;
  for (let i = 0; i < wanted.length; i++) {
    if (file.bytes[at + i] !== wanted.charCodeAt(i)) return false;
  }
  return true;
}

function place(file: Reader, segment: Segment, guest: GuestMemory, log: DirtyLog): void {
  const start = Number(segment.address - BigInt(own.RAM_BASE));
  const end = start + segment.memoryBytes;
  const contents = file.bytes.subarray(segment.offset, segment.offset + segment.fileBytes);
  guest.ram().set(contents, start);
  guest.ram().fill(0, start + segment.fileBytes, end);
  const last = Math.floor((end - 1) / map.PAGE_SIZE);
  for (let page = Math.floor(start / map.PAGE_SIZE); page <= last; page++) log.markDirty(page);
}
