/**
 * Control and status registers (Zicsr; Privileged ISA manual, chapters "CSRs" and "Machine-Level ISA").
 *
 * execute -> [csr] -> the hart's fields, the CLINT
 *
 * A register that is not in readCsr() does not exist: an illegal instruction. Fields that allow one
 * value only (WARL) keep it whatever is written.
 */
import { guestTicks } from './clock';
import { core, DONE_LOOK_UP, field, raise, retired, setField } from './core';
import {
  HART_FCSR, HART_MCAUSE, HART_MCYCLE_OFFSET, HART_MEPC, HART_MIE, HART_MINSTRET_OFFSET, HART_MSCRATCH,
  HART_MSTATUS, HART_MTVAL, HART_MTVEC, HART_X,
} from './machine-map.ts';
import { funct3, rdAt, rs1At } from './decode';
import { pendingInterrupts } from './interrupts';
import {
  ILLEGAL_INSTRUCTION, MSTATUS_FS, MSTATUS_MIE, MSTATUS_MPIE, MSTATUS_MPP, MSTATUS_SD,
} from './trap';

const FFLAGS: u32 = 0x001;
const FRM: u32 = 0x002;
const FCSR: u32 = 0x003;
const MSTATUS: u32 = 0x300;
const MISA: u32 = 0x301;
const MIE: u32 = 0x304;
const MTVEC: u32 = 0x305;
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
const MVENDORID: u32 = 0xf11;
const MHARTID: u32 = 0xf14;
const MCONFIGPTR: u32 = 0xf15;

/** misa: RV64, extensions A, C, D, F, I, M. */
const MISA_VALUE: u64 = 2 << 62 | 1 << 12 | 1 << 8 | 1 << 5 | 1 << 3 | 1 << 2 | 1;
/** Interrupts that can be enabled: software, timer, external, of machine mode. */
const MIE_MASK: u64 = 1 << 3 | 1 << 7 | 1 << 11;

let exists: bool = true;

/** mhpmcounter3..31 and mhpmevent3..31 exist and count nothing, as the manual wants at least. */
@inline function isIdleCounter(csr: u32): bool {
  return (csr >= 0xb03 && csr <= 0xb1f) || (csr >= 0x323 && csr <= 0x33f) || (csr >= 0xc03 && csr <= 0xc1f);
}

/**
 * Triggers and memory protection with no trigger and no entry: programs that set them up without asking
 * find registers that stay 0, which the manual allows.
 */
@inline function isEmptyUnit(csr: u32): bool {
  return (csr >= 0x7a0 && csr <= 0x7a3) || (csr >= 0x3a0 && csr <= 0x3ef);
}

/** SD summarises FS. */
function readStatus(): u64 {
  const status = field(HART_MSTATUS);
  return (status & MSTATUS_FS) == MSTATUS_FS ? status | MSTATUS_SD : status;
}

/** fflags, frm and fcsr are part of the floating-point state: a write makes it Dirty. */
function writeFcsr(value: u64): void {
  setField(HART_FCSR, value & 0xff);
  setField(HART_MSTATUS, field(HART_MSTATUS) | MSTATUS_FS);
}

/** Value of a register. Sets `exists`. */
function readCsr(csr: u32): u64 {
  exists = true;
  switch (csr) {
    case FFLAGS: return field(HART_FCSR) & 31;
    case FRM: return field(HART_FCSR) >> 5;
    case FCSR: return field(HART_FCSR);
    case MSTATUS: return readStatus();
    case MISA: return MISA_VALUE;
    case MIE: return field(HART_MIE);
    case MTVEC: return field(HART_MTVEC);
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

function writeCsr(csr: u32, value: u64): void {
  switch (csr) {
    case FFLAGS: writeFcsr((field(HART_FCSR) & ~31) | (value & 31)); break;
    case FRM: writeFcsr((field(HART_FCSR) & 31) | value << 5); break;
    case FCSR: writeFcsr(value); break;
    case MSTATUS:
      setField(HART_MSTATUS, (value & (MSTATUS_MIE | MSTATUS_MPIE | MSTATUS_FS)) | MSTATUS_MPP);
      break;
    case MIE: setField(HART_MIE, value & MIE_MASK); break;
    case MTVEC: setField(HART_MTVEC, value & 2 ? value & ~3 : value); break;
    case MSCRATCH: setField(HART_MSCRATCH, value); break;
    case MEPC: setField(HART_MEPC, value & ~1); break;
    case MCAUSE: setField(HART_MCAUSE, value); break;
    case MTVAL: setField(HART_MTVAL, value); break;
    // The next instruction reads what was written: this one counts before it.
    case MCYCLE: setField(HART_MCYCLE_OFFSET, value - retired() - 1); break;
    case MINSTRET: setField(HART_MINSTRET_OFFSET, value - retired() - 1); break;
  }
  if (csr == MSTATUS || csr == MIE) core.outcome = DONE_LOOK_UP;
}

/** The floating-point registers are there only while FS is not Off. */
@inline function isOffFloat(csr: u32): bool {
  return csr - FFLAGS <= FCSR - FFLAGS && (field(HART_MSTATUS) & MSTATUS_FS) == 0;
}
@inline function isReadOnly(csr: u32): bool { return csr >> 10 == 3; }
/** Bits 9..8: the lowest privilege that may use it; 2 is the hypervisor's. */
@inline function isHypervisors(csr: u32): bool { return (csr >> 8 & 3) == 2; }

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
  const old = readCsr(csr);
  if (!exists || isHypervisors(csr) || isOffFloat(csr) || (writes && isReadOnly(csr))) {
    raise(ILLEGAL_INSTRUCTION, <u64>instruction);
    return;
  }
  if (writes) writeCsr(csr, operation == 1 ? operand : operation == 2 ? old | operand : old & ~operand);
  store<u64>(core.block + rdAt(instruction), old, HART_X);
}
