/**
 * The vCPU threads of one guest: made parked, one a hart, ended together.
 *
 *   guest.ts -> [vCPUs] -> vcpu.worker.ts x harts -> machine core or workload
 *
 * Starting and stopping harts is done through words of the shared memory (run-control), not through
 * messages, and takes microseconds; this file only makes the threads, hears when one has something to
 * say, and makes sure that all are gone before the memory is given to another guest. Main thread only.
 */
import { type GuestMemory, memoryMap as map, quitHarts, ringBell } from '@godwit/machine';
import { GodwitError } from '@godwit/protocol';
import { Thread } from '../thread.ts';
import type { VcpuCommands } from './vcpu.worker.ts';

export interface VcpuInput {
  readonly memory: WebAssembly.Memory;
  readonly hart: number;
  readonly kind: 'machine' | 'workload';
}

/**
 * What a vCPU thread posts: it waits for its first start; its hart left the loop by itself, because the
 * guest has ended or this hart has reached `stopAt`.
 */
export type VcpuEvent = 'parked' | 'left';

export interface VcpuEvents {
  left(): void;
  /** The thread itself failed: the hart will never run again. */
  crashed(hart: number, error: Error): void;
}

/** Loading the code and compiling the core, on a busy machine. */
const START_LIMIT_MS = 30_000;

export const VCPU_THREAD = new URL('./vcpu.worker.ts', import.meta.url);

export class Vcpus {
  readonly #guest: GuestMemory;
  readonly #kind: VcpuInput['kind'];
  readonly #events: VcpuEvents;
  #threads: Thread<VcpuCommands>[] = [];
  /** Settled when the thread's hart has left for good. */
  #left: Promise<unknown>[] = [];
  #ending = false;

  private constructor(guest: GuestMemory, kind: VcpuInput['kind'], events: VcpuEvents) {
    this.#guest = guest;
    this.#kind = kind;
    this.#events = events;
  }

  /** Resolves when every thread waits for CONTROL_RUN: a start is then a store and a wake. */
  static async start(
    guest: GuestMemory,
    kind: VcpuInput['kind'],
    events: VcpuEvents,
  ): Promise<Vcpus> {
    const vcpus = new Vcpus(guest, kind, events);
    try {
      await vcpus.#startAll();
    } catch (error) {
      await vcpus.end();
      throw error;
    }
    return vcpus;
  }

  /** Ends all threads; resolves when none is left, whatever state its hart was in. */
  async end(): Promise<void> {
    this.#ending = true;
    try {
      await quitHarts(this.#guest);
    } catch {
      // A hart that does not come to its safepoint is terminated: nobody reads its memory any more.
      await Promise.all(this.#threads.map((thread) => thread.terminate()));
    }
    await Promise.allSettled(this.#left);
    await Promise.all(this.#threads.map((thread) => thread.close()));
    this.#threads = [];
  }

  async #startAll(): Promise<void> {
    const parked = Array.from({ length: this.#guest.harts }, (_, hart) => this.#startOne(hart));
    const { promise, reject } = Promise.withResolvers<never>();
    const late = { what: 'start of the vCPU threads', afterMs: START_LIMIT_MS };
    const timer = setTimeout(
      () => reject(new GodwitError('request.timed_out', late)),
      START_LIMIT_MS,
    );
    await Promise.race([Promise.all(parked), promise]).finally(() => clearTimeout(timer));
  }

  #startOne(hart: number): Promise<void> {
    const input: VcpuInput = { memory: this.#guest.memory, hart, kind: this.#kind };
    const thread = new Thread<VcpuCommands>(VCPU_THREAD);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#threads.push(thread);
    thread.onEvent = (event) => {
      if ((event as VcpuEvent) === 'parked') resolve();
      else this.#events.left();
    };
    // Rejects when the code of the hart throws, and when the thread itself dies.
    const left = thread.call('run', input).catch((error: Error) => {
      this.#giveUpHart(hart);
      reject(error);
      if (!this.#ending) this.#events.crashed(hart, error);
    });
    this.#left.push(left);
    return promise;
  }

  /** A dead thread cannot answer: its hart counts as stopped, so that the others can be. */
  #giveUpHart(hart: number): void {
    const { i32 } = this.#guest;
    Atomics.store(i32, this.#guest.hartWord(hart, map.HART_STATE), map.HART_STOPPED);
    ringBell(i32, map.CONTROL_BELL_ACK >> 2);
  }
}
