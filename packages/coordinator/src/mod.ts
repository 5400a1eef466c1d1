/** Public names of the coordinator package; it is run as a process (`main.ts`), not called. */
export { Coordinator, type CoordinatorOptions } from './coordinator.ts';
export { type Decision, decide, type PolicyInput } from './policy.ts';
export { type PredictedCost, type PredictionInput, predict } from './prediction.ts';
export { SqliteStore } from './store/sqlite-store.ts';
export type { Store } from './store/store.ts';
