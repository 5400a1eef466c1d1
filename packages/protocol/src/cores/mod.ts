/** Public names of the migration cores. */

export type {
  CoordinatorEffect,
  CoordinatorEvent,
  CoordinatorPhase,
  CoordinatorState,
} from './coordinator.ts';
export { COORDINATOR, isSettled } from './coordinator.ts';
export type { Core, Facts, GuestHere, State, Step } from './core.ts';
export {
  COORDINATOR_TO_SOURCE,
  COORDINATOR_TO_TARGET,
  isWord,
  SOURCE_TO_COORDINATOR,
  SOURCE_TO_TARGET,
  TARGET_TO_COORDINATOR,
  TARGET_TO_SOURCE,
} from './delivery.ts';
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
