/**
 * The machine's own fields: what of a hart's block and of DEVICES belongs to the RISC-V computer.
 *
 * Constants only, like memory-map.ts and for the same two readers. Every field here is 64 bits wide
 * at a multiple of 8 (the device words that several threads change are used with atomics), so the
 * TypeScript side captures them through one BigInt64Array by name (src/machine-state.ts).
 */
import { DEVICES, HART_OWN } from './memory-map.ts';

// ------------------------------------------------------------------------------- HART fields
// Offsets from HARTS + hart * HART_SIZE. Written by the hart's own thread, read by others only
// while the hart is STOPPED.

/** x0..x31. x0's slot always holds 0; a 33rd slot takes what is written to x0. */
export const HART_X = HART_OWN;
/** f0..f31; a single has all ones in its upper half. */
export const HART_F = HART_X + 264;
export const HART_PC = HART_F + 256;
/** PRIVILEGE_U, PRIVILEGE_S or PRIVILEGE_M. */
export const HART_PRIVILEGE = HART_PC + 8;
/** 1 = the hart has executed WFI and waits for its end. */
export const HART_WFI = HART_PRIVILEGE + 8;
/** Physical address of the LR reservation, or NO_RESERVATION; and the value LR saw there. */
export const HART_RESERVED = HART_WFI + 8;
export const HART_RESERVED_VALUE = HART_RESERVED + 8;

// Machine-level registers. mstatus holds sstatus too, mie holds sie.
export const HART_MSTATUS = HART_RESERVED_VALUE + 8;
export const HART_MIE = HART_MSTATUS + 8;
/** STIP and SEIP as machine mode set them in mip; SSIP is in DEVICES_SSIP. */
export const HART_MIP = HART_MIE + 8;
export const HART_MTVEC = HART_MIP + 8;
export const HART_MSCRATCH = HART_MTVEC + 8;
export const HART_MEPC = HART_MSCRATCH + 8;
export const HART_MCAUSE = HART_MEPC + 8;
export const HART_MTVAL = HART_MCAUSE + 8;
export const HART_MEDELEG = HART_MTVAL + 8;
export const HART_MIDELEG = HART_MEDELEG + 8;
export const HART_MCOUNTEREN = HART_MIDELEG + 8;

// Supervisor-level registers.
export const HART_STVEC = HART_MCOUNTEREN + 8;
export const HART_SSCRATCH = HART_STVEC + 8;
export const HART_SEPC = HART_SSCRATCH + 8;
export const HART_SCAUSE = HART_SEPC + 8;
export const HART_STVAL = HART_SCAUSE + 8;
export const HART_SATP = HART_STVAL + 8;
export const HART_SCOUNTEREN = HART_SATP + 8;

/** fcsr: rounding mode (frm) in bits 7..5, accrued exceptions (fflags) below. */
export const HART_FCSR = HART_SCOUNTEREN + 8;
/** minstret = HART_INSTRUCTIONS + this; mcycle likewise. */
export const HART_MINSTRET_OFFSET = HART_FCSR + 8;
export const HART_MCYCLE_OFFSET = HART_MINSTRET_OFFSET + 8;
/** CLOCK_INSTRUCTIONS: ticks of guest time beyond those of retired instructions (WFI, mtime writes). */
export const HART_TICKS_SKIPPED = HART_MCYCLE_OFFSET + 8;
/** Derived, not moved: HART_INSTRUCTIONS + 1 at the last synchronous trap, to see a trap loop. */
export const HART_LAST_TRAP = HART_TICKS_SKIPPED + 8;
export const HART_FIELDS_END = HART_LAST_TRAP + 8;

/** Room for what a device works out while it is served, far from every field; means nothing afterwards. */
export const HART_SCRATCH = 32768;

/**
 * Counters of the profile variant, 64 bits each: an operation each (operations.ts), then the events, then
 * exceptions and interrupts by cause.
 */
export const HART_PROFILE = 16384;
export const PROFILE_READ_MISSES = 256;
export const PROFILE_WRITE_MISSES = 257;
export const PROFILE_FETCH_MISSES = 258;
/** Walks of a page table, by any kind of miss. */
export const PROFILE_WALKS = 259;
/** Pages decoded anew, and decoded pages compared with RAM after a fence. */
export const PROFILE_PAGES_DECODED = 260;
export const PROFILE_PAGES_COMPARED = 261;
/** TLBs emptied by SFENCE.VMA, a write of satp, or another hart. */
export const PROFILE_FLUSHES = 262;
/** Write entries armed again after a harvest: a store found the page without a fill. */
export const PROFILE_ARMED_AGAIN = 263;
export const PROFILE_EXCEPTIONS = 264;
export const PROFILE_INTERRUPTS = 296;
export const PROFILE_END = 328;

export const NO_RESERVATION = -1;
export const PRIVILEGE_U = 0;
export const PRIVILEGE_S = 1;
export const PRIVILEGE_M = 3;
/** mstatus after reset: UXL and SXL say 64 bits, which is all there is. */
export const MSTATUS_RESET = 0xa00000000;
/** What a supervisor finds delegated to it when the host is its firmware: all but its own ecall. */
export const MEDELEG_SUPERVISOR = 0xb1ff;
export const MIDELEG_SUPERVISOR = 0x222;
/** cycle, time and instret may be read below machine mode. */
export const MCOUNTEREN_SUPERVISOR = 7;

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
/** 1 = started in supervisor mode: no firmware, the machine itself answers SBI calls (sbi.ts). */
export const DEVICES_SUPERVISOR = DEVICES + 48;
/** The device that console input goes to: CONSOLE_AT_UART or CONSOLE_AT_VIRTIO. */
export const DEVICES_CONSOLE = DEVICES + 56;

/** CLINT: software interrupt (0 or 1) and timer compare of each hart. */
export const CLINT_MSIP = DEVICES + 64;
export const CLINT_MTIMECMP = CLINT_MSIP + 64;
/** Supervisor software interrupt (0 or 1) of each hart: sip.SSIP. */
export const DEVICES_SSIP = CLINT_MTIMECMP + 64;

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

/** Real-time clock: what the guest added to it and its alarm, in ns; the alarm's two bits; see rtc.ts. */
export const RTC_OFFSET = DEVICES + 384;
export const RTC_ALARM = RTC_OFFSET + 8;
export const RTC_ARMED = RTC_ALARM + 8;
export const RTC_PENDING = RTC_ARMED + 8;
export const RTC_ENABLED = RTC_PENDING + 8;
/** High halves that go with the low half that is read next, and that was written last. */
export const RTC_HIGH_READ = RTC_ENABLED + 8;
export const RTC_HIGH_WRITTEN = RTC_HIGH_READ + 8;
export const RTC_ALARM_HIGH = RTC_HIGH_WRITTEN + 8;

/** Console output: bytes ever written by the guest, and of those acknowledged by the reader. */
export const CONSOLE_OUT_WRITTEN = DEVICES + 512;
export const CONSOLE_OUT_ACKED = CONSOLE_OUT_WRITTEN + 8;
/** Console input: bytes ever written by the host, and of those taken by the UART. */
export const CONSOLE_IN_WRITTEN = CONSOLE_OUT_ACKED + 8;
export const CONSOLE_IN_TAKEN = CONSOLE_IN_WRITTEN + 8;
/** 1 = somebody waits on CONTROL_BELL_DEVICE for output (32 bits). */
export const CONSOLE_LISTENED = CONSOLE_IN_TAKEN + 8;
export const CONSOLE_OFFSETS_END = CONSOLE_LISTENED + 8;

/** Entropy device: 256-bit key of its stream and the number of blocks taken from it. */
export const ENTROPY_KEY = DEVICES + 640;
export const ENTROPY_BLOCKS = ENTROPY_KEY + 32;

/** SBI: timer compare, state (HSM_*), start address and argument of each hart. */
export const SBI_TIMECMP = DEVICES + 1024;
export const HSM_STATE = SBI_TIMECMP + 64;
export const HSM_ADDRESS = HSM_STATE + 64;
export const HSM_ARGUMENT = HSM_ADDRESS + 64;
/** Derived, not moved: remote fences ever asked of each hart, and those it has done (32 bits). */
export const FENCES_ASKED = HSM_ARGUMENT + 64;
export const FENCES_DONE = FENCES_ASKED + 64;

/** PLIC: priority of each source; enabled sources and threshold of each context; sources in service. */
export const PLIC_PRIORITY = DEVICES + 2048;
export const PLIC_ENABLE = PLIC_PRIORITY + 256;
export const PLIC_THRESHOLD = PLIC_ENABLE + 128;
export const PLIC_CLAIMED = PLIC_THRESHOLD + 128;

/** Virtio: one block a device, its own fields first, then its queues. */
export const VIRTIO_DEVICES = DEVICES + 4096;
export const VIRTIO_DEVICE_SIZE = 512;
export const VIRTIO_STATUS = 0;
export const VIRTIO_DEVICE_FEATURES_SEL = 8;
export const VIRTIO_DRIVER_FEATURES_SEL = 16;
export const VIRTIO_DRIVER_FEATURES = 24;
export const VIRTIO_QUEUE_SEL = 32;
export const VIRTIO_INTERRUPT_STATUS = 40;
export const VIRTIO_QUEUES = 64;
export const VIRTIO_QUEUE_SIZE = 64;
/** Offsets in a queue: its length, 1 = live, the three areas' physical addresses, heads taken. */
export const QUEUE_NUM = 0;
export const QUEUE_READY = 8;
export const QUEUE_DESC = 16;
export const QUEUE_DRIVER = 24;
export const QUEUE_DEVICE = 32;
/** Buffers taken from the available ring and, each in its turn, put into the used ring. */
export const QUEUE_TAKEN = 40;

/** Both rings: byte n of a stream is at n % CONSOLE_RING_SIZE. */
export const CONSOLE_RING_SIZE = 65536;
export const CONSOLE_OUT = DEVICES + 65536;
export const CONSOLE_IN = CONSOLE_OUT + CONSOLE_RING_SIZE;

export const CONSOLE_AT_UART = 0;
export const CONSOLE_AT_VIRTIO = 1;

/** Values of HSM_STATE: those of SBI's hart_get_status. */
export const HSM_STARTED = 0;
export const HSM_STOPPED = 1;
export const HSM_START_PENDING = 2;

/** Virtio devices by their place on the bus. */
export const VIRTIO_CONSOLE = 0;
export const VIRTIO_ENTROPY = 1;
export const VIRTIO_COUNT = 2;
/** Queues of the device that has most. */
export const VIRTIO_QUEUES_MAX = 2;
/** Longest queue a driver may choose. */
export const QUEUE_NUM_MAX = 64;

export const CLOCK_RUNS = 0;
export const CLOCK_FROZEN = 1;
export const CLOCK_THAWING = 2;

// --------------------------------------------------------------------------- physical addresses
// Those of QEMU's virt machine, so that programs made for it run here.

export const SYSCON_BASE = 0x100000;
export const SYSCON_SIZE = 0x1000;
export const RTC_BASE = 0x101000;
export const RTC_SIZE = 0x1000;
export const CLINT_BASE = 0x2000000;
export const CLINT_SIZE = 0x10000;
export const PLIC_BASE = 0xc000000;
export const PLIC_SIZE = 0x600000;
export const UART_BASE = 0x10000000;
export const UART_SIZE = 0x100;
/** Virtio device n at VIRTIO_BASE + n * VIRTIO_SIZE. */
export const VIRTIO_BASE = 0x10001000;
export const VIRTIO_SIZE = 0x1000;
export const RAM_BASE = 0x80000000;

// Interrupt sources of the PLIC; 0 is none.

/** Of virtio device n: this + n. */
export const IRQ_VIRTIO = 1;
export const IRQ_UART = 10;
export const IRQ_RTC = 11;
/** Highest source number: one 32-bit word of sources. */
export const IRQ_MAX = 31;

/** Guest time: 10 MHz. */
export const NANOSECONDS_PER_TICK = 100;
/** CLOCK_INSTRUCTIONS: a nominal 100 MIPS. */
export const INSTRUCTIONS_PER_TICK = 10;
/** CLOCK_INSTRUCTIONS: what the real-time clock shows at guest time 0, in s since 1970 (1 January 2025). */
export const RTC_EPOCH_S = 1735689600;

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
/** The caller listens to the console, does not want to wait, and half the output ring is unread. */
export const EXIT_OUTPUT = 7;
/** The next instruction has a debugger's breakpoint. */
export const EXIT_BREAK = 8;
