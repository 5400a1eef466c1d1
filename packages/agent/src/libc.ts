/**
 * The C library, for the few system calls that Node has no function for.
 *
 *   huge-pages.ts: madvise        socket-option.ts: setsockopt        quiet.ts: malloc_trim
 *
 * koffi calls it, without anything compiled. Each use is an improvement only: where there is no Linux, or
 * koffi has no binary for the processor, everything works without. Any thread; each loads it once.
 */
import { createRequire } from 'node:module';

interface Library {
  func(prototype: string): unknown;
}

let library: Library | string | undefined;

/** The library, or why it cannot be called here. */
function load(): Library | string {
  if (process.platform !== 'linux') return `${process.platform} is not Linux`;
  try {
    return createRequire(import.meta.url)('koffi').load(null) as Library;
  } catch (error) {
    return (error as Error).message;
  }
}

/**
 * A function of the C library.
 *
 * @param prototype as in C, with types as koffi names them
 * @returns the function, or the reason why there is none
 */
export function libraryFunction<F>(prototype: string): F | string {
  library ??= load();
  if (typeof library === 'string') return library;
  try {
    return library.func(prototype) as F;
  } catch (error) {
    return (error as Error).message;
  }
}
