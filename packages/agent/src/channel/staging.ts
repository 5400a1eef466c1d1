/**
 * Private buffers for scattered pages, on their way between guest memory and one system call.
 *
 *   queue pair       take -> gather -> socket -> (the kernel has taken it) -> give back
 *   landing reader   take -> (the kernel has filled it) -> scatter -> give back
 *
 * A buffer is at most twice as large as what it is wanted for. One size for all, a whole frame's, made
 * every page that stood alone in a stripe cost half a megabyte until the kernel had taken it: what a
 * thread held outside its heap grew by tens of megabytes in a round, and it collected garbage in the
 * middle of it. One a queue pair, one a reader: a frame's worth before the first scattered page did the same.
 */
import { FRAME_PAYLOAD_BYTES_MAX, PAGE_BYTES } from '@godwit/protocol';

/** What a frame of descriptors and pages takes, in whole pages. */
const FRAME_PAGES = Math.ceil(FRAME_PAYLOAD_BYTES_MAX / PAGE_BYTES);

export class Staging {
  /** Free buffers of 1, 2, 4 ... pages. */
  readonly #free: Buffer[][] = Array.from({ length: sizeClass(FRAME_PAGES) + 1 }, () => []);

  /** @returns room for so many pages, at most a frame's, with bytes of earlier ones in it */
  take(pages: number): Buffer {
    const size = sizeClass(pages);
    return this.#free[size]!.pop() ?? Buffer.allocUnsafeSlow(PAGE_BYTES << size);
  }

  /** Only when nobody reads the buffer any more. */
  giveBack(buffer: Buffer): void {
    this.#free[sizeClass(buffer.length / PAGE_BYTES)]!.push(buffer);
  }
}

/** The power of two that is not below. */
function sizeClass(pages: number): number {
  return 32 - Math.clz32(pages - 1);
}
