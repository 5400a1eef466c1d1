/**
 * Guest memory as a debugger sees it: by virtual address, through the page tables of one hart.
 *
 * session m, M, X -> [memory] -> RAM
 *
 * A look from outside: no accessed or dirty bit is set, no permission is asked, no device is touched (a
 * read of the UART would take a byte from the guest). While no hart runs.
 */
import * as own from '../../assembly/machine-map.ts';
import * as map from '../../assembly/memory-map.ts';
import type { GuestMemory } from '../guest-memory.ts';

/** How addresses are translated: privilege and satp of a hart. */
export interface Translation {
  readonly privilege: bigint;
  readonly satp: bigint;
}

const PAGE_MASK = 0xfffn;
const SATP_SV39 = 8n;
const LEVELS = 3;
const PTE_V = 1n;
const PTE_LEAF = 0xen;
const PPN_MASK = (1n << 44n) - 1n;

/**
 * Physical address of a virtual one; undefined: not mapped (Privileged ISA manual, section "Sv39").
 */
export function translate(
  guest: GuestMemory,
  { privilege, satp }: Translation,
  address: bigint,
): bigint | undefined {
  if (privilege === BigInt(own.PRIVILEGE_M) || satp >> 60n !== SATP_SV39) return address;
  // Bits 63..39 must all equal bit 38.
  if (BigInt.asUintN(64, BigInt.asIntN(39, address)) !== address) return undefined;
  let table = (satp & PPN_MASK) << 12n;
  for (let level = LEVELS - 1; level >= 0; level--) {
    const shift = BigInt(12 + 9 * level);
    const entry = readWord(guest, table + ((address >> shift) & 0x1ffn) * 8n);
    if (entry === undefined || !(entry & PTE_V)) return undefined;
    const place = ((entry >> 10n) & PPN_MASK) << 12n;
    const offsetMask = (1n << shift) - 1n;
    if (entry & PTE_LEAF) return (place & ~offsetMask) | (address & offsetMask);
    table = place;
  }
  return undefined;
}

/** Bytes from an address on, as many of `length` as are mapped to RAM before the first that is not. */
export function readMemory(
  guest: GuestMemory,
  by: Translation,
  address: bigint,
  length: number,
): Buffer {
  const bytes = Buffer.alloc(length);
  const done = eachPage(guest, by, address, length, (ram, at, count) =>
    bytes.set(guest.ram().subarray(ram, ram + count), at),
  );
  return bytes.subarray(0, done);
}

/** False: some byte is not mapped to RAM; those before it are written. */
export function writeMemory(
  guest: GuestMemory,
  by: Translation,
  address: bigint,
  bytes: Uint8Array,
): boolean {
  const done = eachPage(guest, by, address, bytes.length, (ram, at, count) => {
    guest.ram().set(bytes.subarray(at, at + count), ram);
    markDirty(guest, ram);
  });
  return done === bytes.length;
}

/** Calls `visit(offset in RAM, offset in the range, bytes)` page by page; returns the bytes visited. */
function eachPage(
  guest: GuestMemory,
  by: Translation,
  address: bigint,
  length: number,
  visit: (ram: number, at: number, count: number) => void,
): number {
  let done = 0;
  while (done < length) {
    const at = BigInt.asUintN(64, address + BigInt(done));
    const physical = translate(guest, by, at);
    const ram = physical === undefined ? undefined : ramOffset(guest, physical);
    if (ram === undefined) break;
    const count = Math.min(length - done, map.PAGE_SIZE - Number(at & PAGE_MASK));
    visit(ram, done, count);
    done += count;
  }
  return done;
}

function ramOffset(guest: GuestMemory, physical: bigint): number | undefined {
  const offset = physical - BigInt(own.RAM_BASE);
  return offset >= 0n && offset < BigInt(guest.ramBytes) ? Number(offset) : undefined;
}

function readWord(guest: GuestMemory, physical: bigint): bigint | undefined {
  const offset = ramOffset(guest, physical);
  if (offset === undefined) return undefined;
  return new DataView(guest.sab).getBigUint64(map.RAM + offset, true);
}

/** Who writes RAM marks it, also where nobody harvests today. */
function markDirty(guest: GuestMemory, ram: number): void {
  const page = ram >>> map.PAGE_SHIFT;
  Atomics.or(guest.i32, (map.DIRTY >> 2) + (page >>> 5), 1 << (page & 31));
}
