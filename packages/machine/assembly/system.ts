/**
 * SYSTEM instructions other than CSR accesses: ecall, ebreak, mret, sret, wfi, sfence.vma
 * (Privileged ISA manual, sections "Machine-Mode Privileged Instructions", "Supervisor Instructions").
 *
 * execute -> [system] -> trap, status, sbi
 */
import { core, DONE_JUMPED, DONE_LOOK_UP, DONE_SWITCHED, field, raise, setField } from './core';
import { executeCsr } from './csr';
import { funct3, rs1At, rs2At } from './decode';
import { isSupervised } from './interrupts';
import { HART_MSTATUS, HART_WFI, HART_X, PRIVILEGE_M, PRIVILEGE_S, PRIVILEGE_U } from './machine-map.ts';
import { sbiCall } from './sbi';
import { dropAddress, dropEntries, MSTATUS_TSR, MSTATUS_TVM, MSTATUS_TW } from './status';
import { BREAKPOINT, ECALL_FROM_U, ILLEGAL_INSTRUCTION, mret, sret } from './trap';

// Those without operands, whole words; SFENCE.VMA has rs1 and rs2.
const ECALL: u32 = 0x00000073;
const EBREAK: u32 = 0x00100073;
const SRET: u32 = 0x10200073;
const WFI: u32 = 0x10500073;
const MRET: u32 = 0x30200073;
const SFENCE_VMA: u32 = 0x12000073;
const SFENCE_VMA_MASK: u32 = 0xfe007fff;

/** Whether S mode may not do what this bit of mstatus keeps for M, or the mode is too low anyway. */
export function isForbidden(bit: u64): bool {
  if (core.privilege == PRIVILEGE_M) return false;
  return core.privilege == PRIVILEGE_U || (field(HART_MSTATUS) & bit) != 0;
}

function ecall(): void {
  if (core.privilege == PRIVILEGE_S && isSupervised()) {
    core.outcome = DONE_LOOK_UP;
    sbiCall();
  } else {
    raise(ECALL_FROM_U + <u64>core.privilege, 0);
  }
}

function sfence(instruction: u32): void {
  const rs1 = rs1At(instruction);
  if (rs1) dropAddress(load<u64>(core.block + rs1, HART_X));
  else dropEntries();
  core.outcome = DONE_SWITCHED;
}

/** False: not an instruction, or not one for this privilege. */
function execute(instruction: u32, pc: u64): bool {
  if ((instruction & SFENCE_VMA_MASK) == SFENCE_VMA) {
    if (isForbidden(MSTATUS_TVM)) return false;
    sfence(instruction);
    return true;
  }
  switch (instruction) {
    case ECALL: ecall(); return true;
    case EBREAK: raise(BREAKPOINT, pc); return true;
    case MRET:
      if (core.privilege != PRIVILEGE_M) return false;
      mret();
      core.outcome = DONE_JUMPED;
      return true;
    case SRET:
      if (isForbidden(MSTATUS_TSR)) return false;
      sret();
      core.outcome = DONE_JUMPED;
      return true;
    case WFI:
      if (isForbidden(MSTATUS_TW)) return false;
      setField(HART_WFI, 1);
      core.outcome = DONE_LOOK_UP;
      return true;
  }
  return false;
}

/** One instruction; says in the outcome what it met. */
export function executeSystem(instruction: u32, pc: u64): void {
  if (funct3(instruction) & 3) executeCsr(instruction);
  else if (!execute(instruction, pc)) raise(ILLEGAL_INSTRUCTION, <u64>instruction);
}
