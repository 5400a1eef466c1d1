/**
 * One hart on a bench: put instructions into RAM, set registers, execute so many, look.
 *
 * Instruction clock, everything on the calling thread; a bench is reset before each use, so that a
 * test file needs one guest memory only.
 */
import assert from 'node:assert/strict';
import * as own from '../../assembly/machine-map.ts';
import * as map from '../../assembly/memory-map.ts';
import { GuestMemory } from '../../src/guest-memory.ts';
import {
  guestEnd,
  loadMachine,
  type MachineInstance,
  NO_LIMIT,
  type RunReason,
  resetMachine,
  retiredInstructions,
  stopAtInstruction,
} from '../../src/machine.ts';
import { captureState } from '../../src/machine-state.ts';

export const RAM_BASE = own.RAM_BASE;
/** Where a handler of ours would be; mtvec points there unless the test sets another. */
export const HANDLER = RAM_BASE + 0x8000;
/** Data for loads and stores: the middle of two pages that hold nothing else. */
export const DATA = RAM_BASE + 0x11000;

export interface BenchOptions {
  readonly harts?: number;
  readonly ramBytes?: number;
}

export interface Setup {
  /** Instructions of 16 or 32 bits, told apart by their low bits. */
  readonly code: readonly number[];
  /** @default RAM_BASE */
  readonly at?: number;
  readonly x?: { readonly [register: number]: bigint };
  readonly clock?: 'host' | 'instructions';
  readonly tohost?: number;
  readonly fromhost?: number;
}

export class HartBench {
  readonly guest: GuestMemory;
  readonly machine: MachineInstance;
  readonly #view: DataView;

  constructor(options: BenchOptions = {}) {
    const { harts = 1, ramBytes = 1048576 } = options;
    this.guest = GuestMemory.create({ ramBytes, harts });
    this.machine = loadMachine(this.guest.memory);
    this.#view = new DataView(this.guest.sab, map.RAM, ramBytes);
  }

  /** Power-on state with the code in place, ready to run. */
  reset(setup: Setup): void {
    const at = setup.at ?? RAM_BASE;
    const address = (value: number | undefined) =>
      value === undefined ? undefined : BigInt(value);
    resetMachine(this.guest, {
      entry: BigInt(at),
      clock: setup.clock ?? 'instructions',
      tohost: address(setup.tohost),
      fromhost: address(setup.fromhost),
    });
    stopAtInstruction(this.guest, undefined);
    this.guest.setControl(map.CONTROL_RUN, map.RUN_GO);
    this.setField(own.HART_MTVEC, BigInt(HANDLER));
    for (const [register, value] of Object.entries(setup.x ?? {})) {
      this.setField(own.HART_X + Number(register) * 8, value);
    }
    this.put(at, setup.code);
  }

  /** Writes instructions to RAM. */
  put(address: number, code: readonly number[]): void {
    let at = address - RAM_BASE;
    for (const instruction of code) {
      this.#view.setUint16(at, instruction & 0xffff, true);
      at += 2;
      if ((instruction & 3) !== 3) continue;
      this.#view.setUint16(at, instruction >>> 16, true);
      at += 2;
    }
  }

  /** Executes until so many instructions are retired, or the hart comes back earlier. */
  step(count = 1, hart = 0): RunReason {
    return this.machine.run(hart, BigInt(count), false);
  }

  /** Resets and executes all of the code. */
  run(setup: Setup): this {
    this.reset(setup);
    this.step(setup.code.length);
    return this;
  }

  x(register: number, hart = 0): bigint {
    return this.field(own.HART_X + register * 8, hart);
  }

  get pc(): number {
    return Number(this.field(own.HART_PC));
  }

  get retired(): bigint {
    return retiredInstructions(this.guest, 0);
  }

  get end() {
    return guestEnd(this.guest);
  }

  field(offset: number, hart = 0): bigint {
    return BigInt.asUintN(64, this.guest.i64[(this.guest.hartWord(hart, offset) * 4) / 8]!);
  }

  setField(offset: number, value: bigint, hart = 0): void {
    this.guest.i64[(this.guest.hartWord(hart, offset) * 4) / 8] = BigInt.asIntN(64, value);
  }

  load64(address: number): bigint {
    return this.#view.getBigUint64(address - RAM_BASE, true);
  }

  store64(address: number, value: bigint): void {
    this.#view.setBigUint64(address - RAM_BASE, BigInt.asUintN(64, value), true);
  }

  /**
   * Executes one instruction that must trap: the handler is entered, nothing is retired. Answers cause
   * and mtval.
   */
  trap(setup: Setup): { cause: bigint; value: bigint } {
    this.reset(setup);
    const before = captureState(this.guest).harts[0]!.list('x');
    // The handler is an endless loop (j .), so the count ends the run inside it.
    this.put(HANDLER, [0x6f]);
    this.step(1);
    assert.equal(this.pc, HANDLER, 'the handler was entered');
    assert.equal(this.field(own.HART_MEPC), BigInt(setup.at ?? RAM_BASE));
    assert.deepEqual(
      captureState(this.guest).harts[0]!.list('x'),
      before,
      'registers are untouched',
    );
    return { cause: this.field(own.HART_MCAUSE), value: this.field(own.HART_MTVAL) };
  }
}

export const UNLIMITED = NO_LIMIT;
export const u64 = (value: bigint): bigint => BigInt.asUintN(64, value);
