/** Public names of the agent package: for tests and tools; the agent itself is a process (main.ts). */
export * from './agent.ts';
export { Guest, type Latched, type MakeGuest } from './guest/guest.ts';
export type { GuestEnding } from './guest/guest-ending.ts';
export { MemoryPool } from './guest/memory-pool.ts';
export { type Log, openLog } from './log.ts';
export { type AgentOptions, parseOptions } from './options.ts';
