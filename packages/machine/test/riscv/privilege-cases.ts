/**
 * Random situations of privilege for the differential test: one instruction in U, S or M mode, under
 * random delegation, interrupts and mstatus.
 *
 * Only what the manual defines is drawn: where it leaves a choice two correct machines differ.
 */
import * as isa from './encode.ts';
import { DYNAMIC, floatInstruction } from './float-encode.ts';
import { hex } from './group.ts';
import type { Random } from './random.ts';
import { withFewerBits } from './shrink.ts';

const SRET = 0x10200073;
const SFENCE_VMA = 0x12000073;
const read = (csr: number): number => isa.csrrs(5, csr, 0);
const write = (csr: number): number => isa.csrrs(0, csr, 0) | (1 << 15);

/** The instruction that is tried; an EBREAK follows. Where `in` is given, only in these modes. */
export const EVENTS: readonly { readonly name: string; readonly words: readonly number[] }[] = [
  { name: 'ecall', words: [isa.ECALL] },
  { name: 'ebreak', words: [isa.EBREAK] },
  { name: 'illegal', words: [0xffffffff] },
  { name: 'illegal, 16 bits', words: [0x0000] },
  { name: 'sret', words: [SRET] },
  { name: 'mret', words: [isa.MRET] },
  { name: 'sfence.vma', words: [SFENCE_VMA] },
  { name: 'read satp', words: [read(0x180)] },
  { name: 'read sstatus', words: [read(0x100)] },
  { name: 'read mstatus', words: [read(0x300)] },
  { name: 'write mhartid', words: [write(0xf14)] },
  { name: 'read cycle', words: [read(0xc00)] },
  { name: 'read instret', words: [read(0xc02)] },
  { name: 'write cycle', words: [write(0xc00)] },
  { name: 'read fcsr', words: [read(0x003)] },
  { name: 'fadd.d', words: [floatInstruction('fadd.d').word(4, DYNAMIC)] },
  { name: 'feq.d', words: [floatInstruction('feq.d').word(4, 2)] },
  { name: 'write sip.SSIP', words: [isa.csrrs(0, 0x144, 0) | (2 << 15) | (1 << 14)] },
  { name: 'clear sie', words: [isa.csrrc(0, 0x104, 6)] },
  { name: 'set sstatus.SIE', words: [isa.csrrs(0, 0x100, 0) | (2 << 15) | (1 << 14)] },
];

const [SIE, MIE, SPIE, MPIE, SPP] = [1n << 1n, 1n << 3n, 1n << 5n, 1n << 7n, 1n << 8n];
const [SUM, MXR, TVM, TW, TSR] = [1n << 18n, 1n << 19n, 1n << 20n, 1n << 21n, 1n << 22n];
const MPP_SHIFT = 11n;
const MPP = 3n << MPP_SHIFT;
const FS_SHIFT = 13n;
/** Software, timer and external interrupts of S mode; software interrupts of M mode. */
const [SSI, MSI, STI, SEI] = [1n << 1n, 1n << 3n, 1n << 5n, 1n << 9n];
/** Synchronous causes that can be delegated; ECALL from M cannot. */
const DELEGABLE = 0xb3ffn;

export interface PrivilegeCase {
  readonly event: number;
  /** mstatus that MRET starts from: MPP is the mode of the event. */
  readonly status: bigint;
  readonly medeleg: bigint;
  readonly mideleg: bigint;
  readonly mie: bigint;
  readonly mip: bigint;
  readonly mcounteren: bigint;
  readonly scounteren: bigint;
}

function subset(random: Random, bits: readonly bigint[]): bigint {
  return bits.filter(() => random.oneIn(2)).reduce((sum, bit) => sum | bit, 0n);
}

export function privilegeCase(random: Random): PrivilegeCase {
  const event = random.between(0, EVENTS.length - 1);
  const privilege = random.pick([0n, 1n, 3n]);
  const status =
    subset(random, [SIE, MIE, SPIE, MPIE, SPP, SUM, MXR, TVM, TW, TSR]) |
    (privilege << MPP_SHIFT) |
    (BigInt(random.between(0, 3)) << FS_SHIFT);
  const interrupts = [SSI, STI, SEI];
  return {
    event,
    status,
    medeleg: random.doubleword() & random.pick([0n, DELEGABLE, DELEGABLE]),
    mideleg: subset(random, interrupts),
    // The S handler ends by a software interrupt to M.
    mie: subset(random, interrupts) | MSI,
    // One at most: of several QEMU 7.2 takes the one with the lowest number, the manual has an order.
    mip: random.pick([0n, 0n, SSI, STI, SEI]),
    mcounteren: random.doubleword() & 5n,
    scounteren: random.doubleword() & 5n,
  };
}

/** A field without its bits, or with one less; the mode of the event and the way back to M stay. */
export function* simplerPrivilege(one: PrivilegeCase): Generator<PrivilegeCase> {
  const { event, ...fields } = one;
  for (const [name, value] of Object.entries(fields)) {
    const kept = name === 'status' ? MPP : name === 'mie' ? MSI : 0n;
    for (const fewer of withFewerBits(value, value & ~kept)) yield { ...one, [name]: fewer };
  }
}

export function describePrivilege(one: PrivilegeCase): string {
  const { event, ...fields } = one;
  const values = Object.entries(fields).map(([name, value]) => `${name} ${hex(value)}`);
  return `${EVENTS[event]!.name}, ${values.join(', ')}`;
}
