/**
 * A failing case made small: as long as one of its simpler forms fails too, the first such takes its place.
 */

/** A round tries all simpler forms at once, and takes one; no case here has so much to lose. */
const ROUNDS_MAX = 100;

/**
 * @param simpler forms with less of something, the boldest first; none of them is the case itself
 * @param firstFailing index of the first of these that fails, or -1
 */
export async function smallest<Case>(
  failing: Case,
  simpler: (one: Case) => Iterable<Case>,
  firstFailing: (cases: readonly Case[]) => Promise<number>,
): Promise<Case> {
  let least = failing;
  for (let round = 0; round < ROUNDS_MAX; round++) {
    const tries = [...simpler(least)];
    const found = tries.length > 0 ? await firstFailing(tries) : -1;
    if (found < 0) break;
    least = tries[found]!;
  }
  return least;
}

/** All of a list, its halves, its quarters, down to each element: what a simpler form may lack. */
export function* stretches(length: number): Generator<readonly [first: number, count: number]> {
  for (let count = length; count > 0; count = count === 1 ? 0 : Math.ceil(count / 2)) {
    for (let first = 0; first < length; first += count) {
      yield [first, Math.min(count, length - first)];
    }
  }
}

/** A value with none of these bits, then with one less, for each it has. */
export function* withFewerBits(value: bigint, among: bigint): Generator<bigint> {
  if ((value & among) !== 0n) yield value & ~among;
  for (let bit = 1n; bit <= among; bit <<= 1n) {
    if ((value & among & bit) !== 0n) yield value & ~bit;
  }
}
