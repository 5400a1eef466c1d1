/**
 * Random page-table situations for the differential test: accesses through three entries whose bits are
 * drawn, mostly almost right. Several follow each other in other modes, so that what the first put into
 * the TLB must not let the next one through.
 *
 * Everything a case touches is put in place before it and looked at after it: the entries, and the word
 * that the access reaches if it is let through.
 */
import { hex } from './group.ts';
import type { Random } from './random.ts';
import { withFewerBits } from './shrink.ts';

/** Physical places, all in RAM but the last. The tables and targets have a page each. */
export const PLACES = {
  root: 0x80610000n,
  middle: 0x80611000n,
  last: 0x80612000n,
  data: 0x80614000n,
  /** Every word of it is an ECALL. */
  code: 0x80616000n,
  nowhere: 0x06000000n,
} as const;

/** What may access memory; the order is that of the program's snippets. */
export const ACCESSES = [
  'lb',
  'lhu',
  'lw',
  'ld',
  'sb',
  'sh',
  'sw',
  'sd',
  'lr.d',
  'amoadd.w',
  'amoswap.d',
  'fetch',
] as const;

export const STEPS = 3;
const DATA_ACCESSES = ACCESSES.length - 1;
const ANY_DATA = Array.from({ length: DATA_ACCESSES }, (_, i) => i);
/** Loads of whole words, and the fetch. */
const FETCHES = [ACCESSES.indexOf('lw'), ACCESSES.indexOf('fetch'), ACCESSES.indexOf('fetch')];

export interface Entry {
  readonly at: bigint;
  readonly value: bigint;
}

export interface Step {
  readonly access: number;
  /** mstatus while the access is made: MPRV, MPP, SUM, MXR. */
  readonly status: bigint;
}

export interface PagingCase {
  /** STEPS accesses to the same address, with no SFENCE.VMA between them. */
  readonly steps: readonly Step[];
  readonly virtual: bigint;
  readonly satp: bigint;
  /** Root to leaf, then the leaf of the next page. */
  readonly entries: readonly Entry[];
  /** An aligned doubleword of RAM at or near what is reached; an instruction is left as it is. */
  readonly reached: bigint;
  /**
   * Bits of mtval to compare. QEMU reads a load over two pages as two aligned doublewords, and names
   * those instead of the portion that failed.
   */
  readonly valueMask: bigint;
  /** Bits of mcause to compare. An AMO's exceptions are a store's (manual, "A"); some are a load's on QEMU. */
  readonly causeMask: bigint;
}

const [V, R, W, X, U, A, D] = [1n, 2n, 4n, 8n, 16n, 64n, 128n];
const MPRV = 1n << 17n;
const SUM = 1n << 18n;
const MXR = 1n << 19n;
const MPP_SHIFT = 11n;
const SV39 = 8n << 60n;
const PAGE = 4096n;
const ALL_ONES = (1n << 64n) - 1n;
const LEVEL_BITS = 9n;
/** Bits 54 to 63 of an entry. */
const RESERVED = 0x3ffn << 54n;

const shiftOf = (level: number): bigint => 12n + LEVEL_BITS * BigInt(level);

/** Bits of a leaf: any, or all that is needed with few taken away. */
function leafBits(random: Random, user: boolean): bigint {
  if (random.oneIn(3)) return BigInt(random.between(0, 255)) | (random.oneIn(4) ? 0n : V);
  let bits = V | R | W | X | A | D | (user ? U : 0n);
  for (let i = random.between(0, 2); i > 0; i--) bits ^= random.pick([V, R, W, X, U, A, D, A | D]);
  return bits;
}

/** Bits that make an entry wrong whatever else it says; seldom. */
function reservedBits(random: Random): bigint {
  return random.oneIn(25) ? 1n << BigInt(random.between(54, 63)) : 0n;
}

/**
 * Always to a table in RAM: where there is none QEMU 7.2 raises a page fault, the manual (step 2 of the
 * translation) wants an access fault.
 */
function pointer(random: Random, to: bigint): bigint {
  const bits = random.oneIn(15) ? BigInt(random.between(0, 255)) : V;
  return (to >> 2n) | bits | reservedBits(random);
}

/** A leaf of this level that maps `virtual` to `physical`, or nearly. */
function leaf(random: Random, level: number, physical: bigint, user: boolean): bigint {
  const shift = shiftOf(level);
  const base = (physical >> shift) << shift;
  const crooked =
    level > 0 && random.oneIn(8) ? 1n << BigInt(random.between(12, 11 + 9 * level)) : 0n;
  const bits = leafBits(random, user);
  // Without any right it would point to a table where none is.
  const right = level > 0 && (bits & (R | W | X)) === 0n ? R : 0n;
  return ((base | crooked) >> 2n) | bits | right | reservedBits(random);
}

/** Either data is read and written, or instructions are fetched and read. */
function drawAccesses(random: Random): number[] {
  const fetches = random.oneIn(5);
  const from = fetches ? FETCHES : ANY_DATA;
  return Array.from({ length: STEPS }, () => random.pick(from));
}

function drawStep(random: Random, access: number, machine: boolean, user: boolean): Step {
  const isFetch = ACCESSES[access] === 'fetch';
  const other = random.oneIn(4);
  const privilege = machine ? 3n : user !== other ? 0n : 1n;
  const status =
    (privilege << MPP_SHIFT) |
    (isFetch ? 0n : MPRV) |
    (random.oneIn(2) ? SUM : 0n) |
    (random.oneIn(3) ? MXR : 0n);
  return { access, status };
}

export function pagingCase(random: Random): PagingCase {
  const accesses = drawAccesses(random);
  const names = accesses.map((access) => ACCESSES[access]!);
  const fetches = names.includes('fetch');
  // Which exception a misaligned one raises is left open.
  const amo = names.some((name) => name.startsWith('amo'));
  const atomic = amo || names.includes('lr.d');
  const user = random.oneIn(2);
  const level = random.pick([0, 0, 0, 1, 2]);
  const page = fetches ? PLACES.code : PLACES.data;
  const aligned = BigInt(random.between(0, 511) * 8);
  // Sometimes over the end of the page.
  const crossing = PAGE - BigInt(random.between(1, 7));
  const offset = atomic || fetches || !random.oneIn(3) ? aligned : crossing;
  const physical = page + offset;
  const low = physical & ((1n << shiftOf(level)) - 1n);
  const high = BigInt.asIntN(39, random.doubleword() << shiftOf(level));
  // Bits 63 to 39 are copies of bit 38, or the address has no translation.
  const crooked = random.oneIn(25) ? 1n << BigInt(random.between(39, 63)) : 0n;
  // Not for an access over two pages or an AMO: QEMU 7.2 does a part of it.
  const whole = offset === aligned;
  const target = random.oneIn(25) && whole && !fetches && !amo ? PLACES.nowhere + offset : physical;
  const machine = random.oneIn(12) && !fetches;
  const satp = random.oneIn(30) && !fetches ? 0n : SV39 | (PLACES.root >> 12n);
  const mapped = BigInt.asUintN(64, (high | low) ^ crooked);
  // Without translation it is a physical address, and must be one of those known here.
  const virtual = satp === 0n || machine ? target : mapped;
  const index = (at: number): bigint => ((virtual >> shiftOf(at)) & 511n) * 8n;
  // QEMU tries an AMO as a load first, which sets A even if the store is then refused: it is set before.
  const accessed = amo ? A : 0n;
  const leafOr = (at: number, table: bigint): bigint =>
    at === level ? leaf(random, at, target, user) | accessed : pointer(random, table);
  const entries: Entry[] = [
    { at: PLACES.root + index(2), value: leafOr(2, PLACES.middle) },
    { at: PLACES.middle + index(1), value: leafOr(1, PLACES.last) },
    { at: PLACES.last + index(0), value: leaf(random, 0, target, user) | accessed },
    {
      at: PLACES.last + (((virtual >> 12n) + 1n) & 511n) * 8n,
      value: leaf(random, 0, page + PAGE, user),
    },
  ];
  const steps = accesses.map((access) => drawStep(random, access, machine, user));
  return {
    steps,
    virtual,
    satp,
    entries,
    reached: fetches ? PLACES.data : physical & ~7n,
    valueMask: whole ? ALL_ONES : ALL_ONES - 7n,
    causeMask: amo ? ALL_ONES - 2n : ALL_ONES,
  };
}

/** The same step again in place of another; fewer bits in mstatus and in entries. */
export function* simplerPaging(one: PagingCase): Generator<PagingCase> {
  const { steps, entries } = one;
  for (const step of new Set(steps)) {
    const instead = (by: Step) => steps.map((each) => (each === step ? by : each));
    for (const other of steps) if (other !== step) yield { ...one, steps: instead(other) };
    for (const status of withFewerBits(step.status, SUM | MXR)) {
      yield { ...one, steps: instead({ ...step, status }) };
    }
  }
  for (const [i, entry] of entries.entries()) {
    for (const value of simplerValues(entry.value)) {
      yield { ...one, entries: entries.with(i, { ...entry, value }) };
    }
  }
}

/**
 * None at all, or without some of the bits that leave its kind and its target alone. A stays where it is:
 * without it QEMU sets it before it refuses an AMO.
 */
function* simplerValues(value: bigint): Generator<bigint> {
  if (value !== 0n) yield 0n;
  yield* withFewerBits(value, RESERVED | U | D);
}

export function describePaging({ virtual, satp, entries, steps }: PagingCase): string {
  const words = entries.map(({ at, value }) => `[${hex(at)}] = ${hex(value)}`);
  const tried = steps.map(
    ({ access, status }) => `${ACCESSES[access]} with mstatus ${hex(status)}`,
  );
  return `${hex(virtual)}, satp ${hex(satp)}, ${words.join(', ')}: ${tried.join(', ')}`;
}
