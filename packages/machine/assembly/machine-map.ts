/**
 * The machine's own fields: what of a hart's block and of DEVICES belongs to the RISC-V computer.
 *
 * Constants only, like memory-map.ts and for the same two readers. Every field here is 64 bits wide
 * at a multiple of 8 (the device words that several threads change are used with atomics), so the
 * TypeScript side captures them through one BigInt64Array by name (src/machine-state.ts).
 */
import { DECODE, DEVICES, HART_OWN } from './memory-map.ts';

// ------------------------------------------------------------------------------- HART fields
// Offsets from HARTS + hart * HART_SIZE. Written by the hart's own thread, read by others only
// while the hart is STOPPED.

/** x0..x31. x0 is a real slot that the interpreter clears before each instruction. */
export const HART_X = HART_OWN;
/** f0..f31, for the F and D extensions. */
export const HART_F = HART_X + 256;
export const HART_PC = HART_F + 256;
/** PRIVILEGE_M, for now always. */
export const HART_PRIVILEGE = HART_PC + 8;
/** 1 = the hart has executed WFI and waits for its end. */
export const HART_WFI = HART_PRIVILEGE + 8;
/** Physical address of the LR reservation, or NO_RESERVATION; and the value LR saw there. */
export const HART_RESERVED = HART_WFI + 8;
export const HART_RESERVED_VALUE = HART_RESERVED + 8;
export const HART_MSTATUS = HART_RESERVED_VALUE + 8;
export const HART_MIE = HART_MSTATUS + 8;
export const HART_MTVEC = HART_MIE + 8;
export const HART_MSCRATCH = HART_MTVEC + 8;
export const HART_MEPC = HART_MSCRATCH + 8;
export const HART_MCAUSE = HART_MEPC + 8;
export const HART_MTVAL = HART_MCAUSE + 8;
/** minstret = HART_INSTRUCTIONS + this; mcycle likewise. */
export const HART_MINSTRET_OFFSET = HART_MTVAL + 8;
export const HART_MCYCLE_OFFSET = HART_MINSTRET_OFFSET + 8;
/** CLOCK_INSTRUCTIONS: ticks of guest time beyond those of retired instructions (WFI, mtime writes). */
export const HART_TICKS_SKIPPED = HART_MCYCLE_OFFSET + 8;
/** Derived, not moved: HART_INSTRUCTIONS + 1 at the last synchronous trap, to see a trap loop. */
export const HART_LAST_TRAP = HART_TICKS_SKIPPED + 8;

export const NO_RESERVATION = -1;
export const PRIVILEGE_M = 3;
/** mstatus after reset: MPP can hold machine mode only. */
export const MSTATUS_RESET = 0x1800;

// ----------------------------------------------------------------------------- DEVICES fields

/** Lock word (32 bits) of the devices: 0 free, 1 taken; notify cell. Held for a few stores at most. */
export const DEVICES_LOCK = DEVICES + 0;
/** CLOCK_HOST: CLOCK_RUNS, CLOCK_FROZEN or CLOCK_THAWING (32 bits). */
export const DEVICES_CLOCK = DEVICES + 8;
/** Guest time in ticks at which the clock stands while frozen. */
export const DEVICES_FROZEN_TICKS = DEVICES + 16;
/** Physical addresses of the program's `tohost` and `fromhost`; 0 = it has none. */
export const DEVICES_TOHOST = DEVICES + 24;
export const DEVICES_FROMHOST = DEVICES + 32;
/** The last value written to the syscon. */
export const DEVICES_SYSCON = DEVICES + 40;

/** CLINT: software interrupt (0 or 1) and timer compare of each hart. */
export const CLINT_MSIP = DEVICES + 64;
export const CLINT_MTIMECMP = CLINT_MSIP + 64;

/** UART: its registers, one byte of meaning each. */
export const UART_IER = DEVICES + 256;
export const UART_FCR = UART_IER + 8;
export const UART_LCR = UART_FCR + 8;
export const UART_MCR = UART_LCR + 8;
export const UART_SCR = UART_MCR + 8;
/** Baud rate divisor, low and high byte together. */
export const UART_DIVISOR = UART_SCR + 8;
/** 1 = the "transmitter empty" interrupt is pending; always ready, so it is raised by a write to IER. */
export const UART_THRE_PENDING = UART_DIVISOR + 8;

/** Console output: bytes ever written by the guest, and of those acknowledged by the reader. */
export const CONSOLE_OUT_WRITTEN = DEVICES + 512;
export const CONSOLE_OUT_ACKED = CONSOLE_OUT_WRITTEN + 8;
/** Console input: bytes ever written by the host, and of those taken by the UART. */
export const CONSOLE_IN_WRITTEN = CONSOLE_OUT_ACKED + 8;
export const CONSOLE_IN_TAKEN = CONSOLE_IN_WRITTEN + 8;
/** 1 = somebody waits on CONTROL_BELL_DEVICE for output (32 bits). */
export const CONSOLE_LISTENED = CONSOLE_IN_TAKEN + 8;

/** Both rings: byte n of a stream is at n % CONSOLE_RING_SIZE. */
export const CONSOLE_RING_SIZE = 65536;
export const CONSOLE_OUT = DEVICES + 65536;
export const CONSOLE_IN = CONSOLE_OUT + CONSOLE_RING_SIZE;

export const CLOCK_RUNS = 0;
export const CLOCK_FROZEN = 1;
export const CLOCK_THAWING = 2;

// ---------------------------------------------------------------------------------- DECODE use

/**
 * The 32-bit equivalent of every 16-bit instruction, indexed by it; then one word that is 1 when the
 * table is complete. One table for all harts: it is the same for each, and so may be built twice.
 */
export const EXPANSIONS = DECODE;
export const EXPANSIONS_READY = EXPANSIONS + 65536 * 4;

// --------------------------------------------------------------------------- physical addresses
// Those of QEMU's virt machine, so that programs made for it run here.

export const SYSCON_BASE = 0x100000;
export const SYSCON_SIZE = 0x1000;
export const CLINT_BASE = 0x2000000;
export const CLINT_SIZE = 0x10000;
export const UART_BASE = 0x10000000;
export const UART_SIZE = 0x100;
export const RAM_BASE = 0x80000000;

/** Guest time: 10 MHz. */
export const NANOSECONDS_PER_TICK = 100;
/** CLOCK_INSTRUCTIONS: a nominal 100 MIPS. */
export const INSTRUCTIONS_PER_TICK = 10;

// ------------------------------------------------------------------------- why run() returned

/** CONTROL_RUN is not RUN_GO. */
export const EXIT_STOPPED = 1;
/** The caller's count of instructions is used up. */
export const EXIT_BUDGET = 2;
/** CONTROL_END is set: power-off, reboot, tohost, crash. */
export const EXIT_END = 3;
/** CONTROL_STOP_AT is reached. */
export const EXIT_STOP_AT = 4;
/** The hart is in WFI and the caller did not want to wait. */
export const EXIT_WFI = 5;
/** Another thread runs this hart. */
export const EXIT_BUSY = 6;
