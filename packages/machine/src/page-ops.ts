/**
 * Zero test, hash and fill of guest pages at memory speed, on any thread.
 *
 * round plan -> [page ops] -> ZERO frames instead of bytes; frozen pages -> [page ops] -> --verify
 *
 * An instance a thread. Offsets are bytes in the guest's whole memory (GuestMemory.ramOffset), so nothing
 * is copied or viewed. `fill` is here because a typed array on shared memory fills byte by byte.
 */
import * as map from '../assembly/memory-map.ts';
import { wasmModule } from './wasm-module.ts';

export interface PageOps {
  /** Whether the page at the offset is all zero. */
  isZero(offset: number): boolean;
  /** How many of `pages` pages from the offset on are zero before the first that is not. */
  firstNonZero(offset: number, pages: number): number;
  /** How many of `pages` pages from the offset on are not zero before the first that is. */
  firstZero(offset: number, pages: number): number;
  /**
   * Every byte of the range to one value. Only where nobody else reads or writes.
   *
   * @throws WebAssembly.RuntimeError when the range leaves the memory
   */
  fill(offset: number, value: number, length: number): void;
  /**
   * 64-bit hash of whole pages, or of any multiple of 64 bytes: for equality only, nothing secret or
   * hostile rests on it. The same on every host.
   *
   * @throws RangeError when the length is not a positive multiple of 64 or leaves the memory
   */
  hash64(offset: number, length?: number): bigint;
}

interface Exports {
  isZero(offset: number): number;
  firstNonZero(offset: number, pages: number): number;
  firstZero(offset: number, pages: number): number;
  fill(offset: number, value: number, length: number): void;
  hash64(offset: number, length: number): bigint;
}

/** An instance for the calling thread. */
export function loadPageOps(memory: WebAssembly.Memory): PageOps {
  const instance = new WebAssembly.Instance(wasmModule('page'), { env: { memory } });
  const wasm = instance.exports as unknown as Exports;
  const size = memory.buffer.byteLength;
  return {
    isZero: (offset) => wasm.isZero(offset) !== 0,
    firstNonZero: (offset, pages) => wasm.firstNonZero(offset, pages) >>> 0,
    firstZero: (offset, pages) => wasm.firstZero(offset, pages) >>> 0,
    fill: wasm.fill,
    hash64(offset, length = map.PAGE_SIZE) {
      const inside = offset >= 0 && length > 0 && offset + length <= size;
      if (!inside || length % 64 !== 0)
        throw new RangeError(`hash of ${length} bytes at ${offset}`);
      return BigInt.asUintN(64, wasm.hash64(offset, length));
    },
  };
}
