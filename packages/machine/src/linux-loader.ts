/**
 * Puts a kernel, its initial RAM disk and a device tree into a guest, ready to start.
 *
 * bytes of the files -> [linux loader] -> RAM, resetMachine -> the kernel's first instruction
 *
 * Where things lie:
 *
 *   RAM + text_offset   the kernel, image_size bytes (its bss is part of it)
 *   then, 2 MiB aligned the initial RAM disk as it is: unpacking is the kernel's business
 *   then, page aligned  the device tree
 *
 * The kernel is entered as the RISC-V boot protocol of Linux says: supervisor mode, satp = 0, a0 = hart
 * number, a1 = device tree, one hart, the others stopped until it starts them through SBI. An ELF file
 * whose addresses are physical is entered the same way. A bad file changes nothing.
 */
import { createHash } from 'node:crypto';
import * as own from '../assembly/machine-map.ts';
import * as map from '../assembly/memory-map.ts';
import { DirtyLog } from './dirty-log.ts';
import { elfExtent, loadElf } from './elf.ts';
import { MachineError } from './errors.ts';
import type { GuestMemory } from './guest-memory.ts';
import { resetMachine } from './machine.ts';
import { machineTree } from './machine-tree.ts';

export interface LinuxBoot {
  /** A raw RISC-V Image, or an ELF file with physical addresses. */
  readonly kernel: Uint8Array;
  readonly initrd?: Uint8Array | undefined;
  /** The kernel's command line. */
  readonly bootargs?: string | undefined;
  /**
   * All randomness the guest gets from the machine follows from it: random bytes, and new ones at
   * each start, unless the guest is to be repeatable.
   */
  readonly seed: Uint8Array;
  /** @default 'host' */
  readonly clock?: 'host' | 'instructions' | undefined;
  /** The device console input goes to: ttyS0 or hvc0. Output of both is one stream. @default 'uart' */
  readonly console?: 'uart' | 'virtio' | undefined;
  /** A reboot: the console's streams go on where they are. */
  readonly goesOn?: boolean | undefined;
}

/** Where things were put: physical addresses, ends past the last byte. */
export interface LoadedLinux {
  readonly entry: number;
  readonly kernel: Range;
  readonly initrd: Range | undefined;
  readonly deviceTree: Range;
}

interface Range {
  readonly start: number;
  readonly end: number;
}

// Header of an Image (Documentation/arch/riscv/boot-image-header.rst of the kernel).
const IMAGE_HEADER_BYTES = 64;
const TEXT_OFFSET_AT = 8;
const IMAGE_SIZE_AT = 16;
const MAGIC_AT = 0x38;
/** "RSC\x05". */
const MAGIC = 0x05435352;
/** The kernel wants to lie at a multiple of this, and what follows it is put at one too. */
const ALIGNMENT = 2 * 1048576;
/** A kernel takes about as much again to unpack into and to live in; this is what it cannot do without. */
const FREE_BYTES_MIN = 4 * 1048576;
/** Longest command line the kernel keeps (COMMAND_LINE_SIZE of its riscv port). */
export const BOOTARGS_BYTES_MAX = 1023;

/** First bytes of files people take for an Image. */
const MISTAKES: readonly { readonly bytes: readonly number[]; readonly reason: string }[] = [
  { bytes: [0x1f, 0x8b], reason: 'it is compressed with gzip: unpack it first (gunzip)' },
  { bytes: [0xfd, 0x37, 0x7a, 0x58, 0x5a], reason: 'it is compressed with xz: unpack it first' },
  { bytes: [0x28, 0xb5, 0x2f, 0xfd], reason: 'it is compressed with zstd: unpack it first' },
];

/**
 * Fills the guest's RAM and puts its harts and devices into their state after power-on. While no hart
 * runs; RAM that is not written must be zero or may be anything, as after a power-on.
 *
 * @throws MachineError kernel.bad_image, kernel.truncated, kernel.no_room, machine.bad_option, elf.*
 */
export function loadLinux(guest: GuestMemory, boot: LinuxBoot): LoadedLinux {
  checkOptions(boot);
  const tree = (initrd: Range | undefined) => makeTree(guest, boot, initrd);
  const image = isElf(boot.kernel) ? undefined : readImage(boot.kernel);
  const kernel = image ?? elfExtent(boot.kernel);
  const initrd = boot.initrd && rangeAfter(kernel.end, boot.initrd.length, ALIGNMENT);
  const treeBytes = tree(initrd).length;
  const deviceTree = rangeAfter(initrd?.end ?? kernel.end, treeBytes, map.PAGE_SIZE);
  checkRoom(guest, deviceTree.end + FREE_BYTES_MIN - own.RAM_BASE);

  const entry = image ? kernel.start : Number(loadElf(boot.kernel, guest).entry);
  if (image) place(guest, kernel, boot.kernel);
  if (initrd) place(guest, initrd, boot.initrd!);
  place(guest, deviceTree, tree(initrd));
  resetMachine(guest, {
    entry: BigInt(entry),
    supervisor: { argument: BigInt(deviceTree.start) },
    clock: boot.clock ?? 'host',
    goesOn: boot.goesOn,
    console: boot.console,
    entropy: derived(boot.seed, 'entropy'),
  });
  return { entry, kernel, initrd, deviceTree };
}

function checkOptions(boot: LinuxBoot): void {
  const { bootargs = '', initrd } = boot;
  const bad = (option: string, reason: string) =>
    new MachineError('machine.bad_option', { option, reason });
  if (Buffer.byteLength(bootargs) > BOOTARGS_BYTES_MAX) {
    throw bad('kernel command line', `is longer than ${BOOTARGS_BYTES_MAX} bytes`);
  }
  if (bootargs.includes('\0')) throw bad('kernel command line', 'has a zero byte');
  if (initrd?.length === 0) throw bad('initrd', 'is empty');
}

function isElf(kernel: Uint8Array): boolean {
  return Buffer.from(kernel.subarray(0, 4)).toString('latin1') === '\x7fELF';
}

function readImage(kernel: Uint8Array): Range {
  const mistake = MISTAKES.find(({ bytes }) => bytes.every((byte, i) => kernel[i] === byte));
  const refuse = (reason: string) => new MachineError('kernel.bad_image', { reason });
  if (mistake) throw refuse(mistake.reason);
  const header = new DataView(kernel.buffer, kernel.byteOffset, kernel.byteLength);
  if (kernel.length < IMAGE_HEADER_BYTES || header.getUint32(MAGIC_AT, true) !== MAGIC) {
    throw refuse(otherImage(kernel, header));
  }
  const offset = header.getBigUint64(TEXT_OFFSET_AT, true);
  const size = header.getBigUint64(IMAGE_SIZE_AT, true);
  const limit = BigInt(map.PAGES_MAX) * BigInt(map.PAGE_SIZE);
  if (offset > limit || size > limit) throw refuse('its header asks for more memory than can be');
  if (offset % 4096n !== 0n) throw refuse('its header has an odd text offset');
  if (size === 0n) throw refuse('its header names no size');
  checkWhole(kernel, header);
  const start = own.RAM_BASE + Number(offset);
  return { start, end: start + Math.max(Number(size), kernel.length) };
}

/** What a file is that lacks the magic number. */
function otherImage(kernel: Uint8Array, header: DataView): string {
  const at = (offset: number) => (kernel.length >= offset + 4 ? header.getUint32(offset, true) : 0);
  if (at(MAGIC_AT) === 0x644d5241) return 'it is a kernel for 64-bit ARM';
  if (kernel.length > 0x206 && at(0x202) === 0x53726448) return 'it is a kernel for x86';
  if (at(4) === 0x676d697a)
    return 'it is an EFI program with a compressed kernel: take the Image in it';
  return kernel.length < IMAGE_HEADER_BYTES ? 'it is too short' : 'the magic number is missing';
}

/** PE header fields of an Image that is an EFI program too: where its contents end in the file. */
const PE_AT = 0x3c;
const PE_SECTIONS = 6;
const PE_OPTIONAL_HEADER_BYTES = 20;
const PE_HEADER_BYTES = 24;
const SECTION_BYTES = 40;

/**
 * An Image does not say how long its file is (image_size counts the bss too). One that is an EFI program
 * does: its section table names the last byte.
 */
function checkWhole(kernel: Uint8Array, header: DataView): void {
  const isPe = kernel[0] === 0x4d && kernel[1] === 0x5a;
  const pe = header.getUint32(PE_AT, true);
  if (!isPe || pe + PE_HEADER_BYTES > kernel.length || header.getUint32(pe, true) !== 0x4550)
    return;
  const count = header.getUint16(pe + PE_SECTIONS, true);
  const table = pe + PE_HEADER_BYTES + header.getUint16(pe + PE_OPTIONAL_HEADER_BYTES, true);
  for (let i = 0; i < count; i++) {
    const section = table + i * SECTION_BYTES;
    const isListed = section + SECTION_BYTES <= kernel.length;
    const needBytes = isListed
      ? header.getUint32(section + 20, true) + header.getUint32(section + 16, true)
      : section + SECTION_BYTES;
    const haveBytes = kernel.length;
    if (needBytes > haveBytes) throw new MachineError('kernel.truncated', { needBytes, haveBytes });
  }
}

function rangeAfter(address: number, bytes: number, alignment: number): Range {
  const start = Math.ceil(address / alignment) * alignment;
  return { start, end: start + bytes };
}

function checkRoom(guest: GuestMemory, needBytes: number): void {
  const { ramBytes } = guest;
  if (needBytes > ramBytes) throw new MachineError('kernel.no_room', { needBytes, ramBytes });
}

function makeTree(guest: GuestMemory, boot: LinuxBoot, initrd: Range | undefined): Uint8Array {
  return machineTree({
    harts: guest.harts,
    ramBytes: guest.ramBytes,
    bootargs: boot.bootargs ?? '',
    rngSeed: derived(boot.seed, 'rng-seed'),
    initrd,
    console: boot.console ?? 'uart',
  });
}

/** 32 bytes for one purpose. */
function derived(seed: Uint8Array, purpose: string): Uint8Array {
  return createHash('sha256').update(purpose).update(seed).digest();
}

/** Writes to RAM, zeros up to the end of the range, and marks the pages. */
function place(guest: GuestMemory, range: Range, bytes: Uint8Array): void {
  const start = range.start - own.RAM_BASE;
  const end = range.end - own.RAM_BASE;
  guest.ram().set(bytes, start);
  guest.ram().fill(0, start + bytes.length, end);
  const log = new DirtyLog(guest);
  const last = Math.floor((end - 1) / map.PAGE_SIZE);
  for (let page = Math.floor(start / map.PAGE_SIZE); page <= last; page++) log.markDirty(page);
}
