/**
 * The interpreter: executes a slice of instructions.
 *
 * hart -> [execute: one decoded entry after the other] -> hart
 *
 * One switch over the operations of decoded entries (operations.ts); what an entry holds is in code.ts,
 * how it comes about in predecode.ts. The loop's own state is in locals: the entry, its page's slot and
 * virtual address, the count left. The registers are in the hart's block, so that a stop at any
 * instruction finds them in place.
 *
 * An instruction that met anything but DONE leaves the loop through leave(). One that trapped or is to be
 * executed again has changed nothing, and pc stays on it.
 */
import { div, divu, divuw, divw, mulh, mulhsu, mulhu, rem, remu, remuw, remw } from './alu';
import { executeAtomic } from './atomics';
import { COPY, crossingEntry, crossingSlot, dropCode, prepareCrossing } from './code';
import { core, DONE, DONE_JUMPED, DONE_SWITCHED, raise, RETRY, setField, TRAPPED } from './core';
import { immI, immS, rs1At } from './decode';
import { BOX, executeFloat, loadFloat, NOT_FLOAT, storeFloat } from './float-instructions';
import { isDirty, plainFloat } from './float-plain';
import { HART_F, HART_PC, HART_X } from './machine-map.ts';
import { PAGE_SIZE } from './memory-map.ts';
import { codeAt, lookUp, NO_PLACE, PAGE_MASK } from './mmu';
import {
  DO_ADD, DO_ADDI, DO_ADDIW, DO_ADDW, DO_AMO, DO_AND, DO_ANDI, DO_AUIPC, DO_BEQ, DO_BEQ_FAR, DO_BGE,
  DO_BGEU, DO_BGEU_FAR, DO_BGE_FAR, DO_BLT, DO_BLTU, DO_BLTU_FAR, DO_BLT_FAR, DO_BNE, DO_BNE_FAR,
  DO_CROSSING, DO_DIV, DO_DIVU, DO_DIVUW, DO_DIVW, DO_FADD_D, DO_FCVT_D_L, DO_FCVT_D_W, DO_FCVT_L_D,
  DO_FCVT_W_D, DO_FDIV_D, DO_FENCE, DO_FENCE_I, DO_FEQ_D, DO_FLD, DO_FLE_D, DO_FLOAT, DO_FLT_D, DO_FLW,
  DO_FMADD_D, DO_FMSUB_D, DO_FMUL_D, DO_FMV_D_X, DO_FMV_X_D, DO_FNMADD_D, DO_FNMSUB_D, DO_FSD, DO_FSGNJN_D,
  DO_FSGNJX_D, DO_FSGNJ_D, DO_FSQRT_D, DO_FSUB_D, DO_FSW, DO_ILLEGAL, DO_JAL, DO_JALR, DO_JAL_FAR, DO_LB,
  DO_LBU, DO_LD, DO_LH, DO_LHU, DO_LI, DO_LUI, DO_LW, DO_LWU, DO_MUL, DO_MULH, DO_MULHSU, DO_MULHU, DO_MULW,
  DO_MV, DO_NOP, DO_OR, DO_ORI, DO_PAGE_END, DO_REM, DO_REMU, DO_REMUW, DO_REMW, DO_SB, DO_SD, DO_SH,
  DO_SLL, DO_SLLI, DO_SLLIW, DO_SLLW, DO_SLT, DO_SLTI, DO_SLTIU, DO_SLTU, DO_SRA, DO_SRAI, DO_SRAIW,
  DO_SRAW, DO_SRL, DO_SRLI, DO_SRLIW, DO_SRLW, DO_SUB, DO_SUBW, DO_SW, DO_SYSTEM, DO_UNDECODED, DO_XOR,
  DO_XORI,
} from './operations';
import { decodeCrossing, decodeEntry, fetchedAt, wordAt } from './predecode';
import { tally } from './profile';
import { fetchHigh, loadSlow, placeToFetch, storeSlow } from './ram';
import { executeSystem } from './system';
import { ILLEGAL_INSTRUCTION } from './trap';

// Operands of an entry by name, in the words of the manual's listings.
@inline function at1(h: usize, e: usize): usize { return h + (<usize>load<u8>(e, 1) << 3); }
@inline function rs1(h: usize, e: usize): u64 { return load<u64>(h + (<usize>load<u8>(e, 2) << 3), HART_X); }
@inline function rs2(h: usize, e: usize): u64 { return load<u64>(h + (<usize>load<u8>(e, 3) << 3), HART_X); }
@inline function imm32(e: usize): i32 { return load<i32>(e, 4) >> 8; }
@inline function imm(e: usize): u64 { return <u64><i64>imm32(e); }
@inline function step(e: usize): usize { return load<u8>(e, 4); }
@inline function rd(h: usize, e: usize, value: u64): void { store<u64>(at1(h, e), value, HART_X); }
/** A 32-bit result, sign-extended as the W instructions want it. */
@inline function rdw(h: usize, e: usize, value: i32): void { rd(h, e, <u64><i64>value); }

/** A load that a read entry answers. False: it takes the slow way. */
@inline function loads<T>(h: usize, reads: usize, e: usize): bool {
  const place = lookUp<T>(reads, rs1(h, e) + imm(e));
  if (place == NO_PLACE) return false;
  rd(h, e, <u64>load<T>(place));
  return true;
}

/** The same for a store and a write entry. */
@inline function stores<T>(h: usize, writes: usize, e: usize): bool {
  const place = lookUp<T>(writes, rs1(h, e) + imm(e));
  if (place == NO_PLACE) return false;
  store<T>(place, <T>rs2(h, e));
  return true;
}

/** The same for the floating-point registers, while their state is Dirty anyway. */
@inline function loadsFloat<T>(h: usize, reads: usize, e: usize): bool {
  const place = lookUp<T>(reads, rs1(h, e) + imm(e));
  if (place == NO_PLACE || !isDirty(h)) return false;
  const bits = <u64>load<T>(place);
  store<u64>(at1(h, e), sizeof<T>() == 8 ? bits : bits | BOX, HART_F);
  return true;
}

@inline function storesFloat<T>(h: usize, writes: usize, e: usize): bool {
  const place = lookUp<T>(writes, rs1(h, e) + imm(e));
  if (place == NO_PLACE || !isDirty(h)) return false;
  store<T>(place, <T>load<u64>(h + (<usize>load<u8>(e, 3) << 3), HART_F));
  return true;
}

/** Virtual address of an entry, in the page that the slot was entered for. */
@inline function pcOf(page: u64, slot: usize, e: usize): u64 { return page + <u64>((e - slot) >> 2); }

/** Entry of an address in its page's slot. */
@inline function entryAt(slot: usize, pc: u64): usize {
  return slot + ((<usize>pc & <usize>(PAGE_SIZE - 1)) << 2);
}

/** x0 is 0 again after an instruction that may have written to it as to any register. */
@inline function zero(h: usize): void { store<u64>(h, 0, HART_X); }

/** Whether a branch out of the page is taken. */
function isTaken(h: usize, e: usize): bool {
  const a = rs1(h, e);
  const b = rs2(h, e);
  switch (<i32>load<u8>(e)) {
    case DO_BEQ_FAR: return a == b;
    case DO_BNE_FAR: return a != b;
    case DO_BLT_FAR: return <i64>a < <i64>b;
    case DO_BGE_FAR: return <i64>a >= <i64>b;
    case DO_BLTU_FAR: return a < b;
  }
  return a >= b;
}

/** Ends execute() after the instruction of an entry: pc, and how many were retired. */
function leave(page: u64, slot: usize, e: usize, done: u32): u32 {
  const stays = core.outcome == TRAPPED || core.outcome == RETRY;
  zero(core.block);
  if (core.outcome != DONE_JUMPED) setField(HART_PC, pcOf(page, slot, stays ? e : e + step(e)));
  core.slice = 0;
  core.left = 0;
  return stays ? done : done + 1;
}

/** Ends it before an instruction at an address; its code is looked up when the hart goes on. */
function leaveTo(pc: u64, done: u32): u32 {
  core.outcome = DONE_JUMPED;
  setField(HART_PC, pc);
  core.slice = 0;
  core.left = 0;
  return done;
}

/** An illegal instruction's value is the instruction as it was fetched: 16 bits for a short one. */
function illegal(slot: usize, e: usize): void {
  raise(ILLEGAL_INSTRUCTION, <u64>fetchedAt(slot, e));
}

/** Loads and stores of floating-point registers. */
function accessFloat(e: usize, i: u32, left: u32): i32 {
  const base = load<u64>(core.block + rs1At(i), HART_X);
  return <i32>load<u8>(e) <= DO_FLD
    ? loadFloat(core.reads, i, base + immI(i), left)
    : storeFloat(core.writes, i, base + immS(i), left);
}

/** What takes more than a line: TLB misses, and what is executed from its word. The outcome says what it met. */
function slow(page: u64, slot: usize, e: usize, left: u32): i32 {
  const h = core.block;
  const address = rs1(h, e) + imm(e);
  core.left = left;
  switch (<i32>load<u8>(e)) {
    case DO_LB: loadSlow<i8>(address, at1(h, e)); break;
    case DO_LH: loadSlow<i16>(address, at1(h, e)); break;
    case DO_LW: loadSlow<i32>(address, at1(h, e)); break;
    case DO_LD: loadSlow<i64>(address, at1(h, e)); break;
    case DO_LBU: loadSlow<u8>(address, at1(h, e)); break;
    case DO_LHU: loadSlow<u16>(address, at1(h, e)); break;
    case DO_LWU: loadSlow<u32>(address, at1(h, e)); break;
    case DO_SB: storeSlow<u8>(address, rs2(h, e)); break;
    case DO_SH: storeSlow<u16>(address, rs2(h, e)); break;
    case DO_SW: storeSlow<u32>(address, rs2(h, e)); break;
    case DO_SD: storeSlow<u64>(address, rs2(h, e)); break;
    case DO_FLW: case DO_FLD: case DO_FSW: case DO_FSD:
      if (accessFloat(e, wordAt(slot, e), left) == NOT_FLOAT) illegal(slot, e);
      break;
    case DO_AMO: executeAtomic(wordAt(slot, e), left); break;
    case DO_SYSTEM: executeSystem(wordAt(slot, e), pcOf(page, slot, e)); break;
    case DO_FENCE_I:
      dropCode();
      core.outcome = DONE_SWITCHED;
      break;
    default: if (<i32>load<u8>(e) < DO_FLOAT || !executeFloat(wordAt(slot, e))) illegal(slot, e);
  }
  zero(h);
  return core.outcome;
}

/** Decodes an entry; one across two pages into the crossing slot, if its second page can be fetched. */
function decode(page: u64, slot: usize, e: usize, left: u32): void {
  if (load<u8>(e) == DO_UNDECODED) {
    decodeEntry(slot, e);
    return;
  }
  const low = <u32>load<u16>(slot + COPY + <usize>PAGE_SIZE - 2);
  core.left = left;
  const high = fetchHigh(page + PAGE_SIZE);
  if (core.outcome) return;
  prepareCrossing(high << 16 | low);
  decodeCrossing(crossingEntry(), high << 16 | low);
}

/**
 * Executes up to `count` instructions of the selected hart from its pc, and returns how many were
 * retired. Fewer than `count`: `core.outcome` says why.
 */
export function execute(count: u32): u32 {
  const h = core.block;
  const reads = core.reads;
  const writes = core.writes;
  const fetches = core.fetches;
  let left = count;
  core.slice = count;
  core.left = count;
  core.outcome = DONE;

  // From a peer's state pc could be odd, and an odd one would fetch past the end of its page.
  const pc = load<u64>(h, HART_PC) & ~1;
  let slot = placeToFetch(pc);
  if (slot == NO_PLACE) return 0;
  let page = pc & PAGE_MASK;
  let e = entryAt(slot, pc);

  while (left) {
    tally(load<u8>(e));
    switch (<i32>load<u8>(e)) {
      case DO_UNDECODED: decode(page, slot, e, left); continue;

      case DO_LB:
        if (!loads<i8>(h, reads, e) && slow(page, slot, e, left)) return leave(page, slot, e, count - left);
        break;
      case DO_LH:
        if (!loads<i16>(h, reads, e) && slow(page, slot, e, left)) return leave(page, slot, e, count - left);
        break;
      case DO_LW:
        if (!loads<i32>(h, reads, e) && slow(page, slot, e, left)) return leave(page, slot, e, count - left);
        break;
      case DO_LD:
        if (!loads<i64>(h, reads, e) && slow(page, slot, e, left)) return leave(page, slot, e, count - left);
        break;
      case DO_LBU:
        if (!loads<u8>(h, reads, e) && slow(page, slot, e, left)) return leave(page, slot, e, count - left);
        break;
      case DO_LHU:
        if (!loads<u16>(h, reads, e) && slow(page, slot, e, left)) return leave(page, slot, e, count - left);
        break;
      case DO_LWU:
        if (!loads<u32>(h, reads, e) && slow(page, slot, e, left)) return leave(page, slot, e, count - left);
        break;

      case DO_SB:
        if (!stores<u8>(h, writes, e) && slow(page, slot, e, left)) return leave(page, slot, e, count - left);
        break;
      case DO_SH:
        if (!stores<u16>(h, writes, e) && slow(page, slot, e, left)) return leave(page, slot, e, count - left);
        break;
      case DO_SW:
        if (!stores<u32>(h, writes, e) && slow(page, slot, e, left)) return leave(page, slot, e, count - left);
        break;
      case DO_SD:
        if (!stores<u64>(h, writes, e) && slow(page, slot, e, left)) return leave(page, slot, e, count - left);
        break;

      case DO_FLW:
        if (!loadsFloat<u32>(h, reads, e) && slow(page, slot, e, left)) return leave(page, slot, e, count - left);
        break;
      case DO_FLD:
        if (!loadsFloat<u64>(h, reads, e) && slow(page, slot, e, left)) return leave(page, slot, e, count - left);
        break;
      case DO_FSW:
        if (!storesFloat<u32>(h, writes, e) && slow(page, slot, e, left)) return leave(page, slot, e, count - left);
        break;
      case DO_FSD:
        if (!storesFloat<u64>(h, writes, e) && slow(page, slot, e, left)) return leave(page, slot, e, count - left);
        break;

      // In two groups, because a function called from one place only is inlined there, and this loop must stay small.
      case DO_FADD_D: case DO_FSUB_D: case DO_FMUL_D: case DO_FDIV_D: case DO_FSQRT_D: case DO_FMADD_D:
      case DO_FMSUB_D: case DO_FNMSUB_D: case DO_FNMADD_D:
        if (!plainFloat(h, e) && slow(page, slot, e, left)) return leave(page, slot, e, count - left);
        break;
      case DO_FSGNJ_D: case DO_FSGNJN_D: case DO_FSGNJX_D: case DO_FEQ_D: case DO_FLT_D: case DO_FLE_D:
      case DO_FCVT_D_W: case DO_FCVT_D_L: case DO_FCVT_W_D: case DO_FCVT_L_D: case DO_FMV_X_D:
      case DO_FMV_D_X:
        if (!plainFloat(h, e) && slow(page, slot, e, left)) return leave(page, slot, e, count - left);
        zero(h);
        break;

      case DO_NOP: break;
      case DO_LI: rd(h, e, imm(e)); break;
      case DO_MV: rd(h, e, rs1(h, e)); break;
      case DO_ADDI: rd(h, e, rs1(h, e) + imm(e)); break;
      case DO_SLTI: rd(h, e, <u64>(<i64>rs1(h, e) < <i64>imm(e))); break;
      case DO_SLTIU: rd(h, e, <u64>(rs1(h, e) < imm(e))); break;
      case DO_XORI: rd(h, e, rs1(h, e) ^ imm(e)); break;
      case DO_ORI: rd(h, e, rs1(h, e) | imm(e)); break;
      case DO_ANDI: rd(h, e, rs1(h, e) & imm(e)); break;
      case DO_SLLI: rd(h, e, rs1(h, e) << imm(e)); break;
      case DO_SRLI: rd(h, e, rs1(h, e) >> imm(e)); break;
      case DO_SRAI: rd(h, e, <u64>(<i64>rs1(h, e) >> <i64>imm(e))); break;
      case DO_ADDIW: rdw(h, e, <i32>rs1(h, e) + imm32(e)); break;
      case DO_SLLIW: rdw(h, e, <i32>rs1(h, e) << imm32(e)); break;
      case DO_SRLIW: rdw(h, e, <i32>(<u32>rs1(h, e) >> <u32>imm32(e))); break;
      case DO_SRAIW: rdw(h, e, <i32>rs1(h, e) >> imm32(e)); break;
      case DO_LUI: rd(h, e, imm(e) << 12); break;
      case DO_AUIPC: rd(h, e, pcOf(page, slot, e) + (imm(e) << 12)); break;

      case DO_ADD: rd(h, e, rs1(h, e) + rs2(h, e)); break;
      case DO_SUB: rd(h, e, rs1(h, e) - rs2(h, e)); break;
      case DO_SLL: rd(h, e, rs1(h, e) << (rs2(h, e) & 63)); break;
      case DO_SLT: rd(h, e, <u64>(<i64>rs1(h, e) < <i64>rs2(h, e))); break;
      case DO_SLTU: rd(h, e, <u64>(rs1(h, e) < rs2(h, e))); break;
      case DO_XOR: rd(h, e, rs1(h, e) ^ rs2(h, e)); break;
      case DO_SRL: rd(h, e, rs1(h, e) >> (rs2(h, e) & 63)); break;
      case DO_SRA: rd(h, e, <u64>(<i64>rs1(h, e) >> (rs2(h, e) & 63))); break;
      case DO_OR: rd(h, e, rs1(h, e) | rs2(h, e)); break;
      case DO_AND: rd(h, e, rs1(h, e) & rs2(h, e)); break;
      case DO_ADDW: rdw(h, e, <i32>rs1(h, e) + <i32>rs2(h, e)); break;
      case DO_SUBW: rdw(h, e, <i32>rs1(h, e) - <i32>rs2(h, e)); break;
      case DO_SLLW: rdw(h, e, <i32>rs1(h, e) << (<i32>rs2(h, e) & 31)); break;
      case DO_SRLW: rdw(h, e, <i32>(<u32>rs1(h, e) >> (<u32>rs2(h, e) & 31))); break;
      case DO_SRAW: rdw(h, e, <i32>rs1(h, e) >> (<i32>rs2(h, e) & 31)); break;

      case DO_MUL: rd(h, e, rs1(h, e) * rs2(h, e)); break;
      case DO_MULH: rd(h, e, mulh(rs1(h, e), rs2(h, e))); break;
      case DO_MULHSU: rd(h, e, mulhsu(rs1(h, e), rs2(h, e))); break;
      case DO_MULHU: rd(h, e, mulhu(rs1(h, e), rs2(h, e))); break;
      case DO_DIV: rd(h, e, div(rs1(h, e), rs2(h, e))); break;
      case DO_DIVU: rd(h, e, divu(rs1(h, e), rs2(h, e))); break;
      case DO_REM: rd(h, e, rem(rs1(h, e), rs2(h, e))); break;
      case DO_REMU: rd(h, e, remu(rs1(h, e), rs2(h, e))); break;
      case DO_MULW: rdw(h, e, <i32>rs1(h, e) * <i32>rs2(h, e)); break;
      case DO_DIVW: rdw(h, e, divw(<i32>rs1(h, e), <i32>rs2(h, e))); break;
      case DO_DIVUW: rdw(h, e, <i32>divuw(<u32>rs1(h, e), <u32>rs2(h, e))); break;
      case DO_REMW: rdw(h, e, remw(<i32>rs1(h, e), <i32>rs2(h, e))); break;
      case DO_REMUW: rdw(h, e, <i32>remuw(<u32>rs1(h, e), <u32>rs2(h, e))); break;

      case DO_BEQ: if (rs1(h, e) == rs2(h, e)) { e += imm32(e); left--; continue; } break;
      case DO_BNE: if (rs1(h, e) != rs2(h, e)) { e += imm32(e); left--; continue; } break;
      case DO_BLT: if (<i64>rs1(h, e) < <i64>rs2(h, e)) { e += imm32(e); left--; continue; } break;
      case DO_BGE: if (<i64>rs1(h, e) >= <i64>rs2(h, e)) { e += imm32(e); left--; continue; } break;
      case DO_BLTU: if (rs1(h, e) < rs2(h, e)) { e += imm32(e); left--; continue; } break;
      case DO_BGEU: if (rs1(h, e) >= rs2(h, e)) { e += imm32(e); left--; continue; } break;
      case DO_JAL: rd(h, e, pcOf(page, slot, e + step(e))); e += imm32(e); left--; continue;

      case DO_BEQ_FAR: case DO_BNE_FAR: case DO_BLT_FAR: case DO_BGE_FAR: case DO_BLTU_FAR: case DO_BGEU_FAR:
        if (!isTaken(h, e)) break;
      // Falls through: its rd is nowhere.
      case DO_JAL_FAR: {
        const target = pcOf(page, slot, e) + imm(e);
        rd(h, e, pcOf(page, slot, e + step(e)));
        left--;
        slot = codeAt(fetches, target);
        if (slot == NO_PLACE) return leaveTo(target, count - left);
        page = target & PAGE_MASK;
        e = entryAt(slot, target);
        continue;
      }
      case DO_JALR: {
        // The target is taken before the link is written: both may be one register.
        const target = (rs1(h, e) + imm(e)) & ~1;
        rd(h, e, pcOf(page, slot, e + step(e)));
        left--;
        slot = codeAt(fetches, target);
        if (slot == NO_PLACE) return leaveTo(target, count - left);
        page = target & PAGE_MASK;
        e = entryAt(slot, target);
        continue;
      }

      case DO_PAGE_END: {
        const target = pcOf(page, slot, e);
        slot = codeAt(fetches, target);
        if (slot == NO_PLACE) return leaveTo(target, count - left);
        page = target & PAGE_MASK;
        e = entryAt(slot, target);
        continue;
      }
      case DO_CROSSING:
        decode(page, slot, e, left);
        if (core.outcome) return leave(page, slot, e, count - left);
        slot = crossingSlot();
        e = crossingEntry();
        continue;

      // A read-modify-write of x0's own slot is the fence: the compiler's atomic.fence does not validate.
      case DO_FENCE: atomic.or<u64>(h, 0, HART_X); break;
      default:
        if (slow(page, slot, e, left)) return leave(page, slot, e, count - left);
    }
    e += step(e);
    left--;
  }
  setField(HART_PC, pcOf(page, slot, e));
  core.slice = 0;
  core.left = 0;
  return count;
}
