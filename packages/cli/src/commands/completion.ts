/**
 * `godwit completion`: a script for the shell that completes nouns, verbs, options, their fixed values,
 * and the names of guests, hosts and migrations that exist now.
 *
 *   command tree --> [completion] --script--> shell --TAB--> godwit __names guest --> coordinator
 *
 * The script is made from the command tree itself, so it cannot fall behind it: an argument called
 * <guest> is completed with guests. Names are asked of the coordinator at the moment they are needed;
 * where none answers within a second, there are no names, and the shell says nothing.
 */
import type { Argument, Command, Option } from 'commander';
import { type Context, does, leaf, withApi } from '../command.ts';
import { usageError } from '../errors.ts';

const SHELLS = ['bash', 'zsh', 'fish'] as const;
/** Who presses TAB waits no longer than this for names. */
const NAMES_DEADLINE_MS = 1_000;

/** Arguments and values of options that name something the coordinator knows. */
const KINDS: Readonly<Record<string, string>> = {
  guest: 'guest',
  host: 'host',
  id: 'migration',
};

export function addCompletionCommand(program: Command, context: Context): void {
  const command = leaf(program, 'completion <shell>', 'Print a completion script for your shell', [
    'source <(godwit completion bash)',
    'godwit completion fish > ~/.config/fish/completions/godwit.fish',
  ]);
  does(context, command, async ({ io, args }) => {
    const shell = args[0]!;
    if (shell === 'bash') io.out(bashScript(program));
    else if (shell === 'zsh')
      io.out(`autoload -U +X bashcompinit && bashcompinit\n${bashScript(program)}`);
    else if (shell === 'fish') io.out(fishScript(program));
    else throw usageError(`no completion for shell '${shell}'`, `there are ${SHELLS.join(', ')}`);
  });

  const names = program.command('__names <kind>', { hidden: true });
  does(context, withApi(names), async ({ io, args, api }) => {
    const known: Readonly<Record<string, () => Promise<string[]>>> = {
      guest: async () => (await api.guests()).map((guest) => guest.name),
      host: async () => (await api.hosts()).map((host) => host.name),
      migration: async () => (await api.migrations()).map((migration) => migration.id),
    };
    const ask = known[args[0]!];
    if (ask === undefined) return;
    const late = new Promise<string[]>((resolve) => {
      setTimeout(resolve, NAMES_DEADLINE_MS, []).unref();
    });
    // A completion that prints an error ruins the line that is being typed.
    const found = await Promise.race([ask().catch(() => []), late]);
    io.out(found.map((name) => `${name}\n`).join(''));
  });
}

/** One command of the tree, as a completion script needs it. */
interface Node {
  /** "guest migrate"; empty for the root. */
  readonly path: string;
  readonly command: Command;
}

function nodesOf(command: Command, path = ''): Node[] {
  const below = shown(command).flatMap((sub) =>
    [sub.name(), ...sub.aliases()].flatMap((name) =>
      nodesOf(sub, path === '' ? name : `${path} ${name}`),
    ),
  );
  return [{ path, command }, ...below];
}

/** Without what only scripts call. */
function shown(command: Command): Command[] {
  return command.commands.filter((sub) => !sub.name().startsWith('__'));
}

function longOf(option: Option): string {
  return option.long ?? option.short ?? '';
}

/** What an argument or the value of an option names: by its word between the angle brackets. */
function kindOf(word: string): string | undefined {
  return KINDS[word.replace(/^[<[]|[>\].]+$/g, '')];
}

function kindOfOption(option: Option): string | undefined {
  // `--guest <name>` says in its own name what it wants, `--to <host>` in its value's.
  const value = /<(.+)>|\[(.+)\]/.exec(option.flags)?.[1] ?? '';
  return kindOf(value) ?? (value === 'name' ? kindOf(longOf(option).slice(2)) : undefined);
}

function kindOfArgument(argument: Argument): string | undefined {
  return kindOf(argument.name());
}

function bashScript(program: Command): string {
  const nodes = nodesOf(program);
  const options = new Map(
    nodes.flatMap(({ command }) => command.options).map((option) => [longOf(option), option]),
  );
  // One option may take a host here and a file there: `guest migrate --to`, `guest checkpoint --to`.
  const valueCases = nodes.flatMap(({ path, command }) =>
    command.options.flatMap((option) => {
      const place = `"${path} ${longOf(option)}")`;
      const kind = kindOfOption(option);
      if (option.argChoices) return [`${place} list="${option.argChoices.join(' ')}"`];
      if (kind !== undefined) return [`${place} names=${kind}`];
      // The value of any other option is a file or free text: the shell's own completion.
      return option.required ? [`${place} return`] : [];
    }),
  );
  const pathCases = nodes.map(({ path, command }) => {
    const subs = shown(command).map((sub) => sub.name());
    const flags = command.options.map(longOf).filter((long) => long !== '');
    return `"${path}") list="${[...subs, ...flags, '--help'].join(' ')}"`;
  });
  const argumentCases = nodes.flatMap(({ path, command }) =>
    command.registeredArguments.flatMap((argument, i) => {
      const kind = kindOfArgument(argument);
      return kind === undefined ? [] : [`"${path} ${i}") names=${kind}`];
    }),
  );
  const valued = [...options.values()]
    .filter((option) => option.required || option.optional)
    .map(longOf)
    .filter((long) => long !== '--coordinator' && long !== '--token');
  const paths = nodes.map(({ path }) => path).filter((path) => path !== '');
  const cases = (lines: readonly string[]) => lines.map((line) => `      ${line} ;;`).join('\n');
  return `_godwit() {
  # The words as they were typed: bash itself cuts an URL at its colons.
  local words=() names="" list="" path="" word skip="" count=0 known=1 where=()
  read -ra words <<< "\${COMP_LINE:0:COMP_POINT}"
  local current="\${COMP_WORDS[COMP_CWORD]}" last="\${#words[@]}"
  case "\${COMP_LINE:0:COMP_POINT}" in *[[:space:]]) ;; *) last=$((last-1)) ;; esac
  local previous="\${words[last-1]}"
  COMPREPLY=()
  for word in "\${words[@]:1:last-1}"; do
    case "$skip" in
      keep) where+=("$word"); skip=""; continue ;;
      drop) skip=""; continue ;;
    esac
    case "$word" in
      --coordinator|--token) where+=("$word"); skip=keep; continue ;;
      --*=*) continue ;;
      ${valued.join('|')}) skip=drop; continue ;;
      -*) continue ;;
    esac
    [ -n "$known" ] && case "\${path:+$path }$word" in
      ${paths.map((path) => `"${path}"`).join('|')}) path="\${path:+$path }$word"; continue ;;
    esac
    known=""; count=$((count+1))
  done
  case "$path $previous" in
${cases(valueCases)}
  esac
  if [ -z "$list$names" ]; then
    case "$path" in
${cases(pathCases)}
    esac
    case "$current" in -*) ;; *) case "$path $count" in
${cases(argumentCases)}
    esac ;; esac
  fi
  [ -n "$names" ] && list="$("\${words[0]}" __names "$names" "\${where[@]}" 2>/dev/null)"
  COMPREPLY=($(compgen -W "$list" -- "$current"))
}
complete -o default -F _godwit godwit
`;
}

function fishScript(program: Command): string {
  const lines = ['complete -c godwit -f'];
  for (const noun of shown(program)) {
    lines.push(
      `complete -c godwit -n __fish_use_subcommand -a ${noun.name()} -d ${quote(noun.summary())}`,
    );
    const verbs = noun.commands.map((verb) => verb.name());
    for (const verb of noun.commands) {
      const isFirst = `__fish_seen_subcommand_from ${noun.name()}; and not __fish_seen_subcommand_from ${verbs.join(' ')}`;
      lines.push(
        `complete -c godwit -n ${quote(isFirst)} -a ${verb.name()} -d ${quote(verb.summary())}`,
      );
      const isHere = `__fish_seen_subcommand_from ${noun.name()}; and __fish_seen_subcommand_from ${verb.name()}`;
      const kind = verb.registeredArguments[0] && kindOfArgument(verb.registeredArguments[0]);
      if (kind !== undefined) {
        lines.push(`complete -c godwit -n ${quote(isHere)} -a ${quote(fishNames(kind))}`);
      }
      for (const option of verb.options) lines.push(fishOption(isHere, option));
    }
    for (const option of noun.options) {
      lines.push(fishOption(`__fish_seen_subcommand_from ${noun.name()}`, option));
    }
  }
  return `${lines.join('\n')}\n`;
}

function fishOption(condition: string, option: Option): string {
  const kind = kindOfOption(option);
  const list = option.argChoices?.join(' ') ?? (kind && fishNames(kind));
  const values = list === undefined ? '' : ` -x -a ${quote(list)}`;
  const name = option.long?.replace(/^--/, '') ?? '';
  return `complete -c godwit -n ${quote(condition)} -l ${name}${values} -d ${quote(option.description)}`;
}

function fishNames(kind: string): string {
  return `(godwit __names ${kind} 2>/dev/null)`;
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "\\'")}'`;
}
