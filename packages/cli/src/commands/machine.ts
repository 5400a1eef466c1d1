/**
 * `godwit machine run`: one program, or a kernel, on the emulated computer, without a cluster.
 *
 * The UART is the program's output; the exit code is the one it stores to `tohost`, so that RISC-V
 * test programs run under any test driver. The machine itself is loaded only here: the other
 * commands start without it.
 */
import { readFile, stat } from 'node:fs/promises';
import type { Count, LiveInput, Profile, RunResult } from '@godwit/machine';
import { ELF_BYTES_MAX, GUEST_HARTS_MAX } from '@godwit/protocol';
import { type Command, Option } from 'commander';
import { type Context, does, group, leaf } from '../command.ts';
import { CommandError, EXIT, errnoText, usageError } from '../errors.ts';
import { countText } from '../format.ts';
import type { Io } from '../io.ts';
import { parseCount, parseInstructions, parseSize } from '../options.ts';
import { jsonLine } from '../output.ts';

interface RunOptions {
  memory?: number;
  kernel?: string;
  initrd?: string;
  append?: string;
  harts: number;
  clock?: 'host' | 'instructions';
  maxInstructions?: number;
  stopAt?: number;
  digest?: boolean;
  profile?: boolean;
  checkpoint?: string;
  checkpointAt?: number;
  restore?: string;
  gdb?: number;
  gdbWait?: boolean;
  json?: boolean;
}

/** First word of the summary; the number after it is the exit code. */
const ENDS: Readonly<Record<string, string>> = {
  limit: 'gave up at --max-instructions, exit',
  idle: 'every hart waits for ever, exit',
  'stop-at': 'stopped at --stop-at, exit',
  crash: 'the machine cannot go on, exit',
  killed: 'killed by the debugger, exit',
  left: 'left at the console, exit',
};
const HINTS: Readonly<Record<string, string>> = {
  'elf.truncated': 'the file is not whole; copy or build it again',
  'elf.wrong_class': 'build it for 64-bit RISC-V, statically linked',
  'elf.outside_ram': 'give more --memory, or link it at 0x80000000',
  'kernel.bad_image': 'give the uncompressed Image of a 64-bit RISC-V kernel',
  'kernel.truncated': 'the file is not whole; copy it again',
  'kernel.no_room': 'give more --memory',
  'checkpoint.not_read': 'give the path of a file that --checkpoint wrote',
  'checkpoint.damaged': 'write it anew, or copy it again',
  'checkpoint.not_written': 'nothing was left there; give another path, or make room',
  'state.bad_version': 'it was written by another version of godwit; use that one',
  'gdb.no_port': 'give another port, or 0 for any that is free',
};
const HINT_DEFAULT = 'godwit machine run --help';
const SEED_BYTES = 32;
/** Ctrl-], as in telnet and virsh. */
const LEAVE_BYTE = 0x1d;
/** A kernel that cannot start says so early or never. */
const APPEND_DEFAULT = 'console=ttyS0 earlycon';

export function addMachineCommands(program: Command, context: Context): void {
  const machine = group(program, 'machine', 'the emulated computer by itself, without a cluster');
  const command = leaf(machine, 'run [file]', 'Run a bare-metal RISC-V program (ELF)', [
    'godwit machine run churn.elf --max-instructions 100000000',
    'godwit machine run test.elf --stop-at 1000000 --digest --json',
    'godwit machine run test.elf --checkpoint-at 1000000 --checkpoint at-1m.godwit',
    'godwit machine run --restore at-1m.godwit',
    'godwit machine run --kernel Image --initrd initrd.cpio.gz --clock host',
    "godwit machine run test.elf --gdb 1234 --gdb-wait & gdb-multiarch -ex 'target remote :1234' test.elf",
  ])
    .description(
      'Run a bare-metal RISC-V program (ELF). Its UART goes to stdout (to stderr with --json); the exit\n' +
        'code is the one the program stores to tohost, or 124 when the bound was reached.\n' +
        "With --kernel standard input is the kernel's console; on a terminal Ctrl-] leaves.",
    )
    .option('--memory <size>', 'guest memory (default: 64MiB, a kernel 128MiB)', parseSize)
    .option('--harts <n>', 'hardware threads', parseCount(1, GUEST_HARTS_MAX), 1)
    .addOption(
      new Option(
        '--clock <clock>',
        'machine time: derived from instructions, or real (default: instructions; host for a kernel ' +
          'on a terminal)',
      ).choices(['instructions', 'host']),
    )
    .option('--max-instructions <n>', 'give up after so many instructions', parseInstructions)
    .option('--stop-at <n>', 'stop at exactly this instruction', parseInstructions)
    .option('--digest', 'print a digest of memory and machine state at the end')
    .option('--kernel <file>', 'start this Linux kernel (a RISC-V Image) instead of a program')
    .option('--initrd <file>', 'with --kernel: its first file system')
    .option('--append <args>', "with --kernel: the kernel's command line", APPEND_DEFAULT)
    .option('--profile', 'count instructions by kind, TLB misses and traps; takes time')
    .option('--checkpoint <file>', 'write the whole machine there, at --checkpoint-at, and go on')
    .option('--checkpoint-at <n>', 'the instruction of the checkpoint', parseInstructions)
    .option('--restore <file>', 'go on from a checkpoint instead of starting a program')
    .option(
      '--gdb <port>',
      "wait there for GDB's remote protocol; 0: any free port",
      parseCount(0, 65_535),
    )
    .option('--gdb-wait', 'with --gdb: the first instruction waits for the debugger')
    .option('--json', 'print {"exit","instructions","mips","digest","profile"}');
  does<RunOptions>(context, command, async ({ io, args, options }) => {
    rejectContradictions(args[0], options);
    const result = await runFile(args[0], options, io);
    const { exit, mips, digest } = result;
    const instructions = Number(result.instructions);
    if (options.json) {
      const profile = result.profile && profileJson(result.profile);
      io.out(
        jsonLine({ exit, instructions, mips, ...(digest !== undefined && { digest }), ...profile }),
      );
    } else {
      const count = `${countText(instructions)} instructions`;
      io.err(`${ENDS[result.end] ?? result.end} ${exit}  ${count}  ${mips.toFixed(1)} MIPS\n`);
      if (digest !== undefined) io.err(`digest ${digest}\n`);
      if (result.profile) io.err(profileText(result.profile, instructions));
    }
    if (options.checkpoint !== undefined && result.checkpoint === undefined) {
      const message = `no checkpoint: the program ended before instruction ${options.checkpointAt}`;
      const hint = 'give a lower --checkpoint-at';
      throw new CommandError({ code: 'checkpoint.too_late', exit: EXIT.failed, message, hint });
    }
    return shellExit(exit);
  });
}

/** Operations shown; the rest are rare. */
const OPERATIONS_SHOWN = 16;

/** Shares are of all instructions; traps and misses also of a thousand of them. */
function profileText(profile: Profile, instructions: number): string {
  const line = ({ name, count }: Count) =>
    `  ${name.padEnd(28)} ${countText(Number(count)).padStart(16)}`;
  const share = (one: Count) =>
    `${line(one)} ${((100 * Number(one.count)) / instructions).toFixed(2).padStart(7)} %\n`;
  const rate = (one: Count) =>
    `${line(one)} ${((1000 * Number(one.count)) / instructions).toFixed(3).padStart(7)} a thousand\n`;
  return [
    'instructions by kind\n',
    ...profile.kinds.map(share),
    'commonest operations\n',
    ...profile.operations.slice(0, OPERATIONS_SHOWN).map(share),
    'events\n',
    ...profile.events.map(rate),
  ].join('');
}

function profileJson({ kinds, operations, events }: Profile) {
  const record = (counts: readonly Count[]) =>
    Object.fromEntries(counts.map(({ name, count }) => [name, Number(count)]));
  const profile = {
    kinds: record(kinds),
    operations: record(operations),
    events: record(events),
  };
  return { profile };
}

/** An option that would silently do nothing is a mistake. */
function rejectContradictions(file: string | undefined, options: RunOptions): void {
  const { checkpoint, checkpointAt, gdb, gdbWait, initrd, kernel, restore } = options;
  if ([file, kernel, restore].filter((thing) => thing !== undefined).length !== 1) {
    throw usageError('one thing to run is needed', 'give a program, --kernel or --restore FILE');
  }
  if (initrd !== undefined && kernel === undefined) {
    throw usageError('--initrd is for --kernel only', 'give --kernel FILE too');
  }
  if (gdbWait && gdb === undefined) {
    throw usageError('--gdb-wait is for --gdb only', 'give --gdb PORT too');
  }
  if ((checkpoint === undefined) !== (checkpointAt === undefined)) {
    throw usageError('--checkpoint and --checkpoint-at go together', 'give both');
  }
  if (checkpoint !== undefined && gdb !== undefined) {
    throw usageError('--checkpoint does not go with --gdb', 'give one of them');
  }
}

async function runFile(path: string | undefined, options: RunOptions, io: Io): Promise<RunResult> {
  const elf = path === undefined ? undefined : await readElf(path);
  const clock = options.clock ?? (options.kernel && io.stdin.isTTY ? 'host' : 'instructions');
  const linux =
    options.kernel === undefined ? undefined : await linuxOf(options.kernel, clock, options);
  const { checkpoint, checkpointAt, restore } = options;
  const { debugMachine, runMachine, runMachineLive, MachineError } = await import(
    '@godwit/machine'
  );
  const run = {
    elf,
    linux,
    restore,
    ...(checkpoint !== undefined && { checkpoint: { path: checkpoint, at: checkpointAt! } }),
    memoryBytes: options.memory,
    harts: options.harts,
    clock,
    maxInstructions: options.maxInstructions,
    stopAt: options.stopAt,
    digest: options.digest ?? false,
    profile: options.profile,
    onOutput: (bytes: Uint8Array) => (options.json ? io.err(bytes) : io.out(bytes)),
  };
  try {
    if (linux && checkpoint === undefined && options.gdb === undefined) {
      return await attended(io, (input) => runMachineLive(run, input));
    }
    if (options.gdb === undefined) return runMachine(run);
    const onListening = (port: number) => io.err(`gdb: target remote 127.0.0.1:${port}\n`);
    return await debugMachine(run, {
      port: options.gdb,
      wait: options.gdbWait ?? false,
      onListening,
    });
  } catch (error) {
    if (!(error instanceof MachineError)) throw error;
    const message = path === undefined ? error.message : `${path}: ${error.message}`;
    throw new CommandError(
      { code: error.code, exit: EXIT.usage, message, hint: HINTS[error.code] ?? HINT_DEFAULT },
      { cause: error },
    );
  }
}

/** Standard input is the kernel's console: a terminal raw, left with Ctrl-]; a pipe as it comes. */
async function attended(io: Io, run: (input: LiveInput) => Promise<RunResult>): Promise<RunResult> {
  const { LiveInput } = await import('@godwit/machine');
  const input = new LiveInput();
  const { stdin } = io;
  const isTty = stdin.isTTY === true;
  const onData = (keys: Buffer) => {
    const at = isTty ? keys.indexOf(LEAVE_BYTE) : -1;
    if (!input.push(at < 0 ? keys : keys.subarray(0, at))) stdin.pause();
    if (at >= 0) input.leave();
  };
  input.onRoom = () => void stdin.resume();
  const release = io.onSignal(() => input.leave());
  if (isTty) stdin.setRawMode(true);
  stdin.on('data', onData).on('end', () => input.end());
  try {
    return await run(input);
  } finally {
    release();
    stdin.off('data', onData).pause();
    if (isTty) stdin.setRawMode(false);
  }
}

/** With counted instructions a boot is to be the same every time, so its randomness is too. */
async function linuxOf(
  kernel: string,
  clock: 'host' | 'instructions',
  { append, initrd }: RunOptions,
) {
  const seed = new Uint8Array(SEED_BYTES);
  return {
    kernel: await readBytes(kernel, 'give the path of a kernel Image'),
    initrd:
      initrd === undefined ? undefined : await readBytes(initrd, 'give the path of a cpio file'),
    bootargs: append,
    seed: clock === 'instructions' ? seed.fill(1) : crypto.getRandomValues(seed),
  };
}

/** A shell sees 8 bits: a failure must not become 0 there. */
function shellExit(exit: number): number {
  return exit > 255 ? exit & 0xff || EXIT.failed : exit;
}

/** @throws CommandError not found, or larger than a control message may carry */
export async function readElf(path: string): Promise<Uint8Array> {
  try {
    const { size } = await stat(path);
    if (size > ELF_BYTES_MAX) {
      const message = `${path}: ${size} bytes, a program has at most ${ELF_BYTES_MAX}`;
      throw new CommandError({
        code: 'guest.bad_spec',
        exit: EXIT.usage,
        message,
        hint: 'strip debug information from it',
      });
    }
    return await readBytes(path, 'give the path of a RISC-V ELF file');
  } catch (error) {
    if (error instanceof CommandError) throw error;
    throw unreadable(path, error, 'give the path of a RISC-V ELF file');
  }
}

async function readBytes(path: string, hint: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (error) {
    throw unreadable(path, error, hint);
  }
}

function unreadable(path: string, error: unknown, hint: string): CommandError {
  const why = errnoText((error as NodeJS.ErrnoException).code);
  const message = `${path}: ${why}`;
  return new CommandError({ code: 'file.unreadable', exit: EXIT.notFound, message, hint });
}
