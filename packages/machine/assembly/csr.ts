/**
 * Control and status registers (Zicsr; Privileged ISA manual, chapters "CSRs", "Machine-Level ISA" and
 * "Supervisor-Level ISA").
 *
 * system -> [csr] -> the hart's fields, interrupts, clock
 *
 * A register that is not in readCsr() does not exist: an illegal instruction, like one that the
 * privilege may not use. Fields that allow some values only (WARL) keep the old one otherwise.
 */
import { guestTicks } from './clock';
import { core, DONE_SWITCHED, field, raise, retired, setField } from './core';
import { funct3, rdAt, rs1At } from './decode';
import {
  ALL_BITS, MIP_SSIP, pendingInterrupts, softwareBits, SUPERVISOR_BITS, takable,
} from './interrupts';
import {
  DEVICES_SSIP, HART_FCSR, HART_MCAUSE, HART_MCOUNTEREN, HART_MCYCLE_OFFSET, HART_MEDELEG, HART_MEPC, HART_MIDELEG, HART_MIE,
  HART_MINSTRET_OFFSET, HART_MIP, HART_MSCRATCH, HART_MSTATUS, HART_MTVAL, HART_MTVEC, HART_SATP,
  HART_SCAUSE, HART_SCOUNTEREN, HART_SEPC, HART_SSCRATCH, HART_STVAL, HART_STVEC, HART_X, PRIVILEGE_M,
  PRIVILEGE_S, PRIVILEGE_U,
} from './machine-map.ts';
import {
  applyStatus, dropEntries, legalStatus, MSTATUS_FS, MSTATUS_TVM, readStatus, SSTATUS_VISIBLE,
} from './status';
import { isForbidden } from './system';
import { ILLEGAL_INSTRUCTION } from './trap';
import { legalSatp } from './walk';

const FFLAGS: u32 = 0x001;
const FRM: u32 = 0x002;
const FCSR: u32 = 0x003;
const SSTATUS: u32 = 0x100;
const SIE: u32 = 0x104;
const STVEC: u32 = 0x105;
const SCOUNTEREN: u32 = 0x106;
const SENVCFG: u32 = 0x10a;
const SSCRATCH: u32 = 0x140;
const SEPC: u32 = 0x141;
const SCAUSE: u32 = 0x142;
const STVAL: u32 = 0x143;
const SIP: u32 = 0x144;
const SATP: u32 = 0x180;
const MSTATUS: u32 = 0x300;
const MISA: u32 = 0x301;
const MEDELEG: u32 = 0x302;
const MIDELEG: u32 = 0x303;
const MIE: u32 = 0x304;
const MTVEC: u32 = 0x305;
const MCOUNTEREN: u32 = 0x306;
const MENVCFG: u32 = 0x30a;
const MCOUNTINHIBIT: u32 = 0x320;
const MSCRATCH: u32 = 0x340;
const MEPC: u32 = 0x341;
const MCAUSE: u32 = 0x342;
const MTVAL: u32 = 0x343;
const MIP: u32 = 0x344;
const MCYCLE: u32 = 0xb00;
const MINSTRET: u32 = 0xb02;
const CYCLE: u32 = 0xc00;
const TIME: u32 = 0xc01;
const INSTRET: u32 = 0xc02;
const HPMCOUNTER31: u32 = 0xc1f;
const MVENDORID: u32 = 0xf11;
const MHARTID: u32 = 0xf14;
const MCONFIGPTR: u32 = 0xf15;

/** misa: RV64, and a bit for each extension letter: U, S, M, I, F, D, C, A. */
const MISA_VALUE: u64 = 2 << 62 | 1 << 20 | 1 << 18 | 1 << 12 | 1 << 8 | 1 << 5 | 1 << 3 | 1 << 2 | 1;
/** Exceptions that can be delegated: all but ecall from M and what is not defined. */
const MEDELEG_MASK: u64 = 0xb3ff;
/** cycle, time, instret: the counters that count. */
const COUNTEREN_MASK: u64 = 7;

let exists: bool = true;

/** mhpmcounter3..31 and mhpmevent3..31 exist and count nothing, as the manual wants at least. */
@inline function isIdleCounter(csr: u32): bool {
  return (csr >= 0xb03 && csr <= 0xb1f) || (csr >= 0x323 && csr <= 0x33f)
    || (csr > INSTRET && csr <= HPMCOUNTER31);
}

/**
 * Triggers and memory protection with no trigger and no entry: programs that set them up without asking
 * find registers that stay 0, which the manual allows. Nothing to configure in the environment either.
 */
@inline function isEmptyUnit(csr: u32): bool {
  return (csr >= 0x7a0 && csr <= 0x7a3) || (csr >= 0x3a0 && csr <= 0x3ef) || csr == MENVCFG || csr == SENVCFG;
}

/** Value of a register. Sets `exists`. */
function readCsr(csr: u32): u64 {
  exists = true;
  switch (csr) {
    case FFLAGS: return field(HART_FCSR) & 31;
    case FRM: return field(HART_FCSR) >> 5;
    case FCSR: return field(HART_FCSR);
    case SSTATUS: return readStatus() & SSTATUS_VISIBLE;
    case SIE: return field(HART_MIE) & field(HART_MIDELEG);
    case STVEC: return field(HART_STVEC);
    case SCOUNTEREN: return field(HART_SCOUNTEREN);
    case SSCRATCH: return field(HART_SSCRATCH);
    case SEPC: return field(HART_SEPC);
    case SCAUSE: return field(HART_SCAUSE);
    case STVAL: return field(HART_STVAL);
    case SIP: return pendingInterrupts() & field(HART_MIDELEG);
    case SATP: return field(HART_SATP);
    case MSTATUS: return readStatus();
    case MISA: return MISA_VALUE;
    case MEDELEG: return field(HART_MEDELEG);
    case MIDELEG: return field(HART_MIDELEG);
    case MIE: return field(HART_MIE);
    case MTVEC: return field(HART_MTVEC);
    case MCOUNTEREN: return field(HART_MCOUNTEREN);
    case MSCRATCH: return field(HART_MSCRATCH);
    case MEPC: return field(HART_MEPC);
    case MCAUSE: return field(HART_MCAUSE);
    case MTVAL: return field(HART_MTVAL);
    case MIP: return pendingInterrupts();
    case MCYCLE: case CYCLE: return retired() + field(HART_MCYCLE_OFFSET);
    case MINSTRET: case INSTRET: return retired() + field(HART_MINSTRET_OFFSET);
    case TIME: return guestTicks();
    case MHARTID: return <u64>core.number;
  }
  exists = (csr >= MVENDORID && csr < MHARTID) || csr == MCONFIGPTR || csr == MCOUNTINHIBIT
    || isIdleCounter(csr) || isEmptyUnit(csr);
  return 0; // vendor, architecture and implementation 0: not a commercial one
}

/** The software bits of `mask` become those of `value`; SSIP is where other harts' IPIs set it. */
function writePending(mask: u64, value: u64): void {
  const ssip = DEVICES_SSIP + <usize>core.number * 8;
  if (mask & MIP_SSIP) atomic.store<u64>(ssip, (value & MIP_SSIP) >> 1);
  writeMasked(HART_MIP, mask & ~MIP_SSIP, value);
}

@inline function writeMasked(offset: usize, mask: u64, value: u64): void {
  setField(offset, (field(offset) & ~mask) | (value & mask));
}

/** fflags, frm and fcsr are part of the floating-point state: a write makes it Dirty. */
function writeFcsr(value: u64): void {
  setField(HART_FCSR, value & 0xff);
  setField(HART_MSTATUS, field(HART_MSTATUS) | MSTATUS_FS);
}

/** mtvec and stvec: modes 0 and 1 exist, for another one the mode becomes 0. */
@inline function legalVector(value: u64): u64 { return value & 2 ? value & ~3 : value; }

function writeStatus(value: u64): void {
  setField(HART_MSTATUS, legalStatus(field(HART_MSTATUS), value));
  applyStatus();
}

function writeSatp(value: u64): void {
  const old = field(HART_SATP);
  const legal = legalSatp(old, value);
  if (legal == old) return;
  setField(HART_SATP, legal);
  dropEntries();
  core.outcome = DONE_SWITCHED;
}

function writeCsr(csr: u32, value: u64): void {
  switch (csr) {
    case FFLAGS: writeFcsr((field(HART_FCSR) & ~31) | (value & 31)); break;
    case FRM: writeFcsr((field(HART_FCSR) & 31) | value << 5); break;
    case FCSR: writeFcsr(value); break;
    case SSTATUS: writeStatus((field(HART_MSTATUS) & ~SSTATUS_VISIBLE) | (value & SSTATUS_VISIBLE)); break;
    case SIE: writeMasked(HART_MIE, field(HART_MIDELEG), value); break;
    case STVEC: setField(HART_STVEC, legalVector(value)); break;
    case SCOUNTEREN: setField(HART_SCOUNTEREN, value & COUNTEREN_MASK); break;
    case SSCRATCH: setField(HART_SSCRATCH, value); break;
    case SEPC: setField(HART_SEPC, value & ~1); break;
    case SCAUSE: setField(HART_SCAUSE, value); break;
    case STVAL: setField(HART_STVAL, value); break;
    case SIP: writePending(field(HART_MIDELEG) & MIP_SSIP, value); break;
    case SATP: writeSatp(value); break;
    case MSTATUS: writeStatus(value); break;
    case MEDELEG: setField(HART_MEDELEG, value & MEDELEG_MASK); break;
    case MIDELEG: setField(HART_MIDELEG, value & SUPERVISOR_BITS); break;
    case MIE: setField(HART_MIE, value & ALL_BITS); break;
    case MTVEC: setField(HART_MTVEC, legalVector(value)); break;
    case MCOUNTEREN: setField(HART_MCOUNTEREN, value & COUNTEREN_MASK); break;
    case MSCRATCH: setField(HART_MSCRATCH, value); break;
    case MEPC: setField(HART_MEPC, value & ~1); break;
    case MCAUSE: setField(HART_MCAUSE, value); break;
    case MTVAL: setField(HART_MTVAL, value); break;
    case MIP: writePending(SUPERVISOR_BITS, value); break;
    // The next instruction reads what was written: this one counts before it.
    case MCYCLE: setField(HART_MCYCLE_OFFSET, value - retired() - 1); break;
    case MINSTRET: setField(HART_MINSTRET_OFFSET, value - retired() - 1); break;
  }
  // What may have let an interrupt through: it is taken before the next instruction.
  const lets = csr == SSTATUS || csr == SIE || csr == SIP || (csr >= MSTATUS && csr <= MIE) || csr == MIP;
  if (lets && takable()) core.outcome = DONE_SWITCHED;
}

/** Bits 11..10 = 3: read-only. */
@inline function isReadOnly(csr: u32): bool { return csr >> 10 == 3; }

/** cycle, time, instret and hpmcounters below M: as mcounteren and, for U, scounteren allow. */
function isHidden(csr: u32): bool {
  const bit = csr & 31;
  if (core.privilege == PRIVILEGE_M) return false;
  if (!(field(HART_MCOUNTEREN) >> bit & 1)) return true;
  return core.privilege == PRIVILEGE_U && !(field(HART_SCOUNTEREN) >> bit & 1);
}

/** Whether the privilege may use it. Bits 9..8: the lowest that may; 2 is the hypervisor's. */
function isOpen(csr: u32): bool {
  const lowest = <i32>(csr >> 8 & 3);
  if (lowest == 2 || lowest > core.privilege) return false;
  // The floating-point registers are there only while FS is not Off.
  if (csr >= FFLAGS && csr <= FCSR && !(field(HART_MSTATUS) & MSTATUS_FS)) return false;
  if (csr == SATP && core.privilege == PRIVILEGE_S) return !isForbidden(MSTATUS_TVM);
  return csr < CYCLE || csr > HPMCOUNTER31 || !isHidden(csr);
}

/** What a set or clear starts from: of mip only the bits that software wrote (section "mip and mie"). */
function writableValue(csr: u32, old: u64): u64 {
  return csr == MIP || csr == SIP ? softwareBits() : old;
}

/**
 * CSRRW, CSRRS, CSRRC and their immediate forms. A set or clear with x0 (or 0) does not write, so it
 * may name a read-only register.
 */
export function executeCsr(instruction: u32): void {
  const csr = instruction >> 20;
  const operation = funct3(instruction) & 3;
  const source = rs1At(instruction);
  const operand = funct3(instruction) & 4 ? <u64>(source >> 3) : load<u64>(core.block + source, HART_X);
  const writes = operation == 1 || source != 0;
  const open = isOpen(csr) && !(writes && isReadOnly(csr));
  const old = open ? readCsr(csr) : 0;
  if (!open || !exists) {
    raise(ILLEGAL_INSTRUCTION, <u64>instruction);
    return;
  }
  if (writes && operation == 1) writeCsr(csr, operand);
  else if (writes) {
    const base = writableValue(csr, old);
    writeCsr(csr, operation == 2 ? base | operand : base & ~operand);
  }
  store<u64>(core.block + rdAt(instruction), old, HART_X);
}
