/**
 * The whole command line: which nouns there are, and how a call becomes an exit code.
 *
 * main.ts -> [program] -> commands/*.ts. `run` never throws and never ends the process, so tests call
 * it as the user's shell would.
 */
import { Command, CommanderError } from 'commander';
import type { Context } from './command.ts';
import { addClusterCommands } from './commands/cluster.ts';
import { addCompletionCommand } from './commands/completion.ts';
import { addDaemonCommands } from './commands/daemon.ts';
import { addGuestCommands } from './commands/guest.ts';
import { addHostCommands } from './commands/host.ts';
import { addImageCommands } from './commands/image.ts';
import { addMachineCommands } from './commands/machine.ts';
import { addMigrationCommands } from './commands/migration.ts';
import { CommandError, EXIT, usageError } from './errors.ts';
import type { Io } from './io.ts';
import { printError } from './output.ts';

const EXAMPLES = `
Examples:
  godwit up --agents 3
  godwit guest create web1 --image hello
  godwit guest migrate web1 --to b

Exit codes:
  0 ok   1 failed   2 usage   3 not found   4 conflict   5 unreachable
  124 timed out   130 interrupted
`;

/** @returns the exit code */
export async function run(argv: readonly string[], io: Io): Promise<number> {
  const context: Context = { io, exit: EXIT.ok };
  try {
    await buildProgram(context).parseAsync([...argv], { from: 'user' });
    return context.exit;
  } catch (thrown) {
    if (thrown instanceof CommanderError && thrown.exitCode === 0) return EXIT.ok;
    const error =
      thrown instanceof CommanderError ? fromCommander(thrown) : CommandError.from(thrown);
    if (error !== undefined) printError(io, error, argv.includes('--json'));
    return error?.exit ?? EXIT.usage;
  }
}

export function buildProgram(context: Context): Command {
  const program = new Command('godwit');
  program
    .description('Live migration of running virtual machines.')
    .addHelpText('after', EXAMPLES)
    .configureOutput({
      writeOut: (text) => context.io.out(text),
      writeErr: (text) => context.io.err(text),
      outputError: () => {}, // Printed by `run`, in the same form as every other error.
      getOutHelpWidth: () => Math.min(100, context.io.columns()),
    })
    .configureHelp({ sortOptions: false, showGlobalOptions: false })
    .exitOverride();
  addClusterCommands(program, context);
  addHostCommands(program, context);
  addGuestCommands(program, context);
  addImageCommands(program, context);
  addMigrationCommands(program, context);
  addMachineCommands(program, context);
  addDaemonCommands(program, context);
  addCompletionCommand(program, context);
  return program;
}

/** commander's own complaints in our words; nothing when it printed help because no verb was given. */
function fromCommander(error: CommanderError): CommandError | undefined {
  if (error.code === 'commander.help') return undefined;
  const [first = '', second = ''] = error.message.split('\n');
  const near = /^\(Did you mean (.+)\?\)$/.exec(second)?.[1];
  const message = first
    .replace(/^error: /, '')
    .replace(/ argument '(.*)' is invalid\. /, " '$1': ")
    .replace(/\.$/, '');
  return usageError(message, near ? `did you mean ${near}?` : 'add --help to see what is possible');
}
