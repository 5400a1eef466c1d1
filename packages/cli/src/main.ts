/**
 * Process entry of the `godwit` command (bin/godwit.js, and `node src/main.ts` in tests). Only this
 * file sets the process's exit code.
 */
import { processIo } from './io.ts';
import { run } from './program.ts';

export async function main(): Promise<void> {
  // `godwit guest ls | head -1` closes the pipe early: no error, only nobody to tell the rest to.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit(0);
  });
  process.exitCode = await run(process.argv.slice(2), processIo());
}

if (import.meta.main) await main();
