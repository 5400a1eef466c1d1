/** Device tree and kernel loader: what a kernel finds, and what is refused before RAM changes. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import * as own from '../assembly/machine-map.ts';
import * as map from '../assembly/memory-map.ts';
import { MachineError } from '../src/errors.ts';
import { guestImagePath } from '../src/guest-images.ts';
import { GuestMemory } from '../src/guest-memory.ts';
import { type LinuxBoot, loadLinux } from '../src/linux-loader.ts';
import { machineTree } from '../src/machine-tree.ts';

const MIB = 1048576;
const seed = new Uint8Array(32).fill(9);
const guest = GuestMemory.create({ ramBytes: 16 * MIB, harts: 2 });

/** Reads a blob back as the specification says it is read: {path of node: {property: bytes}}. */
function readTree(blob: Uint8Array): Map<string, Map<string, Buffer>> {
  const bytes = Buffer.from(blob);
  const u32 = (at: number) => bytes.readUInt32BE(at);
  assert.deepEqual([u32(0), u32(4), u32(20)], [0xd00dfeed, bytes.length, 17]);
  const strings = u32(12);
  const text = (at: number) => bytes.toString('utf8', at, bytes.indexOf(0, at));
  const nodes = new Map<string, Map<string, Buffer>>();
  const path: string[] = [];
  let at = u32(8);
  for (;;) {
    const token = u32(at);
    at += 4;
    if (token === 9) break;
    if (token === 2) {
      path.pop();
    } else if (token === 1) {
      path.push(text(at));
      at += (text(at).length + 4) & ~3;
      nodes.set(path.join('/') || '/', new Map());
    } else {
      assert.equal(token, 3);
      const length = u32(at);
      const value = bytes.subarray(at + 8, at + 8 + length);
      nodes.get(path.join('/') || '/')!.set(text(strings + u32(at + 4)), value);
      at += 8 + ((length + 3) & ~3);
    }
  }
  assert.equal(at, u32(8) + u32(36), 'the structure block is as long as it says');
  assert.deepEqual(path, []);
  return nodes;
}

test('the tree says what the machine is', () => {
  const tree = readTree(
    machineTree({
      harts: 2,
      ramBytes: 3.75 * 1024 * MIB,
      bootargs: 'console=ttyS0 quiet',
      rngSeed: seed,
      initrd: { start: 0x82200000, end: 0x82200005 },
      console: 'uart',
    }),
  );
  const get = (node: string, property: string) => tree.get(node)!.get(property)!;
  const string = (node: string, property: string) =>
    get(node, property).toString('utf8').slice(0, -1);
  assert.equal(get('/memory@80000000', 'reg').toString('hex'), '000000008000000000000000f0000000');
  assert.equal(string('/chosen', 'bootargs'), 'console=ttyS0 quiet');
  assert.equal(string('/chosen', 'stdout-path'), '/soc/serial@10000000');
  assert.deepEqual(get('/chosen', 'rng-seed'), Buffer.from(seed));
  assert.equal(get('/chosen', 'linux,initrd-end').readBigUInt64BE(), 0x82200005n);
  assert.equal(get('/cpus', 'timebase-frequency').readUInt32BE(), 10_000_000);
  assert.equal(string('/cpus/cpu@1', 'riscv,isa'), 'rv64imafdc_zicsr_zifencei');
  assert.equal(string('/cpus/cpu@0', 'mmu-type'), 'riscv,sv39');
  assert.equal(get('/soc/virtio_mmio@10002000', 'interrupts').readUInt32BE(), 2);
  const plic = get('/soc/plic@c000000', 'phandle');
  assert.deepEqual(get('/soc/serial@10000000', 'interrupt-parent'), plic);
  assert.equal(get('/soc/plic@c000000', 'interrupts-extended').length, 2 * 2 * 8);
});

/** A kernel that is nothing but a header: 1 MiB at text_offset 2 MiB. */
function image(change: (header: DataView) => void = () => {}, bytes = 4096): Uint8Array {
  const kernel = new Uint8Array(bytes).fill(0x13);
  const header = new DataView(kernel.buffer);
  header.setBigUint64(8, BigInt(2 * MIB), true);
  header.setBigUint64(16, BigInt(MIB), true);
  header.setUint32(0x38, 0x05435352, true);
  change(header);
  return kernel;
}

function fails(boot: Partial<LinuxBoot>, code: string, text: RegExp, into = guest): void {
  const before = Buffer.from(into.ram()).toString('latin1', 0, 4 * MIB);
  assert.throws(
    () => loadLinux(into, { kernel: image(), seed, ...boot }),
    (error) => {
      assert.ok(error instanceof MachineError, `${error}`);
      assert.equal(error.code, code);
      assert.match(error.message, text);
      return true;
    },
  );
  assert.equal(Buffer.from(into.ram()).toString('latin1', 0, 4 * MIB), before, 'RAM is as it was');
}

test('kernel, initrd and tree lie apart, and the first hart stands at the kernel', () => {
  guest.ram().fill(0xa5);
  const initrd = new Uint8Array(100_000).fill(0x77);
  const loaded = loadLinux(guest, { kernel: image(), initrd, bootargs: 'quiet', seed });
  assert.deepEqual(loaded.kernel, { start: 0x80200000, end: 0x80300000 });
  assert.deepEqual(loaded.initrd, { start: 0x80400000, end: 0x80400000 + initrd.length });
  assert.equal(loaded.deviceTree.start % map.PAGE_SIZE, 0);
  const ram = guest.ram();
  assert.equal(ram[0x200000 + 4096], 0, 'the kernel starts with a clear bss');
  assert.equal(ram[0x400000 + initrd.length - 1], 0x77);
  const tree = loaded.deviceTree.start - own.RAM_BASE;
  const blob = ram.slice(tree, loaded.deviceTree.end - own.RAM_BASE);
  const end = readTree(blob).get('/chosen')!.get('linux,initrd-end')!;
  assert.equal(Number(end.readBigUInt64BE()), loaded.initrd!.end);
  const hart = (n: number, field: number) => guest.i64[guest.hartWord(n, field) / 2];
  assert.equal(hart(0, own.HART_PC), 0x80200000n);
  assert.equal(hart(0, own.HART_X + 88), BigInt(loaded.deviceTree.start));
  assert.equal(guest.i64[(own.HSM_STATE + 8) / 8], BigInt(own.HSM_STOPPED));
  const dirty = (page: number) =>
    (Atomics.load(guest.i32, (map.DIRTY >> 2) + (page >> 5)) >>> (page & 31)) & 1;
  assert.deepEqual([dirty(0x200), dirty(0x2ff), dirty(0x400)], [1, 1, 1]);
});

test('the same seed gives the same randomness, another one another', () => {
  const key = (fill: number) => {
    loadLinux(guest, { kernel: image(), seed: new Uint8Array(32).fill(fill) });
    return Buffer.from(new Uint8Array(guest.sab, own.ENTROPY_KEY, 32)).toString('hex');
  };
  assert.equal(key(1), key(1));
  assert.notEqual(key(1), key(2));
});

test('an ELF with physical addresses is a kernel too', () => {
  const kernel = readFileSync(guestImagePath('hello'));
  const loaded = loadLinux(guest, { kernel, seed });
  assert.equal(loaded.entry, own.RAM_BASE);
  assert.ok(loaded.deviceTree.start >= loaded.kernel.end);
  fails({ kernel: kernel.subarray(0, 100) }, 'elf.truncated', /program header/);
});

test('what is no kernel is named', () => {
  const cases: readonly (readonly [Uint8Array, RegExp])[] = [
    [new Uint8Array(0), /too short/],
    [image((h) => h.setUint32(0x38, 0, true)), /magic number/],
    [image((h) => h.setUint32(0x38, 0x644d5241, true)), /64-bit ARM/],
    [Uint8Array.of(0x1f, 0x8b, 8, 0), /gzip/],
    [Uint8Array.of(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0), /xz/],
    [Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd), /zstd/],
    [image((h) => h.setBigUint64(16, 1n << 60n, true)), /more memory/],
    [image((h) => h.setBigUint64(8, 5n, true)), /text offset/],
    [image((h) => h.setBigUint64(16, 0n, true)), /no size/],
  ];
  for (const [kernel, text] of cases) fails({ kernel }, 'kernel.bad_image', text);
});

test('a truncated Image is found out by its section table', () => {
  const pe = (header: DataView) => {
    header.setUint16(0, 0x5a4d, true);
    header.setUint32(0x3c, 0x40, true);
    header.setUint32(0x40, 0x4550, true);
    header.setUint16(0x46, 1, true);
    header.setUint16(0x54, 0, true);
    header.setUint32(0x58 + 16, 3000, true);
    header.setUint32(0x58 + 20, 1096, true);
  };
  const whole = image(pe);
  loadLinux(guest, { kernel: whole, seed });
  fails({ kernel: whole.subarray(0, 4095) }, 'kernel.truncated', /needs 4096 bytes, has 4095/);
  fails({ kernel: whole.subarray(0, 0x70) }, 'kernel.truncated', /cut short/);
});

test('too little RAM and bad options are refused', () => {
  fails({ initrd: new Uint8Array(12 * MIB) }, 'kernel.no_room', /need \d+ bytes of RAM/);
  fails({ initrd: new Uint8Array(0) }, 'machine.bad_option', /initrd: is empty/);
  fails({ bootargs: 'x'.repeat(1024) }, 'machine.bad_option', /longer than 1023/);
  fails({ bootargs: 'a\0b' }, 'machine.bad_option', /zero byte/);
});
