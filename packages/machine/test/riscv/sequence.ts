/**
 * Random RV64IMAC instruction sequences for the differential test.
 *
 * A sequence is a list of groups; a group is one instruction, or a few that belong together (an
 * address computed and then used, LR and SC, a counted loop). Branches between groups go forward, so
 * every sequence ends. Only what the ISA manual defines is generated: where it leaves a choice
 * (a misaligned AMO's cause, SC after a store of the same hart) two correct machines differ.
 *
 * Each sequence has two inputs: the second run meets decoded instructions, takes other branches, and
 * finds the code as the first run left it.
 *
 * x31 is the base of the memory window and is never written; everything else is free.
 */
import type { Assembler } from './assembler.ts';
import * as isa from './encode.ts';
import { Random } from './random.ts';

export const WINDOW_BASE = 31;
/** The window is [x31 - 2048, x31 + 2048); x31 is a page border. */
export const WINDOW_HALF_BYTES = 2048;

export interface Group {
  /** For the report of a difference. */
  readonly text: string;
  /** `ahead(n)` is the label of the group n places further on, or of the end. */
  emit(into: Assembler, ahead: (places: number) => string): void;
}

/** What a sequence starts from. */
export interface Input {
  /** x1 to x30. */
  readonly registers: readonly bigint[];
  readonly windowSeed: bigint;
}

export interface Sequence {
  readonly inputs: readonly Input[];
  readonly groups: readonly Group[];
}

export const INPUTS = 2;

/** Values at which arithmetic changes its behaviour. */
const EDGES = [
  0n,
  1n,
  2n,
  63n,
  64n,
  0x7fn,
  0x80n,
  0xffffn,
  0x7fffffffn,
  0x80000000n,
  0xffffffffn,
  0x100000000n,
  0x7fffffffffffffffn,
  0x8000000000000000n,
  0xffffffff80000000n,
  0xffffffff7fffffffn,
  0xfffffffffffffffen,
  0xffffffffffffffffn,
];

const plain = (text: string, ...instructions: number[]): Group => ({
  text,
  emit: (into) => into.emit(...instructions),
});

const keys = <K extends string>(table: { readonly [name in K]: unknown }): K[] =>
  Object.keys(table) as K[];

const source = (random: Random): number => random.between(0, 31);
/** x0 may be named as a destination; x31 may not. */
const destination = (random: Random): number => random.between(0, 30);
const written = (random: Random): number => random.between(1, 30);
const short = (random: Random): number => random.between(8, 15);

function operation(random: Random, rd: number): { text: string; word: number } {
  const name = random.pick(keys(isa.OPS));
  const [opcode, funct3, funct7] = isa.OPS[name];
  const [rs1, rs2] = [source(random), source(random)];
  const word = isa.rType(opcode, funct3, funct7, rd, rs1, rs2);
  return { text: `${name} x${rd}, x${rs1}, x${rs2}`, word };
}

function registerRegister(random: Random): Group {
  const { text, word } = operation(random, destination(random));
  return plain(text, word);
}

function registerImmediate(random: Random): Group {
  const name = random.pick(keys(isa.IMMEDIATE_OPS));
  const [opcode, funct3] = isa.IMMEDIATE_OPS[name];
  const [rd, rs1] = [destination(random), source(random)];
  const immediate = random.pick([0, -1, 2047, -2048, random.between(-2048, 2047)]);
  const word = isa.iType(opcode, funct3, rd, rs1, immediate);
  return plain(`${name} x${rd}, x${rs1}, ${immediate}`, word);
}

function shift(random: Random): Group {
  const name = random.pick(keys(isa.SHIFT_OPS));
  const [opcode, funct3, high, width] = isa.SHIFT_OPS[name];
  const [rd, rs1] = [destination(random), source(random)];
  const amount = random.between(0, 2 ** width - 1);
  const word = isa.iType(opcode, funct3, rd, rs1, high | amount);
  return plain(`${name} x${rd}, x${rs1}, ${amount}`, word);
}

function upper(random: Random): Group {
  const [rd, value] = [destination(random), random.between(0, 0xfffff)];
  return random.oneIn(2)
    ? plain(`lui x${rd}, ${value}`, isa.lui(rd, value))
    : plain(`auipc x${rd}, ${value}`, isa.auipc(rd, value));
}

/** An offset from x31 such that `bytes` bytes lie in the window; often over the page border. */
function windowOffset(random: Random, bytes: number): number {
  if (random.oneIn(4)) return random.between(-bytes, 0);
  return random.between(-WINDOW_HALF_BYTES, WINDOW_HALF_BYTES - bytes);
}

function alignedOffset(random: Random, bytes: number): number {
  return Math.floor(windowOffset(random, 8) / bytes) * bytes;
}

function access(random: Random): Group {
  const isLoad = random.oneIn(2);
  const offset = windowOffset(random, 8);
  // Through x31 itself, or through an address computed just before.
  const base = random.oneIn(2) ? WINDOW_BASE : written(random);
  const moved = base === WINDOW_BASE ? 0 : random.between(-1024, 1023);
  const rest = Math.max(-2048, Math.min(2047, offset - moved));
  const first = base === WINDOW_BASE ? [] : [isa.addi(base, WINDOW_BASE, offset - rest)];
  const setup = first.length > 0 ? `addi x${base}, x31, ${offset - rest}; ` : '';
  if (isLoad) {
    const name = random.pick(keys(isa.LOADS));
    const rd = destination(random);
    const word = isa.iType(0x03, isa.LOADS[name], rd, base, rest);
    return plain(`${setup}${name} x${rd}, ${rest}(x${base})`, ...first, word);
  }
  const name = random.pick(keys(isa.STORES));
  const rs2 = source(random);
  const word = isa.sType(isa.STORES[name], rs2, base, rest);
  return plain(`${setup}${name} x${rs2}, ${rest}(x${base})`, ...first, word);
}

function atomic(random: Random): Group {
  const name = random.pick(keys(isa.AMOS));
  const width = random.pick([2, 3] as const);
  const [base, rd, rs2] = [written(random), destination(random), source(random)];
  const offset = alignedOffset(random, 2 ** width);
  const ordering = random.between(0, 3);
  const suffix = width === 2 ? 'w' : 'd';
  return plain(
    `addi x${base}, x31, ${offset}; ${name}.${suffix} x${rd}, x${rs2}, (x${base})`,
    isa.addi(base, WINDOW_BASE, offset),
    isa.amo(isa.AMOS[name], width, ordering, rd, base, rs2),
  );
}

/** LR, SC that succeeds, and sometimes a second SC, which must fail. */
function reservation(random: Random): Group {
  const width = random.pick([2, 3] as const);
  const base = random.between(1, 10);
  const [loaded, stored, again] = [
    random.between(11, 20),
    random.between(21, 30),
    random.between(11, 30),
  ];
  const [value, other] = [source(random), source(random)];
  const offset = alignedOffset(random, 2 ** width);
  const words = [
    isa.addi(base, WINDOW_BASE, offset),
    isa.amo(isa.LR, width, random.between(0, 3), loaded, base, 0),
    isa.amo(isa.SC, width, random.between(0, 3), stored, base, value),
  ];
  const text = `addi x${base}, x31, ${offset}; lr x${loaded}; sc x${stored}, x${value}`;
  if (random.oneIn(2)) return plain(text, ...words);
  words.push(isa.amo(isa.SC, width, 0, again, base, other));
  return plain(`${text}; sc x${again}, x${other} (fails)`, ...words);
}

function branch(random: Random): Group {
  const name = random.pick(keys(isa.BRANCHES));
  const [rs1, rs2, places] = [source(random), source(random), random.between(1, 6)];
  return {
    text: `${name} x${rs1}, x${rs2}, +${places} groups`,
    emit: (into, ahead) => into.branch(isa.BRANCHES[name], rs1, rs2, ahead(places)),
  };
}

function shortBranch(random: Random): Group {
  const [ifZero, rs1, places] = [random.oneIn(2), short(random), random.between(1, 6)];
  return {
    text: `${ifZero ? 'c.beqz' : 'c.bnez'} x${rs1}, +${places} groups`,
    emit: (into, ahead) =>
      into.emitTo(ahead(places), (offset) => [isa.cBranch(ifZero, rs1, offset)]),
  };
}

function jump(random: Random): Group {
  const [places, link] = [random.between(1, 4), destination(random)];
  if (random.oneIn(2)) {
    return {
      text: `jal x${link}, +${places} groups`,
      emit: (into, ahead) => into.jump(ahead(places), link),
    };
  }
  return {
    text: `c.j +${places} groups`,
    emit: (into, ahead) => into.emitTo(ahead(places), (offset) => [isa.cJ(offset)]),
  };
}

/** auipc, then jalr, c.jr or c.jalr to a later group; jalr sometimes to an odd address. */
function indirectJump(random: Random): Group {
  const [base, link, places] = [written(random), destination(random), random.between(1, 4)];
  const kind = random.pick(['jalr', 'c.jr', 'c.jalr'] as const);
  // jalr clears the lowest bit of the sum (Unprivileged ISA, "Unconditional Jumps").
  const odd = random.between(0, 1);
  return {
    text: `auipc x${base}, 0; ${kind} x${base} to +${places} groups${odd ? ', odd' : ''}`,
    emit: (into, ahead) =>
      into.emitTo(ahead(places), (offset) => {
        if (kind === 'jalr') return [isa.auipc(base, 0), isa.jalr(link, base, offset | odd)];
        const last = kind === 'c.jr' ? isa.cJr(base) : isa.cJalr(base);
        return [isa.auipc(base, 0), isa.addi(base, base, offset), last];
      }),
  };
}

function shortArithmetic(random: Random): Group {
  const immediate = random.between(-32, 31);
  const [rd, rs2, near, near2] = [
    destination(random),
    written(random),
    short(random),
    short(random),
  ];
  const amount = random.between(0, 63);
  const name = random.pick(keys(isa.SHORT_OPS));
  // Destinations of x0 are hints where they are not reserved: they must do nothing.
  const notSp = rd === 2 ? 3 : rd;
  return random.pick([
    () => plain(`c.addi x${rd}, ${immediate}`, isa.cAddi(rd, immediate)),
    () => plain(`c.addiw x${rs2}, ${immediate}`, isa.cAddiw(rs2, immediate)),
    () => plain(`c.li x${rd}, ${immediate}`, isa.cLi(rd, immediate)),
    () => plain(`c.lui x${notSp}, ${immediate || 1}`, isa.cLui(notSp, immediate || 1)),
    () => plain(`c.slli x${rd}, ${amount}`, isa.cSlli(rd, amount)),
    () => plain(`c.srli x${near}, ${amount}`, isa.cImmediateShort(0, near, amount)),
    () => plain(`c.srai x${near}, ${amount}`, isa.cImmediateShort(1, near, amount)),
    () => plain(`c.andi x${near}, ${immediate}`, isa.cImmediateShort(2, near, immediate)),
    () => plain(`${name} x${near}, x${near2}`, isa.cShortOp(name, near, near2)),
    () => plain(`c.mv x${rd}, x${rs2}`, isa.cMv(rd, rs2)),
    () => plain(`c.add x${rd}, x${rs2}`, isa.cAdd(rd, rs2)),
    () => plain(`c.addi16sp ${(immediate || 1) * 16}`, isa.cAddi16sp((immediate || 1) * 16)),
    () => plain(`c.addi4spn x${near}, ${amount * 4 + 4}`, isa.cAddi4spn(near, amount * 4 + 4)),
    () => plain('c.nop', isa.C_NOP),
  ])();
}

/** Loads and stores of the C extension, each with its base register set just before. */
function shortAccess(random: Random): Group {
  const double = random.oneIn(2);
  const store = random.oneIn(2);
  const scale = double ? 8 : 4;
  if (random.oneIn(2)) {
    const offset = random.between(0, 31) * scale;
    const base = short(random);
    const data = short(random);
    const start = random.between(-WINDOW_HALF_BYTES, WINDOW_HALF_BYTES - 256);
    const encode = double ? isa.cDouble : isa.cWord;
    return plain(
      `addi x${base}, x31, ${start}; c.${store ? 's' : 'l'}${double ? 'd' : 'w'} x${data}, ${offset}(x${base})`,
      isa.addi(base, WINDOW_BASE, start),
      encode(store, data, base, offset),
    );
  }
  const offset = random.between(0, 63) * scale;
  const data = written(random);
  const start = random.between(-WINDOW_HALF_BYTES, WINDOW_HALF_BYTES - 512);
  return plain(
    `addi x2, x31, ${start}; c.${store ? 's' : 'l'}${double ? 'd' : 'w'}sp x${data}, ${offset}`,
    isa.addi(2, WINDOW_BASE, start),
    store ? isa.cStoreSp(double, data, offset) : isa.cLoadSp(double, data, offset),
  );
}

/**
 * mepc is free between traps. Even values only: the lowest bit must read as zero (Privileged ISA,
 * "mepc"), but QEMU 7.2 keeps what was written.
 */
function csr(random: Random): Group {
  const [rd, even, rs1] = [destination(random), written(random), source(random)];
  const encode = random.pick([isa.csrrw, isa.csrrs, isa.csrrc]);
  return plain(
    `andi x${even}, x${rs1}, -2; ${encode.name} x${rd}, mepc, x${even}`,
    isa.iType(0x13, 7, even, rs1, -2),
    encode(rd, isa.CSR.mepc, even),
  );
}

/** Runs two operations and a store a few times: the counter is x1, which they do not write. */
function loop(random: Random): Group {
  const times = random.between(2, 20);
  const first = operation(random, random.between(2, 30));
  const second = operation(random, random.between(2, 30));
  const [rs2, offset] = [source(random), windowOffset(random, 8)];
  const store = isa.sType(isa.STORES.sd, rs2, WINDOW_BASE, offset);
  const body = [first.word, second.word, store, isa.addi(1, 1, -1)];
  return plain(
    `x1 = ${times}; do { ${first.text}; ${second.text}; sd x${rs2}, ${offset}(x31) } while (--x1)`,
    isa.addi(1, 0, times),
    ...body,
    isa.bType(isa.BRANCHES.bne, 1, 0, -4 * body.length),
  );
}

/** Writes an instruction over the one after the next, then executes it. FENCE.I makes that defined. */
function selfModify(random: Random): Group {
  const before = operation(random, destination(random));
  const after = operation(random, destination(random));
  const low = ((after.word & 0xfff) ^ 0x800) - 0x800;
  const base = random.between(1, 15);
  const patch = random.between(16, 30);
  return plain(
    `${before.text}, overwritten with ${after.text} through x${base}, x${patch}`,
    isa.auipc(base, 0),
    isa.lui(patch, ((after.word - low) >>> 12) & 0xfffff),
    isa.addi(patch, patch, low),
    isa.sType(isa.STORES.sw, patch, base, 20),
    isa.FENCE_I,
    before.word,
  );
}

/** Encodings that are reserved, or need an extension or a CSR that is absent or switched off. */
const ILLEGAL = [
  0x0000, // all zeros
  0x0004, // c.addi4spn with a zero immediate
  0x2000, // c.fld with the floating-point unit off
  0x2001, // c.addiw to x0
  0x4002, // c.lwsp to x0
  0x6002, // c.ldsp to x0
  0x6081, // c.lui with a zero immediate
  0x6101, // c.addi16sp with a zero immediate
  0x8002, // c.jr x0
  0x9c41, // hole among the register-register forms
  0xffffffff,
  0x400010b3, // sll with sub's funct7
  0x10b5252f, // lr with a second source
  0x12301073, // csrw 0x123
  0xf1401073, // csrw mhartid
  0x00002063, // branch with funct3 2
  0x0000702f, // AMO of width 7
];

/**
 * Major opcodes of which any encoding may be tried: arithmetic, AMO, FENCE, and those that belong to
 * absent extensions. Their reserved encodings must be illegal, their ignored fields ignored.
 */
const MAJOR_OPCODES = [
  0x13, 0x1b, 0x33, 0x3b, 0x2f, 0x0f, 0x0b, 0x2b, 0x5b, 0x7b, 0x57, 0x6b, 0x77, 0x43, 0x53, 0x07,
] as const;

function anyEncoding(random: Random): Group {
  const opcode = random.pick(MAJOR_OPCODES);
  const rd = destination(random);
  // An AMO's address is aligned and in the window whatever its fields turn out to mean.
  const base = written(random);
  const offset = alignedOffset(random, 8);
  // A lone SC may fail or succeed where an earlier LR of the same address went without one.
  const drawn = random.word() & 0xfe007000;
  const free = opcode === 0x2f && drawn >>> 27 === isa.SC ? drawn ^ 0x80000000 : drawn;
  const word = (free | (source(random) << 20) | (base << 15) | (rd << 7) | opcode) >>> 0;
  return plain(
    `addi x${base}, x31, ${offset}; .word 0x${word.toString(16)}`,
    isa.addi(base, WINDOW_BASE, offset),
    word,
  );
}

/** Any 16 bits that are no jump, branch, load or store, and do not write x31. */
function anyShortEncoding(random: Random): Group {
  for (;;) {
    const half = random.word() & 0xffff;
    const [quadrant, funct3, rd] = [half & 3, half >> 13, (half >> 7) & 31];
    const isArithmetic =
      (quadrant === 0 && (funct3 === 0 || funct3 === 4 || funct3 === 1 || funct3 === 5)) ||
      (quadrant === 1 && funct3 <= 4) ||
      (quadrant === 2 && (funct3 === 0 || (funct3 === 4 && (half & 0x7c) !== 0)));
    if (!isArithmetic || rd === WINDOW_BASE) continue;
    return plain(`.half 0x${half.toString(16)}`, half);
  }
}

/** No device and no RAM there. */
const NOWHERE_UPPER = 0x06000;

function trap(random: Random): Group {
  const illegal = random.pick(ILLEGAL);
  const base = written(random);
  const nowhere = isa.lui(base, NOWHERE_UPPER);
  return random.pick([
    () => plain('ecall', isa.ECALL),
    () => plain('ebreak', isa.EBREAK),
    () => plain('c.ebreak', isa.C_EBREAK),
    () => plain(`illegal 0x${illegal.toString(16)}`, illegal),
    () => plain('load from nowhere', nowhere, isa.iType(0x03, 3, destination(random), base, 8)),
    () => plain('store to nowhere', nowhere, isa.sType(2, source(random), base, 16)),
  ])();
}

const fence = (random: Random): Group =>
  random.oneIn(2) ? plain('fence', isa.FENCE) : plain('fence.i', isa.FENCE_I);

/** How often each kind is drawn. */
const KINDS: readonly (readonly [weight: number, make: (random: Random) => Group])[] = [
  [20, registerRegister],
  [8, registerImmediate],
  [6, shift],
  [3, upper],
  [16, access],
  [7, atomic],
  [4, reservation],
  [6, branch],
  [3, shortBranch],
  [3, jump],
  [3, indirectJump],
  [18, shortArithmetic],
  [8, shortAccess],
  [2, csr],
  [2, trap],
  [1, fence],
  [2, loop],
  [2, selfModify],
  [4, anyEncoding],
  [3, anyShortEncoding],
];
const DRAW = KINDS.flatMap(([weight, make]) => Array.from({ length: weight }, () => make));

/** The same sequence for the same seed, always. */
export function randomSequence(seed: number, groupsMax: number): Sequence {
  const random = new Random(seed);
  const value = (): bigint => (random.oneIn(2) ? random.pick(EDGES) : random.doubleword());
  const input = (): Input => ({
    registers: Array.from({ length: 30 }, value),
    windowSeed: random.doubleword() | 1n,
  });
  return {
    inputs: Array.from({ length: INPUTS }, input),
    groups: Array.from({ length: random.between(1, groupsMax) }, () => random.pick(DRAW)(random)),
  };
}
