/**
 * The interpreter: executes a slice of instructions.
 *
 * hart -> [execute: fetch, decode, do] -> hart
 *
 * One switch over opcode and funct3 together (one indirect jump an instruction: two of them, opcode and
 * then funct3, are a fifth slower). The loop's own state is in locals: pc, the count left, the page
 * fetched from. The registers are in the hart's block, so that a stop at any instruction finds them in
 * place. x0 is cleared before each instruction, which is cheaper than to look at every rd.
 *
 * What an instruction met is in `met`: almost always DONE, a constant the compiler sees through, else
 * core.outcome. One that trapped or is to be executed again has changed nothing, and pc stays on it.
 */
import { executeAtomic } from './atomics';
import { core, DONE, DONE_JUMPED, DONE_LOOK_UP, field, raise, TRAPPED } from './core';
import {
  ADD, ADDI, ADDIW, ADDW, AND, ANDI, BEQ, BGE, BGEU, BLT, BLTU, BNE, F1, F2, F3, F4, F5, F6, F7, FENCE,
  FENCE_I, funct7, immB, immI, immJ, immS, immU, JALR, keyOf, LB, LBU, LD, LH, LHU, LW, LWU,
  OP_32, OP_AMO, OP_AUIPC, OP_FP, OP_JAL, OP_LOAD_FP, OP_LUI, OP_MADD, OP_MSUB, OP_NMADD, OP_NMSUB,
  OP_STORE_FP, OP_SYSTEM, OR, ORI, rdAt, rs1At, rs2At, SB, SD, SH, SLL, SLLI,
  SLLIW, SLT, SLTI, SLTIU, SLTU, SRL, SRLI_SRAI, SRLIW_SRAIW, SW, XOR, XORI,
} from './decode';
import { executeFloat, loadFloat, NOT_FLOAT, storeFloat } from './float-instructions';
import { register, register32, setX, shiftImmediate, shiftImmediate32, word, x } from './integer';
import { EXPANSIONS, HART_PC, HART_X } from './machine-map.ts';
import { PAGE_SIZE } from './memory-map.ts';
import { PAGE_MASK } from './mmu';
import { fetchHigh, loadT, placeToFetch, storeT } from './ram';
import { executeSystem } from './system';
import { ILLEGAL_INSTRUCTION } from './trap';

/** No instruction lies in it: odd. */
const NO_PAGE: u64 = 1;

/** mtval of an illegal instruction is the instruction as it was fetched: 16 bits for a short one. */
function illegal(pc: u64): i32 {
  const place = placeToFetch(pc);
  const low = <u32>load<u16>(place);
  const high = (low & 3) == 3 ? fetchHigh(pc + 2) : 0;
  raise(ILLEGAL_INSTRUCTION, <u64>(high << 16 | low));
  return TRAPPED;
}

// Operands by name, in the words of the manual's listings.
@inline function rs1(hart: usize, instruction: u32): u64 { return x(hart, rs1At(instruction)); }
@inline function rs2(hart: usize, instruction: u32): u64 { return x(hart, rs2At(instruction)); }
@inline function rd(hart: usize, instruction: u32, value: u64): void { setX(hart, rdAt(instruction), value); }

@inline function opLoad<T>(hart: usize, reads: usize, instruction: u32, left: u32): i32 {
  return loadT<T>(reads, rs1(hart, instruction) + immI(instruction), hart + rdAt(instruction), left);
}

@inline function opStore<T>(hart: usize, writes: usize, instruction: u32, left: u32): i32 {
  return storeT<T>(writes, rs1(hart, instruction) + immS(instruction), rs2(hart, instruction), left);
}

/** With funct7 it is another instruction of the same opcode and funct3. */
@inline function other(hart: usize, instruction: u32, pc: u64): i32 {
  return register(hart, instruction) ? DONE : illegal(pc);
}

/**
 * Executes up to `count` instructions of the selected hart from its pc, and returns how many were
 * retired. Fewer than `count`: `core.outcome` says why.
 */
export function execute(count: u32): u32 {
  const h = core.block;
  const reads = core.reads;
  const writes = core.writes;
  // From a peer's state it could be odd, and an odd one would fetch past the end of its page.
  let pc = load<u64>(h, HART_PC) & ~1;
  let left = count;
  let page = NO_PAGE;
  let addend: usize = 0;
  core.slice = count;
  core.outcome = DONE;

  while (left) {
    setX(h, 0, 0);
    if ((pc & PAGE_MASK) != page) {
      const place = placeToFetch(pc);
      if (core.outcome) break;
      page = pc & PAGE_MASK;
      addend = place - <usize>pc;
    }
    const at = <usize>pc + addend;
    let i = <u32>load<u16>(at);
    let next = pc + 2;
    if ((i & 3) != 3) {
      i = load<u32>(EXPANSIONS + (i << 2));
    } else {
      next = pc + 4;
      if ((<u32>pc & (PAGE_SIZE - 1)) != PAGE_SIZE - 2) {
        i |= <u32>load<u16>(at, 2) << 16;
      } else {
        i |= fetchHigh(pc + 2) << 16;
        if (core.outcome) break;
      }
    }

    let met = DONE;
    switch (keyOf(i)) {
      case LB: met = opLoad<i8>(h, reads, i, left); break;
      case LH: met = opLoad<i16>(h, reads, i, left); break;
      case LW: met = opLoad<i32>(h, reads, i, left); break;
      case LD: met = opLoad<i64>(h, reads, i, left); break;
      case LBU: met = opLoad<u8>(h, reads, i, left); break;
      case LHU: met = opLoad<u16>(h, reads, i, left); break;
      case LWU: met = opLoad<u32>(h, reads, i, left); break;

      case SB: met = opStore<u8>(h, writes, i, left); break;
      case SH: met = opStore<u16>(h, writes, i, left); break;
      case SW: met = opStore<u32>(h, writes, i, left); break;
      case SD: met = opStore<u64>(h, writes, i, left); break;

      case ADDI: rd(h, i, rs1(h, i) + immI(i)); break;
      case SLTI: rd(h, i, <u64>(<i64>rs1(h, i) < <i64>immI(i))); break;
      case SLTIU: rd(h, i, <u64>(rs1(h, i) < immI(i))); break;
      case XORI: rd(h, i, rs1(h, i) ^ immI(i)); break;
      case ORI: rd(h, i, rs1(h, i) | immI(i)); break;
      case ANDI: rd(h, i, rs1(h, i) & immI(i)); break;
      case SLLI: case SRLI_SRAI: if (!shiftImmediate(h, i)) met = illegal(pc); break;
      case ADDIW: rd(h, i, word(<i32>(rs1(h, i) + immI(i)))); break;
      case SLLIW: case SRLIW_SRAIW: if (!shiftImmediate32(h, i)) met = illegal(pc); break;

      case ADD: if (funct7(i)) met = other(h, i, pc); else rd(h, i, rs1(h, i) + rs2(h, i)); break;
      case SLL: if (funct7(i)) met = other(h, i, pc); else rd(h, i, rs1(h, i) << (rs2(h, i) & 63)); break;
      case SLT:
        if (funct7(i)) met = other(h, i, pc);
        else rd(h, i, <u64>(<i64>rs1(h, i) < <i64>rs2(h, i)));
        break;
      case SLTU: if (funct7(i)) met = other(h, i, pc); else rd(h, i, <u64>(rs1(h, i) < rs2(h, i))); break;
      case XOR: if (funct7(i)) met = other(h, i, pc); else rd(h, i, rs1(h, i) ^ rs2(h, i)); break;
      case SRL: if (funct7(i)) met = other(h, i, pc); else rd(h, i, rs1(h, i) >> (rs2(h, i) & 63)); break;
      case OR: if (funct7(i)) met = other(h, i, pc); else rd(h, i, rs1(h, i) | rs2(h, i)); break;
      case AND: if (funct7(i)) met = other(h, i, pc); else rd(h, i, rs1(h, i) & rs2(h, i)); break;
      case ADDW:
        if (!funct7(i)) rd(h, i, word(<i32>rs1(h, i) + <i32>rs2(h, i)));
        else if (!register32(h, i)) met = illegal(pc);
        break;

      case BEQ: if (rs1(h, i) == rs2(h, i)) next = pc + immB(i); break;
      case BNE: if (rs1(h, i) != rs2(h, i)) next = pc + immB(i); break;
      case BLT: if (<i64>rs1(h, i) < <i64>rs2(h, i)) next = pc + immB(i); break;
      case BGE: if (<i64>rs1(h, i) >= <i64>rs2(h, i)) next = pc + immB(i); break;
      case BLTU: if (rs1(h, i) < rs2(h, i)) next = pc + immB(i); break;
      case BGEU: if (rs1(h, i) >= rs2(h, i)) next = pc + immB(i); break;

      case JALR: {
        // The target is taken before the link is written: both may be one register.
        const target = (rs1(h, i) + immI(i)) & ~1;
        rd(h, i, next);
        next = target;
        break;
      }
      // No decoded instruction is kept, so every fetch sees every store without FENCE.I. A read-modify-
      // write of x0's own slot is the fence: the compiler's atomic.fence does not validate.
      case FENCE: case FENCE_I: atomic.or<u64>(h, 0, HART_X); break;

      // These have immediate bits in funct3's place, or are told apart elsewhere. All eight values of each
      // are named, since only a switch that is dense enough becomes a jump table.
      case OP_LUI: case OP_LUI | F1: case OP_LUI | F2: case OP_LUI | F3:
      case OP_LUI | F4: case OP_LUI | F5: case OP_LUI | F6: case OP_LUI | F7:
        rd(h, i, immU(i));
        break;
      case OP_AUIPC: case OP_AUIPC | F1: case OP_AUIPC | F2: case OP_AUIPC | F3:
      case OP_AUIPC | F4: case OP_AUIPC | F5: case OP_AUIPC | F6: case OP_AUIPC | F7:
        rd(h, i, pc + immU(i));
        break;
      case OP_JAL: case OP_JAL | F1: case OP_JAL | F2: case OP_JAL | F3:
      case OP_JAL | F4: case OP_JAL | F5: case OP_JAL | F6: case OP_JAL | F7:
        rd(h, i, next);
        next = pc + immJ(i);
        break;
      case OP_32 | F1: case OP_32 | F2: case OP_32 | F3: case OP_32 | F4:
      case OP_32 | F5: case OP_32 | F6: case OP_32 | F7:
        if (!register32(h, i)) met = illegal(pc);
        break;
      case OP_AMO: case OP_AMO | F1: case OP_AMO | F2: case OP_AMO | F3:
      case OP_AMO | F4: case OP_AMO | F5: case OP_AMO | F6: case OP_AMO | F7:
        executeAtomic(i, left);
        met = core.outcome;
        break;
      case OP_LOAD_FP | F2: case OP_LOAD_FP | F3:
        met = loadFloat(reads, i, rs1(h, i) + immI(i), left);
        if (met == NOT_FLOAT) met = illegal(pc);
        break;
      case OP_STORE_FP | F2: case OP_STORE_FP | F3:
        met = storeFloat(writes, i, rs1(h, i) + immS(i), left);
        if (met == NOT_FLOAT) met = illegal(pc);
        break;
      case OP_MADD: case OP_MADD | F1: case OP_MADD | F2: case OP_MADD | F3:
      case OP_MADD | F4: case OP_MADD | F5: case OP_MADD | F6: case OP_MADD | F7:
      case OP_MSUB: case OP_MSUB | F1: case OP_MSUB | F2: case OP_MSUB | F3:
      case OP_MSUB | F4: case OP_MSUB | F5: case OP_MSUB | F6: case OP_MSUB | F7:
      case OP_NMSUB: case OP_NMSUB | F1: case OP_NMSUB | F2: case OP_NMSUB | F3:
      case OP_NMSUB | F4: case OP_NMSUB | F5: case OP_NMSUB | F6: case OP_NMSUB | F7:
      case OP_NMADD: case OP_NMADD | F1: case OP_NMADD | F2: case OP_NMADD | F3:
      case OP_NMADD | F4: case OP_NMADD | F5: case OP_NMADD | F6: case OP_NMADD | F7:
      case OP_FP: case OP_FP | F1: case OP_FP | F2: case OP_FP | F3:
      case OP_FP | F4: case OP_FP | F5: case OP_FP | F6: case OP_FP | F7:
        if (!executeFloat(i)) met = illegal(pc);
        break;
      case OP_SYSTEM: case OP_SYSTEM | F1: case OP_SYSTEM | F2: case OP_SYSTEM | F3:
      case OP_SYSTEM | F4: case OP_SYSTEM | F5: case OP_SYSTEM | F6: case OP_SYSTEM | F7:
        core.left = left;
        executeSystem(i, pc);
        met = core.outcome;
        break;
      default: met = illegal(pc);
    }

    if (met) {
      if (met > DONE_LOOK_UP) break;
      left--;
      pc = met == DONE_JUMPED ? field(HART_PC) : next;
      break;
    }
    pc = next;
    left--;
  }
  setX(h, 0, 0);
  store<u64>(h, pc, HART_PC);
  core.slice = 0;
  core.left = 0;
  return count - left;
}
