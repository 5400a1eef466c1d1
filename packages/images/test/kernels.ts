/** Small stand-ins for kernels and modules: headers as the real ones have them, and hardly a body. */

/** A RISC-V Image with an EFI header of one section; whole when it is as long as that section says. */
export function makeKernel(body = 4096, fill = 0): Buffer {
  const pe = 64;
  const start = 512;
  const image = Buffer.alloc(start + body, fill);
  image.fill(0, 0, start);
  image.write('MZ', 0, 'latin1');
  image.writeBigUInt64LE(0x20_0000n, 8);
  image.writeBigUInt64LE(BigInt(image.length + 8192), 16);
  image.write('RISCV\0\0\0RSC\x05', 48, 'latin1');
  image.writeUInt32LE(pe, 60);
  image.write('PE\0\0', pe, 'latin1');
  image.writeUInt16LE(1, pe + 6);
  image.writeUInt16LE(0, pe + 20);
  image.writeUInt32LE(body, pe + 24 + 16);
  image.writeUInt32LE(start, pe + 24 + 20);
  return image;
}

/** A kernel module: an ELF-64 file with the section .modinfo and nothing else. */
export function makeModule(info: readonly string[], machine = 243): Buffer {
  const names = Buffer.from('\0.modinfo\0.shstrtab\0');
  const modinfo = Buffer.from(info.map((text) => `${text}\0`).join(''));
  const header = Buffer.alloc(64);
  header.write('\x7fELF\x02\x01\x01', 0, 'latin1');
  header.writeUInt16LE(machine, 18);
  header.writeBigUInt64LE(BigInt(64 + modinfo.length + names.length), 40);
  header.writeUInt16LE(64, 58);
  header.writeUInt16LE(3, 60);
  header.writeUInt16LE(2, 62);
  const section = (name: number, offset: number, bytes: number) => {
    const row = Buffer.alloc(64);
    row.writeUInt32LE(name, 0);
    row.writeBigUInt64LE(BigInt(offset), 24);
    row.writeBigUInt64LE(BigInt(bytes), 32);
    return row;
  };
  const table = [
    section(0, 0, 0),
    section(1, 64, modinfo.length),
    section(10, 64 + modinfo.length, names.length),
  ];
  return Buffer.concat([header, modinfo, names, ...table]);
}
