/**
 * Where everything lies in a guest's one shared WebAssembly.Memory.
 *
 * Imported as it is by the wasm core (AssemblyScript) and by the TypeScript side, so that there is
 * one map and not two: only integer constants and their sums, no types, no code. Offsets are bytes
 * from the start of the memory; every region starts where the one before it ends. The map is the
 * same for every guest: a smaller guest has less RAM at the end, the regions before it are
 * virtual memory that costs nothing until it is touched.
 *
 *   CORE | CONTROL | HARTS x 8 | TLB x 8 | DIRTY | STATE | HEAT | DEVICES | DECODE x 8 | RAM
 *
 * Only RAM, the named fields of HARTS and the devices' own state move with a guest. Everything else
 * is derived, and is made anew at the target.
 */

export const PAGE_SHIFT = 12;
export const PAGE_SIZE = 4096;
export const HARTS_MAX = 8;
/** 3.75 GiB of RAM. */
export const PAGES_MAX = 983040;

/** Constants and stack of the wasm core. */
export const CORE = 0;
export const CORE_SIZE = 65536;

export const CONTROL = CORE + CORE_SIZE;
export const CONTROL_SIZE = 65536;

/** One block a hart: registers, CSRs, acknowledge and wake words, fault slot. */
export const HARTS = CONTROL + CONTROL_SIZE;
export const HART_SIZE = 65536;

/** Software TLBs: read, write and fetch entries of one hart, two sets (docs/decisions/0013-tlb-of-two-sets.md). */
export const TLB = HARTS + HARTS_MAX * HART_SIZE;
export const TLB_SIZE = 131072;

/** Dirty log, 1 bit a page: written since the last harvest. */
export const DIRTY = TLB + HARTS_MAX * TLB_SIZE;
export const BITMAP_SIZE = 122880;

/** Page state, 2 bits a page, 16 pages a 32-bit word: ABSENT, LANDING, PRESENT. */
export const STATE = DIRTY + BITMAP_SIZE;
export const STATE_SIZE = 245760;

/** 1 byte a page: decayed count of write fills and faults. */
export const HEAT = STATE + STATE_SIZE;
export const HEAT_SIZE = 983040;

export const DEVICES = HEAT + HEAT_SIZE;
export const DEVICES_SIZE = 1048576;

/** Decoded instructions, a hart each. Never moved. */
export const DECODE = DEVICES + DEVICES_SIZE;
export const DECODE_SIZE = 16777216;

/** Start of guest RAM, rounded up to 2 MiB. */
export const RAM = ((DECODE + HARTS_MAX * DECODE_SIZE + 2097151) / 2097152 | 0) * 2097152;

// ------------------------------------------------------------------------------- CONTROL words
// 32-bit words at fixed places; all of them are only touched with atomic operations.

export const CONTROL_MAGIC = CONTROL + 0;
export const CONTROL_VERSION = CONTROL + 4;
export const CONTROL_HARTS = CONTROL + 8;
export const CONTROL_PAGES = CONTROL + 12;
/** 0 = guest must not execute, 1 = may. A hart that sees 0 stops at its next safepoint. */
export const CONTROL_RUN = CONTROL + 16;
/** Low 32 bits of the epoch under which the guest runs here. */
export const CONTROL_EPOCH = CONTROL + 20;
/** Parts in 1000 of its time that a hart must sleep; 0 = full speed. */
export const CONTROL_THROTTLE = CONTROL + 24;
/** Counts harvests; a hart whose own HART_FLUSH_SEEN differs disarms or drops its write entries. */
export const CONTROL_FLUSH = CONTROL + 28;
/** Counts changes the harvester, the landing threads or the host wait for; notify cell. */
export const CONTROL_BELL_FAULT = CONTROL + 32;
/** Rung by a hart that acknowledged a flush, started, stopped, or ended; notify cell. */
export const CONTROL_BELL_ACK = CONTROL + 36;
/** Rung when a device has output for the host (UART ring not empty, power-off); notify cell. */
export const CONTROL_BELL_DEVICE = CONTROL + 40;
/** Why the guest ended by itself: 0 = it has not, else END_*. */
export const CONTROL_END = CONTROL + 44;
/** Exit code that goes with CONTROL_END. */
export const CONTROL_END_CODE = CONTROL + 48;
/** 1 = some page may be absent: fills must look at STATE. 0 = every page is present. */
export const CONTROL_GATED = CONTROL + 52;
/** CLOCK_HOST or CLOCK_INSTRUCTIONS. */
export const CONTROL_CLOCK = CONTROL + 56;
/** 64 bits: stop all harts at exactly this instruction; all ones = never. */
export const CONTROL_STOP_AT = CONTROL + 64;
/** 64 bits: guest time in timebase ticks = host ticks + this (CLOCK_HOST). */
export const CONTROL_TIME_OFFSET = CONTROL + 72;
/** Counters for the benchmarks and the metrics, 64 bits each. */
export const CONTROL_WRITE_FILLS = CONTROL + 80;
export const CONTROL_FAULTS = CONTROL + 88;
/** Workload guest: pages a second to write, all harts together; 0 = none, -1 = as fast as it goes. */
export const CONTROL_WORKLOAD_RATE = CONTROL + 96;
/** GUEST_MACHINE or GUEST_WORKLOAD. */
export const CONTROL_KIND = CONTROL + 100;
/**
 * A debugger's breakpoints: how many there are, and then the virtual addresses, 64 bits each. Changed
 * while no hart runs. The hart compares its pc with them, so the guest's own memory stays as it is.
 */
export const CONTROL_BREAKS = CONTROL + 104;
export const BREAKS_MAX = 64;
/** 1 = a debugger steps: no interrupt is taken, or every step would end in the timer's handler. */
export const CONTROL_STEPPING = CONTROL + 108;
export const CONTROL_BREAK_LIST = CONTROL + 1024;

/** What CONTROL_MAGIC and CONTROL_VERSION hold ("GDWT", little-endian). */
export const MAGIC = 0x54574447;
export const MAP_VERSION = 1;

/** Values of CONTROL_RUN. A hart runs at RUN_GO only; at RUN_QUIT its thread leaves for good. */
export const RUN_STOP = 0;
export const RUN_GO = 1;
export const RUN_QUIT = 2;

export const GUEST_MACHINE = 1;
export const GUEST_WORKLOAD = 2;

export const END_NONE = 0;
export const END_POWER_OFF = 1;
export const END_REBOOT = 2;
/** The program wrote to `tohost`. */
export const END_TOHOST = 3;
/** CONTROL_STOP_AT was reached. */
export const END_STOP_AT = 4;
/** A hart met something the machine cannot go on from; text in the log. */
export const END_CRASH = 5;

export const CLOCK_HOST = 0;
export const CLOCK_INSTRUCTIONS = 1;

// ---------------------------------------------------------------------------------- HART words
// Offsets from HARTS + hart * HART_SIZE.

/** HART_STOPPED, HART_RUNNING or HART_PARKED; left and entered by compare-and-set only. */
export const HART_STATE = 0;
/** The CONTROL_FLUSH this hart has obeyed. */
export const HART_FLUSH_SEEN = 4;
/** Fault slot: the page waited for, FAULT_NONE or FAULT_WAITING, and a sequence number. */
export const HART_FAULT_PAGE = 8;
export const HART_FAULT_STATE = 12;
export const HART_FAULT_SEQUENCE = 16;
/** Wake word of a hart in WFI, throttle or stop: notify cell. */
export const HART_WAKE = 20;
/** 64 bits: retired instructions (a workload hart: writes done). */
export const HART_INSTRUCTIONS = 24;
/** 64 bits each: monotonic host clock in ns when the hart last became RUNNING, and STOPPED. */
export const HART_STARTED_NS = 32;
export const HART_STOPPED_NS = 40;
/** Longest wait for a page in us since the host last set this to 0. */
export const HART_STALL_US = 48;
/** The machine's or the workload's own state starts here. */
export const HART_OWN = 64;

/** Its thread is outside the execution loop; RAM is not touched. */
export const HART_STOPPED = 0;
export const HART_RUNNING = 1;
/**
 * Waits in WFI, for a page or for the throttle; does not touch RAM until it leaves by CAS. After it
 * became PARKED a hart looks for a pending flush and rings BELL_ACK if there is one: the harvester may
 * have looked a moment before and be waiting for a running hart's answer.
 */
export const HART_PARKED = 2;

/**
 * The harvester holds a PARKED or STOPPED hart while it disarms its write entries. The hart that wants
 * to leave waits on HART_STATE until it is what it was before.
 */
export const HART_HELD = 3;

export const FAULT_NONE = 0;
export const FAULT_WAITING = 1;

// ----------------------------------------------------------------------------------- TLB of a hart
// Offsets from TLB + hart * TLB_SIZE. Three arrays, one a kind of access; each holds two direct-mapped
// sets of TLB_ENTRIES, so that a machine's user mode and its kernel do not evict each other (a workload
// hart uses the first set only). Entry of a set = virtual page modulo TLB_ENTRIES. An entry is
// {tag: u64, value: u64}: the tag is the page's virtual address, or all ones for an empty entry; what the
// value holds is the hart's own business (a workload hart has none). So anyone who holds the hart drops a
// kind of entry by filling its array with TLB_EMPTY_BYTE, and disarms write entries by setting
// TLB_DISARMED in their tags: no store finds them, but the hart may know by them where the page is.

export const TLB_READ = 0;
export const TLB_WRITE = 32768;
export const TLB_FETCH = 65536;
export const TLB_ENTRIES = 1024;
export const TLB_ENTRY_SIZE = 16;
/** Bytes of one set, and of an array of two. */
export const TLB_SET_SIZE = TLB_ENTRIES * TLB_ENTRY_SIZE;
export const TLB_ARRAY_SIZE = 2 * TLB_SET_SIZE;
export const TLB_EMPTY_BYTE = 0xff;
/** In no page's address, and above the bits by which a look-up sees that an access is not aligned. */
export const TLB_DISARMED = 0x800;

// ------------------------------------------------------------------------------- page states

export const PAGE_ABSENT = 0;
export const PAGE_LANDING = 1;
export const PAGE_PRESENT = 2;
