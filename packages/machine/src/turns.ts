/**
 * A machine whose harts take turns on the calling thread: no vCPU threads, nothing runs between turns.
 *
 * GuestMemory with a program -> [turns] -> what the round came to
 *
 * A turn is TURN_INSTRUCTIONS of one hart, which makes a run with several harts as repeatable as one
 * with a single hart. Whoever drives the turns (run.ts to the end, gdb/server.ts with a debugger's
 * requests in between) may look at and change the machine between two of them.
 */
import * as map from '../assembly/memory-map.ts';
import { ConsoleRing } from './console-ring.ts';
import type { GuestMemory } from './guest-memory.ts';
import {
  type GuestEnd,
  guestEnd,
  type LoadOptions,
  loadMachine,
  type MachineInstance,
  NO_LIMIT,
  type RunReason,
  retiredInstructions,
} from './machine.ts';

/** Instructions of one hart's turn. */
export const TURN_INSTRUCTIONS = 65_536n;

/** What timeout(1) answers for a command that did not end by itself. */
export const EXIT_GAVE_UP = 124;

export interface RunEnd {
  /** By itself, or 'limit' (maxInstructions), 'idle' (every hart waits for ever), 'killed' (debugger), 'left' (console). */
  readonly end: GuestEnd['end'] | 'limit' | 'idle' | 'killed' | 'left';
  readonly code: number;
}

/** What a round of turns came to. */
export type Round =
  | { readonly is: 'busy' }
  /** Every hart is in WFI. */
  | { readonly is: 'waiting' }
  /** This hart is before an instruction with a breakpoint; the harts after it had no turn. */
  | { readonly is: 'break'; readonly hart: number }
  | { readonly is: 'ended'; readonly end: RunEnd };

export interface TurnOptions extends LoadOptions {
  /** Gives up after so many instructions of all harts together. */
  readonly maxInstructions?: bigint | undefined;
  /** Gets console output as it comes, after each turn. */
  readonly onOutput?: ((bytes: Uint8Array) => void) | undefined;
}

export class Turns {
  readonly guest: GuestMemory;
  readonly #machine: MachineInstance;
  readonly #console: ConsoleRing;
  readonly #limit: bigint;
  readonly #onOutput: TurnOptions['onOutput'];
  #shown: bigint;
  /** Who begins the next round: after a breakpoint, the hart after the one that met it. */
  #first = 0;

  /** The guest is loaded and reset, or restored; from here on it may run. */
  constructor(guest: GuestMemory, options: TurnOptions = {}) {
    this.guest = guest;
    this.#machine = loadMachine(guest.memory, options);
    this.#console = new ConsoleRing(guest);
    this.#limit = options.maxInstructions ?? NO_LIMIT;
    this.#onOutput = options.onOutput;
    this.#shown = this.#console.acknowledged;
    this.#console.listen(options.onOutput !== undefined);
    guest.setControl(map.CONTROL_RUN, map.RUN_GO);
  }

  /** Instructions retired by all harts. */
  get retired(): bigint {
    let total = 0n;
    for (let hart = 0; hart < this.guest.harts; hart++) {
      total += retiredInstructions(this.guest, hart);
    }
    return total;
  }

  /** One turn of each hart, or of those named only. */
  round(only?: ReadonlySet<number>): Round {
    const { harts } = this.guest;
    let busy = false;
    for (let i = 0; i < harts; i++) {
      const hart = (this.#first + i) % harts;
      if (only?.has(hart) === false) continue;
      const left = this.#limit - this.retired;
      if (left <= 0n) break;
      const reason = this.run(hart, left < TURN_INSTRUCTIONS ? left : TURN_INSTRUCTIONS);
      if (reason === 'break') {
        this.#first = (hart + 1) % harts;
        return { is: 'break', hart };
      }
      busy ||= reason !== 'waiting' && reason !== 'stop-at';
    }
    this.#first = 0;
    const end = guestEnd(this.guest);
    if (end) return { is: 'ended', end };
    if (this.retired >= this.#limit) {
      return { is: 'ended', end: { end: 'limit', code: EXIT_GAVE_UP } };
    }
    return { is: busy ? 'busy' : 'waiting' };
  }

  /** One hart alone, at most so many instructions. */
  run(hart: number, instructions: bigint): RunReason {
    const end = retiredInstructions(this.guest, hart) + instructions;
    for (;;) {
      const left = end - retiredInstructions(this.guest, hart);
      const reason = this.#machine.run(hart, left, false);
      this.#showOutput();
      // It came back for the ring's sake only, and goes on: where a turn ends is not the reader's matter.
      if (reason !== 'output') return reason;
    }
  }

  #showOutput(): void {
    if (!this.#onOutput) return;
    const output = this.#console.readOutput(this.#shown);
    if (output.bytes.length > 0) this.#onOutput(output.bytes);
    this.#shown = output.offset + BigInt(output.bytes.length);
    this.#console.acknowledge(this.#shown);
  }
}
