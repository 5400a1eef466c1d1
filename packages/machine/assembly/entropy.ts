/**
 * The entropy device's bytes: ChaCha20 (RFC 8439, section 2.3) with a key from the guest's seed.
 *
 * seed at creation -> ENTROPY_KEY, in machine state -> [entropy] -> virtio entropy device -> guest
 *
 * A stream that follows from a secret in machine state, and not the host's own randomness: the same
 * guest draws the same bytes whether or not it moved in between. Who makes a guest gives it a seed
 * from the host's randomness, unless it is to be repeatable. Under the devices' lock.
 */
import { core } from './core';
import { ENTROPY_BLOCKS, ENTROPY_KEY, HART_SCRATCH } from './machine-map.ts';

const BLOCK_BYTES: u32 = 64;
const DOUBLE_ROUNDS: u32 = 10;

@inline function quarter(state: usize, a: usize, b: usize, c: usize, d: usize): void {
  let va = load<u32>(state + a * 4);
  let vb = load<u32>(state + b * 4);
  let vc = load<u32>(state + c * 4);
  let vd = load<u32>(state + d * 4);
  va += vb; vd = rotl<u32>(vd ^ va, 16);
  vc += vd; vb = rotl<u32>(vb ^ vc, 12);
  va += vb; vd = rotl<u32>(vd ^ va, 8);
  vc += vd; vb = rotl<u32>(vb ^ vc, 7);
  store<u32>(state + a * 4, va);
  store<u32>(state + b * 4, vb);
  store<u32>(state + c * 4, vc);
  store<u32>(state + d * 4, vd);
}

/** Word n of the initial state: constants, key, 64-bit block number, nonce 0. */
function initial(n: usize, block: u64): u32 {
  if (n == 0) return 0x61707865;
  if (n == 1) return 0x3320646e;
  if (n == 2) return 0x79622d32;
  if (n == 3) return 0x6b206574;
  if (n < 12) return load<u32>(ENTROPY_KEY + (n - 4) * 4);
  return n == 12 ? <u32>block : n == 13 ? <u32>(block >> 32) : 0;
}

/** Computes the next block into the hart's scratch and returns its place. */
function nextBlock(): usize {
  const state = core.block + HART_SCRATCH;
  const block = atomic.load<u64>(ENTROPY_BLOCKS);
  atomic.store<u64>(ENTROPY_BLOCKS, block + 1);
  for (let n: usize = 0; n < 16; n++) store<u32>(state + n * 4, initial(n, block));
  for (let round: u32 = 0; round < DOUBLE_ROUNDS; round++) {
    quarter(state, 0, 4, 8, 12);
    quarter(state, 1, 5, 9, 13);
    quarter(state, 2, 6, 10, 14);
    quarter(state, 3, 7, 11, 15);
    quarter(state, 0, 5, 10, 15);
    quarter(state, 1, 6, 11, 12);
    quarter(state, 2, 7, 8, 13);
    quarter(state, 3, 4, 9, 14);
  }
  for (let n: usize = 0; n < 16; n++) {
    store<u32>(state + n * 4, load<u32>(state + n * 4) + initial(n, block));
  }
  return state;
}

/** Fills `count` bytes. What is left of the last block is thrown away. */
export function drawEntropy(into: usize, count: u32): void {
  for (let done: u32 = 0; done < count; done += BLOCK_BYTES) {
    memory.copy(into + done, nextBlock(), min<u32>(BLOCK_BYTES, count - done));
  }
}
