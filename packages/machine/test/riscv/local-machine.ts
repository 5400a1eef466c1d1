/**
 * A program on our own machine, run on the calling thread by counted instructions: the same
 * conversation always takes the same course.
 */
import * as map from '../../assembly/memory-map.ts';
import { ConsoleRing } from '../../src/console-ring.ts';
import { loadElf } from '../../src/elf.ts';
import { GuestMemory } from '../../src/guest-memory.ts';
import {
  type GuestEnd,
  guestEnd,
  loadMachine,
  type MachineInstance,
  resetMachine,
  retiredInstructions,
  stopAtInstruction,
} from '../../src/machine.ts';
import { captureState, type MachineState, restoreState } from '../../src/machine-state.ts';
import type { Conversation } from './kv-dialogue.ts';

/** A stopped machine, complete: another one goes on from it as if nothing had happened. */
export interface Snapshot {
  readonly ram: Uint8Array;
  readonly state: MachineState;
}

/** Turns are short, so that input sent between two reads arrives soon. */
const TURN_INSTRUCTIONS = 100_000n;
/** Far beyond what any of these programs needs for one answer; only a hang reaches it. */
const READ_INSTRUCTIONS_MAX = 2_000_000_000n;

export class LocalMachine implements Conversation {
  readonly guest: GuestMemory;
  readonly console: ConsoleRing;
  readonly #machine: MachineInstance;
  #output = '';
  #outputOffset = 0n;
  #input = new Uint8Array();

  private constructor(ramBytes: number) {
    this.guest = GuestMemory.create({ ramBytes, harts: 1 });
    stopAtInstruction(this.guest, undefined);
    this.console = new ConsoleRing(this.guest);
    this.#machine = loadMachine(this.guest.memory);
  }

  /** RAM is full of 0xa5 before the program is loaded: none may rely on zeros. */
  static boot(elf: Uint8Array, memoryMib: number): LocalMachine {
    const machine = new LocalMachine(memoryMib * 1048576);
    const { guest } = machine;
    guest.ram().fill(0xa5);
    resetMachine(guest, { ...loadElf(elf, guest), clock: 'instructions' });
    guest.setControl(map.CONTROL_RUN, map.RUN_GO);
    return machine;
  }

  static resume({ ram, state }: Snapshot): LocalMachine {
    const machine = new LocalMachine(ram.length);
    machine.guest.ram().set(ram);
    restoreState(machine.guest, state);
    machine.#outputOffset = machine.console.written;
    machine.guest.setControl(map.CONTROL_RUN, map.RUN_GO);
    return machine;
  }

  snapshot(): Snapshot {
    return { ram: this.guest.ram().slice(), state: captureState(this.guest) };
  }

  /** Instructions retired so far. */
  get instructions(): bigint {
    return retiredInstructions(this.guest, 0);
  }

  send(text: string): void {
    this.#input = Buffer.concat([this.#input, Buffer.from(text, 'latin1')]);
  }

  /** Runs until the output holds `end`; answers it up to there. Throws when the guest ends before. */
  async readTo(end: string): Promise<string> {
    const limit = this.instructions + READ_INSTRUCTIONS_MAX;
    for (;;) {
      const at = this.#output.indexOf(end);
      if (at >= 0) {
        const text = this.#output.slice(0, at + end.length);
        this.#output = this.#output.slice(at + end.length);
        return text;
      }
      if (guestEnd(this.guest) !== undefined || this.instructions > limit) {
        throw new Error(`no ${JSON.stringify(end)} in ${JSON.stringify(this.#output)}`);
      }
      this.run(TURN_INSTRUCTIONS);
    }
  }

  /** Runs so many instructions, or to the guest's end, which it answers. */
  run(instructions: bigint): GuestEnd | undefined {
    this.#input = this.#input.subarray(this.console.writeInput(this.#input));
    this.#machine.run(0, instructions, false);
    const { offset, bytes } = this.console.readOutput(this.#outputOffset);
    if (offset !== this.#outputOffset) throw new Error('the output ring overflowed');
    this.#outputOffset += BigInt(bytes.length);
    this.#output += Buffer.from(bytes).toString('latin1');
    return guestEnd(this.guest);
  }
}
