/**
 * What every command has in common: examples in its help, where the coordinator is, --json, and the
 * way from commander's callback to one async function that returns an exit code.
 */
import { clusterToken } from '@godwit/protocol';
import { type Command, Option } from 'commander';
import { ApiClient } from './api-client.ts';
import { CommandError, EXIT } from './errors.ts';
import type { Io } from './io.ts';
import { applyOutsideValues, COORDINATOR_DEFAULT } from './options.ts';

/** One run of the command line; commands leave their exit code here. */
export interface Context {
  readonly io: Io;
  exit: number;
}

/** What a command's function gets. */
export interface Call<T extends object> {
  readonly io: Io;
  readonly args: readonly string[];
  readonly options: T & CommonOptions;
  readonly api: ApiClient;
}

export interface CommonOptions {
  readonly coordinator?: string;
  readonly token?: string;
  readonly tokenFile?: string;
  readonly json?: boolean;
}

/** A group such as `guest`: shows its help when called alone. */
export function group(parent: Command, name: string, summary: string): Command {
  return parent.command(name).summary(summary).description(summary);
}

/**
 * A command that does something.
 * @param usage name and arguments as commander takes them: "show <guest>"
 */
export function leaf(
  parent: Command,
  usage: string,
  summary: string,
  examples: readonly string[],
): Command {
  const command = parent.command(usage).summary(summary).description(`${summary}.`);
  command.addHelpText('after', `\nExamples:\n${examples.map((line) => `  ${line}\n`).join('')}`);
  return command.allowExcessArguments(false);
}

/** For commands that talk to the coordinator and print one of its objects. */
export function withApi(command: Command): Command {
  return withCoordinator(command).option('--json', 'print the API object');
}

/** For commands that talk to the coordinator and print none. */
export function withCoordinator(command: Command): Command {
  return command
    .addOption(
      new Option(
        '--coordinator <url>',
        `where the coordinator is (default: ${COORDINATOR_DEFAULT})`,
      ),
    )
    .option('--token <token>', 'cluster token')
    .option('--token-file <file>', 'file with the cluster token');
}

/** For commands that use the images of this machine. */
export function withImageDir(command: Command): Command {
  return command.option(
    '--image-dir <dir>',
    "where images are kept (default: godwit/images in the user's cache directory)",
  );
}

/** Connects a command with its function; a function that returns nothing succeeded. */
export function does<T extends object>(
  context: Context,
  command: Command,
  run: (call: Call<T>) => Promise<number | undefined> | Promise<void>,
): void {
  command.action(async () => {
    applyOutsideValues(command, context.io);
    const options = command.opts<T & CommonOptions>();
    const { coordinator = COORDINATOR_DEFAULT } = options;
    const call: Call<T> = {
      io: context.io,
      args: command.args,
      options,
      get api() {
        const origin = { token: options.token, file: options.tokenFile };
        return new ApiClient({ url: coordinator, token: clusterToken(origin, context.io.env) });
      },
    };
    try {
      context.exit = (await run(call)) ?? EXIT.ok;
    } catch (thrown) {
      throw withOwnHint(CommandError.from(thrown), command);
    }
  });
}

/** What was wrong with a call is best looked up in the help of that very command. */
function withOwnHint(error: CommandError, command: Command): CommandError {
  const isGeneral = error.hint === undefined || error.code === 'guest.bad_spec';
  if (error.exit !== EXIT.usage || !isGeneral) return error;
  const { code, exit, message } = error;
  const hint = `${pathOf(command)} --help`;
  return new CommandError({ code, exit, message, hint }, { cause: error });
}

function pathOf(command: Command): string {
  return command.parent ? `${pathOf(command.parent)} ${command.name()}` : command.name();
}
