/** xorshift32 (Marsaglia 2003): the same seed gives the same run. */

/** @returns a function that gives whole numbers of 0 to `below - 1` */
export function randomBelow(seed: number): (below: number) => number {
  let state = seed >>> 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}
