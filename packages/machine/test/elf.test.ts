/**
 * The ELF loader: what it puts where, and that a strange file is refused and changes nothing.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import * as bits from '../src/bitmap.ts';
import { DirtyLog } from '../src/dirty-log.ts';
import { loadElf } from '../src/elf.ts';
import { MachineError, type MachineErrorCode } from '../src/errors.ts';
import { guestImagePath } from '../src/guest-images.ts';
import { GuestMemory } from '../src/guest-memory.ts';
import { writeElf } from './riscv/assembler.ts';

const MIB = 1048576;
const RAM_BASE = 0x80000000;
const PROGRAM_HEADER = 64;

const makeGuest = () => GuestMemory.create({ ramBytes: MIB, harts: 1 });
const contents = Uint8Array.from({ length: 5000 }, (_, i) => i + 1);

/** A good file, changed by the test. */
function changedElf(change: (view: DataView) => void): Uint8Array {
  const bytes = writeElf(RAM_BASE + 0x1800, contents);
  change(new DataView(bytes.buffer));
  return bytes;
}

function assertRefused(bytes: Uint8Array, code: MachineErrorCode): void {
  const guest = makeGuest();
  guest.ram().fill(0xa5);
  assert.throws(
    () => loadElf(bytes, guest),
    (error) => error instanceof MachineError && error.code === code,
  );
  assert.ok(
    guest.ram().every((byte) => byte === 0xa5),
    'RAM is unchanged',
  );
  assert.equal(new DirtyLog(guest).countDirty(), 0);
}

test('a segment lands at its address, the rest of its memory is zeroed, its pages are dirty', async () => {
  const guest = makeGuest();
  guest.ram().fill(0xa5);
  const bytes = changedElf((view) => view.setBigUint64(PROGRAM_HEADER + 40, 9000n, true));
  const loaded = loadElf(bytes, guest);
  assert.deepEqual(loaded, {
    entry: BigInt(RAM_BASE + 0x1800),
    tohost: undefined,
    fromhost: undefined,
  });
  const ram = guest.ram();
  assert.deepEqual(ram.slice(0x1800, 0x1800 + 5000), contents);
  assert.ok(ram.slice(0x1800 + 5000, 0x1800 + 9000).every((byte) => byte === 0));
  assert.equal(ram[0x17ff], 0xa5);
  assert.equal(ram[0x1800 + 9000], 0xa5);
  const dirty = bits.makeBitmap(guest.pages);
  assert.equal(await new DirtyLog(guest).harvest(dirty), 3);
  assert.ok([1, 2, 3].every((page) => bits.testBit(dirty, page)));
});

test('tohost is found by its symbol, and a stripped file has none', () => {
  const guest = GuestMemory.create({ ramBytes: 16 * MIB, harts: 1 });
  const { tohost, fromhost } = loadElf(readFileSync(guestImagePath('hello')), guest);
  assert.ok(tohost !== undefined && tohost >= BigInt(RAM_BASE) && tohost % 64n === 0n);
  assert.equal(fromhost, undefined);
});

test('files that are not ours to load are refused', () => {
  const cases: readonly [string, MachineErrorCode, (view: DataView) => void][] = [
    ['magic', 'elf.wrong_class', (view) => view.setUint8(0, 0)],
    ['32 bits', 'elf.wrong_class', (view) => view.setUint8(4, 1)],
    ['big-endian', 'elf.wrong_class', (view) => view.setUint8(5, 2)],
    ['x86', 'elf.wrong_class', (view) => view.setUint16(18, 62, true)],
    ['shared object', 'elf.wrong_class', (view) => view.setUint16(16, 3, true)],
    ['program header size', 'elf.wrong_class', (view) => view.setUint16(54, 32, true)],
    ['nothing to load', 'elf.wrong_class', (view) => view.setUint32(PROGRAM_HEADER, 2, true)],
    ['no program headers', 'elf.wrong_class', (view) => view.setUint16(56, 0, true)],
    [
      'more file than memory',
      'elf.wrong_class',
      (view) => view.setBigUint64(PROGRAM_HEADER + 40, 100n, true),
    ],
    [
      'segment offset',
      'elf.truncated',
      (view) => view.setBigUint64(PROGRAM_HEADER + 8, 2n ** 64n - 1n, true),
    ],
    ['program header table', 'elf.truncated', (view) => view.setBigUint64(32, 1n << 63n, true)],
    ['section header table', 'elf.truncated', (view) => withSections(view, 1n << 40n)],
    [
      'below RAM',
      'elf.outside_ram',
      (view) => view.setBigUint64(PROGRAM_HEADER + 24, 0x1000n, true),
    ],
    [
      'above RAM',
      'elf.outside_ram',
      (view) => view.setBigUint64(PROGRAM_HEADER + 24, BigInt(RAM_BASE + MIB - 4999), true),
    ],
    [
      'memory without end',
      'elf.outside_ram',
      (view) => view.setBigUint64(PROGRAM_HEADER + 40, 2n ** 64n - 1n, true),
    ],
    ['entry outside', 'elf.outside_ram', (view) => view.setBigUint64(24, 0x1000n, true)],
  ];
  for (const [, code, change] of cases) assertRefused(changedElf(change), code);
});

function withSections(view: DataView, offset: bigint): void {
  view.setBigUint64(40, offset, true);
  view.setUint16(58, 64, true);
  view.setUint16(60, 1, true);
}

test('a file cut anywhere is refused as cut', () => {
  const whole = readFileSync(guestImagePath('hello'));
  const guest = GuestMemory.create({ ramBytes: 16 * MIB, harts: 1 });
  for (let length = 0; length < whole.length; length += length < 256 ? 1 : 97) {
    assert.throws(
      () => loadElf(whole.subarray(0, length), guest),
      (error) => error instanceof MachineError && (error.code === 'elf.truncated' || length < 4),
      `cut at ${length}`,
    );
  }
});

test('a file with any bytes changed is loaded or refused, never more', () => {
  const whole = readFileSync(guestImagePath('hello'));
  const guest = GuestMemory.create({ ramBytes: MIB, harts: 1 });
  // Headers and tables at both ends of the file decide; the code between is only copied.
  const place = fc.oneof(
    fc.nat(63 + 2 * 56),
    fc.integer({ min: whole.length - 2000, max: whole.length - 1 }),
  );
  const change = fc.tuple(place, fc.constantFrom(0, 1, 0x7f, 0x80, 0xff));
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 8 }), (changes) => {
      const bytes = Uint8Array.from(whole);
      for (const [at, value] of changes) bytes[at] = value;
      try {
        loadElf(bytes, guest);
      } catch (error) {
        assert.ok(error instanceof MachineError && error.code.startsWith('elf.'), String(error));
      }
    }),
    { numRuns: 300, seed: 7 },
  );
});
