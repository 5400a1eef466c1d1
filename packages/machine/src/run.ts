/**
 * Runs one program on a machine of its own, in this thread: `godwit machine run`.
 *
 * ELF bytes -> [run] -> exit code, count, speed, digest
 *
 * No vCPU threads: harts take turns of TURN_INSTRUCTIONS on the calling thread, which makes a run with
 * several harts as repeatable as one with a single hart. Blocks the thread between two turns' console
 * output; for a command line tool and for tests, not for an agent.
 */
import * as map from '../assembly/memory-map.ts';
import { ConsoleRing } from './console-ring.ts';
import { loadElf } from './elf.ts';
import { MachineError } from './errors.ts';
import { GuestMemory } from './guest-memory.ts';
import {
  type GuestEnd,
  guestEnd,
  loadMachine,
  type MachineInstance,
  NO_LIMIT,
  resetMachine,
  retiredInstructions,
  stopAtInstruction,
} from './machine.ts';
import { digest } from './machine-state.ts';

export interface RunOptions {
  readonly elf: Uint8Array;
  /** @default 64 MiB */
  readonly memoryBytes?: number;
  /** @default 1 */
  readonly harts?: number;
  /** Gives up after so many instructions of all harts together. */
  readonly maxInstructions?: bigint | number | undefined;
  /** Stops every hart at exactly this instruction of its own. */
  readonly stopAt?: bigint | number | undefined;
  /** Whether to compute the digest of RAM and machine state at the end. */
  readonly digest?: boolean;
  /** @default 'instructions' */
  readonly clock?: 'host' | 'instructions';
  /** Gets console output as it comes. */
  readonly onOutput?: (bytes: Uint8Array) => void;
}

export interface RunResult {
  /** How it ended: by itself, or 'limit' (maxInstructions), or 'idle' (every hart waits for ever). */
  readonly end: GuestEnd['end'] | 'limit' | 'idle';
  /** Exit code: the program's own; EXIT_GAVE_UP for 'limit' and 'idle', EXIT_CRASHED, 0 for 'stop-at'. */
  readonly exit: number;
  /** Instructions retired by all harts. */
  readonly instructions: bigint;
  /** Million instructions a second, of wall time. */
  readonly mips: number;
  /** SHA-256 in hex, if it was asked for. */
  readonly digest: string | undefined;
}

/** What timeout(1) answers for a command that did not end by itself. */
export const EXIT_GAVE_UP = 124;
/** The machine cannot go on: its trap handler traps. */
export const EXIT_CRASHED = 125;

/** Instructions of one hart's turn. No more stores than the console's ring has bytes: none is missed. */
const TURN_INSTRUCTIONS = 65_536n;
const MEMORY_BYTES_DEFAULT = 64 * 1048576;
/** How long an idle machine with a running clock sleeps before it looks for a timer. */
const IDLE_SLEEP_MS = 1;

/**
 * @throws MachineError elf.*, memory.*, machine.bad_option
 */
export function runElf(options: RunOptions): RunResult {
  const limit = readCount('maxInstructions', options.maxInstructions);
  const stopAt = readCount('stopAt', options.stopAt);
  const guest = GuestMemory.create({
    ramBytes: options.memoryBytes ?? MEMORY_BYTES_DEFAULT,
    harts: options.harts ?? 1,
  });
  const clock = options.clock ?? 'instructions';
  resetMachine(guest, { ...loadElf(options.elf, guest), clock });
  stopAtInstruction(guest, stopAt);
  guest.setControl(map.CONTROL_RUN, map.RUN_GO);

  const began = performance.now();
  const end = new TurnTaker(guest, limit ?? NO_LIMIT, options).run();
  const seconds = (performance.now() - began) / 1000;
  const instructions = totalRetired(guest);
  return {
    end: end.end,
    exit: end.end === 'crash' ? EXIT_CRASHED : end.code,
    instructions,
    mips: seconds > 0 ? Number(instructions) / seconds / 1e6 : 0,
    digest: options.digest ? digest(guest) : undefined,
  };
}

function readCount(option: string, value: bigint | number | undefined): bigint | undefined {
  if (value === undefined) return undefined;
  if (value >= 0 && (typeof value === 'bigint' || Number.isSafeInteger(value)))
    return BigInt(value);
  throw new MachineError('machine.bad_option', { option, reason: 'must be a whole number from 0' });
}

class TurnTaker {
  readonly #guest: GuestMemory;
  readonly #machine: MachineInstance;
  readonly #console: ConsoleRing;
  readonly #limit: bigint;
  readonly #mayIdle: boolean;
  readonly #onOutput: ((bytes: Uint8Array) => void) | undefined;
  #shown = 0n;

  constructor(guest: GuestMemory, limit: bigint, options: RunOptions) {
    this.#guest = guest;
    this.#machine = loadMachine(guest.memory);
    this.#console = new ConsoleRing(guest);
    this.#limit = limit;
    this.#mayIdle = options.clock === 'host';
    this.#onOutput = options.onOutput;
  }

  run(): { end: RunResult['end']; code: number } {
    for (;;) {
      const busy = this.#round();
      const ended = guestEnd(this.#guest);
      if (ended) return ended;
      if (totalRetired(this.#guest) >= this.#limit) return { end: 'limit', code: EXIT_GAVE_UP };
      if (busy) continue;
      // Nobody can wake a hart without a timer, and with counted instructions a timer is skipped to.
      if (!this.#mayIdle) return { end: 'idle', code: EXIT_GAVE_UP };
      Atomics.wait(
        this.#guest.i32,
        this.#guest.hartWord(0, map.HART_STATE),
        map.HART_STOPPED,
        IDLE_SLEEP_MS,
      );
    }
  }

  /** One turn of each hart. False: all of them sit in WFI. */
  #round(): boolean {
    let busy = false;
    for (let hart = 0; hart < this.#guest.harts; hart++) {
      const left = this.#limit - totalRetired(this.#guest);
      if (left <= 0n) return true;
      const turn = left < TURN_INSTRUCTIONS ? left : TURN_INSTRUCTIONS;
      const reason = this.#machine.run(hart, turn, false);
      busy ||= reason !== 'waiting' && reason !== 'stop-at';
      this.#showOutput();
    }
    return busy;
  }

  #showOutput(): void {
    if (!this.#onOutput) return;
    const output = this.#console.readOutput(this.#shown);
    if (output.bytes.length > 0) this.#onOutput(output.bytes);
    this.#shown = output.offset + BigInt(output.bytes.length);
  }
}

function totalRetired(guest: GuestMemory): bigint {
  let total = 0n;
  for (let hart = 0; hart < guest.harts; hart++) total += retiredInstructions(guest, hart);
  return total;
}
