/**
 * Sv39 page tables in a bench's RAM, written by the test (Privileged ISA, section "Sv39").
 *
 * Tables are taken one after another from `start`; a mapping makes the tables it needs.
 */
import type { HartBench } from './hart-bench.ts';

export const V = 1n;
export const R = 2n;
export const W = 4n;
export const X = 8n;
export const U = 16n;
export const A = 64n;
export const D = 128n;
export const ALL = V | R | W | X | A | D;

const PAGE = 4096n;
const SV39 = 8n << 60n;

export class PageTables {
  readonly root: bigint;
  readonly #bench: HartBench;
  #next: bigint;

  constructor(bench: HartBench, start: number) {
    this.#bench = bench;
    this.root = BigInt(start);
    this.#next = this.root;
    this.#table();
  }

  get satp(): bigint {
    return SV39 | (this.root >> 12n);
  }

  /** Address of the entry for a virtual address in the table of this level (2 is the root). */
  entryAt(virtual: bigint, level = 0): number {
    let table = this.root;
    for (let at = 2; ; at--) {
      const entry = table + ((virtual >> BigInt(12 + 9 * at)) & 511n) * 8n;
      if (at === level) return Number(entry);
      const pointer = this.#bench.load64(Number(entry));
      if ((pointer & V) !== 0n) {
        table = (pointer >> 10n) << 12n;
        continue;
      }
      table = this.#table();
      this.#bench.store64(Number(entry), (table >> 2n) | V);
    }
  }

  /** Maps one page (level 0), 2 MiB (1) or 1 GiB (2) with these bits. */
  map(virtual: bigint, physical: bigint, bits: bigint, level = 0): this {
    this.#bench.store64(this.entryAt(virtual, level), (physical >> 2n) | bits);
    return this;
  }

  #table(): bigint {
    const table = this.#next;
    this.#next += PAGE;
    for (let at = 0n; at < PAGE; at += 8n) this.#bench.store64(Number(table + at), 0n);
    return table;
  }
}
