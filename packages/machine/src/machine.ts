/**
 * The wasm core on one guest's memory: what a vCPU thread runs harts with.
 *
 * agent's vCPU thread -> [machine] -> assembly/hart.ts
 *
 *   thread   may                                            never
 *   vCPU     loadMachine, run (blocks)                      run a hart that another thread runs
 *   main     resetMachine, stopAtInstruction, while no hart runs   run with `waits`
 *
 * Each thread has an instance of its own: the module keeps nothing but wasm globals, so instances on the
 * same memory do not meet except in the words of the memory contract.
 */
import * as own from '../assembly/machine-map.ts';
import * as map from '../assembly/memory-map.ts';
import { MachineError } from './errors.ts';
import { GuestMemory } from './guest-memory.ts';
import { wasmModule } from './wasm-module.ts';

/** Why `run` came back. */
export type RunReason = 'stopped' | 'budget' | 'ended' | 'stop-at' | 'waiting' | 'output' | 'break';

const REASONS: { readonly [exit: number]: RunReason } = {
  [own.EXIT_STOPPED]: 'stopped',
  [own.EXIT_BUDGET]: 'budget',
  [own.EXIT_END]: 'ended',
  [own.EXIT_STOP_AT]: 'stop-at',
  [own.EXIT_WFI]: 'waiting',
  [own.EXIT_OUTPUT]: 'output',
  [own.EXIT_BREAK]: 'break',
};

/** More instructions than any run has. */
export const NO_LIMIT = (1n << 64n) - 1n;

export interface MachineInstance {
  /**
   * Runs a hart on this thread until CONTROL_RUN forbids it ('stopped'), so many instructions are
   * retired ('budget'), the guest has ended ('ended') or CONTROL_STOP_AT is reached ('stop-at').
   * 'break': the next instruction has a breakpoint (setBreakpoints), also when the hart starts there.
   * With `waits` false a hart in WFI comes back at once ('waiting') instead of sleeping, and one whose
   * console has a listener comes back ('output') when half its ring is unread.
   *
   * @throws MachineError hart.bad_transition: another thread runs this hart
   */
  run(hart: number, maxInstructions: bigint, waits?: boolean): RunReason;
}

type WasmRun = (hart: number, maxInstructions: bigint, waits: number) => number;

export interface LoadOptions {
  /** The variant that counts what it does (profile.ts); slower. @default false */
  readonly profile?: boolean | undefined;
}

/** An instance of the core for the calling thread. */
export function loadMachine(
  memory: WebAssembly.Memory,
  options: LoadOptions = {},
): MachineInstance {
  const guest = GuestMemory.adopt(memory);
  const env = {
    memory,
    now: () => process.hrtime.bigint(),
    wallClock: () => BigInt(Date.now()) * 1_000_000n,
  };
  const instance = new WebAssembly.Instance(wasmModule(options.profile ? 'profiled' : 'machine'), {
    env,
  });
  const wasmRun = instance.exports.run as WasmRun;
  return {
    run(hart, maxInstructions, waits = true) {
      const reason = REASONS[wasmRun(hart, maxInstructions, waits ? 1 : 0)];
      if (reason !== undefined) return reason;
      const from = Atomics.load(guest.i32, guest.hartWord(hart, map.HART_STATE));
      throw new MachineError('hart.bad_transition', { hart, from, to: map.HART_RUNNING });
    },
  };
}

/** Instructions a hart has retired. */
export function retiredInstructions(guest: GuestMemory, hart: number): bigint {
  return word(guest, map.HARTS + hart * map.HART_SIZE + map.HART_INSTRUCTIONS);
}

/**
 * All harts stop at exactly this instruction (each at its own n-th), or never with `undefined`. Also
 * lets a guest that such a stop had ended go on. While no hart runs.
 */
export function stopAtInstruction(guest: GuestMemory, instruction: bigint | undefined): void {
  Atomics.store(guest.i64, map.CONTROL_STOP_AT >> 3, BigInt.asIntN(64, instruction ?? NO_LIMIT));
  Atomics.compareExchange(guest.i32, map.CONTROL_END >> 2, map.END_STOP_AT, map.END_NONE);
}

/** Breakpoints of all harts, by virtual address: at most BREAKS_MAX. While no hart runs. */
export function setBreakpoints(guest: GuestMemory, addresses: readonly bigint[]): void {
  const count = Math.min(addresses.length, map.BREAKS_MAX);
  for (let i = 0; i < count; i++) setWord(guest, map.CONTROL_BREAK_LIST + i * 8, addresses[i]!);
  guest.setControl(map.CONTROL_BREAKS, count);
}

/** Whether harts execute without taking interrupts: for a debugger's single steps. */
export function setStepping(guest: GuestMemory, stepping: boolean): void {
  guest.setControl(map.CONTROL_STEPPING, stepping ? 1 : 0);
}

/** How a guest ended by itself; undefined: it has not. */
export type GuestEnd = {
  readonly end: 'power-off' | 'reboot' | 'tohost' | 'stop-at' | 'crash';
  readonly code: number;
};

const ENDS: { readonly [end: number]: GuestEnd['end'] } = {
  [map.END_POWER_OFF]: 'power-off',
  [map.END_REBOOT]: 'reboot',
  [map.END_TOHOST]: 'tohost',
  [map.END_STOP_AT]: 'stop-at',
  [map.END_CRASH]: 'crash',
};

export function guestEnd(guest: GuestMemory): GuestEnd | undefined {
  const end = ENDS[guest.control(map.CONTROL_END)];
  return end && { end, code: guest.control(map.CONTROL_END_CODE) >>> 0 };
}

/** For a guest that starts in supervisor mode, the machine itself being its firmware. */
export interface SupervisorStart {
  /** a1 of hart 0; the other harts are stopped, for the program to start (SBI). */
  readonly argument: bigint;
}

const ENTROPY_KEY_BYTES = 32;

export interface ResetOptions {
  /** Physical address all harts start at, with a0 = hart number. */
  readonly entry: bigint;
  /** @default machine mode, every hart started */
  readonly supervisor?: SupervisorStart | undefined;
  /** The device that console input goes to; output of both is one stream. @default 'uart' */
  readonly console?: 'uart' | 'virtio' | undefined;
  /** 32 bytes that the entropy device's output follows from. @default zeros */
  readonly entropy?: Uint8Array | undefined;
  /** Physical addresses of the program's words, if it has them. */
  readonly tohost?: bigint | undefined;
  readonly fromhost?: bigint | undefined;
  /** @default 'host' */
  readonly clock?: 'host' | 'instructions';
  /** A reboot: the console's two streams go on at their offsets, with the bytes nobody has read. */
  readonly goesOn?: boolean | undefined;
}

/**
 * Puts harts and devices into their state after power-on; RAM stays. While no hart runs. Guest time
 * starts at 0.
 */
export function resetMachine(guest: GuestMemory, options: ResetOptions): void {
  const fields = own.HART_FIELDS_END - map.HART_OWN;
  const bytes = new Uint8Array(guest.sab);
  const offsets = bytes.slice(own.CONSOLE_OUT_WRITTEN, own.CONSOLE_OFFSETS_END);
  bytes.fill(0, map.DEVICES, own.CONSOLE_OUT); // the rings hold what the offsets say
  if (options.goesOn) bytes.set(offsets, own.CONSOLE_OUT_WRITTEN);
  for (let hart = 0; hart < guest.harts; hart++) {
    const block = map.HARTS + hart * map.HART_SIZE;
    bytes.fill(0, block + map.HART_OWN, block + map.HART_OWN + fields);
    setWord(guest, block + map.HART_INSTRUCTIONS, 0n);
    setWord(guest, block + own.HART_PC, options.entry);
    setWord(guest, block + own.HART_X + 10 * 8, BigInt(hart));
    setWord(guest, block + own.HART_PRIVILEGE, BigInt(own.PRIVILEGE_M));
    setWord(guest, block + own.HART_MSTATUS, BigInt(own.MSTATUS_RESET));
    setWord(guest, block + own.HART_RESERVED, BigInt(own.NO_RESERVATION));
    setWord(guest, own.CLINT_MTIMECMP + hart * 8, -1n);
    setWord(guest, own.SBI_TIMECMP + hart * 8, -1n);
  }
  if (options.supervisor) startSupervised(guest, options.supervisor);
  bytes.set(options.entropy?.subarray(0, ENTROPY_KEY_BYTES) ?? [], own.ENTROPY_KEY);
  const attached = options.console === 'virtio' ? own.CONSOLE_AT_VIRTIO : own.CONSOLE_AT_UART;
  setWord(guest, own.DEVICES_CONSOLE, BigInt(attached));
  setWord(guest, own.DEVICES_TOHOST, options.tohost ?? 0n);
  setWord(guest, own.DEVICES_FROMHOST, options.fromhost ?? 0n);
  // The clock starts with the first hart.
  setWord(guest, own.DEVICES_CLOCK, BigInt(own.CLOCK_FROZEN));
  guest.setControl(map.CONTROL_KIND, map.GUEST_MACHINE);
  guest.setControl(map.CONTROL_END, map.END_NONE);
  const byCount = options.clock === 'instructions';
  guest.setControl(map.CONTROL_CLOCK, byCount ? map.CLOCK_INSTRUCTIONS : map.CLOCK_HOST);
}

/** Privilege and delegation as firmware leaves them: everything a supervisor can handle goes to it. */
function startSupervised(guest: GuestMemory, start: SupervisorStart): void {
  setWord(guest, own.DEVICES_SUPERVISOR, 1n);
  setWord(guest, map.HARTS + own.HART_X + 11 * 8, start.argument);
  for (let hart = 0; hart < guest.harts; hart++) {
    const block = map.HARTS + hart * map.HART_SIZE;
    setWord(guest, block + own.HART_PRIVILEGE, BigInt(own.PRIVILEGE_S));
    setWord(guest, block + own.HART_MEDELEG, BigInt(own.MEDELEG_SUPERVISOR));
    setWord(guest, block + own.HART_MIDELEG, BigInt(own.MIDELEG_SUPERVISOR));
    setWord(guest, block + own.HART_MCOUNTEREN, BigInt(own.MCOUNTEREN_SUPERVISOR));
    if (hart > 0) setWord(guest, own.HSM_STATE + hart * 8, BigInt(own.HSM_STOPPED));
  }
}

function word(guest: GuestMemory, offset: number): bigint {
  return Atomics.load(guest.i64, offset >> 3);
}

function setWord(guest: GuestMemory, offset: number, value: bigint): void {
  Atomics.store(guest.i64, offset >> 3, BigInt.asIntN(64, value));
}
