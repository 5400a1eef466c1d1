/**
 * What the profile variant of the core counted (assembly/profile.ts), by name.
 *
 * hart's counters -> [profile] -> `godwit machine run --profile`
 */
import * as own from '../assembly/machine-map.ts';
import * as map from '../assembly/memory-map.ts';
import * as operations from '../assembly/operations.ts';
import type { GuestMemory } from './guest-memory.ts';

/** Operations from this one on, up to the next in the list, are of this kind. */
const KINDS: readonly (readonly [name: string, from: number])[] = [
  ['not instructions', operations.DO_UNDECODED],
  ['loads', operations.DO_LB],
  ['stores', operations.DO_SB],
  ['immediates', operations.DO_NOP],
  ['registers', operations.DO_ADD],
  ['multiply, divide', operations.DO_MUL],
  ['branches', operations.DO_BEQ],
  ['jumps', operations.DO_JAL],
  ['branches out of the page', operations.DO_BEQ_FAR],
  ['jumps out of the page', operations.DO_JAL_FAR],
  ['fences', operations.DO_FENCE],
  ['atomics', operations.DO_AMO],
  ['system', operations.DO_SYSTEM],
  ['floating point', operations.DO_FLW],
];

const EVENTS: readonly (readonly [name: string, at: number])[] = [
  ['TLB misses, loads', own.PROFILE_READ_MISSES],
  ['TLB misses, stores', own.PROFILE_WRITE_MISSES],
  ['TLB misses, fetches', own.PROFILE_FETCH_MISSES],
  ['TLB entries armed again after a harvest', own.PROFILE_ARMED_AGAIN],
  ['page table walks', own.PROFILE_WALKS],
  ['TLBs emptied', own.PROFILE_FLUSHES],
  ['pages decoded', own.PROFILE_PAGES_DECODED],
  ['decoded pages compared', own.PROFILE_PAGES_COMPARED],
];
const CAUSES = 32;

export interface Count {
  readonly name: string;
  readonly count: bigint;
}

/** All harts together; what never happened is left out. */
export interface Profile {
  /** Instructions attempted, by kind; one that trapped counts too. */
  readonly kinds: readonly Count[];
  readonly operations: readonly Count[];
  readonly events: readonly Count[];
}

export function readProfile(guest: GuestMemory): Profile {
  const counters = Array.from({ length: own.PROFILE_END }, (_, at) => total(guest, at));
  const sum = (from: number, to: number) => counters.slice(from, to).reduce((a, b) => a + b, 0n);
  const names = Object.entries(operations).filter(([name]) => name !== 'DO_COUNT');
  const ends = [...KINDS.slice(1).map(([, from]) => from), operations.DO_COUNT];
  const kinds = KINDS.map(([name, from], i) => ({ name, count: sum(from, ends[i]!) })).slice(1);
  return {
    kinds: sorted(kinds),
    operations: sorted(
      names.map(([name, at]) => ({
        name: name.slice('DO_'.length).toLowerCase(),
        count: counters[at]!,
      })),
    ),
    events: [
      ...EVENTS.map(([name, at]) => ({ name, count: counters[at]! })),
      ...causes('exception', own.PROFILE_EXCEPTIONS, counters),
      ...causes('interrupt', own.PROFILE_INTERRUPTS, counters),
    ].filter(({ count }) => count > 0n),
  };
}

function causes(name: string, from: number, counters: readonly bigint[]): Count[] {
  return Array.from({ length: CAUSES }, (_, cause) => ({
    name: `${name} ${cause}`,
    count: counters[from + cause]!,
  }));
}

function sorted(counts: readonly Count[]): Count[] {
  return counts
    .filter(({ count }) => count > 0n)
    .sort((a, b) => (a.count < b.count ? 1 : a.count > b.count ? -1 : 0));
}

function total(guest: GuestMemory, counter: number): bigint {
  let count = 0n;
  for (let hart = 0; hart < guest.harts; hart++) {
    const at = map.HARTS + hart * map.HART_SIZE + own.HART_PROFILE + counter * 8;
    count += Atomics.load(guest.i64, at >> 3);
  }
  return count;
}
