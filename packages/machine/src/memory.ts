/**
 * The memory contract alone: for threads that move or wipe pages and never run a guest. They start in
 * two thirds of the time, because the rest of the package need not be found, linked and run.
 */
export * as memoryMap from '../assembly/memory-map.ts';
export * from './bitmap.ts';
export * from './guest-memory.ts';
export { loadPageOps, type PageOps } from './page-ops.ts';
export * from './page-states.ts';
