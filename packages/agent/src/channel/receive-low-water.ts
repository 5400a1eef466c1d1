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
import { libraryFunction } from '../libc.ts';

/** A frame that owes less is there before a mark would have saved a wake-up. */
const MARK_BYTES_MIN = 256 * 1024;
/** From the system's headers; libc.ts knows no system but Linux. */
const SOL_SOCKET = 1;
const SO_RCVLOWAT = 18;

type SetSocketOption = (
  descriptor: number,
  level: number,
  name: number,
  value: Int32Array,
  bytes: number,
) => number;

/** Found when a thread starts, not when its first frame comes. */
const setSocketOption = libraryFunction<SetSocketOption>(
  'int setsockopt(int descriptor, int level, int name, const void *value, uint32_t bytes)',
);

export class ReceiveLowWater {
  readonly #socket: Socket;
  readonly #mark = Int32Array.of(1);

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** @param bytes that are certain to come before the peer expects anything of this end */
  due(bytes: number): void {
    const mark = bytes < MARK_BYTES_MIN ? 1 : bytes;
    if (mark === this.#mark[0] || typeof setSocketOption !== 'function') return;
    const descriptor = descriptorOf(this.#socket);
    if (descriptor === undefined) return;
    this.#mark[0] = mark;
    setSocketOption(descriptor, SOL_SOCKET, SO_RCVLOWAT, this.#mark, this.#mark.byteLength);
  }
}

/** Node has no public name for it. Undefined once the socket is closed: then the number may be another's. */
function descriptorOf(socket: Socket): number | undefined {
  const descriptor = (socket as { _handle?: { fd?: number } | null })._handle?.fd;
  return descriptor !== undefined && descriptor >= 0 ? descriptor : undefined;
}
