/**
 * A small one-pass assembler for tests: code is appended at rising addresses, a jump to a label
 * not yet placed is patched when the label is. Ends as an ELF file that any RISC-V machine loads.
 */
import { addi, auipc, bType, jal } from './encode.ts';

interface Fixup {
  readonly at: number;
  readonly encode: (offset: number) => readonly number[];
}

/** 16-bit encodings have low bits other than 11 (Unprivileged ISA, "Base Instruction-Length"). */
const isShort = (instruction: number): boolean => (instruction & 3) !== 3;

export class Assembler {
  readonly base: number;
  readonly #bytes: number[] = [];
  readonly #labels = new Map<string, number>();
  readonly #fixups = new Map<string, Fixup[]>();

  /** `base` is the address of the first byte. */
  constructor(base: number) {
    this.base = base;
  }

  /** Address of the next byte. */
  get here(): number {
    return this.base + this.#bytes.length;
  }

  emit(...instructions: readonly number[]): void {
    for (const instruction of instructions) {
      const count = isShort(instruction) ? 2 : 4;
      for (let i = 0; i < count; i++) this.#bytes.push((instruction >>> (8 * i)) & 0xff);
    }
  }

  /** `offset` is from the address of the first instruction; its length must not depend on it. */
  emitTo(label: string, encode: (offset: number) => readonly number[]): void {
    const at = this.here;
    const target = this.#labels.get(label);
    if (target !== undefined) return this.emit(...encode(target - at));
    this.#fixups.set(label, [...(this.#fixups.get(label) ?? []), { at, encode }]);
    this.emit(...encode(0));
  }

  /** Names the next byte, or an address outside the program. */
  label(name: string, address = this.here): void {
    if (this.#labels.has(name)) throw new Error(`label ${name} is placed twice`);
    this.#labels.set(name, address);
    for (const { at, encode } of this.#fixups.get(name) ?? []) {
      const patch = new Assembler(at);
      patch.emit(...encode(address - at));
      for (const [i, byte] of patch.#bytes.entries()) this.#bytes[at - this.base + i] = byte;
    }
    this.#fixups.delete(name);
  }

  addressOf(name: string): number {
    const address = this.#labels.get(name);
    if (address === undefined) throw new Error(`label ${name} is not placed`);
    return address;
  }

  align(bytes: number): void {
    while (this.here % bytes !== 0) this.#bytes.push(0);
  }

  doubleword(value: bigint): void {
    for (let i = 0n; i < 8n; i++) this.#bytes.push(Number((value >> (8n * i)) & 0xffn));
  }

  space(bytes: number): void {
    for (let i = 0; i < bytes; i++) this.#bytes.push(0);
  }

  // Pseudo-instructions the harness uses.

  loadAddress(rd: number, label: string): void {
    this.emitTo(label, (offset) => {
      const low = ((offset & 0xfff) ^ 0x800) - 0x800;
      return [auipc(rd, ((offset - low) >>> 12) & 0xfffff), addi(rd, rd, low)];
    });
  }

  jump(label: string, link = 0): void {
    this.emitTo(label, (offset) => [jal(link, offset)]);
  }

  branch(funct3: number, rs1: number, rs2: number, label: string): void {
    this.emitTo(label, (offset) => [bType(funct3, rs1, rs2, offset)]);
  }

  bytes(): Uint8Array {
    const open = [...this.#fixups.keys()];
    if (open.length > 0) throw new Error(`labels never placed: ${open.join(', ')}`);
    return Uint8Array.from(this.#bytes);
  }
}

const ELF_HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
const PAGE_BYTES = 4096;

/**
 * One readable, writable, executable segment of `memoryBytes`, zeros after the contents; entered at its
 * first byte. ELF-64, EM_RISCV.
 */
export function writeElf(
  address: number,
  contents: Uint8Array,
  memoryBytes = contents.length,
): Uint8Array {
  // A process loader maps pages of the file, so place and address agree in their low bits.
  const start = PAGE_BYTES + (address % PAGE_BYTES);
  const file = new Uint8Array(start + contents.length);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]); // 64 bits, little-endian, version 1
  view.setUint16(16, 2, true); // ET_EXEC
  view.setUint16(18, 243, true); // EM_RISCV
  view.setUint32(20, 1, true);
  view.setBigUint64(24, BigInt(address), true); // entry
  view.setBigUint64(32, BigInt(ELF_HEADER_BYTES), true); // program headers
  view.setUint32(48, 1, true); // EF_RISCV_RVC
  view.setUint16(52, ELF_HEADER_BYTES, true);
  view.setUint16(54, PROGRAM_HEADER_BYTES, true);
  view.setUint16(56, 1, true);
  view.setUint32(64, 1, true); // PT_LOAD
  view.setUint32(68, 7, true);
  view.setBigUint64(72, BigInt(start), true);
  view.setBigUint64(80, BigInt(address), true);
  view.setBigUint64(88, BigInt(address), true);
  view.setBigUint64(96, BigInt(contents.length), true);
  view.setBigUint64(104, BigInt(memoryBytes), true);
  view.setBigUint64(112, 1n, true);
  file.set(contents, start);
  return file;
}
