/**
 * Values on the command line: how they are written, and where they come from when they are not.
 *
 *   flag  >  GODWIT_* of the environment  >  $XDG_CONFIG_HOME/godwit/config.json  >  default
 *
 * Only options that make sense for every call can come from outside; a guest's name or a target
 * must be typed. The configuration is one JSON object of option names: {"coordinator": "http://..."}.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { usageError } from './errors.ts';
import { bytesText } from './format.ts';
import type { Io } from './io.ts';

export const COORDINATOR_DEFAULT = 'http://127.0.0.1:7400';

/** Long names of the options that the environment and the configuration may set. */
const CONFIGURABLE: ReadonlySet<string> = new Set([
  'coordinator',
  'token',
  'token-file',
  'mode',
  'channels',
  'max-bandwidth',
  'max-downtime',
  'state-dir',
  'image-dir',
  'page-ports',
  'advertise',
  'log-level',
]);

const SIZE_UNITS: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  k: 1024,
  m: 1024 ** 2,
  g: 1024 ** 3,
  kib: 1024,
  mib: 1024 ** 2,
  gib: 1024 ** 3,
  tib: 1024 ** 4,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
};
const BIT_UNITS: Readonly<Record<string, number>> = {
  kbit: 1e3 / 8,
  mbit: 1e6 / 8,
  gbit: 1e9 / 8,
};
const TIME_UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000 };

/** "256MiB", "1 GiB", "4096" -> bytes. */
export function parseSize(text: string): number {
  const bytes = quantity(text, SIZE_UNITS);
  if (bytes === undefined) throw new InvalidArgumentError('expected a size such as 256MiB or 1GiB');
  return bytes;
}

/** A size with a default that help shows as it would be typed. */
export function sizeOption(flags: string, description: string, defaultBytes: number): Option {
  const shown = bytesText(defaultBytes).replace(' ', '');
  return new Option(flags, description).argParser(parseSize).default(defaultBytes, shown);
}

/** "200MiB/s", "1Gbit/s" -> bytes a second; "unlimited" -> 0, as the API has it. */
export function parseBandwidth(text: string): number {
  if (text === 'unlimited') return 0;
  const bytesPerS = quantity(text.replace(/(\/s|ps)$/, ''), { ...SIZE_UNITS, ...BIT_UNITS });
  if (bytesPerS === undefined) {
    throw new InvalidArgumentError('expected a bandwidth such as 200MiB/s or 1Gbit/s');
  }
  return bytesPerS;
}

/**
 * "50MiB/s" -> 50; "unlimited" -> Infinity: commander takes a null for no value at all. A bare number would be
 * bytes a second, which nobody means: a guest that writes 50 of them stands still.
 */
export function parseWriteRate(text: string): number {
  if (text === 'unlimited') return Number.POSITIVE_INFINITY;
  const hasUnit = /[a-z]/i.test(text) || Number(text) === 0;
  const bytesPerS = hasUnit ? quantity(text.replace(/\/s$/, ''), SIZE_UNITS) : undefined;
  if (bytesPerS === undefined) {
    throw new InvalidArgumentError('expected a rate such as 50MiB/s, or unlimited');
  }
  return bytesPerS / 1024 ** 2;
}

/** "300ms", "2s", "1m" -> milliseconds. A bare number would leave the unit to be guessed. */
export function parseDuration(text: string): number {
  const ms = /^\d+(\.\d+)?\s*[a-z]+$/i.test(text) ? quantity(text, TIME_UNITS) : undefined;
  if (ms === undefined || ms === 0) {
    throw new InvalidArgumentError('expected a duration such as 300ms or 2s');
  }
  return ms;
}

export function parseCount(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text.replaceAll('_', ''));
    if (text.trim() === '' || !Number.isSafeInteger(value) || value < min || value > max) {
      throw new InvalidArgumentError(`expected a whole number from ${min} to ${max}`);
    }
    return value;
  };
}

/** Instruction counts are long: "5e6" and "1_000_000" are numbers here. */
export const parseInstructions = parseCount(1, Number.MAX_SAFE_INTEGER);

function quantity(text: string, units: Readonly<Record<string, number>>): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(text.trim());
  const unit = match && units[(match[2] ?? '').toLowerCase()];
  return match && unit !== undefined && unit !== null
    ? Math.round(Number(match[1]) * unit * 1e3) / 1e3
    : undefined;
}

/** Fills in what was not typed. @throws CommandError usage: a bad value, with its origin named */
export function applyOutsideValues(command: Command, io: Io): void {
  const config = readConfig(io);
  for (const option of command.options) {
    const name = option.long?.replace(/^--/, '') ?? '';
    if (!CONFIGURABLE.has(name)) continue;
    const source = command.getOptionValueSource(option.attributeName());
    if (source !== undefined && source !== 'default') continue;
    const variable = `GODWIT_${name.replaceAll('-', '_').toUpperCase()}`;
    const fromEnv = io.env[variable];
    if (fromEnv !== undefined && fromEnv !== '') {
      setValue(command, option, fromEnv, 'env', variable);
    } else if (config !== undefined && Object.hasOwn(config.values, name)) {
      setValue(command, option, String(config.values[name]), 'config', `${config.path}: ${name}`);
    }
  }
  settleToken(command);
}

/** One of the two says what the token is: the one that was typed, or else the token itself. */
function settleToken(command: Command): void {
  const isTyped = (name: string) => command.getOptionValueSource(name) === 'cli';
  const isFile = isTyped('tokenFile') && !isTyped('token');
  if (isFile) command.setOptionValue('token', undefined);
  else if (command.getOptionValue('token') !== undefined) {
    command.setOptionValue('tokenFile', undefined);
  }
}

function setValue(
  command: Command,
  option: Option,
  text: string,
  source: 'env' | 'config',
  origin: string,
): void {
  try {
    const value: unknown = option.parseArg ? option.parseArg(text, undefined as never) : text;
    command.setOptionValueWithSource(option.attributeName(), value, source);
  } catch (cause) {
    throw usageError(`${origin} is '${text}': ${(cause as Error).message}`);
  }
}

function readConfig(io: Io): { path: string; values: Record<string, unknown> } | undefined {
  const home = io.env.XDG_CONFIG_HOME || (io.env.HOME && join(io.env.HOME, '.config'));
  if (!home) return undefined;
  const path = join(home, 'godwit', 'config.json');
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return undefined; // Having no configuration is the usual case.
  }
  try {
    const values: unknown = JSON.parse(text);
    if (typeof values === 'object' && values !== null && !Array.isArray(values)) {
      return { path, values: values as Record<string, unknown> };
    }
  } catch {
    // Said below, for both ways of being wrong.
  }
  throw usageError(
    `${path} is not a JSON object`,
    'it looks like {"coordinator": "http://127.0.0.1:7400"}',
  );
}
