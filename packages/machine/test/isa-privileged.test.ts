/**
 * Zicsr, traps, the machine timer and WFI, in machine mode.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as own from '../assembly/machine-map.ts';
import * as e from './riscv/encode.ts';
import { DATA, HANDLER, HartBench, RAM_BASE, u64 } from './support/hart-bench.ts';

const bench = new HartBench({ harts: 2 });

const MSTATUS = 0x300;
const MISA = 0x301;
const SATP = 0x180;
const MEDELEG = 0x302;
const MIDELEG = 0x303;
const MIE = 0x304;
const MTVEC = 0x305;
const MSCRATCH = 0x340;
const MEPC = 0x341;
const MIP = 0x344;
const MCYCLE = 0xb00;
const MINSTRET = 0xb02;
const TIME = 0xc01;
const INSTRET = 0xc02;
const MHARTID = 0xf14;

const immediate = (funct3: 5 | 6 | 7, rd: number, csr: number, value: number) =>
  e.rType(0x73, funct3, csr >> 5, rd, value, csr & 31);
const JUMP_SELF = 0x6f;

test('the six CSR instructions read, write, set and clear', () => {
  const x = { 10: 0xf0f0n, 11: 0x00ffn };
  bench.run({
    code: [
      e.csrrw(1, MSCRATCH, 10),
      e.csrrs(3, MSCRATCH, 11),
      e.csrrc(4, MSCRATCH, 11),
      immediate(5, 5, MSCRATCH, 21),
      immediate(6, 6, MSCRATCH, 10),
      immediate(7, 7, MSCRATCH, 1),
      e.csrrs(8, MSCRATCH, 0),
    ],
    x,
  });
  const read = [1, 3, 4, 5, 6, 7, 8].map((register) => bench.x(register));
  assert.deepEqual(read, [0n, 0xf0f0n, 0xf0ffn, 0xf000n, 21n, 31n, 30n]);
});

test('registers keep to their legal values', () => {
  const write = (csr: number, value: bigint) => {
    bench.run({ code: [e.csrrw(0, csr, 10), e.csrrs(11, csr, 0)], x: { 10: value } });
    return bench.x(11);
  };
  const ones = (1n << 64n) - 1n;
  const fixed = BigInt(own.MSTATUS_RESET);
  assert.equal(write(MSTATUS, ones), (1n << 63n) | fixed | 0x7e79aan, 'SD, FS and the rest');
  assert.equal(write(MSTATUS, 0n), fixed, 'XLEN is 64 in every mode');
  assert.equal(write(MSTATUS, 0x1000n), fixed, 'MPP = 2 is none: it keeps its value');
  assert.equal(write(MISA, 0n), (2n << 62n) | 0x14112dn, 'RV64 A C D F I M S U');
  assert.equal(write(MIE, ones), 0xaaan);
  assert.equal(write(MEDELEG, ones), 0xb3ffn, 'all but ecall from M');
  assert.equal(write(MIDELEG, ones), 0x222n, "the supervisor's own");
  assert.equal(write(SATP, 8n << 60n), 8n << 60n, 'Sv39');
  assert.equal(write(SATP, (9n << 60n) | 5n), 0n, 'Sv48 is not here: nothing changes');
  assert.equal(write(SATP, (8n << 60n) | (7n << 44n) | 5n), (8n << 60n) | 5n, 'no ASID');
  assert.equal(write(MTVEC, ones), u64(-4n), 'mode 3 is none: direct');
  assert.equal(write(MTVEC, 0x80001001n), 0x80001001n, 'vectored');
  assert.equal(write(MEPC, 0x80000003n), 0x80000002n);
  assert.equal(write(MIP, ones), 0x222n, 'the other pending bits belong to the devices');
  assert.equal(write(MSCRATCH, ones), ones);
  assert.equal(write(0x3a0, ones), 0n, 'pmpcfg0: no memory protection');
  assert.equal(write(0x3b0, ones), 0n, 'pmpaddr0');
  assert.equal(write(0x7a1, ones), 0n, 'tdata1: no trigger');
  assert.equal(write(0xb03, ones), 0n, 'mhpmcounter3 counts nothing');
});

test('unknown and read-only registers are illegal instructions', () => {
  const x = { 10: 1n };
  for (const csr of [0x7c0, 0x181, 0x103, 0x600, 0xfff, 0x3f0]) {
    const code = e.csrrs(11, csr, 0);
    assert.deepEqual(bench.trap({ code: [code], x }), { cause: 2n, value: BigInt(code) });
  }
  for (const csr of [MHARTID, TIME, 0xf11]) {
    const code = e.csrrw(11, csr, 10);
    assert.equal(bench.trap({ code: [code], x }).cause, 2n);
    // A set of nothing is a read.
    bench.run({ code: [e.csrrs(11, csr, 0)] });
    assert.equal(bench.pc, RAM_BASE + 4);
  }
});

test('harts start with their number in a0 and mhartid', () => {
  bench.reset({ code: [e.csrrs(11, MHARTID, 0)] });
  for (const hart of [0, 1]) {
    bench.step(1, hart);
    assert.equal(bench.x(10, hart), BigInt(hart));
    assert.equal(bench.x(11, hart), BigInt(hart));
  }
});

test('counters count retired instructions and can be set', () => {
  bench.run({
    code: [
      C_NOP,
      e.csrrs(11, INSTRET, 0),
      e.csrrw(12, MINSTRET, 10),
      e.csrrs(13, MINSTRET, 0),
      e.csrrs(14, MCYCLE, 0),
    ],
    x: { 10: 1000n },
  });
  const read = [11, 12, 13, 14].map((register) => bench.x(register));
  assert.deepEqual(read, [1n, 2n, 1000n, 4n]);
  assert.equal(bench.retired, 5n, "the machine's own count is not the guest's to change");
});
const C_NOP = e.C_NOP;

test('ecall and ebreak trap without being retired, mret returns', () => {
  assert.deepEqual(bench.trap({ code: [e.ECALL] }), { cause: 11n, value: 0n });
  assert.equal(bench.retired, 1n, 'only the instruction of the handler');
  assert.deepEqual(bench.trap({ code: [e.EBREAK] }), { cause: 3n, value: BigInt(RAM_BASE) });

  bench.reset({ code: [e.csrrs(0, MSTATUS, 10), e.ECALL], x: { 10: 8n, 11: BigInt(DATA) } });
  bench.put(HANDLER, [e.csrrs(12, MSTATUS, 0), e.csrrw(0, MEPC, 11), e.MRET]);
  bench.step(4);
  assert.equal(bench.x(12), BigInt(own.MSTATUS_RESET) | 0x1880n, 'MIE is stacked in MPIE');
  assert.equal(bench.pc, DATA);
  assert.equal(bench.field(own.HART_MSTATUS), BigInt(own.MSTATUS_RESET) | 0x88n, 'and back');
});

test('illegal instructions report their bits', () => {
  const illegal = [0xffffffff, 0x0000707f, 0x00002063, 0xfe000033, 0x40001033, 0x00004073];
  for (const code of illegal) {
    assert.deepEqual(bench.trap({ code: [code] }), { cause: 2n, value: BigInt(code) });
  }
});

/** mtimecmp of hart 0 = `ticks`, timer interrupts enabled, then `rest`. */
function withTimer(ticks: bigint, rest: readonly number[]) {
  return {
    code: [
      e.sType(e.STORES.sd, 11, 10, 0),
      e.csrrs(0, MIE, 12),
      immediate(6, 0, MSTATUS, 8),
      ...rest,
    ],
    x: { 10: 0x2004000n, 11: ticks, 12: 0x80n },
  };
}

test('the timer interrupts at the very instruction its time comes', () => {
  for (const ticks of [1n, 7n, 5000n]) {
    bench.reset(withTimer(ticks, [JUMP_SELF]));
    bench.put(HANDLER, [JUMP_SELF]);
    const due = ticks * BigInt(own.INSTRUCTIONS_PER_TICK);
    bench.step(Number(due));
    assert.equal(bench.pc, RAM_BASE + 12, 'still in the loop');
    bench.step(1);
    assert.equal(bench.pc, HANDLER);
    assert.equal(bench.field(own.HART_MCAUSE), (1n << 63n) | 7n);
    assert.equal(bench.field(own.HART_MEPC), BigInt(RAM_BASE + 12));
    assert.equal(bench.retired, due + 1n);
  }
});

test('vectored interrupts enter at their number, exceptions at the base', () => {
  bench.reset(withTimer(0n, [JUMP_SELF]));
  bench.setField(own.HART_MTVEC, BigInt(HANDLER + 1));
  bench.put(HANDLER + 7 * 4, [JUMP_SELF]);
  bench.step(4);
  assert.equal(bench.pc, HANDLER + 28);
  bench.reset({ code: [e.ECALL] });
  bench.setField(own.HART_MTVEC, BigInt(HANDLER + 1));
  bench.put(HANDLER, [JUMP_SELF]);
  bench.step(1);
  assert.equal(bench.pc, HANDLER);
});

test('WFI skips to the timer, with interrupts enabled or masked', () => {
  const ticks = 123456n;
  bench.reset(withTimer(ticks, [e.WFI, e.csrrs(13, TIME, 0)]));
  bench.put(HANDLER, [e.csrrs(14, TIME, 0), JUMP_SELF]);
  bench.step(5);
  assert.equal(bench.x(14), ticks, 'the handler runs at once, and at the time that was set');
  assert.equal(bench.field(own.HART_MEPC), BigInt(RAM_BASE + 16), 'it returns behind the WFI');

  bench.reset(withTimer(ticks, [immediate(7, 0, MSTATUS, 8), e.WFI, e.csrrs(13, TIME, 0)]));
  bench.step(6);
  assert.equal(bench.x(13), ticks, 'masked: it goes on behind the WFI');
  assert.equal(bench.retired, 6n, 'skipped time is no retired instruction');
});

test('WFI without anything to wait for comes back only when asked not to wait', () => {
  bench.reset({ code: [e.WFI, C_NOP] });
  assert.equal(bench.step(10), 'waiting');
  assert.equal(bench.retired, 1n);
  assert.equal(bench.step(10), 'waiting');
  // An interrupt that is enabled but masked ends the wait without a trap.
  bench.setField(own.HART_MIE, 8n);
  bench.guest.i64[own.CLINT_MSIP >> 3] = 1n;
  bench.step(1);
  assert.equal(bench.pc, RAM_BASE + 6);
});

test("one hart's msip interrupts another, software before timer", () => {
  const send = [e.sType(e.STORES.sw, 11, 10, 4), JUMP_SELF];
  bench.reset({ code: send, x: { 10: 0x2000000n, 11: 1n } });
  bench.put(DATA, [JUMP_SELF]);
  bench.put(HANDLER, [JUMP_SELF]);
  bench.setField(own.HART_PC, BigInt(DATA), 1);
  bench.setField(own.HART_MTVEC, BigInt(HANDLER), 1);
  bench.setField(own.HART_MIE, 0x88n, 1);
  bench.setField(own.HART_MSTATUS, 0x1808n, 1);
  bench.guest.i64[(own.CLINT_MTIMECMP >> 3) + 1] = 1n;
  bench.step(1, 0);
  bench.step(1, 1);
  assert.equal(bench.field(own.HART_PC, 1), BigInt(HANDLER));
  assert.equal(bench.field(own.HART_MCAUSE, 1), (1n << 63n) | 3n);
});

test('mtime can be read and set, whole and in halves', () => {
  bench.run({
    code: [
      e.sType(e.STORES.sd, 11, 10, 0),
      e.iType(0x03, e.LOADS.ld, 12, 10, 0),
      e.sType(e.STORES.sw, 13, 10, 4),
      e.iType(0x03, e.LOADS.lwu, 14, 10, 4),
      e.csrrs(15, TIME, 0),
    ],
    x: { 10: 0x200bff8n, 11: 0x1122334455667788n, 13: 7n },
  });
  assert.equal(bench.x(12), 0x1122334455667788n);
  assert.equal(bench.x(14), 7n);
  assert.equal(bench.x(15), 0x755667788n);
});

test('a handler that cannot run ends the guest instead of trapping for ever', () => {
  bench.reset({ code: [e.ECALL] });
  bench.setField(own.HART_MTVEC, 0n);
  assert.equal(bench.step(1000), 'ended');
  assert.deepEqual(bench.end, { end: 'crash', code: 1 });
});
