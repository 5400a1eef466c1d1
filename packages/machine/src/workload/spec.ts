/**
 * What a workload guest is told to do, and where that stands in its memory.
 *
 * The spec lies in the DEVICES region of the guest, so that a vCPU thread needs the memory and nothing
 * else; machine state carries it as named fields (state.ts). Written before the harts start; only the
 * rate changes later, through CONTROL_WORKLOAD_RATE.
 */
import * as map from '../../assembly/memory-map.ts';
import { MachineError } from '../errors.ts';
import type { GuestMemory } from '../guest-memory.ts';
import { wakeHart } from '../run-control.ts';

/** The position in each list is the number kept in memory: append only. */
export const PATTERNS = ['idle', 'uniform', 'hotset', 'sequential', 'write-burst'] as const;
export const CONTENTS = ['zero', 'random', 'compressible'] as const;

export type Pattern = (typeof PATTERNS)[number];
export type Content = (typeof CONTENTS)[number];

export interface WorkloadSpec {
  readonly pattern: Pattern;
  readonly content: Content;
  /** Any 32-bit number; the same seed gives the same guest. */
  readonly seed: number;
  /**
   * Pages of the region that is written, at least one a hart. 0: all of memory is; a `hotset` has always
   * a region, an `idle` guest none.
   */
  readonly hotPages: number;
  /** Pages written a second, all harts together; `UNLIMITED` = as fast as the harts go. */
  readonly pagesPerSecond: number;
}

export const UNLIMITED = -1;
/** 4 TiB/s: nothing real is above it, and it fits its word. */
const PAGES_PER_SECOND_MAX = 2 ** 30;

const PAGES_PER_MIB = 1048576 / map.PAGE_SIZE;

// Words of the spec in the DEVICES region.
const SPEC_PATTERN = map.DEVICES + 0;
const SPEC_CONTENT = map.DEVICES + 4;
const SPEC_SEED = map.DEVICES + 8;
const SPEC_HOT_PAGES = map.DEVICES + 12;

/** Pages a second for a rate as people give it: MiB/s, or `unlimited`. */
export function rateFromMiB(mibPerSecond: number | 'unlimited'): number {
  return mibPerSecond === 'unlimited' ? UNLIMITED : Math.round(mibPerSecond * PAGES_PER_MIB);
}

/**
 * A spec for this guest from what a user gave, gaps filled: random content, a hot set of one sixteenth.
 *
 * @throws MachineError workload.bad_spec
 */
export function makeSpec(
  guest: { readonly pages: number; readonly harts: number },
  given: Partial<WorkloadSpec> & { readonly pattern: Pattern },
): WorkloadSpec {
  const hotDefault = Math.max(guest.harts, guest.pages >>> 4);
  const spec: WorkloadSpec = {
    pattern: given.pattern,
    content: given.content ?? 'random',
    seed: given.seed ?? 1,
    hotPages: given.hotPages ?? (given.pattern === 'hotset' ? hotDefault : 0),
    pagesPerSecond: given.pagesPerSecond ?? UNLIMITED,
  };
  checkSpec(spec, guest.pages, guest.harts);
  return spec;
}

/** @throws MachineError workload.bad_spec */
export function checkSpec(spec: WorkloadSpec, pages: number, harts: number): void {
  const need = (field: string, good: boolean, value: unknown, expected: string) => {
    if (!good)
      throw new MachineError('workload.bad_spec', { field, value: String(value), expected });
  };
  need('pattern', PATTERNS.includes(spec.pattern), spec.pattern, `one of ${PATTERNS.join(', ')}`);
  need('content', CONTENTS.includes(spec.content), spec.content, `one of ${CONTENTS.join(', ')}`);
  const seedFits = Number.isInteger(spec.seed) && spec.seed >= 0 && spec.seed < 2 ** 32;
  need('seed', seedFits, spec.seed, 'an integer of 32 bits');
  const hot = spec.hotPages;
  const hotFits = Number.isInteger(hot) && hot >= harts && hot <= pages;
  const region = `${harts} to ${pages}`;
  if (spec.pattern === 'idle') need('hotPages', hot === 0, hot, '0');
  else if (spec.pattern === 'hotset') need('hotPages', hotFits, hot, region);
  else need('hotPages', hotFits || hot === 0, hot, `0 or ${region}`);
  const rate = spec.pagesPerSecond;
  const rateFits = Number.isInteger(rate) && rate >= UNLIMITED && rate <= PAGES_PER_SECOND_MAX;
  need('rate', rateFits, rate, `0 to ${PAGES_PER_SECOND_MAX} pages/s or unlimited`);
}

/**
 * Makes the memory a workload guest's. The harts' write counts are left as they are: 0 in a new guest.
 *
 * @throws MachineError workload.bad_spec
 */
export function writeSpec(guest: GuestMemory, spec: WorkloadSpec): void {
  checkSpec(spec, guest.pages, guest.harts);
  guest.setControl(map.CONTROL_KIND, map.GUEST_WORKLOAD);
  guest.setControl(map.CONTROL_WORKLOAD_RATE, spec.pagesPerSecond);
  guest.setControl(SPEC_PATTERN, PATTERNS.indexOf(spec.pattern));
  guest.setControl(SPEC_CONTENT, CONTENTS.indexOf(spec.content));
  guest.setControl(SPEC_SEED, spec.seed | 0);
  guest.setControl(SPEC_HOT_PAGES, spec.hotPages);
}

/**
 * The spec in the memory, with the rate of this moment.
 *
 * @throws MachineError workload.bad_spec, workload.bad_state when the guest is no workload
 */
export function readSpec(guest: GuestMemory): WorkloadSpec {
  if (guest.control(map.CONTROL_KIND) !== map.GUEST_WORKLOAD) {
    throw new MachineError('workload.bad_state', { field: 'kind', reason: 'is not a workload' });
  }
  const spec = {
    pattern: PATTERNS[guest.control(SPEC_PATTERN)] as Pattern,
    content: CONTENTS[guest.control(SPEC_CONTENT)] as Content,
    seed: guest.control(SPEC_SEED) >>> 0,
    hotPages: guest.control(SPEC_HOT_PAGES),
    pagesPerSecond: guest.control(map.CONTROL_WORKLOAD_RATE),
  };
  checkSpec(spec, guest.pages, guest.harts);
  return spec;
}

/** Changes the rate of a guest, running or not: pages a second or UNLIMITED. */
export function setRate(guest: GuestMemory, pagesPerSecond: number): void {
  checkSpec({ ...readSpec(guest), pagesPerSecond }, guest.pages, guest.harts);
  guest.setControl(map.CONTROL_WORKLOAD_RATE, pagesPerSecond);
  for (let hart = 0; hart < guest.harts; hart++) wakeHart(guest, hart);
}
