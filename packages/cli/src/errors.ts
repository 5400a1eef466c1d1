/**
 * How a command fails: one class, printed as `error: what: why` and `hint:`, with an exit code.
 *
 * Errors of the cluster arrive as data of the protocol's error table and keep its codes, exits and
 * hints; what only the command line can get wrong is made here.
 */
import { GodwitError } from '@godwit/protocol';

/** Exit codes, the same for every command; `machine run` instead passes on the program's own. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  notFound: 3,
  conflict: 4,
  unreachable: 5,
  timedOut: 124,
  interrupted: 130,
} as const;

export class CommandError extends Error {
  override readonly name = 'CommandError';
  readonly code: string;
  readonly exit: number;
  readonly hint: string | undefined;

  constructor(
    what: { code: string; exit: number; message: string; hint?: string | undefined },
    options?: ErrorOptions,
  ) {
    super(what.message, options);
    this.code = what.code;
    this.exit = what.exit;
    this.hint = what.hint;
  }

  /** Anything thrown, as something that can be printed. */
  static from(thrown: unknown): CommandError {
    if (thrown instanceof CommandError) return thrown;
    if (thrown instanceof GodwitError) {
      const { code, exit, message, hint } = thrown;
      return new CommandError({ code, exit, message, hint }, { cause: thrown });
    }
    const message = thrown instanceof Error ? thrown.message : String(thrown);
    return new CommandError({ code: 'internal', exit: EXIT.failed, message }, { cause: thrown });
  }
}

/** What was typed makes no sense; nothing was asked of anybody. */
export function usageError(message: string, hint?: string): CommandError {
  return new CommandError({ code: 'usage', exit: EXIT.usage, message, hint });
}

/** An errno as a person would say it. */
export function errnoText(code: string | undefined): string {
  const known: Readonly<Record<string, string>> = {
    ECONNREFUSED: 'connection refused',
    ECONNRESET: 'connection reset',
    ENOENT: 'no such file',
    EACCES: 'permission denied',
    EISDIR: 'is a directory',
    ENOTFOUND: 'no such address',
    EHOSTUNREACH: 'no route to it',
    ETIMEDOUT: 'no answer',
  };
  return (code !== undefined && known[code]) || code || 'unknown reason';
}
