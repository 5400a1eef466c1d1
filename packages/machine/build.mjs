/**
 * Compiles the wasm modules: `assembly/` -> `build/`. Needs nothing but the AssemblyScript compiler.
 *
 *   machine.wasm   the RISC-V hart, one instance per vCPU thread
 *   profiled.wasm  the same, counting what it does
 *   page.wasm      zero test, hash and fill of pages, one instance per channel thread
 *   float.wasm     the hart's floating-point arithmetic alone, for tests
 *
 * Both import the guest's shared memory and keep no data of their own in it (no heap, no shadow stack),
 * so that instances of several threads cannot disturb each other; memoryBase is only where constants
 * would go. The memory's declared limits are the widest there are: any guest's memory fits.
 */
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import asc from 'assemblyscript/asc';

const root = fileURLToPath(new URL('.', import.meta.url));
const options = [
  '--baseDir',
  root,
  ...['--runtime', 'stub', '--importMemory', '--sharedMemory'],
  ...['--initialMemory', '2', '--maximumMemory', '65536', '--memoryBase', '1024'],
  ...['--enable', 'threads', '--enable', 'simd', '--enable', 'bulk-memory'],
  ...['-O3', '--noAssert'],
  // The map's constants are plain integers for TypeScript's sake, and addresses here are 32 bits.
  ...['--disableWarning', '201'],
];

mkdirSync(`${root}build`, { recursive: true });
for (const [entry, output] of [
  ['assembly/index.ts', 'build/machine.wasm'],
  ['assembly/profiled.ts', 'build/profiled.wasm'],
  ['assembly/page.ts', 'build/page.wasm'],
  ['assembly/float.ts', 'build/float.wasm'],
]) {
  const { error, stderr } = await asc.main([entry, '--outFile', output, ...options]);
  if (error) {
    console.error(`${error.message}\n${stderr.toString()}`);
    process.exit(1);
  }
}
