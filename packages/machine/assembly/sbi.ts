/**
 * The firmware of a guest that starts in supervisor mode: the machine answers its SBI calls itself
 * (RISC-V Supervisor Binary Interface Specification, version 2.0).
 *
 * ecall from S -> [sbi: a7 extension, a6 function, a0..a5 arguments] -> a0 error, a1 value
 *
 * A call is one instruction to the guest: it retires, or (a page it needs is not here yet) has done
 * nothing and is executed again. What does not exist answers SBI_ERR_NOT_SUPPORTED.
 *
 *   thread          may change                             why
 *   the hart        its SBI_TIMECMP, its HSM_STATE to STOPPED or STARTED   its own calls
 *   another hart    SSIP, FENCES_ASKED; HSM_STATE STOPPED -> START_PENDING by compare-and-set
 */
import { dropCode } from './code';
import { core, DONE_LOOK_UP, field, setField } from './core';
import { reachOrWait } from './dma';
import {
  CONSOLE_AT_UART, DEVICES_CONSOLE, DEVICES_SSIP, FENCES_ASKED, FENCES_DONE, HART_MSTATUS, HART_PC,
  HART_PRIVILEGE, HART_SATP, HART_WFI, HART_X, HSM_ADDRESS, HSM_ARGUMENT, HSM_START_PENDING, HSM_STARTED,
  HSM_STATE, HSM_STOPPED, PRIVILEGE_S, RAM_BASE, SBI_TIMECMP,
} from './machine-map.ts';
import {
  CONTROL_HARTS, END_POWER_OFF, END_REBOOT, HART_RUNNING, HART_SIZE, HART_STATE, HART_WAKE, HARTS,
} from './memory-map.ts';
import { NO_PLACE } from './mmu';
import { obeyFlush, ring, WAIT_LIMIT_NS } from './park';
import { applyStatus, dropEntries, MSTATUS_SIE } from './status';
import { endGuest, lock, unlock } from './syscon';
import { print, printLocked, takeLocked } from './uart';

// Error codes (chapter "Binary Encoding").
const SUCCESS: u64 = 0;
const NOT_SUPPORTED: u64 = -2;
const INVALID_PARAM: u64 = -3;
const INVALID_ADDRESS: u64 = -5;
const ALREADY_AVAILABLE: u64 = -6;

// Extension ids: ASCII names, but for BASE.
const BASE: u64 = 0x10;
const TIME: u64 = 0x54494d45;
const IPI: u64 = 0x735049;
const RFENCE: u64 = 0x52464e43;
const HSM: u64 = 0x48534d;
const SRST: u64 = 0x53525354;
const DBCN: u64 = 0x4442434e;

/** Version 2.0. */
const SPEC_VERSION: u64 = 2 << 24;
/** No registered implementation: "GDWT". */
const IMPLEMENTATION_ID: u64 = 0x47445754;
const IMPLEMENTATION_VERSION: u64 = 1;
/** hart_mask_base that means every hart. */
const ALL_HARTS: u64 = -1;
/** Most a call of the debug console moves; it answers how much it did. */
const CONSOLE_BYTES_MAX: u64 = 4096;

@inline function argument(n: usize): u64 { return load<u64>(core.block + HART_X + (10 + n) * 8); }
@inline function setArgument(n: usize, value: u64): void { store<u64>(core.block + HART_X + (10 + n) * 8, value); }
@inline function harts(): u64 { return <u64>atomic.load<u32>(CONTROL_HARTS); }
@inline function own(words: usize): usize { return words + <usize>core.number * 8; }

/** The second result of the call in hand. */
let result: u64 = 0;

/** Guest time at which STIP rises. */
export function supervisorTimer(): u64 { return atomic.load<u64>(own(SBI_TIMECMP)); }

/** Executes the call in the registers. */
export function sbiCall(): void {
  core.outcome = DONE_LOOK_UP;
  result = 0;
  const error = call(argument(7), argument(6));
  if (core.outcome != DONE_LOOK_UP) return;
  setArgument(0, error);
  setArgument(1, result);
}

function call(extension: u64, operation: u64): u64 {
  if (extension == BASE) return base(operation);
  if (extension == TIME) return operation == 0 ? setTimer() : NOT_SUPPORTED;
  if (extension == IPI) return operation == 0 ? sendIpi() : NOT_SUPPORTED;
  if (extension == RFENCE) return operation <= 2 ? remoteFence() : NOT_SUPPORTED;
  if (extension == HSM) return hartState(operation);
  if (extension == SRST) return operation == 0 ? reset() : NOT_SUPPORTED;
  return extension == DBCN ? debugConsole(operation) : NOT_SUPPORTED;
}

/** Chapter "Base Extension". Vendor, architecture and implementation of the hart: 0, as in the CSRs. */
function base(operation: u64): u64 {
  if (operation == 0) result = SPEC_VERSION;
  else if (operation == 1) result = IMPLEMENTATION_ID;
  else if (operation == 2) result = IMPLEMENTATION_VERSION;
  else if (operation == 3) result = exists(argument(0)) ? 1 : 0;
  else if (operation > 6) return NOT_SUPPORTED;
  return SUCCESS;
}

function exists(extension: u64): bool {
  return extension == BASE || extension == TIME || extension == IPI || extension == RFENCE
    || extension == HSM || extension == SRST || extension == DBCN;
}

/** Chapter "Timer Extension". The pending bit is a level: a time to come clears it. */
function setTimer(): u64 {
  atomic.store<u64>(own(SBI_TIMECMP), argument(0));
  return SUCCESS;
}

// ------------------------------------------------------------------ calls to a set of harts

/** Whether the mask in a0 and its base in a1 name harts that exist only. */
function isHartMask(): bool {
  const mask = argument(0);
  const from = argument(1);
  if (from == ALL_HARTS || !mask) return true;
  return from < harts() && from + 63 - clz<u64>(mask) < harts();
}

function isMasked(hart: u64): bool {
  const from = argument(1);
  if (from == ALL_HARTS) return true;
  return hart >= from && hart - from < 64 && (argument(0) >> (hart - from) & 1) != 0;
}

/** Chapter "IPI Extension". */
function sendIpi(): u64 {
  if (!isHartMask()) return INVALID_PARAM;
  for (let hart: u64 = 0; hart < harts(); hart++) {
    if (!isMasked(hart)) continue;
    atomic.store<u64>(DEVICES_SSIP + <usize>hart * 8, 1);
    wake(hart);
  }
  return SUCCESS;
}

@inline function wake(hart: u64): void { ring(HARTS + <usize>hart * HART_SIZE + HART_WAKE); }

/**
 * Chapter "RFENCE Extension": FENCE.I, SFENCE.VMA, SFENCE.VMA with an ASID, on other harts. Each drops
 * all it has cached, whatever range is named. Returns when all have: a hart that does not run counts,
 * as it obeys before its next instruction. Two harts may fence each other, so who waits obeys too.
 */
function remoteFence(): u64 {
  if (!isHartMask()) return INVALID_PARAM;
  for (let hart: u64 = 0; hart < harts(); hart++) {
    if (isMasked(hart)) atomic.add<u32>(FENCES_ASKED + <usize>hart * 8, 1);
  }
  obeyFences();
  for (let hart: u64 = 0; hart < harts(); hart++) {
    while (isMasked(hart) && !hasFenced(hart)) {
      obeyFences();
      obeyFlush();
      const done = FENCES_DONE + <usize>hart * 8;
      const seen = atomic.load<u32>(done);
      if (!hasFenced(hart)) atomic.wait<i32>(done, <i32>seen, WAIT_LIMIT_NS / 100);
    }
  }
  return SUCCESS;
}

function hasFenced(hart: u64): bool {
  const asked = atomic.load<u32>(FENCES_ASKED + <usize>hart * 8);
  if (atomic.load<u32>(FENCES_DONE + <usize>hart * 8) == asked) return true;
  return atomic.load<u32>(HARTS + <usize>hart * HART_SIZE + HART_STATE) != HART_RUNNING;
}

/** At each safepoint: does what other harts asked for. */
export function obeyFences(): void {
  const asked = atomic.load<u32>(own(FENCES_ASKED));
  if (atomic.load<u32>(own(FENCES_DONE)) == asked) return;
  dropEntries();
  dropCode();
  atomic.store<u32>(own(FENCES_DONE), asked);
  atomic.notify(own(FENCES_DONE), -1);
}

// ------------------------------------------------------------- chapter "Hart State Management"

function hartState(operation: u64): u64 {
  if (operation == 0) return startHart(argument(0));
  if (operation == 1) {
    atomic.store<u64>(own(HSM_STATE), HSM_STOPPED);
    return SUCCESS; // for nobody: the hart executes nothing more until it is started
  }
  if (operation == 2) {
    if (argument(0) >= harts()) return INVALID_PARAM;
    result = atomic.load<u64>(HSM_STATE + <usize>argument(0) * 8);
    return SUCCESS;
  }
  return operation == 3 ? suspend(<u32>argument(0)) : NOT_SUPPORTED;
}

function startHart(hart: u64): u64 {
  if (hart >= harts()) return INVALID_PARAM;
  if (argument(1) - RAM_BASE >= core.ramBytes) return INVALID_ADDRESS;
  const state = HSM_STATE + <usize>hart * 8;
  if (atomic.load<u64>(state) != HSM_STOPPED) return ALREADY_AVAILABLE;
  lock();
  const free = atomic.load<u64>(state) == HSM_STOPPED;
  if (free) {
    atomic.store<u64>(HSM_ADDRESS + <usize>hart * 8, argument(1));
    atomic.store<u64>(HSM_ARGUMENT + <usize>hart * 8, argument(2));
    atomic.store<u64>(state, HSM_START_PENDING);
  }
  unlock();
  if (!free) return ALREADY_AVAILABLE;
  wake(hart);
  return SUCCESS;
}

/** Retentive suspend is a WFI; one that forgets its registers is not offered. */
function suspend(type: u32): u64 {
  if (type >> 31) return type == 0x80000000 ? NOT_SUPPORTED : INVALID_PARAM;
  if (type) return INVALID_PARAM;
  setField(HART_WFI, 1);
  return SUCCESS;
}

/** Whether this hart may execute; one that was asked to start begins here, in the state SBI names. */
export function isHartStarted(): bool {
  const state = atomic.load<u64>(own(HSM_STATE));
  if (state == HSM_STARTED) return true;
  if (state != HSM_START_PENDING) return false;
  enterSupervisor(atomic.load<u64>(own(HSM_ADDRESS)), atomic.load<u64>(own(HSM_ARGUMENT)));
  atomic.store<u64>(own(HSM_STATE), HSM_STARTED);
  return true;
}

function enterSupervisor(address: u64, value: u64): void {
  setField(HART_PC, address);
  setField(HART_PRIVILEGE, PRIVILEGE_S);
  setField(HART_MSTATUS, field(HART_MSTATUS) & ~MSTATUS_SIE);
  setField(HART_SATP, 0);
  dropEntries();
  applyStatus();
  setArgument(0, <u64>core.number);
  setArgument(1, value);
  setField(HART_WFI, 0);
}

// ------------------------------------------------------- system reset and debug console

/** Chapter "System Reset Extension": shutdown, cold reboot, warm reboot; for no reason or a failure. */
function reset(): u64 {
  const type = argument(0);
  const reason = argument(1);
  if (type > 2 || reason > 1) return INVALID_PARAM;
  endGuest(type ? END_REBOOT : END_POWER_OFF, <u32>reason);
  return SUCCESS; // for nobody
}

/** Chapter "Debug Console Extension": write, read, write one byte. */
function debugConsole(operation: u64): u64 {
  if (operation == 2) {
    print(<u8>argument(0));
    return SUCCESS;
  }
  if (operation > 2) return NOT_SUPPORTED;
  const count = min<u64>(argument(0), CONSOLE_BYTES_MAX);
  if (!count) return SUCCESS;
  if (argument(2)) return INVALID_PARAM; // the high half of an address that has one
  const place = reachOrWait(argument(1), count, operation == 1);
  if (place == NO_PLACE) return INVALID_PARAM;
  lock();
  if (operation == 0) {
    printLocked(place, <u32>count);
    result = count;
  } else {
    const takes = atomic.load<u64>(DEVICES_CONSOLE) == CONSOLE_AT_UART;
    result = takes ? <u64>takeLocked(place, <u32>count) : 0;
  }
  unlock();
  return SUCCESS;
}
