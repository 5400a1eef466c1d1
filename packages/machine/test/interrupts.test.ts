/**
 * PLIC, the UART's interrupts and the real-time clock, as a program sees them.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as own from '../assembly/machine-map.ts';
import { ConsoleRing } from '../src/console-ring.ts';
import { HANDLER, HartBench } from './support/hart-bench.ts';
import { Mmio } from './support/mmio.ts';

const bench = new HartBench({ harts: 2 });
const mmio = new Mmio(bench);

const MEIP = 1n << 11n;
const SEIP = 1n << 9n;
const CSRR_MIP = 0x34402673; // csrr x12, mip
const WFI = 0x10500073;

const priority = (source: number) => own.PLIC_BASE + 4 * source;
const PENDING = own.PLIC_BASE + 0x1000;
const enable = (context: number) => own.PLIC_BASE + 0x2000 + 0x80 * context;
const threshold = (context: number) => own.PLIC_BASE + 0x200000 + 0x1000 * context;
const claim = (context: number) => threshold(context) + 4;
const UART_LINE = 1 << own.IRQ_UART;
const RTC_LINE = 1 << own.IRQ_RTC;
const IER = own.UART_BASE + 1;

/** mip of a hart. */
function mip(hart = 0): bigint {
  bench.put(0x80000000, [CSRR_MIP]);
  bench.setField(own.HART_PC, 0x80000000n, hart);
  bench.step(1, hart);
  return bench.x(12, hart);
}

/** The UART's line is up, as "transmitter empty" is enabled. */
function raiseUart(): void {
  mmio.write(IER, 2, 'sb');
}

test('a pending source interrupts the contexts that enable it above their threshold', () => {
  mmio.reset();
  raiseUart();
  assert.equal(mmio.read(PENDING), UART_LINE);
  assert.equal(mip() & (MEIP | SEIP), 0n, 'enabled nowhere');
  mmio.write(enable(0), UART_LINE);
  assert.equal(mip() & MEIP, 0n, 'priority 0 never interrupts');
  mmio.write(priority(own.IRQ_UART), 3);
  assert.deepEqual([mip(), mip(1)], [MEIP, 0n]);
  mmio.write(threshold(0), 3);
  assert.equal(mip(), 0n, 'the threshold must be exceeded');
  mmio.write(enable(3), UART_LINE);
  assert.deepEqual([mip(), mip(1)], [0n, SEIP], 'context 3: hart 1, supervisor');
});

test('a claim takes the highest priority, and its source rests until it is completed', () => {
  mmio.reset();
  raiseUart();
  mmio.write(own.RTC_BASE + 0x10, 1);
  mmio.write(own.RTC_BASE + 0x0c, 0);
  mmio.write(own.RTC_BASE + 0x08, 0); // long past
  for (const [source, value] of [
    [own.IRQ_UART, 1],
    [own.IRQ_RTC, 2],
  ] as const) {
    mmio.write(priority(source), value);
  }
  mmio.write(enable(1), UART_LINE | RTC_LINE);
  assert.equal(mmio.read(claim(1)), own.IRQ_RTC);
  assert.equal(mmio.read(claim(1)), own.IRQ_UART);
  assert.equal(mmio.read(claim(1)), 0);
  assert.equal(mip(), 0n, 'both in service');
  mmio.write(claim(1), own.IRQ_UART);
  assert.equal(mip(), SEIP, 'its level is still up');
  mmio.write(claim(0), own.IRQ_RTC);
  assert.equal(
    mmio.read(PENDING),
    UART_LINE,
    'a context that has it not enabled completes nothing',
  );
  mmio.write(priority(own.IRQ_UART), 2);
  mmio.write(claim(1), own.IRQ_RTC);
  assert.equal(mmio.read(claim(1)), own.IRQ_UART, 'of equals the lowest number');
});

test('PLIC registers hold what they can hold, and nothing lies beside them', () => {
  mmio.reset();
  mmio.write(priority(5), 0xff);
  assert.equal(mmio.read(priority(5)), 7);
  mmio.write(priority(0), 7);
  assert.equal(mmio.read(priority(0)), 0, 'there is no source 0');
  mmio.write(enable(2), 0xffffffff);
  assert.equal(mmio.read(enable(2)), 0xfffffffe);
  for (const address of [priority(32), enable(0) + 4, enable(4), threshold(4), claim(4)]) {
    mmio.write(address, 1);
    assert.equal(mmio.read(address), 0, address.toString(16));
  }
  mmio.write(claim(0), 0xffffffff);
  mmio.write(PENDING, 0xffffffff);
  assert.equal(mmio.read(PENDING), 0);
});

test('an external interrupt is taken before others, and ends a WFI', () => {
  bench.reset({ code: [WFI, 0x6f] });
  bench.setField(own.HART_MIE, MEIP);
  assert.equal(bench.step(10), 'waiting');
  new ConsoleRing(bench.guest).writeInput(Buffer.from('x'));
  mmio.write(IER, 1, 'sb');
  mmio.write(priority(own.IRQ_UART), 1);
  mmio.write(enable(0), UART_LINE);
  bench.put(HANDLER, [0x6f]);
  bench.setField(own.HART_MSTATUS, bench.field(own.HART_MSTATUS) | 8n);
  bench.step(1);
  assert.equal(bench.pc, HANDLER);
  assert.equal(bench.field(own.HART_MCAUSE), (1n << 63n) | 11n);
});

test('UART: received and transmitted, each a level', () => {
  mmio.reset();
  const line = () => mmio.read(PENDING) === UART_LINE;
  const iir = () => mmio.read(own.UART_BASE + 2, 'lbu');
  raiseUart();
  assert.ok(line(), 'raised by being enabled');
  assert.equal(iir(), 2);
  assert.ok(!line(), 'IIR named it');
  mmio.write(own.UART_BASE, 0x41, 'sb');
  assert.ok(line(), 'sent');
  mmio.write(IER, 0, 'sb');
  assert.ok(!line());
  mmio.write(IER, 2, 'sb');
  assert.equal(iir(), 2, 'enabled again');
  mmio.write(IER, 3, 'sb');
  assert.ok(!line(), 'it was enabled before');
  new ConsoleRing(bench.guest).writeInput(Buffer.from('ab'));
  assert.ok(line());
  assert.deepEqual([iir(), iir()], [4, 4], 'stays until it is read');
  mmio.read(own.UART_BASE, 'lbu');
  assert.ok(line());
  mmio.read(own.UART_BASE, 'lbu');
  assert.ok(!line());
});

test('RTC: time goes with guest time, can be set, and the alarm fires once', () => {
  mmio.reset();
  const time = () => {
    const low = mmio.read(own.RTC_BASE);
    return (BigInt(mmio.read(own.RTC_BASE + 4)) << 32n) | BigInt(low);
  };
  const epoch = BigInt(own.RTC_EPOCH_S) * 1_000_000_000n;
  assert.equal(time(), epoch);
  for (let i = 0; i < 20; i++) mmio.read(own.RTC_BASE + 0x18);
  assert.equal(time(), epoch + 200n, '22 instructions: two ticks');

  mmio.write(own.RTC_BASE + 4, 5);
  mmio.write(own.RTC_BASE, 1000);
  const set = (5n << 32n) + 1000n;
  assert.ok(time() - set <= 100n, 'within a tick');

  mmio.write(own.RTC_BASE + 0x10, 1);
  mmio.write(own.RTC_BASE + 0x0c, 5);
  mmio.write(own.RTC_BASE + 0x08, 2_000_000);
  assert.equal(mmio.read(own.RTC_BASE + 0x18), 1, 'armed');
  mmio.write(priority(own.IRQ_RTC), 1);
  mmio.write(enable(0), RTC_LINE);
  bench.setField(own.HART_MIE, MEIP);
  bench.put(0x80000000, [WFI]);
  bench.setField(own.HART_PC, 0x80000000n);
  bench.step(1);
  assert.equal(mip(), MEIP, 'a wait skips to the alarm');
  assert.ok(time() >= (5n << 32n) + 2_000_000n);
  assert.equal(mmio.read(own.RTC_BASE + 0x18), 0, 'fired');
  mmio.write(own.RTC_BASE + 0x1c, 1);
  assert.equal(mip(), 0n);
});

test('RTC: the host clock is the wall clock', () => {
  mmio.reset({ clock: 'host' });
  const before = Date.now();
  const low = mmio.read(own.RTC_BASE);
  const ns = (BigInt(mmio.read(own.RTC_BASE + 4)) << 32n) | BigInt(low);
  const ms = Number(ns / 1_000_000n);
  assert.ok(ms >= before && ms <= Date.now());
});
