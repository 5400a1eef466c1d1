/**
 * Chunks of any size in, exactly as many bytes out as a format's next field has.
 *
 *   file, decompressor -> [byte stream] -> tar
 *
 * Pulls one chunk at a time, so an archive is never in memory whole.
 */
import { GodwitError } from '@godwit/protocol';

export type Chunks = AsyncIterable<Uint8Array>;

export class ByteStream {
  readonly #chunks: AsyncIterator<Uint8Array>;
  /** For errors: which archive this is. */
  readonly what: string;
  #held: Uint8Array = new Uint8Array(0);

  constructor(chunks: Chunks, what: string) {
    this.#chunks = chunks[Symbol.asyncIterator]();
    this.what = what;
  }

  /** @throws GodwitError `image.bad_archive`: it ends before that */
  async read(bytes: number): Promise<Buffer> {
    const into = Buffer.allocUnsafe(bytes);
    let have = 0;
    while (have < bytes) {
      const part = await this.#take(bytes - have);
      into.set(part, have);
      have += part.length;
    }
    return into;
  }

  /** @throws GodwitError `image.bad_archive`: it ends before that */
  async skip(bytes: number): Promise<void> {
    for (let left = bytes; left > 0; ) left -= (await this.#take(left)).length;
  }

  /** Nothing comes after this point. */
  async isAtEnd(): Promise<boolean> {
    return !(await this.#fill());
  }

  /** No more is wanted: whatever makes the chunks may let go. */
  async close(): Promise<void> {
    await this.#chunks.return?.();
  }

  async #take(most: number): Promise<Uint8Array> {
    if (!(await this.#fill())) {
      throw new GodwitError('image.bad_archive', { what: this.what, why: 'it is cut short' });
    }
    const part = this.#held.subarray(0, most);
    this.#held = this.#held.subarray(part.length);
    return part;
  }

  async #fill(): Promise<boolean> {
    while (this.#held.length === 0) {
      const next = await this.#chunks.next();
      if (next.done) return false;
      this.#held = next.value;
    }
    return true;
  }
}
