/**
 * A machine's state besides RAM: capture, restore, bytes, and the digest of the whole machine.
 *
 * stopped harts -> [capture] -> MachineState -> bytes in HANDOVER -> [restore] -> harts that may start
 *
 * Main thread, while every hart is STOPPED. Everything that decides what the guest does next is here
 * by name, and nothing that follows from it: no TLB, no decoded instruction, no pending
 * interrupt (they are levels computed from the CLINT). An LR reservation is moved like a register.
 *
 * Time. A guest's clock stands from the moment its last hart stopped. It is captured as ticks, restored
 * frozen, and goes on from there when the first hart starts (assembly/clock.ts).
 */
import { createHash } from 'node:crypto';
import * as own from '../assembly/machine-map.ts';
import * as map from '../assembly/memory-map.ts';
import { copyIn, copyOut } from './console-ring.ts';
import { checkDevices, devicePlaces } from './device-state.ts';
import { MachineError } from './errors.ts';
import type { GuestMemory } from './guest-memory.ts';
import { PathReader } from './machine-state-before.ts';
import { runTimes } from './run-control.ts';
import {
  decodeEnvelope,
  encodeEnvelope,
  FieldReader,
  type StateRecord,
  sheetOf,
} from './state-codec.ts';
import { type Sheet, SheetLayout, setWord, word } from './word-sheet.ts';

/** Registers in either file. */
const REGISTERS = 32;

/** What moves of one hart, from its block. */
const HART = new SheetLayout({
  instructions: map.HART_INSTRUCTIONS,
  x: [own.HART_X, REGISTERS],
  f: [own.HART_F, REGISTERS],
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
});

/** What moves of the machine around its harts, by how many they are. */
const MACHINES = Array.from({ length: map.HARTS_MAX }, (_, i) => machineLayout(i + 1));

export interface MachineState {
  readonly pages: number;
  readonly clock: 'host' | 'instructions';
  readonly harts: readonly Sheet[];
  /** `ticks`: guest time in ticks of 100 ns at which a host clock goes on. */
  readonly machine: Sheet;
  /** Output nobody has acknowledged: the bytes outAcked..outWritten, or as many as the ring keeps. */
  readonly output: Uint8Array;
  /** Input the guest has not read: the bytes inTaken..inWritten. */
  readonly input: Uint8Array;
}

export const MACHINE_STATE_KIND = 'machine';
/** 4: the registers of a hart, and of all that is around the harts, are one sheet each. */
export const MACHINE_STATE_VERSION = 4;
const PRIVILEGES = [own.PRIVILEGE_U, own.PRIVILEGE_S, own.PRIVILEGE_M].map(BigInt);
/** A console that prints a megabyte a second for 285 years. */
const OFFSET_MAX = BigInt(Number.MAX_SAFE_INTEGER);
const RING_BYTES = own.CONSOLE_RING_SIZE;
/** Not the program's doing: host time, and how far the console's reader and writer have come. */
const PASSING = { ticks: 0n, 'uart.outAcked': 0n, 'uart.inWritten': 0n } as const;

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
  const counted = guest.control(map.CONTROL_CLOCK) === map.CLOCK_INSTRUCTIONS;
  const machine = layoutFor(guest.harts).capture(guest);
  const kept = keptOutput(machine);
  const [outWritten, inTaken] = [machine.word('uart.outWritten'), machine.word('uart.inTaken')];
  const waiting = Number(machine.word('uart.inWritten') - inTaken);
  return {
    pages: guest.pages,
    clock: counted ? 'instructions' : 'host',
    harts: hartNumbers(guest).map((hart) => HART.capture(guest, hartBlock(hart))),
    machine,
    output: copyOut(ring(guest, own.CONSOLE_OUT), outWritten - BigInt(kept), kept),
    input: copyOut(ring(guest, own.CONSOLE_IN), inTaken, waiting),
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
  const { machine, harts, output, input } = state;
  for (const hart of hartNumbers(guest)) HART.restore(guest, hartBlock(hart), harts[hart]!);
  layoutFor(guest.harts).restore(guest, 0, machine);
  const outFrom = machine.word('uart.outWritten') - BigInt(output.length);
  copyIn(ring(guest, own.CONSOLE_OUT), outFrom, output);
  copyIn(ring(guest, own.CONSOLE_IN), machine.word('uart.inTaken'), input);
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
    fields: { ...state },
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
  const reader = new FieldReader(fields, 'machine', version);
  const about = { pages: reader.number('pages'), clock: clockOf(reader), harts: hartCount(reader) };
  if (version === before) return readBefore(fields, about);
  const harts = reader
    .list('harts', about.harts)
    .map((hart, i) => sheetOf(hart, HART, `machine.harts[${i}]`));
  const machine = reader.sheet('machine', layoutFor(about.harts));
  const [output, input] = [reader.bytes('output'), reader.bytes('input')];
  reader.end();
  return { ...about, harts, machine, output, input };
}

/**
 * SHA-256 (hex) of RAM and of all state that depends on the program alone: two runs of one image with
 * the instruction clock have the same digest at the same instruction, on any host.
 */
export function digest(guest: GuestMemory): string {
  const { harts, machine } = captureState(guest);
  const state = encodeEnvelope({
    kind: MACHINE_STATE_KIND,
    version: MACHINE_STATE_VERSION,
    fields: { harts, machine: machine.with(PASSING) },
  });
  return createHash('sha256').update(guest.ram()).update(state).digest('hex');
}

function machineLayout(harts: number): SheetLayout {
  return new SheetLayout({
    ticks: own.DEVICES_FROZEN_TICKS,
    tohost: own.DEVICES_TOHOST,
    fromhost: own.DEVICES_FROMHOST,
    syscon: own.DEVICES_SYSCON,
    'clint.msip': [own.CLINT_MSIP, harts],
    'clint.mtimecmp': [own.CLINT_MTIMECMP, harts],
    'uart.ier': own.UART_IER,
    'uart.fcr': own.UART_FCR,
    'uart.lcr': own.UART_LCR,
    'uart.mcr': own.UART_MCR,
    'uart.scr': own.UART_SCR,
    'uart.divisor': own.UART_DIVISOR,
    'uart.transmitted': own.UART_THRE_PENDING,
    'uart.outWritten': own.CONSOLE_OUT_WRITTEN,
    'uart.outAcked': own.CONSOLE_OUT_ACKED,
    'uart.inWritten': own.CONSOLE_IN_WRITTEN,
    'uart.inTaken': own.CONSOLE_IN_TAKEN,
    ...devicePlaces(harts),
  });
}

function layoutFor(harts: number): SheetLayout {
  return MACHINES[harts - 1]!;
}

function hartBlock(hart: number): number {
  return map.HARTS + hart * map.HART_SIZE;
}

function ring(guest: GuestMemory, at: number): Uint8Array {
  return new Uint8Array(guest.sab, at, RING_BYTES);
}

/** Bytes of unacknowledged output the ring still holds. */
function keptOutput(machine: Sheet): number {
  const open = machine.word('uart.outWritten') - machine.word('uart.outAcked');
  return open > BigInt(RING_BYTES) ? RING_BYTES : Number(open);
}

interface About {
  readonly pages: number;
  readonly clock: MachineState['clock'];
  readonly harts: number;
}

function clockOf(reader: FieldReader): MachineState['clock'] {
  const clock = reader.text('clock');
  if (clock === 'host' || clock === 'instructions') return clock;
  throw bad('machine.clock', 'is unknown');
}

/** How many harts the state claims; the lists are then checked to be that long. */
function hartCount(reader: FieldReader): number {
  const count = reader.length('harts');
  if (count >= 1 && count <= map.HARTS_MAX) return count;
  throw bad('machine.harts', `has ${count} elements`);
}

function readBefore(fields: StateRecord, about: About): MachineState {
  const { pages: _pages, clock: _clock, ...rest } = fields;
  const reader = new PathReader(rest);
  const state = {
    ...about,
    harts: Array.from({ length: about.harts }, (_, i) => reader.sheet(HART, `harts.${i}.`)),
    machine: reader.sheet(layoutFor(about.harts)),
    output: reader.bytes('uart.output'),
    input: reader.bytes('uart.input'),
  };
  reader.end();
  return state;
}

function checkState(guest: GuestMemory, state: MachineState): void {
  const need = (field: string, good: boolean, reason: string) => {
    if (!good) throw bad(field, reason);
  };
  const { harts } = guest;
  const { machine, output, input } = state;
  need('pages', state.pages === guest.pages, `is ${state.pages}, the guest has ${guest.pages}`);
  need('harts', state.harts.length === harts, `are ${state.harts.length}, the guest has ${harts}`);
  for (const [i, hart] of state.harts.entries()) {
    const privilege = hart.word('privilege');
    const isKnown = PRIVILEGES.includes(privilege);
    need(`harts[${i}].privilege`, isKnown, `is ${privilege}, which does not exist`);
  }
  checkDevices(machine);
  const [outWritten, outAcked, inWritten, inTaken] = [
    machine.word('uart.outWritten'),
    machine.word('uart.outAcked'),
    machine.word('uart.inWritten'),
    machine.word('uart.inTaken'),
  ];
  const isOrdered = outAcked <= outWritten && inTaken <= inWritten;
  need('uart', isOrdered, 'has offsets in the wrong order');
  const isReached = outWritten <= OFFSET_MAX && inWritten <= OFFSET_MAX;
  need('uart', isReached, 'has offsets no stream reaches');
  need('output', output.length === keptOutput(machine), 'has the wrong length');
  need('input', BigInt(input.length) === inWritten - inTaken, 'has the wrong length');
  need('input', input.length <= RING_BYTES, 'is too long');
  need('tohost', isWord(guest, machine.word('tohost')), 'is not a word of RAM');
  need('fromhost', isWord(guest, machine.word('fromhost')), 'is not a word of RAM');
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
