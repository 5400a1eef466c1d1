/**
 * The cluster token, and the file it can be kept in.
 *
 *   --token T  >  --token-file F  >  GODWIT_TOKEN  >  GODWIT_TOKEN_FILE     (the same in every program)
 *
 * A file keeps it out of command lines, which every user of a machine can read, and out of compose and
 * unit files, which are copied about. The coordinator makes the file at its first start; everybody else
 * only reads it.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { GodwitError } from './errors.ts';

/** 256 bits, so that nobody guesses it; hex, so that it survives every shell and every file. */
const TOKEN_BYTES = 32;
/** What travels in a header and is typed by nobody. */
const TOKEN_PATTERN = /^[\x21-\x7e]{8,512}$/;

export interface TokenOrigin {
  readonly token?: string | undefined;
  readonly file?: string | undefined;
}

/**
 * @param given by the command line
 * @returns undefined: there is none, so whoever asks stays on loopback
 * @throws GodwitError `auth.token_file`, `request.invalid`
 */
export function clusterToken(given: TokenOrigin, env: NodeJS.ProcessEnv): string | undefined {
  if (given.token !== undefined) return checked(given.token, '--token');
  if (given.file !== undefined) return readToken(given.file);
  // An empty variable is what a compose file without a value gives.
  if (env.GODWIT_TOKEN) return checked(env.GODWIT_TOKEN, 'GODWIT_TOKEN');
  return env.GODWIT_TOKEN_FILE ? readToken(env.GODWIT_TOKEN_FILE) : undefined;
}

/** The file that `clusterToken` would read, if it would read one. */
export function tokenFile(given: TokenOrigin, env: NodeJS.ProcessEnv): string | undefined {
  if (given.token !== undefined) return undefined;
  return given.file ?? (env.GODWIT_TOKEN ? undefined : env.GODWIT_TOKEN_FILE || undefined);
}

/**
 * Makes the file with a new token unless it exists.
 * @throws GodwitError `auth.token_file`
 */
export function makeTokenFile(path: string): void {
  try {
    mkdirSync(dirname(path), { recursive: true });
    // The global is loaded when it is used; importing node:crypto would cost every short command.
    const token = Buffer.from(crypto.getRandomValues(new Uint8Array(TOKEN_BYTES))).toString('hex');
    // Exclusive: of two that start at once one makes it and both read the same.
    writeFileSync(path, `${token}\n`, {
      flag: 'wx',
      mode: 0o600,
    });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST') return;
    throw new GodwitError('auth.token_file', { path, why: (cause as Error).message }, { cause });
  }
}

function readToken(path: string): string {
  let text: string;
  try {
    text = readFileSync(path, 'utf8').trim();
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? 'there is no such file' : message;
    throw new GodwitError('auth.token_file', { path, why }, { cause });
  }
  if (TOKEN_PATTERN.test(text)) return text;
  throw new GodwitError('auth.token_file', { path, why: 'it holds no token' });
}

function checked(token: string, where: string): string {
  if (TOKEN_PATTERN.test(token)) return token;
  throw new GodwitError('request.invalid', {
    why: `${where}: a token has 8 to 512 characters without spaces`,
  });
}
