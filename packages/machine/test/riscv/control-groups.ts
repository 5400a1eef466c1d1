/**
 * Groups that change the flow: branches and jumps ahead, traps, CSR accesses, fences.
 */
import * as isa from './encode.ts';
import { destination, type Group, keys, plain, short, source, written } from './group.ts';
import type { Random } from './random.ts';

export function branch(random: Random): Group {
  const name = random.pick(keys(isa.BRANCHES));
  const [rs1, rs2, places] = [source(random), source(random), random.between(1, 6)];
  return {
    text: `${name} x${rs1}, x${rs2}, +${places} groups`,
    emit: (into, ahead) => into.branch(isa.BRANCHES[name], rs1, rs2, ahead(places)),
  };
}

export function shortBranch(random: Random): Group {
  const [ifZero, rs1, places] = [random.oneIn(2), short(random), random.between(1, 6)];
  return {
    text: `${ifZero ? 'c.beqz' : 'c.bnez'} x${rs1}, +${places} groups`,
    emit: (into, ahead) =>
      into.emitTo(ahead(places), (offset) => [isa.cBranch(ifZero, rs1, offset)]),
  };
}

export function jump(random: Random): Group {
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
export function indirectJump(random: Random): Group {
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

/**
 * mepc is free between traps. Even values only: the lowest bit must read as zero (Privileged ISA,
 * "mepc"), but QEMU 7.2 keeps what was written.
 */
export function csr(random: Random): Group {
  const [rd, even, rs1] = [destination(random), written(random), source(random)];
  const encode = random.pick([isa.csrrw, isa.csrrs, isa.csrrc]);
  return plain(
    `andi x${even}, x${rs1}, -2; ${encode.name} x${rd}, mepc, x${even}`,
    isa.iType(0x13, 7, even, rs1, -2),
    encode(rd, isa.CSR.mepc, even),
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

/** No device and no RAM there. */
const NOWHERE_UPPER = 0x06000;

export function trap(random: Random): Group {
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

export const fence = (random: Random): Group =>
  random.oneIn(2) ? plain('fence', isa.FENCE) : plain('fence.i', isa.FENCE_I);
