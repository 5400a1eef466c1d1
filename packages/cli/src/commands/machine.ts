/**
 * `godwit machine run`: one bare-metal program on the emulated computer, without a cluster.
 *
 * The UART is the program's output; the exit code is the one it stores to `tohost`, so that RISC-V
 * test programs run under any test driver. The machine itself is loaded only here: the other
 * commands start without it.
 */
import { readFile, stat } from 'node:fs/promises';
import { ELF_BYTES_MAX, GUEST_HARTS_MAX } from '@godwit/protocol';
import type { Command } from 'commander';
import { type Context, does, group, leaf } from '../command.ts';
import { CommandError, EXIT, errnoText } from '../errors.ts';
import { countText } from '../format.ts';
import { parseCount, parseInstructions, sizeOption } from '../options.ts';
import { jsonLine } from '../output.ts';

interface RunOptions {
  memory: number;
  harts: number;
  maxInstructions?: number;
  stopAt?: number;
  digest?: boolean;
  json?: boolean;
}

const MEMORY_DEFAULT = 64 * 1024 * 1024;

export function addMachineCommands(program: Command, context: Context): void {
  const machine = group(program, 'machine', 'the emulated computer by itself, without a cluster');
  const command = leaf(machine, 'run <file>', 'Run a bare-metal RISC-V program (ELF)', [
    'godwit machine run churn.elf --max-instructions 100000000',
    'godwit machine run test.elf --stop-at 1000000 --digest --json',
  ])
    .description(
      'Run a bare-metal RISC-V program (ELF). Its UART goes to stdout (to stderr with --json); the exit\n' +
        'code is the one the program stores to tohost, or 124 when the bound was reached.',
    )
    .addOption(sizeOption('--memory <size>', 'guest memory', MEMORY_DEFAULT))
    .option('--harts <n>', 'hardware threads', parseCount(1, GUEST_HARTS_MAX), 1)
    .option('--max-instructions <n>', 'give up after so many instructions', parseInstructions)
    .option('--stop-at <n>', 'stop at exactly this instruction', parseInstructions)
    .option('--digest', 'print a digest of memory and machine state at the end')
    .option('--json', 'print {"exit","instructions","mips","digest"}');
  does<RunOptions>(context, command, async ({ io, args, options }) => {
    const elf = await readElf(args[0]!);
    const { runElf } = await import('@godwit/machine');
    const result = await runElf({
      elf,
      memoryBytes: options.memory,
      harts: options.harts,
      ...(options.maxInstructions !== undefined && { maxInstructions: options.maxInstructions }),
      ...(options.stopAt !== undefined && { stopAt: options.stopAt }),
      digest: options.digest ?? false,
      onOutput: (bytes: Uint8Array) => (options.json ? io.err(bytes) : io.out(bytes)),
    });
    if (options.json) {
      const { exit, instructions, mips, digest } = result;
      io.out(
        jsonLine({ exit, instructions: Number(instructions), mips, ...(digest && { digest }) }),
      );
    } else {
      const mips = result.mips.toFixed(1);
      io.err(
        `exit ${result.exit}  ${countText(Number(result.instructions))} instructions  ${mips} MIPS\n`,
      );
      if (result.digest) io.err(`digest ${result.digest}\n`);
    }
    return result.exit;
  });
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
    return await readFile(path);
  } catch (error) {
    if (error instanceof CommandError) throw error;
    const why = errnoText((error as NodeJS.ErrnoException).code);
    throw new CommandError({
      code: 'file.unreadable',
      exit: EXIT.notFound,
      message: `${path}: ${why}`,
      hint: 'give the path of a RISC-V ELF file',
    });
  }
}
