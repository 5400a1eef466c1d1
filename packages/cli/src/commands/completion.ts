/**
 * `godwit completion`: a script for the shell that completes nouns, verbs, options and their fixed
 * values. It is made from the command tree itself, so it cannot fall behind it.
 */
import type { Command, Option } from 'commander';
import { type Context, does, leaf } from '../command.ts';
import { usageError } from '../errors.ts';

const SHELLS = ['bash', 'zsh', 'fish'] as const;

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
}

/** Words that may follow each path of the tree: "guest migrate" -> "--to --mode ...". */
function wordsByPath(command: Command, path = ''): [string, string[]][] {
  const subs = command.commands.map((sub) => sub.name());
  const options = command.options.map((option) => option.long ?? '').filter((long) => long !== '');
  const own: [string, string[]] = [path, [...subs, ...options, '--help']];
  const below = command.commands.flatMap((sub) =>
    wordsByPath(sub, path === '' ? sub.name() : `${path} ${sub.name()}`),
  );
  return [own, ...below];
}

function choices(command: Command): [string, readonly string[]][] {
  const own = command.options
    .filter((option: Option) => option.argChoices !== undefined)
    .map((option): [string, readonly string[]] => [option.long ?? '', option.argChoices ?? []]);
  return [...own, ...command.commands.flatMap((sub) => choices(sub))];
}

function bashScript(program: Command): string {
  const values = new Map(choices(program));
  const valueCases = [...values].map(([flag, list]) => `    ${flag}) words="${list.join(' ')}" ;;`);
  const pathCases = wordsByPath(program).map(
    ([path, words]) => `      "${path}") words="${words.join(' ')}" ;;`,
  );
  return `_godwit() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" path="" words="" word
  case "$previous" in
${valueCases.join('\n')}
  esac
  if [ -z "$words" ]; then
    for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
      case "$word" in -*) break ;; esac
      [ "$(wc -w <<< "$path")" -lt 2 ] && path="\${path:+$path }$word"
    done
    case "$path" in
${pathCases.join('\n')}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _godwit godwit
`;
}

function fishScript(program: Command): string {
  const lines = ['complete -c godwit -f'];
  for (const noun of program.commands) {
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
      for (const option of verb.options) lines.push(fishOption(isHere, option));
    }
    for (const option of noun.options) {
      lines.push(fishOption(`__fish_seen_subcommand_from ${noun.name()}`, option));
    }
  }
  return `${lines.join('\n')}\n`;
}

function fishOption(condition: string, option: Option): string {
  const values = option.argChoices ? ` -x -a ${quote(option.argChoices.join(' '))}` : '';
  const name = option.long?.replace(/^--/, '') ?? '';
  return `complete -c godwit -n ${quote(condition)} -l ${name}${values} -d ${quote(option.description)}`;
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "\\'")}'`;
}
