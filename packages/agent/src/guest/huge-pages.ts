/**
 * Asks the kernel to hold guest memory in huge pages.
 *
 *   memory pool: new memory -> [huge pages] -> first touch
 *
 * A page of 2 MiB is one entry of the page tables instead of 512: the first touch is one fault, and what
 * copies between sockets and memory misses the processor's translation cache less often. In its usual
 * setting Linux gives huge pages only to whoever asks, madvise(2) with MADV_HUGEPAGE.
 *
 * It is advice: where it cannot be given everything works, with small pages. Main thread only.
 */
import { readFileSync } from 'node:fs';
import { libraryFunction } from '../libc.ts';

const MADV_HUGEPAGE = 14;
const SETTING = '/sys/kernel/mm/transparent_hugepage/enabled';

type Madvise = (start: Uint8Array, bytes: number, advice: number) => number;

/** The C library's madvise, or why there is none. */
const madvise = libraryFunction<Madvise>('int madvise(void *start, size_t bytes, int advice)');

/**
 * Gives the advice for a guest's RAM, best before its first touch. Not for the tables before it: those are
 * touched here and there, and each touch would cost 2 MiB.
 *
 * @returns whether the kernel took it; how many huge pages there are is the kernel's decision
 */
export function adviseHugePages(ram: Uint8Array): boolean {
  if (typeof madvise === 'string') return false;
  return madvise(ram, ram.length, MADV_HUGEPAGE) === 0;
}

/** Why guest memory has small pages here, for the log; undefined when it may have huge ones. */
export function whySmallPages(): string | undefined {
  if (typeof madvise === 'string') return madvise;
  try {
    if (readFileSync(SETTING, 'latin1').includes('[never]')) return `${SETTING} says never`;
    return undefined;
  } catch {
    return 'this kernel has no transparent huge pages';
  }
}
