/**
 * How long faults took, in shared memory: the faults thread records, the main thread reads.
 *
 * Log-linear buckets, 16 to each power of two: a percentile is right within 6 %, whatever the range.
 */

const PARTS = 16;
const PARTS_SHIFT = 4;
/** Up to 2^27 us, two minutes. */
const POWERS = 24;
const BUCKETS = PARTS * POWERS;
const MAX_US = BUCKETS;

export interface FaultStats {
  /** Pages a hart waited for and that were asked for because of it. */
  readonly count: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly maxUs: number;
  /** Upper bound of each bucket that holds something, and how many. */
  readonly histogram: readonly { readonly upToUs: number; readonly count: number }[];
}

export class FaultHistogram {
  readonly sab: SharedArrayBuffer;
  readonly #words: Int32Array<SharedArrayBuffer>;

  static make(): FaultHistogram {
    return new FaultHistogram(new SharedArrayBuffer((BUCKETS + 1) * 4));
  }

  constructor(sab: SharedArrayBuffer) {
    this.sab = sab;
    this.#words = new Int32Array(sab);
  }

  record(us: number): void {
    const whole = Math.max(0, Math.round(us));
    Atomics.add(this.#words, bucketOf(whole), 1);
    if (whole > Atomics.load(this.#words, MAX_US)) Atomics.store(this.#words, MAX_US, whole);
  }

  stats(): FaultStats {
    const histogram: { upToUs: number; count: number }[] = [];
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      const count = Atomics.load(this.#words, bucket);
      if (count > 0) histogram.push({ upToUs: upperBound(bucket), count });
    }
    const count = histogram.reduce((sum, bucket) => sum + bucket.count, 0);
    const percentile = (share: number) => {
      let left = Math.ceil(count * share);
      for (const bucket of histogram) {
        left -= bucket.count;
        if (left <= 0) return bucket.upToUs;
      }
      return 0;
    };
    const maxUs = Atomics.load(this.#words, MAX_US);
    return {
      count,
      p50Us: Math.min(percentile(0.5), maxUs),
      p99Us: Math.min(percentile(0.99), maxUs),
      maxUs,
      histogram,
    };
  }
}

/** Below 16 every value has its own bucket; above, 16 to each power of two. */
function bucketOf(us: number): number {
  if (us < PARTS) return us;
  const power = 31 - Math.clz32(Math.min(us, 0x7fffffff));
  const part = (us >>> (power - PARTS_SHIFT)) - PARTS;
  return Math.min((power - PARTS_SHIFT + 1) * PARTS + part, BUCKETS - 1);
}

function upperBound(bucket: number): number {
  if (bucket < PARTS) return bucket;
  const power = Math.floor(bucket / PARTS) - 1;
  return ((bucket % PARTS) + PARTS + 1) * 2 ** power - 1;
}
