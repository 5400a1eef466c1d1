/** The release, read from the package so that there is one place to change. */
import { readFileSync } from 'node:fs';

interface Manifest {
  version: string;
}

export const VERSION = (
  JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as Manifest
).version;
