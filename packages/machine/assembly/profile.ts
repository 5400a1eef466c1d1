/**
 * What a hart does, counted: instructions by operation, TLB misses, traps.
 *
 * execute, mmu, trap -> [profile] -> counters in the hart's block -> src/profile.ts
 *
 * In the profile variant of the module only (profiled.ts is its entry): PROFILED is not defined in the
 * other, so that nothing of this is in its code. Counters are the hart's own, are never moved, and say
 * nothing about what the guest does next.
 */
import { core } from './core';
import { HART_PROFILE } from './machine-map.ts';

@inline export function tally(counter: usize): void {
  if (isDefined(PROFILED)) {
    const at = core.block + HART_PROFILE + (counter << 3);
    store<u64>(at, load<u64>(at) + 1);
  }
}
