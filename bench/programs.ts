/** What a benchmark needs beside this repository: programs, each said to be missing by its Debian package. */
import { spawnSync } from 'node:child_process';

/** @throws Error that names the package */
export function requireProgram(program: string, debianPackage: string): void {
  if (spawnSync(program, ['--version']).error === undefined) return;
  throw new Error(`${program} is not installed (Debian package: ${debianPackage})`);
}
