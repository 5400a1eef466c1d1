/**
 * A program that prints lines and ends with `end`, on QEMU and on our machine: what it printed, by lines.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LocalMachine } from './local-machine.ts';
import { Qemu, type QemuCpu } from './qemu.ts';

const MEMORY_MIB = 16;
const END = 'end\n';

export async function programOnQemu(elf: Uint8Array, cpu: QemuCpu): Promise<string[]> {
  const directory = mkdtempSync(join(tmpdir(), 'godwit-differential-'));
  const path = join(directory, 'program.elf');
  writeFileSync(path, elf);
  const machine = new Qemu(path, MEMORY_MIB, cpu);
  try {
    return (await machine.readTo(END)).split('\n');
  } finally {
    await machine.close();
    rmSync(directory, { recursive: true });
  }
}

export async function programOnOurs(elf: Uint8Array): Promise<string[]> {
  return (await LocalMachine.boot(elf, MEMORY_MIB).readTo(END)).split('\n');
}
