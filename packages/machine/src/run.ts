/**
 * Runs one program on a machine of its own, in this thread: `godwit machine run`.
 *
 * ELF bytes, a kernel or a checkpoint -> [run] -> exit code, count, speed, digest, a checkpoint
 *
 * `runMachine` blocks the thread between two turns' console output; with a debugger (`debugMachine`) the turns
 * share the thread with its socket. For a command line tool and for tests, not for an agent.
 */
import * as map from '../assembly/memory-map.ts';
import {
  readCheckpoint,
  readCheckpointHead,
  type WrittenCheckpoint,
  writeCheckpoint,
} from './checkpoint.ts';
import { loadElf } from './elf.ts';
import { MachineError } from './errors.ts';
import { GdbServer } from './gdb/server.ts';
import { GuestMemory } from './guest-memory.ts';
import { type LinuxBoot, loadLinux } from './linux-loader.ts';
import { type LiveInput, runLive } from './live.ts';
import { resetMachine, stopAtInstruction } from './machine.ts';
import { captureState, decodeState, digest, encodeState, restoreState } from './machine-state.ts';
import { type Profile, readProfile } from './profile.ts';
import { EXIT_GAVE_UP, type RunEnd, Turns } from './turns.ts';

/** What runs: one of `elf`, `linux` and `restore`. Memory, harts and clock of a restored machine are its own. */
export interface RunOptions {
  readonly elf?: Uint8Array | undefined;
  /** A kernel, its initrd and its command line; the clock is the one below. */
  readonly linux?: Omit<LinuxBoot, 'clock'> | undefined;
  /** Path of a checkpoint to go on from. */
  readonly restore?: string | undefined;
  /** Where to write a checkpoint, and at exactly which instruction (of each hart); the run then goes on. */
  readonly checkpoint?: { readonly path: string; readonly at: bigint | number } | undefined;
  /** @default 64 MiB, and 128 MiB for a kernel */
  readonly memoryBytes?: number | undefined;
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
  /** Whether to count what the harts do, which takes time. */
  readonly profile?: boolean | undefined;
  /** Gets console output as it comes. */
  readonly onOutput?: (bytes: Uint8Array) => void;
}

export interface DebugOptions {
  /** Loopback port to listen on; 0: any free one. */
  readonly port: number;
  /** Whether the first instruction waits for a debugger. */
  readonly wait: boolean;
  /** The port is open. */
  readonly onListening?: (port: number) => void;
}

export interface RunResult {
  readonly end: RunEnd['end'];
  /** Exit code: the program's own; EXIT_GAVE_UP for 'limit' and 'idle', EXIT_CRASHED, 0 for 'stop-at'. */
  readonly exit: number;
  /** Instructions retired by all harts. */
  readonly instructions: bigint;
  /** Million instructions a second, of wall time, since it started or was restored. */
  readonly mips: number;
  /** SHA-256 in hex, if it was asked for. */
  readonly digest: string | undefined;
  /** Undefined: it was not asked for. */
  readonly profile: Profile | undefined;
  /** Undefined: none was asked for, or the program ended before that instruction. */
  readonly checkpoint: WrittenCheckpoint | undefined;
}

/** The machine cannot go on: its trap handler traps. */
export const EXIT_CRASHED = 125;

const MEMORY_BYTES_DEFAULT = 64 * 1048576;
const LINUX_BYTES_DEFAULT = 128 * 1048576;
/** How long an idle machine with a running clock sleeps before it looks for a timer. */
const IDLE_SLEEP_MS = 1;

/**
 * @throws MachineError elf.*, kernel.*, memory.*, checkpoint.*, state.*, machine.bad_option
 */
export function runMachine(options: RunOptions): RunResult {
  const turns = prepare(options);
  const began = now(turns);
  const checkpoint = options.checkpoint && runToCheckpoint(turns, options.checkpoint);
  stopAtInstruction(turns.guest, readCount('stopAt', options.stopAt));
  return { ...result(turns, runToEnd(turns), began, options), checkpoint };
}

/**
 * As `runMachine`, under the eyes of a debugger that may come and go; without a checkpoint.
 *
 * @throws MachineError as runMachine; gdb.no_port when it cannot listen
 */
export async function debugMachine(options: RunOptions, debug: DebugOptions): Promise<RunResult> {
  const turns = prepare(options);
  stopAtInstruction(turns.guest, readCount('stopAt', options.stopAt));
  const server = await GdbServer.listen(turns, debug.port);
  try {
    debug.onListening?.(server.port);
    const began = now(turns);
    return result(turns, await server.runToEnd(debug.wait), began, options);
  } finally {
    server.close();
  }
}

/**
 * As `runMachine`, with somebody at the console and the event loop going on; without a checkpoint.
 *
 * @throws MachineError as runMachine
 */
export async function runMachineLive(options: RunOptions, input: LiveInput): Promise<RunResult> {
  const turns = prepare(options);
  stopAtInstruction(turns.guest, readCount('stopAt', options.stopAt));
  const began = now(turns);
  return result(turns, await runLive(turns, input), began, options);
}

function prepare(options: RunOptions): Turns {
  const { onOutput, profile } = options;
  const maxInstructions = readCount('maxInstructions', options.maxInstructions);
  const guest = options.restore === undefined ? load(options) : restore(options.restore);
  return new Turns(guest, { maxInstructions, onOutput, profile });
}

function load(options: RunOptions): GuestMemory {
  const { elf, linux, harts = 1, clock = 'instructions' } = options;
  const memoryDefault = linux === undefined ? MEMORY_BYTES_DEFAULT : LINUX_BYTES_DEFAULT;
  const ramBytes = options.memoryBytes ?? memoryDefault;
  const guest = GuestMemory.create({ ramBytes, harts });
  if (linux !== undefined) loadLinux(guest, { ...linux, clock });
  else if (elf !== undefined) resetMachine(guest, { ...loadElf(elf, guest), clock });
  else throw new MachineError('machine.bad_option', { option: 'elf', reason: 'nothing to run' });
  return guest;
}

function restore(path: string): GuestMemory {
  const { pages, harts } = readCheckpointHead(path);
  const guest = GuestMemory.create({ ramBytes: pages * map.PAGE_SIZE, harts });
  restoreState(guest, decodeState(readCheckpoint(path, guest).state));
  return guest;
}

/** Undefined: the program ended, or ran into its bound, before it. */
function runToCheckpoint(
  turns: Turns,
  { path, at }: NonNullable<RunOptions['checkpoint']>,
): WrittenCheckpoint | undefined {
  const { guest } = turns;
  stopAtInstruction(guest, readCount('checkpointAt', at));
  if (runToEnd(turns).end !== 'stop-at') return undefined;
  return writeCheckpoint(path, guest, { state: encodeState(captureState(guest)), about: '' });
}

function runToEnd(turns: Turns): RunEnd {
  const { guest } = turns;
  const mayIdle = guest.control(map.CONTROL_CLOCK) === map.CLOCK_HOST;
  for (;;) {
    const round = turns.round();
    if (round.is === 'ended') return round.end;
    if (round.is !== 'waiting') continue;
    // Nobody can wake a hart without a timer, and with counted instructions a timer is skipped to.
    if (!mayIdle) return { end: 'idle', code: EXIT_GAVE_UP };
    const state = guest.hartWord(0, map.HART_STATE);
    Atomics.wait(guest.i32, state, map.HART_STOPPED, IDLE_SLEEP_MS);
  }
}

/** When a run began, and how far the machine was: a restored one has run before. */
function now(turns: Turns) {
  return { atMs: performance.now(), retired: turns.retired };
}

function result(
  turns: Turns,
  end: RunEnd,
  began: ReturnType<typeof now>,
  options: RunOptions,
): RunResult {
  const seconds = (performance.now() - began.atMs) / 1000;
  const instructions = turns.retired;
  const own = Number(instructions - began.retired);
  return {
    end: end.end,
    exit: end.end === 'crash' ? EXIT_CRASHED : end.code,
    instructions,
    mips: seconds > 0 ? own / seconds / 1e6 : 0,
    digest: options.digest ? digest(turns.guest) : undefined,
    profile: options.profile ? readProfile(turns.guest) : undefined,
    checkpoint: undefined,
  };
}

function readCount(option: string, value: bigint | number | undefined): bigint | undefined {
  if (value === undefined) return undefined;
  if (value >= 0 && (typeof value === 'bigint' || Number.isSafeInteger(value)))
    return BigInt(value);
  throw new MachineError('machine.bad_option', { option, reason: 'must be a whole number from 0' });
}
