/**
 * Machine state of a workload guest: plain named fields for the machine-state codec, and back.
 *
 * Captured while the guest is stopped. Everything the auditor later expects follows from these fields;
 * that is why a witness outside the migration keeps counts of its own (witness.ts).
 */
import * as map from '../../assembly/memory-map.ts';
import { MachineError } from '../errors.ts';
import type { GuestMemory } from '../guest-memory.ts';
import {
  CONTENTS,
  type Content,
  PATTERNS,
  type Pattern,
  readSpec,
  type WorkloadSpec,
  writeSpec,
} from './spec.ts';
import { countIndex, WORKLOAD_WRONG_PAGE, WORKLOAD_WRONG_READS, writesDone } from './workload.ts';

export interface WorkloadState {
  readonly pattern: Pattern;
  readonly content: Content;
  readonly seed: number;
  readonly hotPages: number;
  /** The rate of the moment, which may not be the one the guest was made with. */
  readonly pagesPerSecond: number;
  readonly pages: number;
  /** Writes done, one number a hart. */
  readonly writes: readonly number[];
  /** Pages each hart read back wrong, and the first such page. */
  readonly wrongReads: readonly number[];
  readonly wrongPage: readonly number[];
}

export function captureWorkload(guest: GuestMemory): WorkloadState {
  const harts = Array.from({ length: guest.harts }, (_, hart) => hart);
  const word = (hart: number, offset: number) =>
    Atomics.load(guest.i32, guest.hartWord(hart, offset));
  return {
    ...readSpec(guest),
    pages: guest.pages,
    writes: harts.map((hart) => writesDone(guest, hart)),
    wrongReads: harts.map((hart) => word(hart, WORKLOAD_WRONG_READS)),
    wrongPage: harts.map((hart) => word(hart, WORKLOAD_WRONG_PAGE)),
  };
}

/**
 * Puts a captured state into a guest of the same size that is not running. The fields come from a peer:
 * each is checked.
 *
 * @throws MachineError workload.bad_state, workload.bad_spec
 */
export function restoreWorkload(guest: GuestMemory, state: WorkloadState): void {
  checkState(guest, state);
  writeSpec(guest, specOf(state));
  for (let hart = 0; hart < guest.harts; hart++) {
    Atomics.store(guest.i64, countIndex(hart), BigInt(state.writes[hart]!));
    const put = (offset: number, value: number) =>
      Atomics.store(guest.i32, guest.hartWord(hart, offset), value);
    put(WORKLOAD_WRONG_READS, state.wrongReads[hart]!);
    put(WORKLOAD_WRONG_PAGE, state.wrongPage[hart]!);
  }
}

/** The spec part of a state. */
export function specOf(state: WorkloadState): WorkloadSpec {
  const { pattern, content, seed, hotPages, pagesPerSecond } = state;
  return { pattern, content, seed, hotPages, pagesPerSecond };
}

function checkState(guest: GuestMemory, state: WorkloadState): void {
  const need = (field: string, good: boolean, reason: string) => {
    if (!good) throw new MachineError('workload.bad_state', { field, reason });
  };
  need('pattern', PATTERNS.includes(state.pattern), 'is unknown');
  need('content', CONTENTS.includes(state.content), 'is unknown');
  need('pages', state.pages === guest.pages, `is ${state.pages}, the guest has ${guest.pages}`);
  const counts = (values: unknown, max: number) =>
    Array.isArray(values) &&
    values.length === guest.harts &&
    values.every((v) => Number.isInteger(v) && v >= 0 && v <= max);
  const shape = `must be ${guest.harts} counts`;
  need('writes', counts(state.writes, Number.MAX_SAFE_INTEGER), shape);
  need('wrongReads', counts(state.wrongReads, 2 ** 31 - 1), shape);
  need('wrongPage', counts(state.wrongPage, map.PAGES_MAX - 1), shape);
}
