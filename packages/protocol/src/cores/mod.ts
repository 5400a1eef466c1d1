/** Public names of the migration cores. */

export type {
  CoordinatorEffect,
  CoordinatorEvent,
  CoordinatorPhase,
  CoordinatorState,
} from './coordinator.ts';
export { COORDINATOR, isSettled } from './coordinator.ts';
export type { Core, Facts, GuestHere, State, Step } from './core.ts';
export type {
  SourceCondition,
  SourceEffect,
  SourceEvent,
  SourceFacts,
  SourcePhase,
  SourceState,
} from './source.ts';
export { SOURCE } from './source.ts';
export type {
  TargetCondition,
  TargetEffect,
  TargetEvent,
  TargetFacts,
  TargetPhase,
  TargetState,
} from './target.ts';
export { TARGET } from './target.ts';
