/**
 * Guest memory: what sizes there are, where each region lies, who may adopt it; heat and errors as
 * plain data.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as map from '../assembly/memory-map.ts';
import { MachineError } from '../src/errors.ts';
import { GuestMemory, RAM_BYTES_MAX } from '../src/guest-memory.ts';
import { decayHeat, heatOf } from '../src/heat.ts';

const MIB = 1048576;
const code = (expected: string) => (error: unknown) =>
  error instanceof MachineError && error.code === expected;

test('sizes and harts outside the limits are refused', () => {
  const sizes = [0, -MIB, 4096, MIB - 4096, MIB + 4096, 1.5, Number.NaN, RAM_BYTES_MAX + MIB];
  for (const ramBytes of sizes) {
    assert.throws(() => GuestMemory.create({ ramBytes, harts: 1 }), code('memory.bad_size'));
  }
  for (const harts of [0, 9, 1.5, -1, Number.NaN]) {
    assert.throws(() => GuestMemory.create({ ramBytes: MIB, harts }), code('memory.bad_harts'));
  }
});

test('the largest guest fits a 32-bit memory, and its last page is in reach', () => {
  const guest = GuestMemory.create({ ramBytes: RAM_BYTES_MAX, harts: 8 });
  assert.equal(guest.pages, map.PAGES_MAX);
  assert.ok(guest.sab.byteLength <= 2 ** 32);
  const last = guest.page(guest.pages - 1);
  last[4095] = 7;
  assert.equal(new Uint8Array(guest.sab)[guest.sab.byteLength - 1], 7);
  assert.equal(guest.ramOffset(guest.pages - 1) + 4096, guest.sab.byteLength);
});

test('regions lie in order and do not overlap', () => {
  const starts = [map.CORE, map.CONTROL, map.HARTS, map.TLB, map.DIRTY, map.STATE];
  starts.push(map.HEAT, map.DEVICES, map.DECODE, map.RAM);
  for (let i = 1; i < starts.length; i++) assert.ok(starts[i]! > starts[i - 1]!);
  assert.equal(map.RAM % (2 * MIB), 0);
  assert.ok(map.DIRTY + map.PAGES_MAX / 8 <= map.STATE);
  assert.ok(map.STATE + map.PAGES_MAX / 4 <= map.HEAT);
  assert.ok(map.HEAT + map.PAGES_MAX <= map.DEVICES);
  assert.ok(map.TLB_FETCH + map.TLB_ARRAY_SIZE <= map.TLB_SIZE);
});

test('a page outside the guest has no address', () => {
  const guest = GuestMemory.create({ ramBytes: MIB, harts: 1 });
  for (const page of [-1, 256, 0.5, Number.NaN]) {
    assert.throws(() => guest.ramOffset(page), code('memory.page_out_of_range'));
    assert.throws(() => guest.page(page), code('memory.page_out_of_range'));
  }
});

test('another thread adopts a guest, and nothing else', () => {
  const guest = GuestMemory.create({ ramBytes: 3 * MIB, harts: 5 });
  const same = GuestMemory.adopt(guest.memory);
  assert.deepEqual([same.pages, same.harts, same.ramBytes], [768, 5, 3 * MIB]);

  const small = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  assert.throws(() => GuestMemory.adopt(small), code('memory.not_a_guest'));
  const unshared = new WebAssembly.Memory({ initial: 1 });
  assert.throws(() => GuestMemory.adopt(unshared), code('memory.not_a_guest'));
  const spoil = [map.CONTROL_MAGIC, map.CONTROL_VERSION, map.CONTROL_PAGES, map.CONTROL_HARTS];
  for (const offset of spoil) {
    const spoilt = GuestMemory.create({ ramBytes: MIB, harts: 1 });
    spoilt.setControl(offset, 77);
    assert.throws(() => GuestMemory.adopt(spoilt.memory), code('memory.not_a_guest'));
  }
});

test('reset leaves a new guest with the old bytes in RAM', () => {
  const guest = GuestMemory.create({ ramBytes: MIB, harts: 2 });
  const fresh = new Uint8Array(GuestMemory.create({ ramBytes: MIB, harts: 3 }).sab, 0, map.DECODE);
  new Uint8Array(guest.sab).fill(0xa5, map.HARTS, map.DECODE);
  new Uint8Array(guest.sab).fill(0xa5, map.DECODE, map.DECODE + 2 * map.DECODE_SIZE);
  guest.ram().fill(0xa5);
  const again = guest.reset(3);
  assert.equal(again.harts, 3);
  assert.ok(Buffer.from(again.sab, 0, map.DECODE).equals(fresh));
  const decode = Buffer.from(again.sab, map.DECODE, map.RAM - map.DECODE);
  assert.ok(decode.equals(Buffer.alloc(decode.length)));
  assert.ok(again.ram().every((byte) => byte === 0xa5));
});

test('heat halves, byte by byte', () => {
  const guest = GuestMemory.create({ ramBytes: MIB, harts: 1 });
  heatOf(guest).set([255, 1, 2, 3, 0, 128], 0);
  decayHeat(guest);
  assert.deepEqual([...heatOf(guest).subarray(0, 6)], [127, 0, 1, 1, 0, 64]);
});

test('an error crosses a thread as plain data', () => {
  const error = new MachineError('memory.bad_harts', { harts: 9, max: 8 });
  const back = MachineError.fromObject(structuredClone(error.toObject()));
  assert.equal(back.message, error.message);
  assert.equal(back.code, 'memory.bad_harts');
});
