/** Small integer hashes: the workload's only source of chance, so that a seed tells everything. */

/** Mixes all 32 bits of a word (multiply and xor-shift, a bijection). */
export function mix32(word: number): number {
  let x = word ^ (word >>> 16);
  x = Math.imul(x, 0x21f0aaad);
  x ^= x >>> 15;
  x = Math.imul(x, 0x735a2d97);
  return x ^ (x >>> 15);
}

/** A function from an index to 32 unsigned bits, drawn by a seed and a stream number. */
export function makeHash(seed: number, stream: number): (index: number) => number {
  const base = mix32(mix32(seed | 0) ^ Math.imul(stream | 0, 0x9e3779b1));
  return (index) => mix32(base + Math.imul(index | 0, 0x85ebca6b)) >>> 0;
}
