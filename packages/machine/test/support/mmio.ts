/**
 * Accesses to device registers, one instruction of a hart each: how a driver sees a device, without
 * writing one in assembly.
 */
import assert from 'node:assert/strict';
import * as own from '../../assembly/machine-map.ts';
import type { RunReason } from '../../src/machine.ts';
import * as e from '../riscv/encode.ts';
import { type HartBench, RAM_BASE, type Setup } from './hart-bench.ts';

export class Mmio {
  readonly bench: HartBench;

  constructor(bench: HartBench) {
    this.bench = bench;
  }

  /** Power-on state. The first word of RAM is where the accesses are executed. */
  reset(setup: Partial<Setup> = {}): this {
    this.bench.reset({ code: [], ...setup });
    return this;
  }

  read(address: number, load: keyof typeof e.LOADS = 'lwu'): number {
    this.#execute(e.iType(0x03, e.LOADS[load], 12, 10, 0), address);
    return Number(this.bench.x(12));
  }

  write(address: number, value: number | bigint, store: keyof typeof e.STORES = 'sw'): void {
    this.#execute(e.sType(e.STORES[store], 11, 10, 0), address, BigInt(value));
  }

  /** A write that may not finish: answers why the hart came back. */
  tryWrite(address: number, value: number): RunReason {
    this.#prepare(e.sType(e.STORES.sw, 11, 10, 0), address, BigInt(value));
    return this.bench.step();
  }

  #execute(instruction: number, address: number, value = 0n): void {
    this.#prepare(instruction, address, value);
    assert.equal(this.bench.step(), 'budget');
    assert.equal(this.bench.pc, RAM_BASE + 4, `no trap at 0x${address.toString(16)}`);
  }

  #prepare(instruction: number, address: number, value: bigint): void {
    this.bench.put(RAM_BASE, [instruction]);
    this.bench.setField(own.HART_PC, BigInt(RAM_BASE));
    this.bench.setField(own.HART_X + 80, BigInt(address));
    this.bench.setField(own.HART_X + 88, value);
  }
}
