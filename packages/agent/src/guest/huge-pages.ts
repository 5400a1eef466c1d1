/**
 * Asks the kernel to hold guest memory in huge pages.
 *
 *   memory pool: new memory -> [huge pages] -> first touch
 *
 * A page of 2 MiB is one entry of the page tables instead of 512: the first touch is one fault, and what
 * copies between sockets and memory misses the processor's translation cache less often. In its usual
 * setting Linux gives huge pages only to whoever asks, madvise(2) with MADV_HUGEPAGE. Node has no call for
 * that; koffi calls the C library.
 *
 * It is advice: where it cannot be given everything works, with small pages. Main thread only.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const MADV_HUGEPAGE = 14;
const SETTING = '/sys/kernel/mm/transparent_hugepage/enabled';

type Madvise = (start: Uint8Array, bytes: number, advice: number) => number;

let madvise: Madvise | string | undefined;

/** The C library's madvise, or why there is none. */
function libraryCall(): Madvise | string {
  if (process.platform !== 'linux') return `${process.platform} has no MADV_HUGEPAGE`;
  try {
    const koffi = createRequire(import.meta.url)('koffi');
    return koffi.load(null).func('int madvise(void *start, size_t bytes, int advice)') as Madvise;
  } catch (error) {
    return (error as Error).message;
  }
}

/**
 * Gives the advice for a guest's RAM, best before its first touch. Not for the tables before it: those are
 * touched here and there, and each touch would cost 2 MiB.
 *
 * @returns whether the kernel took it; how many huge pages there are is the kernel's decision
 */
export function adviseHugePages(ram: Uint8Array): boolean {
  madvise ??= libraryCall();
  if (typeof madvise === 'string') return false;
  return madvise(ram, ram.length, MADV_HUGEPAGE) === 0;
}

/** Why guest memory has small pages here, for the log; undefined when it may have huge ones. */
export function whySmallPages(): string | undefined {
  madvise ??= libraryCall();
  if (typeof madvise === 'string') return madvise;
  try {
    if (readFileSync(SETTING, 'latin1').includes('[never]')) return `${SETTING} says never`;
    return undefined;
  } catch {
    return 'this kernel has no transparent huge pages';
  }
}
