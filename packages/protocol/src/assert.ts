/**
 * What the reader must believe, checked. Stays on in production.
 *
 * Only for mistakes of our own. What a peer sent is never asserted: a bad byte from outside is a
 * typed error with a code, and asserting on it would let a peer stop the process.
 */

/** Our own mistake, never a peer's: the process that throws it has a bug. */
export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

/** Throws AssertionError with `message` unless `condition` holds. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** For the branch that the types say cannot be reached; throws AssertionError if it is. */
export function unreachable(value: never, message: string): never {
  throw new AssertionError(`${message}: ${String(value)}`);
}
