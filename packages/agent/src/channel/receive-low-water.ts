/**
 * Wakes the thread of a page channel when a piece worth a system call has come, not for every segment.
 *
 *   landing reader: so many bytes of this frame are still due -> [low water] -> kernel: wake me then
 *
 * It is interrupt moderation, for a socket: without it the first 64 KiB of each frame wake the reader, which
 * takes a processor from the sender, reads little, and sleeps again. With SO_RCVLOWAT (socket(7)) the
 * kernel reports a socket readable when so many bytes are there, or when its buffer is full; a mark that
 * exceeds half of the largest buffer it lowers by itself.
 *
 * The mark is never above what the frame under way still owes, so nothing that is complete ever waits for
 * bytes that may not come: between frames it is 1. Thread of the socket only.
 */
import type { Socket } from 'node:net';
import { SO_RCVLOWAT, SOL_SOCKET, setSocketOption } from './socket-option.ts';

/** A frame that owes less is there before a mark would have saved a wake-up. */
const MARK_BYTES_MIN = 256 * 1024;

export class ReceiveLowWater {
  readonly #socket: Socket;
  readonly #mark = Int32Array.of(1);

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** @param bytes that are certain to come before the peer expects anything of this end */
  due(bytes: number): void {
    const mark = bytes < MARK_BYTES_MIN ? 1 : bytes;
    if (mark === this.#mark[0]) return;
    this.#mark[0] = mark;
    setSocketOption(this.#socket, SOL_SOCKET, SO_RCVLOWAT, this.#mark);
  }
}
