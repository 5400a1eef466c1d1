/**
 * A machine's state besides RAM: capture, restore, bytes, and the digest of the whole machine.
 *
 * stopped harts -> [capture] -> MachineState -> bytes in HANDOVER -> [restore] -> harts that may start
 *
 * Main thread, while every hart is STOPPED. Everything that decides what the guest does next is here
 * field by field, and nothing that follows from it: no TLB, no decoded instruction, no pending
 * interrupt (they are levels computed from the CLINT). An LR reservation is moved like a register.
 *
 * Time. A guest's clock stands from the moment its last hart stopped. It is captured as ticks, restored
 * frozen, and goes on from there when the first hart starts (assembly/clock.ts).
 */
import { createHash } from 'node:crypto';
import * as own from '../assembly/machine-map.ts';
import * as map from '../assembly/memory-map.ts';
import { copyIn, copyOut } from './console-ring.ts';
import {
  captureDevices,
  checkDevices,
  type DeviceState,
  readDevices,
  restoreDevices,
} from './device-state.ts';
import { MachineError } from './errors.ts';
import type { GuestMemory } from './guest-memory.ts';
import { runTimes } from './run-control.ts';
import {
  decodeEnvelope,
  encodeEnvelope,
  FieldReader,
  type StateRecord,
  type StateValue,
} from './state-codec.ts';
import {
  type Fields,
  getFields,
  putFields,
  setWord,
  setWords,
  takeFields,
  word,
  words,
} from './state-fields.ts';

/** Fields of one hart, and where they are in its block. */
const HART_FIELDS = {
  instructions: map.HART_INSTRUCTIONS,
  pc: own.HART_PC,
  privilege: own.HART_PRIVILEGE,
  wfi: own.HART_WFI,
  reserved: own.HART_RESERVED,
  reservedValue: own.HART_RESERVED_VALUE,
  mstatus: own.HART_MSTATUS,
  mie: own.HART_MIE,
  mip: own.HART_MIP,
  mtvec: own.HART_MTVEC,
  mscratch: own.HART_MSCRATCH,
  mepc: own.HART_MEPC,
  mcause: own.HART_MCAUSE,
  mtval: own.HART_MTVAL,
  medeleg: own.HART_MEDELEG,
  mideleg: own.HART_MIDELEG,
  mcounteren: own.HART_MCOUNTEREN,
  stvec: own.HART_STVEC,
  sscratch: own.HART_SSCRATCH,
  sepc: own.HART_SEPC,
  scause: own.HART_SCAUSE,
  stval: own.HART_STVAL,
  satp: own.HART_SATP,
  scounteren: own.HART_SCOUNTEREN,
  fcsr: own.HART_FCSR,
  minstretOffset: own.HART_MINSTRET_OFFSET,
  mcycleOffset: own.HART_MCYCLE_OFFSET,
  ticksSkipped: own.HART_TICKS_SKIPPED,
} as const;

/** Registers of the UART and offsets of its streams, and where they are in memory. */
const UART_FIELDS = {
  ier: own.UART_IER,
  fcr: own.UART_FCR,
  lcr: own.UART_LCR,
  mcr: own.UART_MCR,
  scr: own.UART_SCR,
  divisor: own.UART_DIVISOR,
  transmitted: own.UART_THRE_PENDING,
  outWritten: own.CONSOLE_OUT_WRITTEN,
  outAcked: own.CONSOLE_OUT_ACKED,
  inWritten: own.CONSOLE_IN_WRITTEN,
  inTaken: own.CONSOLE_IN_TAKEN,
} as const;

export type HartState = Fields<typeof HART_FIELDS> & {
  readonly x: BigUint64Array;
  readonly f: BigUint64Array;
};

export type UartState = Fields<typeof UART_FIELDS> & {
  /** Output nobody has acknowledged: the bytes outAcked..outWritten, or as many as the ring keeps. */
  readonly output: Uint8Array;
  /** Input the guest has not read: the bytes inTaken..inWritten. */
  readonly input: Uint8Array;
};

export interface MachineState {
  readonly pages: number;
  readonly clock: 'host' | 'instructions';
  /** Guest time in ticks of 100 ns at which a host clock goes on. */
  readonly ticks: bigint;
  readonly harts: readonly HartState[];
  readonly clint: { readonly msip: BigUint64Array; readonly mtimecmp: BigUint64Array };
  readonly uart: UartState;
  /** The other devices, and what the machine does as firmware. */
  readonly devices: DeviceState;
  readonly syscon: bigint;
  readonly tohost: bigint;
  readonly fromhost: bigint;
}

export const MACHINE_STATE_KIND = 'machine';
/** 3: registers of a kind are one value. */
export const MACHINE_STATE_VERSION = 3;
const PRIVILEGES = [own.PRIVILEGE_U, own.PRIVILEGE_S, own.PRIVILEGE_M].map(BigInt);
/** Registers of either file. */
const REGISTERS = 32;
/** A console that prints a megabyte a second for 285 years. */
const OFFSET_MAX = BigInt(Number.MAX_SAFE_INTEGER);
const RING_BYTES = own.CONSOLE_RING_SIZE;

/** Stops the guest's clock at the moment its last hart stopped. Does nothing to a clock that stands. */
export function freezeClock(guest: GuestMemory): void {
  const clock = own.DEVICES_CLOCK >> 2;
  if (Atomics.load(guest.i32, clock) === own.CLOCK_FROZEN) return;
  const ticks = runTimes(guest).stoppedNs / BigInt(own.NANOSECONDS_PER_TICK);
  setWord(guest, own.DEVICES_FROZEN_TICKS, ticks + word(guest, map.CONTROL_TIME_OFFSET));
  Atomics.store(guest.i32, clock, own.CLOCK_FROZEN);
}

/**
 * The state of a machine whose harts are all stopped; its clock stands from then on.
 *
 * @throws MachineError hart.bad_transition when one is not
 */
export function captureState(guest: GuestMemory): MachineState {
  checkStopped(guest);
  freezeClock(guest);
  const harts = hartNumbers(guest);
  const counted = guest.control(map.CONTROL_CLOCK) === map.CLOCK_INSTRUCTIONS;
  return {
    pages: guest.pages,
    clock: counted ? 'instructions' : 'host',
    ticks: word(guest, own.DEVICES_FROZEN_TICKS),
    harts: harts.map((hart) => captureHart(guest, hart)),
    clint: {
      msip: words(guest, own.CLINT_MSIP, harts.length),
      mtimecmp: words(guest, own.CLINT_MTIMECMP, harts.length),
    },
    uart: captureUart(guest),
    devices: captureDevices(guest),
    syscon: word(guest, own.DEVICES_SYSCON),
    tohost: word(guest, own.DEVICES_TOHOST),
    fromhost: word(guest, own.DEVICES_FROMHOST),
  };
}

/**
 * Puts a captured state into a guest of the same size and harts, none of which runs. RAM is the
 * caller's business. The fields may come from a peer: each that could lead outside is checked first,
 * and a bad state changes nothing.
 *
 * @throws MachineError state.bad_field, hart.bad_transition
 */
export function restoreState(guest: GuestMemory, state: MachineState): void {
  checkStopped(guest);
  checkState(guest, state);
  for (const hart of hartNumbers(guest)) {
    const block = map.HARTS + hart * map.HART_SIZE;
    const from = state.harts[hart]!;
    putFields(guest, block, HART_FIELDS, from);
    setWords(guest, block + own.HART_X, from.x);
    setWords(guest, block + own.HART_F, from.f);
  }
  setWords(guest, own.CLINT_MSIP, state.clint.msip);
  setWords(guest, own.CLINT_MTIMECMP, state.clint.mtimecmp);
  restoreUart(guest, state.uart);
  restoreDevices(guest, state.devices);
  setWord(guest, own.DEVICES_SYSCON, state.syscon);
  setWord(guest, own.DEVICES_TOHOST, state.tohost);
  setWord(guest, own.DEVICES_FROMHOST, state.fromhost);
  setWord(guest, own.DEVICES_FROZEN_TICKS, state.ticks);
  Atomics.store(guest.i32, own.DEVICES_CLOCK >> 2, own.CLOCK_FROZEN);
  Atomics.store(guest.i32, own.DEVICES_LOCK >> 2, 0);
  guest.setControl(map.CONTROL_KIND, map.GUEST_MACHINE);
  guest.setControl(map.CONTROL_END, map.END_NONE);
  const counted = state.clock === 'instructions';
  guest.setControl(map.CONTROL_CLOCK, counted ? map.CLOCK_INSTRUCTIONS : map.CLOCK_HOST);
}

export function encodeState(state: MachineState): Uint8Array {
  return encodeEnvelope({
    kind: MACHINE_STATE_KIND,
    version: MACHINE_STATE_VERSION,
    fields: state as unknown as StateRecord,
  });
}

/** @throws MachineError state.bad_field, state.bad_version */
export function decodeState(bytes: Uint8Array): MachineState {
  const { kind, version, fields } = decodeEnvelope(bytes);
  if (kind !== MACHINE_STATE_KIND) throw bad('kind', `is ${kind}, not ${MACHINE_STATE_KIND}`);
  const before = MACHINE_STATE_VERSION - 1;
  if (version !== MACHINE_STATE_VERSION && version !== before) {
    const supported = `${before} and ${MACHINE_STATE_VERSION}`;
    throw new MachineError('state.bad_version', { version, supported });
  }
  return readState(new FieldReader(fields, 'machine', version), version);
}

/**
 * SHA-256 (hex) of RAM and of all state that depends on the program alone: two runs of one image with
 * the instruction clock have the same digest at the same instruction, on any host. Left out: host time,
 * and how far the console's reader has come.
 */
export function digest(guest: GuestMemory): string {
  const { harts, clint, uart, devices, syscon, tohost, fromhost } = captureState(guest);
  const {
    outAcked: _acked,
    output: _output,
    inWritten: _written,
    input: _input,
    ...lasting
  } = uart;
  const fields = { harts, clint, uart: lasting, devices, syscon, tohost, fromhost };
  const state = encodeEnvelope({
    kind: MACHINE_STATE_KIND,
    version: MACHINE_STATE_VERSION,
    fields: fields as unknown as StateRecord,
  });
  return createHash('sha256').update(guest.ram()).update(state).digest('hex');
}

function captureHart(guest: GuestMemory, hart: number): HartState {
  const block = map.HARTS + hart * map.HART_SIZE;
  const x = words(guest, block + own.HART_X, REGISTERS);
  const f = words(guest, block + own.HART_F, REGISTERS);
  return { ...getFields(guest, block, HART_FIELDS), x, f };
}

function captureUart(guest: GuestMemory): UartState {
  const fields = getFields(guest, 0, UART_FIELDS);
  const out = new Uint8Array(guest.sab, own.CONSOLE_OUT, RING_BYTES);
  const input = new Uint8Array(guest.sab, own.CONSOLE_IN, RING_BYTES);
  const kept = keptOutput(fields);
  return {
    ...fields,
    output: copyOut(out, fields.outWritten - BigInt(kept), kept),
    input: copyOut(input, fields.inTaken, Number(fields.inWritten - fields.inTaken)),
  };
}

function restoreUart(guest: GuestMemory, uart: UartState): void {
  putFields(guest, 0, UART_FIELDS, uart);
  const out = new Uint8Array(guest.sab, own.CONSOLE_OUT, RING_BYTES);
  const input = new Uint8Array(guest.sab, own.CONSOLE_IN, RING_BYTES);
  copyIn(out, uart.outWritten - BigInt(uart.output.length), uart.output);
  copyIn(input, uart.inTaken, uart.input);
}

/** Bytes of unacknowledged output the ring still holds. */
function keptOutput(uart: Fields<typeof UART_FIELDS>): number {
  const open = uart.outWritten - uart.outAcked;
  return open > BigInt(RING_BYTES) ? RING_BYTES : Number(open);
}

function readState(reader: FieldReader, version: number): MachineState {
  const pages = reader.number('pages');
  const clock = reader.text('clock');
  if (clock !== 'host' && clock !== 'instructions') throw bad('machine.clock', 'is unknown');
  const ticks = reader.u64('ticks');
  const count = hartCount(reader);
  const harts = reader.list('harts', count).map((hart, i) => readHart(hart, i, version));
  const clint = new FieldReader(reader.record('clint'), 'machine.clint', version);
  const timers = { msip: clint.u64s('msip', count), mtimecmp: clint.u64s('mtimecmp', count) };
  clint.end();
  const uart = readUart(reader.record('uart'), version);
  const devices = readDevices(reader.record('devices'), version, count);
  const [syscon, tohost, fromhost] = [
    reader.u64('syscon'),
    reader.u64('tohost'),
    reader.u64('fromhost'),
  ];
  reader.end();
  return { pages, clock, ticks, harts, clint: timers, uart, devices, syscon, tohost, fromhost };
}

/** How many harts the state claims; the lists are then checked to be that long. */
function hartCount(reader: FieldReader): number {
  const count = reader.length('harts');
  if (count >= 1 && count <= map.HARTS_MAX) return count;
  throw bad('machine.harts', `has ${count} elements`);
}

function readHart(value: StateValue, hart: number, version: number): HartState {
  const reader = new FieldReader(value, `machine.harts[${hart}]`, version);
  const fields = takeFields(reader, HART_FIELDS);
  const x = reader.u64s('x', REGISTERS);
  const f = reader.u64s('f', REGISTERS);
  reader.end();
  return { ...fields, x, f };
}

function readUart(value: StateRecord, version: number): UartState {
  const reader = new FieldReader(value, 'machine.uart', version);
  const fields = takeFields(reader, UART_FIELDS);
  const state = { ...fields, output: reader.bytes('output'), input: reader.bytes('input') };
  reader.end();
  return state;
}

function checkState(guest: GuestMemory, state: MachineState): void {
  const need = (field: string, good: boolean, reason: string) => {
    if (!good) throw bad(field, reason);
  };
  need('pages', state.pages === guest.pages, `is ${state.pages}, the guest has ${guest.pages}`);
  const { harts } = guest;
  need('harts', state.harts.length === harts, `are ${state.harts.length}, the guest has ${harts}`);
  for (const [i, hart] of state.harts.entries()) {
    const known = PRIVILEGES.includes(hart.privilege);
    need(`harts[${i}].privilege`, known, `is ${hart.privilege}, which does not exist`);
  }
  checkDevices(state.devices);
  const { uart } = state;
  const streams = uart.outAcked <= uart.outWritten && uart.inTaken <= uart.inWritten;
  need('uart', streams, 'has offsets in the wrong order');
  const lengths = uart.outWritten <= OFFSET_MAX && uart.inWritten <= OFFSET_MAX;
  need('uart', lengths, 'has offsets no stream reaches');
  need('uart.output', uart.output.length === keptOutput(uart), 'has the wrong length');
  const waiting = uart.inWritten - uart.inTaken;
  need('uart.input', BigInt(uart.input.length) === waiting, 'has the wrong length');
  need('uart.input', uart.input.length <= RING_BYTES, 'is too long');
  need('tohost', isWord(guest, state.tohost), 'is not a word of RAM');
  need('fromhost', isWord(guest, state.fromhost), 'is not a word of RAM');
}

/** Whether it is 0 (none) or the address of an aligned doubleword of RAM. */
function isWord(guest: GuestMemory, address: bigint): boolean {
  const offset = address - BigInt(own.RAM_BASE);
  return address === 0n || (offset >= 0n && offset < BigInt(guest.ramBytes) && offset % 8n === 0n);
}

function checkStopped(guest: GuestMemory): void {
  for (const hart of hartNumbers(guest)) {
    const from = Atomics.load(guest.i32, guest.hartWord(hart, map.HART_STATE));
    if (from === map.HART_STOPPED) continue;
    throw new MachineError('hart.bad_transition', { hart, from, to: map.HART_STOPPED });
  }
}

function hartNumbers(guest: GuestMemory): number[] {
  return Array.from({ length: guest.harts }, (_, hart) => hart);
}

function bad(field: string, reason: string): MachineError {
  return new MachineError('state.bad_field', { field, reason });
}
