/**
 * From what a guest is asked to be (GuestSpec, on the wire) to what the machine package is told.
 * Pure but for the words it writes into a memory that nobody runs on yet.
 */
import {
  type GuestMemory,
  makeSpec,
  memoryMap as map,
  rateFromMiB,
  type WorkloadSpec,
  writeSpec,
} from '@godwit/machine';
import { GodwitError, type GuestSpec } from '@godwit/protocol';

/** @throws GodwitError `guest.bad_spec`: a spec that contradicts itself, before memory is taken for it */
export function checkGuestSpec(spec: GuestSpec, boots: boolean): void {
  const bad = (why: string) => new GodwitError('guest.bad_spec', { why });
  if (spec.kind === 'workload') {
    if (spec.workload === undefined) throw bad('a workload guest needs a pattern');
    if (boots) throw bad('a workload guest takes no program');
    if (spec.stopAt !== undefined) throw bad('a workload guest has no instruction to stop at');
    return;
  }
  if (!boots) throw bad('a machine guest needs a program (an image or an ELF file)');
  if (spec.workload !== undefined) throw bad('a machine guest takes no workload');
}

/**
 * The workload of this guest in pages and pages a second.
 *
 * @throws MachineError `workload.bad_spec`
 */
export function workloadSpecOf(spec: GuestSpec, memory: GuestMemory): WorkloadSpec {
  const { pattern, content, seed, hotPages, rateMiBps } = spec.workload!;
  return makeSpec(memory, {
    pattern,
    content,
    seed,
    ...(hotPages > 0 && { hotPages }),
    pagesPerSecond: rateFromMiB(rateMiBps ?? 'unlimited'),
  });
}

/**
 * Writes kind, clock and stop into the control area: what vCPU threads look at when they start.
 *
 * @throws MachineError `workload.bad_spec`
 */
export function writeIdentity(spec: GuestSpec, memory: GuestMemory): void {
  if (spec.kind === 'workload') {
    writeSpec(memory, workloadSpecOf(spec, memory));
    return;
  }
  memory.setControl(map.CONTROL_KIND, map.GUEST_MACHINE);
  const clock = spec.clock === 'instructions' ? map.CLOCK_INSTRUCTIONS : map.CLOCK_HOST;
  memory.setControl(map.CONTROL_CLOCK, clock);
  const stopAt = spec.stopAt === undefined ? -1n : BigInt(spec.stopAt);
  Atomics.store(memory.i64, map.CONTROL_STOP_AT >> 3, stopAt);
}
