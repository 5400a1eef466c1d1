/**
 * Is this file a kernel that our machine can boot, and is it whole?
 *
 *   bytes -> [kernel image] -> fine, or an error that says what the file is instead
 *
 * The RISC-V Image header (the kernel's Documentation/arch/riscv/boot-image-header.rst): text offset at
 * 8, image size in memory at 16, "RSC\x05" at 56. The size counts memory that the file does not hold,
 * so that a file which lost its end is found by the header of its EFI form, which every distribution's
 * kernel has: sections say where their bytes lie.
 */
import { GodwitError } from '@godwit/protocol';
import { compressionIn, decompressAll } from './decompress.ts';
import { FILE_BYTES_MAX } from './limits.ts';

const HEADER_BYTES = 64;
const MAGIC_AT = 56;
const MAGIC_RISCV = 'RSC\x05';
const MAGIC_ARM64 = 'ARMd';
/** Setup header of an x86 bzImage. */
const X86_MAGIC_AT = 0x202;
const ELF_MACHINE_AT = 18;
const ELF_MACHINES: { readonly [machine: number]: string } = {
  62: 'x86-64',
  183: 'arm64',
  243: 'RISC-V',
};
const PE_HEADER_BYTES = 24;
const PE_SECTION_BYTES = 40;

/**
 * The kernel as the machine loads it: a compressed one is unpacked.
 * @throws GodwitError `image.bad_kernel`
 */
export async function bootableKernel(file: Buffer, path: string): Promise<Buffer> {
  const kernel = await unpacked(file, path);
  const why = fault(kernel);
  if (why !== undefined) throw new GodwitError('image.bad_kernel', { path, why });
  return kernel;
}

async function unpacked(file: Buffer, path: string): Promise<Buffer> {
  const compression = compressionIn(file);
  try {
    return await decompressAll(file, compression, FILE_BYTES_MAX, path);
  } catch (cause) {
    const why =
      cause instanceof GodwitError ? (cause.detail as { why: string }).why : String(cause);
    throw new GodwitError('image.bad_kernel', { path, why }, { cause });
  }
}

/** What is wrong with it, or nothing. */
function fault(kernel: Buffer): string | undefined {
  if (kernel.length < HEADER_BYTES) return `only ${kernel.length} bytes`;
  const text = (at: number, bytes: number) => kernel.toString('latin1', at, at + bytes);
  if (text(0, 4) === '\x7fELF') {
    const machine = kernel.readUInt16LE(ELF_MACHINE_AT);
    const name = ELF_MACHINES[machine] ?? `machine ${machine}`;
    return `an ELF file for ${name}, not a kernel Image`;
  }
  const magic = text(MAGIC_AT, 4);
  if (magic === MAGIC_ARM64) return 'a kernel for arm64';
  if (text(X86_MAGIC_AT, 4) === 'HdrS') return 'a kernel for x86';
  if (magic !== MAGIC_RISCV) return 'not a RISC-V kernel Image';
  const needs = endOfSections(kernel);
  if (needs === undefined) return 'its EFI header is damaged';
  if (kernel.length < needs) return `cut short: ${kernel.length} of ${needs} bytes`;
  const memoryBytes = kernel.readBigUInt64LE(16);
  const isSane = memoryBytes >= BigInt(kernel.length) && memoryBytes < 1n << 32n;
  return isSane ? undefined : `its header claims ${memoryBytes} bytes of memory`;
}

/** Bytes the file must have by its PE/COFF header; 0 when it has none, nothing when that is damaged. */
function endOfSections(kernel: Buffer): number | undefined {
  if (kernel.toString('latin1', 0, 2) !== 'MZ') return 0;
  const pe = kernel.readUInt32LE(60);
  if (pe === 0) return 0;
  if (pe + PE_HEADER_BYTES > kernel.length) return undefined;
  if (kernel.toString('latin1', pe, pe + 4) !== 'PE\0\0') return undefined;
  const count = kernel.readUInt16LE(pe + 6);
  const first = pe + PE_HEADER_BYTES + kernel.readUInt16LE(pe + 20);
  let end = first + count * PE_SECTION_BYTES;
  if (end > kernel.length) return undefined;
  for (let i = 0; i < count; i++) {
    const at = first + i * PE_SECTION_BYTES;
    const [bytes, offset] = [kernel.readUInt32LE(at + 16), kernel.readUInt32LE(at + 20)];
    if (bytes > 0) end = Math.max(end, offset + bytes);
  }
  return end;
}
