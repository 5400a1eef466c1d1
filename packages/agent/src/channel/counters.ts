/**
 * Live figures of the channel threads, in shared memory so that the main thread reads them without
 * asking. One row a channel, written by its thread only, 64-bit because a migration moves more than
 * 4 GB. A reader sees every figure whole but not all of one moment.
 */
const COLUMNS = ['pages', 'zeroPages', 'wireBytes', 'copiedBytes', 'requeuedPages'] as const;

export type Column = (typeof COLUMNS)[number];
export type Figures = Record<Column, number>;

export class Counters {
  readonly sab: SharedArrayBuffer;
  readonly #cells: BigInt64Array<SharedArrayBuffer>;

  static make(rows: number): Counters {
    return new Counters(new SharedArrayBuffer(rows * COLUMNS.length * 8));
  }

  constructor(sab: SharedArrayBuffer) {
    this.sab = sab;
    this.#cells = new BigInt64Array(sab);
  }

  /** Adds to a figure of the caller's own row. */
  add(row: number, column: Column, amount: number): void {
    if (amount === 0) return;
    const index = row * COLUMNS.length + COLUMNS.indexOf(column);
    Atomics.add(this.#cells, index, BigInt(amount));
  }

  /** Sums over all rows. */
  total(): Figures {
    const sums: Figures = {
      pages: 0,
      zeroPages: 0,
      wireBytes: 0,
      copiedBytes: 0,
      requeuedPages: 0,
    };
    for (let i = 0; i < this.#cells.length; i++) {
      const column = COLUMNS[i % COLUMNS.length]!;
      sums[column] += Number(Atomics.load(this.#cells, i));
    }
    return sums;
  }
}
