/** What the wasm core shows to src/machine.ts. */
export { run } from './hart';
