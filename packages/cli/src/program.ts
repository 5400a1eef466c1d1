/**
 * The whole command line: which nouns there are, and how a call becomes an exit code.
 *
 * main.ts -> [program] -> commands/*.ts. `run` never throws and never ends the process, so tests call
 * it as the user's shell would.
 *
 * Only the file of the noun that was typed is loaded: compiled sources or not, finding and linking
 * modules is most of what a short command costs. What needs the whole tree (help, completion, a word
 * nobody knows) loads all of them.
 */
import { Command, CommanderError } from 'commander';
import type { Context } from './command.ts';
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

/** Adds what a file has to the tree. */
type Add = (program: Command, context: Context) => void;

/** In the order of the help: first words, and the file that knows them. */
const NOUNS: readonly { readonly words: readonly string[]; load(): Promise<Add> }[] = [
  {
    words: ['up', 'status', 'version'],
    load: async () => (await import('./commands/cluster.ts')).addClusterCommands,
  },
  { words: ['host'], load: async () => (await import('./commands/host.ts')).addHostCommands },
  { words: ['guest'], load: async () => (await import('./commands/guest.ts')).addGuestCommands },
  { words: ['image'], load: async () => (await import('./commands/image.ts')).addImageCommands },
  {
    words: ['migration'],
    load: async () => (await import('./commands/migration.ts')).addMigrationCommands,
  },
  {
    words: ['machine'],
    load: async () => (await import('./commands/machine.ts')).addMachineCommands,
  },
  {
    words: ['coordinator', 'agent'],
    load: async () => (await import('./commands/daemon.ts')).addDaemonCommands,
  },
  // `completion` itself is made from the whole tree.
  {
    words: ['__names'],
    load: async () => (await import('./commands/completion.ts')).addCompletionCommand,
  },
];

/** What one types at a program one does not know. */
const VERSION_OPTIONS = ['-V', '--version'];

/** @returns the exit code */
export async function run(typed: readonly string[], io: Io): Promise<number> {
  const [first = '', ...others] = typed;
  const argv = VERSION_OPTIONS.includes(first) ? ['version', ...others] : typed;
  const context: Context = { io, exit: EXIT.ok };
  try {
    const program = await buildProgram(context, argv[0]);
    await program.parseAsync([...argv], { from: 'user' });
    return context.exit;
  } catch (thrown) {
    if (thrown instanceof CommanderError && thrown.exitCode === 0) return EXIT.ok;
    const error =
      thrown instanceof CommanderError ? fromCommander(thrown) : CommandError.from(thrown);
    if (error !== undefined) printError(io, error, argv.includes('--json'));
    return error?.exit ?? EXIT.usage;
  }
}

/** @param first the first word of the command line */
async function buildProgram(context: Context, first = ''): Promise<Command> {
  const program = new Command('godwit');
  program
    .description('Live migration of running virtual machines.')
    .option(VERSION_OPTIONS.join(', '), 'the same as `godwit version`')
    .addHelpText('after', EXAMPLES)
    .configureOutput({
      writeOut: (text) => context.io.out(text),
      writeErr: (text) => context.io.err(text),
      outputError: () => {}, // Printed by `run`, in the same form as every other error.
      getOutHelpWidth: () => Math.min(100, context.io.columns()),
    })
    .configureHelp({ sortOptions: false, showGlobalOptions: false })
    .exitOverride();
  const known = NOUNS.find(({ words }) => words.includes(first));
  const adds = await Promise.all((known ? [known] : NOUNS).map(({ load }) => load()));
  for (const add of adds) add(program, context);
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
