/**
 * The flags of a benchmark that is a command of its own: `npm run NAME -- [flags]`.
 */
import { type ParseArgsOptionsConfig, parseArgs } from 'node:util';

/**
 * Reads the flags of this process. `--help` prints them and ends it with 0; a flag that is not among them
 * is said in one line, with a hint, and ends it with 2.
 */
export function flagsOf<const T extends ParseArgsOptionsConfig>(name: string, options: T) {
  const usage = Object.entries(options).map(([flag, { type, default: value }]) =>
    type === 'boolean' ? `[--${flag}]` : `[--${flag} ${value || flag.toUpperCase()}]`,
  );
  const how = `npm run ${name} -- ${usage.join(' ')}`;
  if (process.argv.slice(2).includes('--help')) {
    console.log(`usage: ${how}`);
    process.exit(0);
  }
  try {
    return parseArgs({ options }).values;
  } catch (error) {
    console.error(`error: ${(error as Error).message}`);
    console.error(`hint: ${how}`);
    process.exit(2);
  }
}
