/**
 * Errors as the API shows them: `{ error: { code, message, hint?, detail, exit } }` and a status.
 *
 * The status follows the exit code of the error table, so that the command line needs no table of
 * its own. A refused token is 401, as every HTTP client expects.
 */
import { GodwitError } from '@godwit/protocol';

const STATUS: { readonly [exit: number]: number } = {
  1: 500,
  2: 400,
  3: 404,
  4: 409,
  5: 503,
  124: 504,
};

export interface ErrorBody {
  readonly error: {
    readonly code: string;
    readonly message: string;
    readonly hint?: string;
    readonly detail: unknown;
    readonly exit: number;
  };
}

export function statusOf(error: GodwitError): number {
  return error.code === 'auth.token' ? 401 : (STATUS[error.exit] ?? 500);
}

export function bodyOf(error: GodwitError): ErrorBody {
  const { code, message, hint, detail, exit } = error;
  return { error: { code, message, ...(hint !== undefined && { hint }), detail, exit } };
}

/** Whatever a handler or the framework threw, as one of ours. */
export function errorOf(thrown: unknown): GodwitError {
  if (thrown instanceof Error && thrown.name === 'ZodError') return invalid(thrown);
  // The framework's own refusals: a body that is no JSON, too large, of another type.
  const { statusCode, message } = thrown as { statusCode?: number; message?: string };
  if (!(thrown instanceof GodwitError) && statusCode !== undefined && statusCode < 500) {
    return new GodwitError('request.invalid', { why: message ?? 'the request is not understood' });
  }
  return GodwitError.from(thrown);
}

/** The first thing a schema of the route table found wrong. */
function invalid(thrown: Error): GodwitError {
  const { issues } = thrown as unknown as { issues: { path: PropertyKey[]; message: string }[] };
  const [issue] = issues;
  const path = issue?.path.join('.') ?? '';
  const why = `${path === '' ? 'the request' : path}: ${issue?.message ?? 'is not valid'}`;
  return new GodwitError('request.invalid', { why });
}
