/** The few statistics the benchmarks quote. */

/** @returns NaN for an empty list */
export function median(values: readonly number[]): number {
  return percentile(values, 0.5);
}

/** @param fraction 0 to 1; nearest rank */
export function percentile(values: readonly number[], fraction: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  if (sorted.length === 0) return Number.NaN;
  const middle = (sorted.length - 1) * fraction;
  const low = sorted[Math.floor(middle)] as number;
  const high = sorted[Math.ceil(middle)] as number;
  return (low + high) / 2;
}
