/** Public names of the migration cores. */

export type {
  CoordinatorEffect,
  CoordinatorEvent,
  CoordinatorPhase,
  CoordinatorState,
} from './coordinator.ts';
export { COORDINATOR, isSettled } from './coordinator.ts';
export type { GuestHere, Step } from './core.ts';
export type { SourceEffect, SourceEvent, SourcePhase, SourceState } from './source.ts';
export { SOURCE } from './source.ts';
export type { TargetEffect, TargetEvent, TargetPhase, TargetState } from './target.ts';
export { TARGET } from './target.ts';
