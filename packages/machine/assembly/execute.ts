/**
 * The interpreter: executes a slice of instructions.
 *
 * hart -> [execute: fetch, decode, do] -> hart
 *
 * A switch over the major opcode, and inside it over funct3. The loop's own state (pc, the count left,
 * the page fetched from) is in locals; the registers are in the hart's block, so that a stop at any
 * instruction finds them in place. An instruction that cannot finish leaves by `continue` with nothing
 * left to do and pc unchanged; see core.ts for what `outcome` then says.
 *
 * x0 is cleared before each instruction, which is cheaper than to look at every rd.
 */
import { div, divu, divuw, divw, mulh, mulhsu, mulhu, rem, remu, remuw, remw } from './alu';
import { executeAtomic } from './atomics';
import { core, DONE, DONE_LOOK_UP, raise, setField } from './core';
import { executeCsr } from './csr';
import {
  funct3, funct7, immB, immI, immJ, immS, immU, OP_32, OP_AMO, OP_AUIPC, OP_BRANCH, OP_IMM, OP_IMM_32,
  OP_JAL, OP_JALR, OP_LOAD, OP_LUI, OP_MISC_MEM, OP_OP, OP_STORE, OP_SYSTEM, rdAt, rs1At, rs2At,
} from './decode';
import { EXPANSIONS, HART_PC, HART_WFI, HART_X } from './machine-map.ts';
import { PAGE_SIZE, TLB_READ, TLB_WRITE } from './memory-map.ts';
import { PAGE_MASK } from './mmu';
import { fetchHigh, loadT, placeToFetch, storeT } from './ram';
import { BREAKPOINT, ECALL_FROM_M, ILLEGAL_INSTRUCTION, mret } from './trap';

// SYSTEM instructions without operands, whole words.
const ECALL: u32 = 0x00000073;
const EBREAK: u32 = 0x00100073;
const MRET: u32 = 0x30200073;
const WFI: u32 = 0x10500073;

/** No instruction lies in it: odd. */
const NO_PAGE: u64 = 1;

@inline function x(hart: usize, at: usize): u64 { return load<u64>(hart + at, HART_X); }
@inline function setX(hart: usize, at: usize, value: u64): void { store<u64>(hart + at, value, HART_X); }
/** A 32-bit result, sign-extended as the W instructions want it. */
@inline function word(value: i32): u64 { return <u64><i64>value; }

/** mtval of an illegal instruction is the instruction as it was fetched: 16 bits for a short one. */
function illegal(pc: u64): void {
  const place = placeToFetch(pc);
  const low = <u32>load<u16>(place);
  const high = (low & 3) == 3 ? fetchHigh(pc + 2) : 0;
  raise(ILLEGAL_INSTRUCTION, <u64>(high << 16 | low));
}

/** Section 2.4, OP-IMM. False: no such instruction. */
@inline function opImm(hart: usize, instruction: u32): bool {
  const a = x(hart, rs1At(instruction));
  const imm = immI(instruction);
  const shamt = imm & 63;
  const upper = instruction >> 26;
  let value: u64;
  switch (funct3(instruction)) {
    case 0: value = a + imm; break; // ADDI
    case 1: if (upper != 0) return false; value = a << shamt; break; // SLLI
    case 2: value = <u64>(<i64>a < <i64>imm); break; // SLTI
    case 3: value = <u64>(a < imm); break; // SLTIU
    case 4: value = a ^ imm; break; // XORI
    case 5:
      if (upper == 0) value = a >> shamt; // SRLI
      else if (upper == 16) value = <u64>(<i64>a >> shamt); // SRAI
      else return false;
      break;
    case 6: value = a | imm; break; // ORI
    default: value = a & imm; // ANDI
  }
  setX(hart, rdAt(instruction), value);
  return true;
}

/** OP-IMM-32. */
@inline function opImm32(hart: usize, instruction: u32): bool {
  const a = <i32>x(hart, rs1At(instruction));
  const shamt = <i32>(instruction >> 20 & 31);
  let value: i32;
  switch (funct3(instruction)) {
    case 0: value = a + (<i32>instruction >> 20); break; // ADDIW
    case 1: if (funct7(instruction)) return false; value = a << shamt; break; // SLLIW
    case 5:
      if (funct7(instruction) == 0) value = <i32>(<u32>a >> shamt); // SRLIW
      else if (funct7(instruction) == 0x20) value = a >> shamt; // SRAIW
      else return false;
      break;
    default: return false;
  }
  setX(hart, rdAt(instruction), word(value));
  return true;
}

/** funct3, bit 25 (M) and bit 30 (SUB, SRA) side by side: one number for each instruction of OP. */
@inline function opKey(instruction: u32): u32 {
  return funct3(instruction) | (instruction >> 22 & 8) | (instruction >> 26 & 16);
}

/** Whether funct7 holds nothing but those two bits. */
@inline function isOpKey(instruction: u32): bool { return (instruction & 0xbc000000) == 0; }

/** OP: sections "Integer Register-Register Operations" and "M". */
@inline function op(hart: usize, instruction: u32): bool {
  if (!isOpKey(instruction)) return false;
  const a = x(hart, rs1At(instruction));
  const b = x(hart, rs2At(instruction));
  let value: u64;
  switch (opKey(instruction)) {
    case 0: value = a + b; break; // ADD
    case 1: value = a << (b & 63); break; // SLL
    case 2: value = <u64>(<i64>a < <i64>b); break; // SLT
    case 3: value = <u64>(a < b); break; // SLTU
    case 4: value = a ^ b; break; // XOR
    case 5: value = a >> (b & 63); break; // SRL
    case 6: value = a | b; break; // OR
    case 7: value = a & b; break; // AND
    case 8: value = a * b; break; // MUL
    case 9: value = mulh(a, b); break; // MULH
    case 10: value = mulhsu(a, b); break; // MULHSU
    case 11: value = mulhu(a, b); break; // MULHU
    case 12: value = div(a, b); break; // DIV
    case 13: value = divu(a, b); break; // DIVU
    case 14: value = rem(a, b); break; // REM
    case 15: value = remu(a, b); break; // REMU
    case 16: value = a - b; break; // SUB
    case 21: value = <u64>(<i64>a >> (b & 63)); break; // SRA
    default: return false;
  }
  setX(hart, rdAt(instruction), value);
  return true;
}

/** OP-32. */
@inline function op32(hart: usize, instruction: u32): bool {
  if (!isOpKey(instruction)) return false;
  const a = <i32>x(hart, rs1At(instruction));
  const b = <i32>x(hart, rs2At(instruction));
  let value: i32;
  switch (opKey(instruction)) {
    case 0: value = a + b; break; // ADDW
    case 1: value = a << (b & 31); break; // SLLW
    case 5: value = <i32>(<u32>a >> (b & 31)); break; // SRLW
    case 8: value = a * b; break; // MULW
    case 12: value = divw(a, b); break; // DIVW
    case 13: value = <i32>divuw(<u32>a, <u32>b); break; // DIVUW
    case 14: value = remw(a, b); break; // REMW
    case 15: value = <i32>remuw(<u32>a, <u32>b); break; // REMUW
    case 16: value = a - b; break; // SUBW
    case 21: value = a >> (b & 31); break; // SRAW
    default: return false;
  }
  setX(hart, rdAt(instruction), word(value));
  return true;
}

const NO_BRANCH: i32 = -1;

/** Section 2.5, conditional branches: 1 taken, 0 not, NO_BRANCH: no such instruction. */
@inline function branches(hart: usize, instruction: u32): i32 {
  const a = x(hart, rs1At(instruction));
  const b = x(hart, rs2At(instruction));
  switch (funct3(instruction)) {
    case 0: return <i32>(a == b); // BEQ
    case 1: return <i32>(a != b); // BNE
    case 4: return <i32>(<i64>a < <i64>b); // BLT
    case 5: return <i32>(<i64>a >= <i64>b); // BGE
    case 6: return <i32>(a < b); // BLTU
    case 7: return <i32>(a >= b); // BGEU
  }
  return NO_BRANCH;
}

/** Section 2.6, loads. */
@inline function opLoad(hart: usize, reads: usize, instruction: u32, left: u32): bool {
  const address = x(hart, rs1At(instruction)) + immI(instruction);
  let value: u64;
  switch (funct3(instruction)) {
    case 0: value = loadT<i8>(reads, address, left); break; // LB
    case 1: value = loadT<i16>(reads, address, left); break; // LH
    case 2: value = loadT<i32>(reads, address, left); break; // LW
    case 3: value = loadT<i64>(reads, address, left); break; // LD
    case 4: value = loadT<u8>(reads, address, left); break; // LBU
    case 5: value = loadT<u16>(reads, address, left); break; // LHU
    case 6: value = loadT<u32>(reads, address, left); break; // LWU
    default: return false;
  }
  if (core.outcome == DONE) setX(hart, rdAt(instruction), value);
  return true;
}

/** Section 2.6, stores. */
@inline function opStore(hart: usize, writes: usize, instruction: u32, left: u32): bool {
  const address = x(hart, rs1At(instruction)) + immS(instruction);
  const value = x(hart, rs2At(instruction));
  switch (funct3(instruction)) {
    case 0: storeT<u8>(writes, address, value, left); break; // SB
    case 1: storeT<u16>(writes, address, value, left); break; // SH
    case 2: storeT<u32>(writes, address, value, left); break; // SW
    case 3: storeT<u64>(writes, address, value, left); break; // SD
    default: return false;
  }
  return true;
}

/** SYSTEM without operands: 0 = the next pc follows, else the pc to go on at; see the outcome. */
function privileged(hart: usize, instruction: u32, pc: u64): u64 {
  switch (instruction) {
    case ECALL: raise(ECALL_FROM_M, 0); return 0;
    case EBREAK: raise(BREAKPOINT, pc); return 0;
    case MRET: core.outcome = DONE_LOOK_UP; return mret();
    case WFI: core.outcome = DONE_LOOK_UP; setField(HART_WFI, 1); return 0;
  }
  illegal(pc);
  return 0;
}

/**
 * Executes up to `count` instructions of the selected hart from its pc, and returns how many were
 * retired. Fewer than `count`: `core.outcome` says why.
 */
export function execute(count: u32): u32 {
  const hart = core.block;
  const reads = core.tlb + TLB_READ;
  const writes = core.tlb + TLB_WRITE;
  // From a peer's state it could be odd, and an odd one would fetch past the end of its page.
  let pc = load<u64>(hart, HART_PC) & ~1;
  let left = count;
  /** Instructions given up when the slice was cut short. */
  let cut: u32 = 0;
  let page = NO_PAGE;
  let addend: usize = 0;
  core.slice = count;
  core.outcome = DONE;

  while (left) {
    setX(hart, 0, 0);
    if ((pc & PAGE_MASK) != page) {
      const place = placeToFetch(pc);
      if (core.outcome) { cut = left; left = 0; continue; }
      page = pc & PAGE_MASK;
      addend = place - <usize>pc;
    }
    const at = <usize>pc + addend;
    let instruction = <u32>load<u16>(at);
    let next = pc + 2;
    if ((instruction & 3) != 3) {
      instruction = load<u32>(EXPANSIONS + (instruction << 2));
    } else {
      next = pc + 4;
      if ((<u32>pc & (PAGE_SIZE - 1)) != PAGE_SIZE - 2) {
        instruction |= <u32>load<u16>(at, 2) << 16;
      } else {
        instruction |= fetchHigh(pc + 2) << 16;
        if (core.outcome) { cut = left; left = 0; continue; }
      }
    }

    let known = true;
    switch (instruction >> 2 & 31) {
      case OP_LOAD:
        known = opLoad(hart, reads, instruction, left);
        if (core.outcome) { cut = left; left = 0; continue; }
        break;
      case OP_STORE:
        known = opStore(hart, writes, instruction, left);
        if (core.outcome) {
          if (core.outcome != DONE_LOOK_UP) { cut = left; left = 0; continue; }
          cut = left - 1;
          left = 1;
        }
        break;
      case OP_IMM: known = opImm(hart, instruction); break;
      case OP_IMM_32: known = opImm32(hart, instruction); break;
      case OP_OP: known = op(hart, instruction); break;
      case OP_32: known = op32(hart, instruction); break;
      case OP_LUI: setX(hart, rdAt(instruction), immU(instruction)); break;
      case OP_AUIPC: setX(hart, rdAt(instruction), pc + immU(instruction)); break;
      case OP_BRANCH: {
        const taken = branches(hart, instruction);
        if (taken == NO_BRANCH) known = false;
        else if (taken) next = pc + immB(instruction);
        break;
      }
      case OP_JAL:
        setX(hart, rdAt(instruction), next);
        next = pc + immJ(instruction);
        break;
      case OP_JALR: {
        known = funct3(instruction) == 0;
        if (!known) break;
        const target = (x(hart, rs1At(instruction)) + immI(instruction)) & ~1;
        setX(hart, rdAt(instruction), next);
        next = target;
        break;
      }
      case OP_MISC_MEM:
        // FENCE, and FENCE.I: no decoded instruction is kept, so every fetch sees every store. A
        // read-modify-write of x0's own slot is the fence: the compiler's atomic.fence does not validate.
        known = funct3(instruction) <= 1;
        atomic.or<u64>(hart, 0, HART_X);
        break;
      case OP_AMO:
        executeAtomic(instruction, left);
        if (core.outcome) { cut = left; left = 0; continue; }
        break;
      case OP_SYSTEM:
        core.left = left;
        if (funct3(instruction)) {
          known = funct3(instruction) != 4;
          if (known) executeCsr(instruction);
        } else {
          const target = privileged(hart, instruction, pc);
          if (target) next = target;
        }
        if (core.outcome) {
          if (core.outcome != DONE_LOOK_UP) { cut = left; left = 0; continue; }
          cut = left - 1;
          left = 1;
        }
        break;
      default: known = false;
    }
    if (!known) {
      illegal(pc);
      cut = left;
      left = 0;
      continue;
    }
    pc = next;
    left--;
  }
  setX(hart, 0, 0);
  store<u64>(hart, pc, HART_PC);
  core.slice = 0;
  core.left = 0;
  return count - cut;
}
