/**
 * Whether a page holds only zeros, looked at where it lies.
 *
 * The guest may be writing it meanwhile. That is no race worth a copy: a write after the look is in
 * the dirty log already or will be, and the page goes out again in the next round.
 */
import { type GuestMemory, memoryMap } from '@godwit/machine';
import { PAGE_BYTES } from '@godwit/protocol';

const PAGE_WORDS = PAGE_BYTES / 4;

export class ZeroTest {
  readonly #words: Int32Array<SharedArrayBuffer>;

  constructor(guest: GuestMemory) {
    this.#words = new Int32Array(guest.sab, memoryMap.RAM, (guest.pages * PAGE_BYTES) / 4);
  }

  /** A page of content is told by one of its first words, so that only zero pages cost a pass. */
  isZero(page: number): boolean {
    const words = this.#words;
    const start = page * PAGE_WORDS;
    const end = start + PAGE_WORDS;
    for (let i = start; i < end; i += 8) {
      const some =
        words[i]! |
        words[i + 1]! |
        words[i + 2]! |
        words[i + 3]! |
        words[i + 4]! |
        words[i + 5]! |
        words[i + 6]! |
        words[i + 7]!;
      if (some !== 0) return false;
    }
    return true;
  }
}
