/**
 * The registers a debugger sees: one table from which the target description, reads and writes follow.
 *
 * target.xml (GDB's manual, "RISC-V Features") <- [registers] -> fields of a hart
 *
 * A register's number is its row. The rows of the first features, which change with every step, are
 * sent together (packet g); the rest one by one when they are asked for (packet p).
 */
import * as own from '../../assembly/machine-map.ts';
import * as map from '../../assembly/memory-map.ts';
import type { GuestMemory } from '../guest-memory.ts';

interface Register {
  readonly name: string;
  readonly bits: 8 | 32 | 64;
  /** GDB's type, beside a plain integer of so many bits. */
  readonly type?: string;
  /** Offset of its 64-bit field in the hart's block. */
  readonly field: number;
  /** The lowest of its bits there, and how many they are. @default 0, all */
  readonly shift?: bigint;
  readonly width?: bigint;
  /** Bits of the field a debugger may change; others keep their value, for the machine relies on them. */
  readonly writable: bigint;
}

interface Feature {
  readonly name: string;
  readonly registers: readonly Register[];
  /** Sent with every stop. */
  readonly general: boolean;
}

const ALL = (1n << 64n) - 1n;
const EVEN = ALL - 1n;

const X_NAMES =
  'zero ra sp gp tp t0 t1 t2 fp s1 a0 a1 a2 a3 a4 a5 a6 a7 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 t3 t4 t5 t6';

function xRegisters(): Register[] {
  return X_NAMES.split(' ').map((name, i) => ({
    name,
    bits: 64,
    ...(['ra'].includes(name) && { type: 'code_ptr' }),
    ...(['sp', 'gp', 'tp', 'fp'].includes(name) && { type: 'data_ptr' }),
    field: own.HART_X + i * 8,
    writable: i === 0 ? 0n : ALL,
  }));
}

/** The rounding mode and the flags are parts of fcsr (Unprivileged ISA, "F", section on fcsr). */
function fRegisters(): Register[] {
  const f = Array.from({ length: 32 }, (_, i) => ({
    name: `f${i}`,
    bits: 64 as const,
    type: 'ieee_double',
    field: own.HART_F + i * 8,
    writable: ALL,
  }));
  const fcsr = { bits: 32 as const, field: own.HART_FCSR };
  return [
    ...f,
    { ...fcsr, name: 'fflags', shift: 0n, width: 5n, writable: 0x1fn },
    { ...fcsr, name: 'frm', shift: 5n, width: 3n, writable: 0xe0n },
    { ...fcsr, name: 'fcsr', shift: 0n, width: 8n, writable: 0xffn },
  ];
}

function csr(name: string, field: number, writable = ALL): Register {
  return { name, bits: 64, field, writable };
}

const FEATURES: readonly Feature[] = [
  {
    name: 'org.gnu.gdb.riscv.cpu',
    general: true,
    registers: [
      ...xRegisters(),
      { name: 'pc', bits: 64, type: 'code_ptr', field: own.HART_PC, writable: EVEN },
    ],
  },
  { name: 'org.gnu.gdb.riscv.fpu', general: false, registers: fRegisters() },
  {
    name: 'org.gnu.gdb.riscv.csr',
    general: false,
    registers: [
      csr('mstatus', own.HART_MSTATUS, 0n),
      csr('mie', own.HART_MIE, 0n),
      csr('mtvec', own.HART_MTVEC, ALL - 2n),
      csr('mscratch', own.HART_MSCRATCH),
      csr('mepc', own.HART_MEPC, EVEN),
      csr('mcause', own.HART_MCAUSE),
      csr('mtval', own.HART_MTVAL),
      csr('medeleg', own.HART_MEDELEG, 0n),
      csr('mideleg', own.HART_MIDELEG, 0n),
      csr('mcounteren', own.HART_MCOUNTEREN, 0n),
      csr('stvec', own.HART_STVEC, ALL - 2n),
      csr('sscratch', own.HART_SSCRATCH),
      csr('sepc', own.HART_SEPC, EVEN),
      csr('scause', own.HART_SCAUSE),
      csr('stval', own.HART_STVAL),
      csr('satp', own.HART_SATP, 0n),
      csr('scounteren', own.HART_SCOUNTEREN, 0n),
    ],
  },
  {
    name: 'org.gnu.gdb.riscv.virtual',
    general: false,
    registers: [{ name: 'priv', bits: 8, field: own.HART_PRIVILEGE, writable: 0n }],
  },
];

const REGISTERS: readonly Register[] = FEATURES.flatMap(({ registers }) => registers);
const GENERAL: readonly Register[] = FEATURES.filter(({ general }) => general).flatMap(
  ({ registers }) => registers,
);

/** The description in GDB's XML; an attribute that it can infer is left out. */
export const TARGET_XML: string = [
  '<?xml version="1.0"?>',
  '<!DOCTYPE target SYSTEM "gdb-target.dtd">',
  '<target version="1.0">',
  '<architecture>riscv:rv64</architecture>',
  ...FEATURES.flatMap(({ name, registers }) => [
    `<feature name="${name}">`,
    ...registers.map(describe),
    '</feature>',
  ]),
  '</target>',
  '',
].join('\n');

function describe(register: Register): string {
  const { name, bits, type = `uint${bits}` } = register;
  const number = REGISTERS.indexOf(register);
  return `<reg name="${name}" bitsize="${bits}" regnum="${number}" type="${type}"/>`;
}

/** The general registers in hex, in order: the answer to packet g. */
export function readGeneral(guest: GuestMemory, hart: number): string {
  return GENERAL.map((register) => read(guest, hart, register)).join('');
}

/** False: not as long as `readGeneral`'s text, or no hex; nothing is changed then. */
export function writeGeneral(guest: GuestMemory, hart: number, hex: string): boolean {
  const digits = GENERAL.reduce((sum, { bits }) => sum + bits / 4, 0);
  if (hex.length !== digits || !isHex(hex)) return false;
  let at = 0;
  for (const register of GENERAL) {
    write(guest, hart, register, hex.slice(at, at + register.bits / 4));
    at += register.bits / 4;
  }
  return true;
}

/** Undefined: there is no register of this number. */
export function readRegister(guest: GuestMemory, hart: number, number: number): string | undefined {
  const register = REGISTERS[number];
  return register && read(guest, hart, register);
}

/** False: no such register, not its size, or none that may be changed. */
export function writeRegister(
  guest: GuestMemory,
  hart: number,
  number: number,
  hex: string,
): boolean {
  const register = REGISTERS[number];
  if (!register || hex.length !== register.bits / 4 || !isHex(hex)) return false;
  // The zero register takes every value and keeps none, as it does from the program.
  if (register.writable === 0n && register.name !== 'zero') return false;
  write(guest, hart, register, hex);
  return true;
}

function read(guest: GuestMemory, hart: number, register: Register): string {
  const { bits, field, shift = 0n, width = 64n } = register;
  const bytes = Buffer.alloc(8);
  const word = BigInt.asUintN(64, Atomics.load(guest.i64, index(hart, field)));
  bytes.writeBigUInt64LE(BigInt.asUintN(Number(width), word >> shift));
  return bytes.toString('hex', 0, bits / 8);
}

function write(guest: GuestMemory, hart: number, register: Register, hex: string): void {
  const { field, shift = 0n, writable } = register;
  const bytes = Buffer.alloc(8);
  bytes.write(hex, 'hex');
  const at = index(hart, field);
  const kept = Atomics.load(guest.i64, at) & BigInt.asIntN(64, ~writable);
  const value = kept | BigInt.asIntN(64, (bytes.readBigUInt64LE() << shift) & writable);
  Atomics.store(guest.i64, at, BigInt.asIntN(64, value));
}

function index(hart: number, field: number): number {
  return (map.HARTS + hart * map.HART_SIZE + field) >> 3;
}

function isHex(text: string): boolean {
  return /^[0-9a-fA-F]*$/.test(text);
}
