/**
 * The host's end of a machine's console: two byte streams with 64-bit offsets.
 *
 * assembly/uart.ts -> output ring -> [console ring] -> the console's client, and back
 *
 * One thread (the agent's that owns the console) calls everything here; harts are at the other end at
 * the same time. Offsets count bytes since the guest's first start and travel with it, so a client that
 * says up to where it has read gets every byte once, whatever host it asks.
 */
import * as own from '../assembly/machine-map.ts';
import type { GuestMemory } from './guest-memory.ts';
import { wakeHart } from './run-control.ts';

const RING_BYTES = own.CONSOLE_RING_SIZE;

export interface ConsoleOutput {
  /** Offset of the first byte; more than asked for when the ring has overwritten what was asked for. */
  readonly offset: bigint;
  readonly bytes: Uint8Array;
}

export class ConsoleRing {
  readonly #guest: GuestMemory;
  readonly #out: Uint8Array<SharedArrayBuffer>;
  readonly #in: Uint8Array<SharedArrayBuffer>;

  constructor(guest: GuestMemory) {
    this.#guest = guest;
    this.#out = new Uint8Array(guest.sab, own.CONSOLE_OUT, RING_BYTES);
    this.#in = new Uint8Array(guest.sab, own.CONSOLE_IN, RING_BYTES);
  }

  /** Bytes the guest has ever written, and those of them the ring still holds start at `oldest`. */
  get written(): bigint {
    return this.#offset(own.CONSOLE_OUT_WRITTEN);
  }
  get oldest(): bigint {
    const { written } = this;
    return written > RING_BYTES ? written - BigInt(RING_BYTES) : 0n;
  }
  /** What the reader has acknowledged: output from here on travels with the guest. */
  get acknowledged(): bigint {
    return this.#offset(own.CONSOLE_OUT_ACKED);
  }
  /** Input bytes ever accepted, and those the guest has read. */
  get inputWritten(): bigint {
    return this.#offset(own.CONSOLE_IN_WRITTEN);
  }
  get inputTaken(): bigint {
    return this.#offset(own.CONSOLE_IN_TAKEN);
  }

  /** Whether output rings CONTROL_BELL_DEVICE, byte by byte: only while somebody waits there. */
  listen(listens: boolean): void {
    Atomics.store(this.#guest.i32, own.CONSOLE_LISTENED >> 2, listens ? 1 : 0);
  }

  /** A copy of output from an offset on, at most `maxBytes`; empty when there is none yet. */
  readOutput(fromOffset: bigint, maxBytes = RING_BYTES): ConsoleOutput {
    const { written, oldest } = this;
    const from = fromOffset < oldest ? oldest : fromOffset;
    const count = from >= written ? 0 : Math.min(Number(written - from), maxBytes);
    const bytes = copyOut(this.#out, from, count);
    // The guest went on writing: what it overwrote meanwhile is cut off, not handed out as older bytes.
    const lost = this.oldest > from ? Math.min(Number(this.oldest - from), count) : 0;
    return { offset: from + BigInt(lost), bytes: bytes.subarray(lost) };
  }

  /** Output before this offset need not be kept for anybody. */
  acknowledge(offset: bigint): void {
    if (offset <= this.acknowledged || offset > this.written) return;
    Atomics.store(this.#guest.i64, own.CONSOLE_OUT_ACKED >> 3, offset);
  }

  /** Appends to the input stream what fits the ring, wakes the harts; returns the bytes accepted. */
  writeInput(bytes: Uint8Array): number {
    const written = this.inputWritten;
    const room = RING_BYTES - Number(written - this.inputTaken);
    const count = Math.min(room, bytes.length);
    copyIn(this.#in, written, bytes.subarray(0, count));
    Atomics.store(this.#guest.i64, own.CONSOLE_IN_WRITTEN >> 3, written + BigInt(count));
    if (count > 0) for (let hart = 0; hart < this.#guest.harts; hart++) wakeHart(this.#guest, hart);
    return count;
  }

  #offset(place: number): bigint {
    return Atomics.load(this.#guest.i64, place >> 3);
  }
}

/** Copies `count` bytes of the stream at `offset` out of its ring. */
export function copyOut(ring: Uint8Array, offset: bigint, count: number): Uint8Array {
  const start = Number(offset % BigInt(ring.length));
  const bytes = new Uint8Array(count);
  const first = Math.min(count, ring.length - start);
  bytes.set(ring.subarray(start, start + first));
  bytes.set(ring.subarray(0, count - first), first);
  return bytes;
}

/** Puts bytes of the stream at `offset` into its ring. */
export function copyIn(ring: Uint8Array, offset: bigint, bytes: Uint8Array): void {
  const start = Number(offset % BigInt(ring.length));
  const first = Math.min(bytes.length, ring.length - start);
  ring.set(bytes.subarray(0, first), start);
  ring.set(bytes.subarray(first), 0);
}
