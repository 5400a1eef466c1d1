/**
 * UART, syscon, CLINT windows and the tohost convention, as a program sees them, and the console's rings
 * from the host's side.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as own from '../assembly/machine-map.ts';
import { ConsoleRing } from '../src/console-ring.ts';
import * as e from './riscv/encode.ts';
import { DATA, HartBench, RAM_BASE } from './support/hart-bench.ts';

const bench = new HartBench();
const UART = 0x10000000n;
const SYSCON = 0x100000n;
const TOHOST = DATA;
const FROMHOST = DATA + 64;

const load = (name: keyof typeof e.LOADS, rd: number, base: number, offset: number) =>
  e.iType(0x03, e.LOADS[name], rd, base, offset);
const store = (name: keyof typeof e.STORES, rs2: number, base: number, offset: number) =>
  e.sType(e.STORES[name], rs2, base, offset);

/** Everything the console was given since its start. */
function output(): string {
  return Buffer.from(new ConsoleRing(bench.guest).readOutput(0n).bytes).toString('latin1');
}

/** Reads the UART's register after the given writes {register, value}. */
function readUart(writes: readonly (readonly [number, number])[], register: number): number {
  const code = writes.flatMap(([to, value]) => [e.addi(11, 0, value), store('sb', 11, 10, to)]);
  bench.reset({ code: [...code, load('lbu', 12, 10, register)], x: { 10: UART } });
  bench.step(code.length + 1);
  return Number(bench.x(12));
}

test('the UART keeps its registers, and the divisor hides behind the latch', () => {
  assert.equal(readUart([[7, 0x5a]], 7), 0x5a, 'SCR');
  assert.equal(readUart([[3, 0x1b]], 3), 0x1b, 'LCR');
  assert.equal(readUart([[1, 0xff]], 1), 0x0f, 'IER has four bits');
  const latched = [
    [3, 0x80],
    [0, 13],
    [1, 2],
  ] as const;
  assert.equal(readUart(latched, 0), 13, 'DLL');
  assert.equal(readUart(latched, 1), 2, 'DLM');
  assert.equal(readUart([...latched, [3, 3]], 1), 0, 'IER again');
  assert.equal(output(), '', 'none of it was printed');
});

test('the UART is always ready to send and says when it has input', () => {
  assert.equal(readUart([], 5), 0x60);
  assert.equal(readUart([], 6), 0xb0, 'a terminal is connected');
  assert.equal(readUart([[4, 0x1a]], 6), 0x90, 'loopback: RTS and OUT2 come back as CTS and DCD');
  bench.reset({
    code: [load('lbu', 11, 10, 5), load('lbu', 12, 10, 0), load('lbu', 13, 10, 0)],
    x: { 10: UART },
  });
  assert.equal(new ConsoleRing(bench.guest).writeInput(Buffer.from('k')), 1);
  bench.step(3);
  assert.deepEqual([bench.x(11), bench.x(12), bench.x(13)], [0x61n, 0x6bn, 0n]);
});

test('interrupt identification answers polls', () => {
  assert.equal(readUart([], 2), 0x01, 'nothing is enabled');
  assert.equal(readUart([[2, 1]], 2), 0xc1, 'FIFOs on');
  assert.equal(readUart([[1, 2]], 2), 0x02, 'transmitter empty');
  bench.reset({
    code: [e.addi(11, 0, 3), store('sb', 11, 10, 1), load('lbu', 12, 10, 2)],
    x: { 10: UART },
  });
  new ConsoleRing(bench.guest).writeInput(Buffer.from('k'));
  bench.step(3);
  assert.equal(bench.x(12), 0x04n, 'received data comes first');
});

test('devices refuse what they do not take', () => {
  const cases = [
    [load('lw', 12, 10, 0), UART, 5n],
    [store('sw', 12, 10, 0), UART, 7n],
    [load('lb', 12, 10, 0), 0x2000000n, 5n],
    [load('ld', 12, 10, 0), 0x2004004n, 5n],
    [store('sw', 12, 10, 0), 0x2004002n, 7n],
    [store('sb', 12, 10, 0), SYSCON, 7n],
    [load('lw', 12, 10, 0), SYSCON + 4n, 5n],
    [load('lbu', 12, 10, 0), UART + 0x100n, 5n],
  ] as const;
  for (const [code, address, cause] of cases) {
    const trap = bench.trap({ code: [code], x: { 10: address } });
    assert.deepEqual(trap, { cause, value: address });
  }
});

test('the syscon ends the guest', () => {
  const ends = [
    [0x5555, { end: 'power-off', code: 0 }],
    [0x73333, { end: 'power-off', code: 7 }],
    [0x7777, { end: 'reboot', code: 0 }],
  ] as const;
  for (const [value, end] of ends) {
    bench.reset({ code: [store('sw', 11, 10, 0), 0x6f], x: { 10: SYSCON, 11: BigInt(value) } });
    assert.equal(bench.step(100), 'ended');
    assert.deepEqual(bench.end, end);
    assert.equal(bench.retired, 1n, 'nothing is executed after the store');
    assert.equal(bench.step(100), 'ended');
  }
});

/** Writes tohost with the instruction and goes on in a loop. */
function tell(instruction: number, value: bigint) {
  bench.reset({
    code: [instruction, 0x6f],
    x: { 10: BigInt(TOHOST), 11: value },
    tohost: TOHOST,
    fromhost: FROMHOST,
  });
  bench.store64(TOHOST, 0n);
  bench.store64(FROMHOST, 0n);
  return bench.step(100);
}

test('tohost ends the program with its code, whole or in halves', () => {
  for (const code of [0n, 1n, 42n, 1337n]) {
    assert.equal(tell(store('sd', 11, 10, 0), (code << 1n) | 1n), 'ended');
    assert.deepEqual(bench.end, { end: 'tohost', code: Number(code) });
    assert.equal(tell(store('sw', 11, 10, 0), (code << 1n) | 1n), 'ended');
    assert.deepEqual(bench.end, { end: 'tohost', code: Number(code) });
  }
  assert.equal(tell(store('sd', 11, 10, 8), 1n), 'budget', 'the word beside it is only memory');
  assert.equal(tell(store('sd', 11, 10, 0), 0n), 'budget', 'nor is 0 a command');
});

test('data on the page of tohost is only data, and does not hide a later command', () => {
  bench.reset({
    code: [store('sd', 11, 10, 256), load('ld', 12, 10, 256), store('sd', 13, 10, 0), 0x6f],
    x: { 10: BigInt(TOHOST), 11: 99n, 13: 7n },
    tohost: TOHOST,
  });
  assert.equal(bench.step(2), 'budget');
  assert.equal(bench.x(12), 99n);
  assert.equal(bench.step(2), 'ended');
  assert.deepEqual(bench.end, { end: 'tohost', code: 3 });
});

test('console commands are printed, acknowledged and answered', () => {
  const command = (1n << 56n) | (1n << 48n) | 0x41n;
  assert.equal(tell(store('sd', 11, 10, 0), command), 'budget');
  assert.equal(output(), 'A');
  assert.equal(bench.load64(TOHOST), 0n);
  assert.equal(bench.load64(FROMHOST), (1n << 56n) | (1n << 48n) | 0x141n);
});

test('proxy calls write, exit and refuse', () => {
  const call = DATA + 0x400;
  const text = DATA + 0x500;
  const proxy = (words: readonly bigint[]) => {
    bench.reset({
      code: [store('sd', 11, 10, 0), 0x6f],
      x: { 10: BigInt(TOHOST), 11: BigInt(call) },
      tohost: TOHOST,
      fromhost: FROMHOST,
    });
    bench.guest.ram().set(Buffer.from('printed'), text - RAM_BASE);
    bench.store64(TOHOST, 0n);
    for (const [i, word] of words.entries()) bench.store64(call + i * 8, word);
    return bench.step(10);
  };
  assert.equal(proxy([64n, 1n, BigInt(text), 7n]), 'budget');
  assert.equal(output(), 'printed');
  assert.equal(bench.load64(call), 7n, 'bytes written');
  assert.deepEqual([bench.load64(TOHOST), bench.load64(FROMHOST)], [0n, 1n]);

  assert.equal(proxy([64n, 1n, 0x1000n, 7n]), 'budget');
  assert.equal(BigInt.asIntN(64, bench.load64(call)), -14n, 'EFAULT');
  assert.equal(proxy([56n, 0n, 0n, 0n]), 'budget');
  assert.equal(BigInt.asIntN(64, bench.load64(call)), -38n, 'ENOSYS');
  assert.equal(proxy([93n, 5n, 0n, 0n]), 'ended');
  assert.deepEqual(bench.end, { end: 'tohost', code: 5 });

  assert.equal(tell(store('sd', 11, 10, 0), 0x1000n), 'budget', 'no such memory: acknowledged');
  assert.equal(bench.load64(TOHOST), 0n);
});

test('the output ring keeps the newest bytes and says which they are', () => {
  const print = [store('sb', 11, 10, 0), e.addi(11, 11, 1), e.addi(12, 12, -1)];
  const count = own.CONSOLE_RING_SIZE + 1000;
  bench.reset({ code: [...print, e.bType(1, 12, 0, -12)], x: { 10: UART, 12: BigInt(count) } });
  bench.step(4 * count);
  const ring = new ConsoleRing(bench.guest);
  assert.deepEqual([ring.written, ring.oldest], [BigInt(count), 1000n]);
  const { offset, bytes } = ring.readOutput(5n);
  assert.equal(offset, 1000n);
  assert.equal(bytes.length, own.CONSOLE_RING_SIZE);
  assert.ok(bytes.every((byte, i) => byte === ((i + 1000) & 0xff)));
  assert.deepEqual([...ring.readOutput(BigInt(count) - 2n, 1).bytes], [(count - 2) & 0xff]);
  assert.equal(ring.readOutput(BigInt(count)).bytes.length, 0);
  ring.acknowledge(2000n);
  ring.acknowledge(10n);
  ring.acknowledge(1n << 40n);
  assert.equal(ring.acknowledged, 2000n, 'never back, never past what was written');
});

test('the input ring takes what fits and no more', () => {
  bench.reset({ code: [load('lbu', 12, 10, 0)], x: { 10: UART } });
  const ring = new ConsoleRing(bench.guest);
  const bytes = Uint8Array.from({ length: 50_000 }, (_, i) => i * 7);
  assert.equal(ring.writeInput(bytes), 50_000);
  assert.equal(ring.writeInput(bytes), own.CONSOLE_RING_SIZE - 50_000);
  assert.equal(ring.writeInput(bytes), 0);
  bench.step(1);
  assert.equal(ring.inputTaken, 1n);
  assert.equal(ring.writeInput(bytes), 1);
});
