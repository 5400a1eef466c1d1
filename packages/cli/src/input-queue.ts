/**
 * Console input that is not yet in the guest's machine state. Pure bookkeeping of offsets.
 *
 *   start .. sent      on its way to the current owner, kept in case it does not arrive
 *   sent  .. end       not sent yet
 *
 * Offsets count from the guest's first input byte and are known only after the first attachment;
 * nothing can be queued before.
 */
import assert from 'node:assert/strict';

export class InputQueue {
  #chunks: Uint8Array[] = [];
  #start = 0;
  #sent = 0;
  #end = 0;
  #isAnchored = false;

  /** Offset below which everything is taken. */
  get start(): number {
    return this.#start;
  }

  get end(): number {
    return this.#end;
  }

  get isAnchored(): boolean {
    return this.#isAnchored;
  }

  push(bytes: Uint8Array): void {
    assert(this.#isAnchored, 'input before the first attachment has no offset');
    if (bytes.length === 0) return;
    this.#chunks.push(Uint8Array.from(bytes));
    this.#end += bytes.length;
  }

  /** The owner has everything below `offset`: forget that, send the rest (again after `rewind`). */
  anchor(offset: number): void {
    if (!this.#isAnchored) {
      this.#isAnchored = true;
    } else if (offset <= this.#end) {
      this.#drop(Math.max(0, offset - this.#start));
      return;
    }
    // The first attachment, or somebody else wrote to the same guest: ours comes after their bytes.
    this.#chunks = [];
    this.#start = offset;
    this.#sent = offset;
    this.#end = offset;
  }

  /** Forgets everything, offsets too: the next anchor is the beginning. */
  reset(): void {
    this.#isAnchored = false;
  }

  /** A new owner: everything that is not taken has to be sent again. */
  rewind(): void {
    this.#sent = this.#start;
  }

  *takeUnsent(bytesMax: number): Generator<{ offset: number; bytes: Uint8Array }> {
    let offset = this.#start;
    for (const chunk of this.#chunks) {
      for (let from = Math.max(0, this.#sent - offset); from < chunk.length; from += bytesMax) {
        yield { offset: offset + from, bytes: chunk.subarray(from, from + bytesMax) };
      }
      offset += chunk.length;
    }
    assert.equal(offset, this.#end);
    this.#sent = this.#end;
  }

  #drop(count: number): void {
    let left = count;
    while (left > 0) {
      const first = this.#chunks[0]!;
      if (first.length > left) {
        this.#chunks[0] = first.subarray(left);
        left = 0;
      } else {
        this.#chunks.shift();
        left -= first.length;
      }
    }
    this.#start += count;
    this.#sent = Math.max(this.#sent, this.#start);
  }
}
