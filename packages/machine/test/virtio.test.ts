/**
 * Virtio transport, console and entropy: what a driver gets, and what one gets that breaks the rules.
 */
import assert from 'node:assert/strict';
import { createCipheriv } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import * as own from '../assembly/machine-map.ts';
import * as map from '../assembly/memory-map.ts';
import { ConsoleRing } from '../src/console-ring.ts';
import { DirtyLog } from '../src/dirty-log.ts';
import { resetMachine } from '../src/machine.ts';
import * as e from './riscv/encode.ts';
import { DATA, HartBench, RAM_BASE } from './support/hart-bench.ts';
import { Mmio } from './support/mmio.ts';
import { runMoved } from './support/moved.ts';
import { type Descriptor, INDIRECT, NEXT, VirtioDriver, WRITE } from './support/virtio-driver.ts';

const bench = new HartBench();
const mmio = new Mmio(bench);
const RECEIVE = 0;
const TRANSMIT = 1;
const RAM_BYTES = bench.guest.ramBytes;

function startConsole(): VirtioDriver {
  mmio.reset();
  bench.guest.i64[own.DEVICES_CONSOLE / 8] = BigInt(own.CONSOLE_AT_VIRTIO);
  return new VirtioDriver(mmio, own.VIRTIO_CONSOLE).start(2);
}

function startEntropy(): VirtioDriver {
  mmio.reset();
  return new VirtioDriver(mmio, own.VIRTIO_ENTROPY).start();
}

function output(): string {
  return Buffer.from(new ConsoleRing(bench.guest).readOutput(0n).bytes).toString('latin1');
}

function ramText(address: number, bytes: number): string {
  const at = address - RAM_BASE;
  return Buffer.from(bench.guest.ram().slice(at, at + bytes)).toString('latin1');
}

function putText(address: number, text: string): void {
  bench.guest.ram().set(Buffer.from(text), address - RAM_BASE);
}

test('the transport introduces itself and takes only a driver of version 1', () => {
  mmio.reset();
  const driver = new VirtioDriver(mmio, own.VIRTIO_ENTROPY);
  assert.deepEqual([driver.read(0), driver.read(4), driver.read(8)], [0x74726976, 2, 4]);
  assert.equal(new VirtioDriver(mmio, own.VIRTIO_CONSOLE).read(8), 3);
  driver.write(0x70, 11);
  assert.equal(driver.read(0x70), 3, 'FEATURES_OK does not stay without VERSION_1');
  driver.write(0x24, 0);
  driver.write(0x20, 4);
  driver.write(0x24, 1);
  driver.write(0x20, 1);
  driver.write(0x70, 11);
  assert.equal(driver.read(0x70), 3, 'nor with a feature that was not offered');
  driver.start();
  assert.equal(driver.read(0x70), 15);
  driver.write(0x30, 1);
  assert.equal(driver.read(0x34), 0, 'it has one queue');
  driver.write(0x70, 0);
  assert.deepEqual([driver.read(0x70), driver.read(0x44)], [0, 0], 'reset');
});

test('console output is printed, and given back with an interrupt', () => {
  const driver = startConsole();
  putText(DATA, 'hello, ');
  putText(DATA + 0x800, 'world');
  driver.describe(TRANSMIT, 3, { address: DATA, bytes: 7, flags: NEXT, next: 5 });
  driver.describe(TRANSMIT, 5, { address: DATA + 0x800, bytes: 5 });
  driver.offer(TRANSMIT, 3);
  driver.notify(TRANSMIT);
  assert.equal(output(), 'hello, world');
  assert.deepEqual(driver.used(TRANSMIT), [{ head: 3, bytes: 0 }]);
  assert.equal(mmio.read(own.PLIC_BASE + 0x1000), 1 << own.IRQ_VIRTIO);
  driver.write(0x64, 1);
  assert.equal(driver.read(0x60), 0);
});

test('a driver that wants no interrupt gets none', () => {
  const driver = startConsole();
  driver.view.setUint16(driver.queues[TRANSMIT]!.avail - RAM_BASE, 1, true);
  driver.submit(TRANSMIT, { address: DATA, bytes: 1 });
  assert.deepEqual([driver.used(TRANSMIT).length, driver.read(0x60)], [1, 0]);
});

test('console input waits for a buffer, then fills it', () => {
  const driver = startConsole();
  const ring = new ConsoleRing(bench.guest);
  ring.writeInput(Buffer.from('abc'));
  assert.equal(mmio.read(own.UART_BASE + 5, 'lbu'), 0x60, 'the UART gets none of it');
  driver.submit(RECEIVE, { address: DATA, bytes: 2, flags: WRITE });
  assert.deepEqual(driver.used(RECEIVE), [{ head: 0, bytes: 2 }]);
  assert.equal(ramText(DATA, 2), 'ab');
  driver.submit(RECEIVE, { address: DATA, bytes: 16, flags: WRITE });
  driver.submit(RECEIVE, { address: DATA + 32, bytes: 16, flags: WRITE });
  assert.deepEqual(driver.used(RECEIVE)[1], { head: 0, bytes: 1 });
  assert.equal(driver.used(RECEIVE).length, 2, 'the third buffer waits for a byte');
  ring.writeInput(Buffer.from('de'));
  mmio.read(own.UART_BASE + 5, 'lbu'); // any instruction: input is handed over between slices
  assert.equal(ramText(DATA + 32, 2), 'de');
  assert.equal(ring.inputTaken, 5n);
});

test('entropy is ChaCha20 under the key of the guest', () => {
  const driver = startEntropy();
  const key = Uint8Array.from({ length: 32 }, (_, i) => i);
  new Uint8Array(bench.guest.sab).set(key, own.ENTROPY_KEY);
  driver.submit(0, { address: DATA, bytes: 100, flags: WRITE });
  driver.submit(0, { address: DATA + 100, bytes: 64, flags: WRITE });
  const cipher = createCipheriv('chacha20', key, Buffer.alloc(16));
  const stream = cipher.update(Buffer.alloc(192));
  const expected = Buffer.concat([stream.subarray(0, 100), stream.subarray(128, 192)]);
  const at = DATA - RAM_BASE;
  assert.deepEqual(Buffer.from(bench.guest.ram().slice(at, at + 164)), expected);
  driver.submit(0, { address: DATA, bytes: 60_000, flags: WRITE });
  assert.equal(driver.used(0)[2]?.bytes, 1024, 'one request gets so much');
});

test('what breaks the rules needs a reset and moves nothing', () => {
  const wrongs: readonly (readonly [string, Descriptor])[] = [
    ['below RAM', { address: 0, bytes: 4 }],
    ['across the end of RAM', { address: RAM_BASE + RAM_BYTES - 2, bytes: 4 }],
    ['around the address space', { address: (1n << 64n) - 2n, bytes: 16 }],
    ['a device', { address: own.UART_BASE, bytes: 1 }],
    ['too long', { address: RAM_BASE, bytes: 65537 }],
    ['endless', { address: RAM_BASE, bytes: 0xffffffff }],
    ['empty', { address: DATA, bytes: 0 }],
    ['in a circle', { address: DATA, bytes: 1, flags: NEXT, next: 0 }],
    ['next outside', { address: DATA, bytes: 1, flags: NEXT, next: 8 }],
    ['indirect', { address: DATA, bytes: 16, flags: INDIRECT }],
    ['wrong direction', { address: DATA, bytes: 1, flags: WRITE }],
  ];
  for (const [what, descriptor] of wrongs) {
    const driver = startConsole();
    driver.submit(TRANSMIT, descriptor);
    assert.ok(driver.needsReset, what);
    assert.equal(driver.read(0x60), 2, 'a configuration interrupt');
    assert.equal(output(), '', what);
    driver.submit(TRANSMIT, { address: DATA, bytes: 1 });
    assert.equal(driver.used(TRANSMIT).length, 0, 'it does nothing more');
    driver.start(2).submit(TRANSMIT, { address: DATA, bytes: 1 });
    assert.equal(driver.used(TRANSMIT).length, 1, 'until it is reset');
  }
});

test('so do rings that lie, and queues of odd length', () => {
  const good = new VirtioDriver(mmio, own.VIRTIO_CONSOLE).queues[TRANSMIT]!;
  for (const areas of [
    { ...good, desc: RAM_BASE + RAM_BYTES - 64 },
    { ...good, avail: 0x1000 },
    { ...good, used: RAM_BASE + RAM_BYTES },
    { ...good, used: 2 ** 40 },
    { ...good, desc: good.desc + 8 },
    { ...good, avail: good.avail + 1 },
    { ...good, used: good.used + 2 },
  ]) {
    const driver = startConsole();
    driver.write(0x30, TRANSMIT);
    driver.write(0x44, 0);
    driver.setQueue(TRANSMIT, areas);
    driver.submit(TRANSMIT, { address: DATA, bytes: 1 });
    assert.ok(driver.needsReset, JSON.stringify(areas));
  }
  for (const num of [0, 3, 128, 0xffffffff]) {
    const driver = startConsole();
    driver.write(0x30, TRANSMIT);
    driver.write(0x44, 0);
    driver.write(0x38, num);
    driver.write(0x44, 1);
    assert.ok(driver.needsReset, `${num}`);
  }
  const driver = startConsole();
  driver.offer(TRANSMIT, ...Array.from({ length: 9 }, () => 0));
  driver.notify(TRANSMIT);
  assert.ok(driver.needsReset, 'more heads than the queue has');
});

test('any descriptors and rings: the machine stays whole', () => {
  const word = fc.oneof(fc.nat(16), fc.nat(0xffff), fc.constant(0xffffffff));
  const address = fc.oneof(
    fc.integer({ min: DATA, max: DATA + 0x2000 }),
    fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
  );
  const descriptor = fc.record({
    address,
    bytes: word,
    flags: fc.nat(7),
    next: fc.nat(9),
  });
  const chains = fc.array(descriptor, { minLength: 8, maxLength: 8 });
  const heads = fc.array(fc.nat(9), { maxLength: 10 });
  const property = fc.property(fc.nat(1), chains, heads, (queue, descriptors, offered) => {
    const driver = startConsole();
    new ConsoleRing(bench.guest).writeInput(Buffer.from('typed'));
    const guard = bench.guest.ram().slice(0x20000);
    for (const [i, one] of descriptors.entries()) driver.describe(queue, i, one);
    driver.offer(queue, ...offered);
    assert.ok(['budget', 'waiting'].includes(mmio.tryWrite(driver.base + 0x50, queue)));
    assert.ok(driver.needsReset || driver.used(queue).length <= offered.length);
    assert.deepEqual(
      bench.guest.ram().slice(0x20000),
      guard,
      'nothing outside the buffers changed',
    );
  });
  fc.assert(property, { numRuns: 300 });
});

test('much work comes in passes, with a look at the world between them', () => {
  const driver = startConsole();
  const bytes = 60_000;
  for (let i = 0; i < 8; i++) driver.describe(TRANSMIT, i, { address: RAM_BASE + 0x20000, bytes });
  driver.offer(TRANSMIT, 0, 1, 2, 3, 4, 5, 6, 7);
  const ring = new ConsoleRing(bench.guest);
  ring.listen(true);
  assert.equal(mmio.tryWrite(driver.base + 0x50, TRANSMIT), 'output');
  for (let passes = 1; passes < 8; passes++) {
    assert.equal(driver.view.getUint16(driver.queues[TRANSMIT]!.used - RAM_BASE + 2, true), passes);
    ring.acknowledge(ring.written);
    bench.step();
  }
  ring.listen(false);
  assert.equal(ring.written, BigInt(8 * bytes));
});

test('a device writes through the dirty log', async () => {
  const driver = startEntropy();
  const log = new DirtyLog(bench.guest);
  const marks = new Uint32Array(bench.guest.pages / 32);
  bench.guest.setControl(map.CONTROL_RUN, map.RUN_STOP);
  await log.harvest(marks);
  bench.guest.setControl(map.CONTROL_RUN, map.RUN_GO);
  const page = (DATA - RAM_BASE) / map.PAGE_SIZE;
  driver.submit(0, { address: DATA - 8, bytes: 16, flags: WRITE });
  bench.guest.setControl(map.CONTROL_RUN, map.RUN_STOP);
  marks.fill(0);
  await log.harvest(marks);
  const isMarked = (n: number) => ((marks[n >> 5]! >> (n & 31)) & 1) === 1;
  const used = (driver.queues[0]!.used - RAM_BASE) >> map.PAGE_SHIFT;
  for (const n of [Math.floor(page) - 1, Math.floor(page), used])
    assert.ok(isMarked(n), `page ${n}`);
});

test('a device that misses pages waits for them and moves nothing twice', async () => {
  const driver = startConsole();
  const text = 'x'.repeat(10_000);
  const buffer = RAM_BASE + 0x40000;
  putText(buffer, text);
  driver.describe(TRANSMIT, 0, { address: buffer, bytes: 6000, flags: NEXT, next: 1 });
  driver.describe(TRANSMIT, 1, { address: buffer + 6000, bytes: 4000 });
  driver.offer(TRANSMIT, 0);
  // The bell: sw x11, 0(x10); then an endless loop, stopped at its first turn.
  bench.put(RAM_BASE, [e.sType(e.STORES.sw, 11, 10, 0), 0x6f]);
  bench.setField(own.HART_PC, BigInt(RAM_BASE));
  bench.setField(own.HART_X + 80, BigInt(driver.base + 0x50));
  bench.setField(own.HART_X + 88, BigInt(TRANSMIT));
  const { guest: target, faults } = await runMoved(bench.guest, bench.retired + 2n);
  assert.equal(Buffer.from(new ConsoleRing(target).readOutput(0n).bytes).toString(), text);
  const used = driver.queues[TRANSMIT]!.used - RAM_BASE;
  assert.equal(target.ram()[used + 2], 1, 'given back once');
  assert.equal(faults, 5, 'the code, three pages of text, the queue, nothing else');
});

test('a reset machine forgets its devices', () => {
  const driver = startEntropy();
  resetMachine(bench.guest, { entry: BigInt(RAM_BASE), clock: 'instructions' });
  bench.guest.setControl(map.CONTROL_RUN, map.RUN_GO);
  assert.equal(driver.read(0x70), 0);
});
